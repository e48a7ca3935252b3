//! `audit`: what was done.

use super::Session;
use super::arguments::AuditArguments;
use super::error::CliError;
use crate::admin::audit::AuditView;
use crate::apply::changed_fields;
use serde_json::Value;

/// Longest summary of a change in a table; `--json` has all of it.
const SUMMARY_CHARS_MAX: usize = 100;

pub(super) fn audit(session: &Session, arguments: &AuditArguments) -> Result<(), CliError> {
    let filters = [
        (
            "subject",
            arguments.subject.map(|subject| subject.word().to_owned()),
        ),
        ("subject_id", arguments.id.clone()),
    ];
    let header = ["NUMBER", "AT", "WHO", "WHAT", "OF", "CHANGE"];
    session.list(
        &arguments.part,
        "/v1/audit",
        &filters,
        &header,
        |entry: &AuditView| {
            vec![
                entry.number.to_string(),
                entry.at.to_string(),
                entry.actor.clone(),
                entry.action.clone(),
                format!("{} {}", entry.subject.word(), entry.subject_id),
                summary(&entry.before, &entry.after),
            ]
        },
    )
}

/// `state: "active" -> "revoked"`; nothing for what was made or deleted.
fn summary(before: &Value, after: &Value) -> String {
    if before.is_null() || after.is_null() {
        return String::new();
    }
    let changes: Vec<String> = changed_fields(Some(before), after)
        .into_iter()
        .map(|change| format!("{}: {} -> {}", change.path, change.old, change.new))
        .collect();
    let text = changes.join(", ");
    match text.char_indices().nth(SUMMARY_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_summed_up_in_what_differs() {
        let (before, after) = (
            json!({ "state": "active", "n": 1 }),
            json!({ "state": "off", "n": 1 }),
        );
        assert_eq!(summary(&before, &after), r#"state: "active" -> "off""#);
        assert_eq!(summary(&Value::Null, &after), "");
        let long = json!({ "state": "é".repeat(500) });
        assert!(summary(&before, &long).chars().count() <= SUMMARY_CHARS_MAX + 3);
    }
}
