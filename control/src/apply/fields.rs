//! What differs between two values, field by field, as people would say it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// `connect_timeout_ms`, `limits[burst].requests`.
    pub path: String,
    /// As it was; null: it was not there.
    pub old: Value,
    /// As it becomes; null: it goes.
    pub new: Value,
}

/// Every field of `new` that is not as in `old`, and every one that is gone. Items of a list are
/// told apart by their `name` or `path`; a list of bare values is one field.
pub fn changed_fields<T: Serialize>(old: Option<&T>, new: &T) -> Vec<FieldChange> {
    let tree = |value: &T| serde_json::to_value(value).unwrap_or(Value::Null);
    let mut changes = Vec::new();
    match old {
        Some(old) => compare("", &tree(old), &tree(new), &mut changes),
        None => shallow(&tree(new), &mut changes),
    }
    changes
}

/// The fields of a new thing, but for its name, which stands beside them, and for what is not set.
fn shallow(new: &Value, changes: &mut Vec<FieldChange>) {
    let Value::Object(fields) = new else { return };
    for (name, value) in fields {
        let unset = match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.values().all(Value::is_null),
            _ => false,
        };
        if name != "name" && !unset {
            changes.push(FieldChange {
                path: name.clone(),
                old: Value::Null,
                new: value.clone(),
            });
        }
    }
}

fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<FieldChange>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                let inner = join(path, name);
                compare(&inner, value, b.get(name).unwrap_or(&Value::Null), changes);
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                compare(&join(path, name), &Value::Null, value, changes);
            }
        }
        (Value::Array(a), Value::Array(b)) => match (labels(a), labels(b)) {
            (Some(a_labels), Some(b_labels)) if a_labels != b_labels || a != b => {
                compare_items(path, (a, &a_labels), (b, &b_labels), changes);
            }
            _ => push_if_other(path, old, new, changes),
        },
        _ => push_if_other(path, old, new, changes),
    }
}

type Items<'a> = (&'a [Value], &'a [String]);

fn compare_items(path: &str, a: Items<'_>, b: Items<'_>, changes: &mut Vec<FieldChange>) {
    let before = changes.len();
    for (label, item) in a.1.iter().zip(a.0) {
        let place = format!("{path}[{label}]");
        match b.1.iter().position(|other| other == label) {
            Some(at) => compare(&place, item, &b.0[at], changes),
            None => push_if_other(&place, item, &Value::Null, changes),
        }
    }
    for (label, item) in
        b.1.iter()
            .zip(b.0)
            .filter(|(label, _)| !a.1.contains(label))
    {
        push_if_other(&format!("{path}[{label}]"), &Value::Null, item, changes);
    }
    if changes.len() == before {
        // The same items in another order.
        let order = |labels: &[String]| Value::from(labels.to_vec());
        push_if_other(path, &order(a.1), &order(b.1), changes);
    }
}

/// What the items of a list are told apart by; none: they are bare, or two are the same.
fn labels(items: &[Value]) -> Option<Vec<String>> {
    let mut labels = Vec::with_capacity(items.len());
    for item in items {
        let fields = item.as_object()?;
        let label = fields
            .get("name")
            .or_else(|| fields.get("path"))?
            .as_str()?
            .to_owned();
        if labels.contains(&label) {
            return None;
        }
        labels.push(label);
    }
    Some(labels)
}

fn push_if_other(path: &str, old: &Value, new: &Value, changes: &mut Vec<FieldChange>) {
    if old != new {
        changes.push(FieldChange {
            path: path.to_owned(),
            old: old.clone(),
            new: new.clone(),
        });
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn told(old: &Value, new: &Value) -> Vec<String> {
        changed_fields(Some(old), new)
            .into_iter()
            .map(|change| format!("{}: {} > {}", change.path, change.old, change.new))
            .collect()
    }

    #[test]
    fn items_are_told_apart_by_name() {
        let old =
            json!({ "limits": [{ "name": "a", "requests": 1 }, { "name": "b", "requests": 2 }] });
        let new =
            json!({ "limits": [{ "name": "b", "requests": 3 }, { "name": "c", "requests": 4 }] });
        assert_eq!(
            told(&old, &new),
            [
                r#"limits[a]: {"name":"a","requests":1} > null"#,
                "limits[b].requests: 2 > 3",
                r#"limits[c]: null > {"name":"c","requests":4}"#,
            ]
        );
    }

    #[test]
    fn another_order_is_a_difference() {
        let old = json!({ "routes": [{ "path": "/a" }, { "path": "/b" }] });
        let new = json!({ "routes": [{ "path": "/b" }, { "path": "/a" }] });
        assert_eq!(told(&old, &new), [r#"routes: ["/a","/b"] > ["/b","/a"]"#]);
    }

    #[test]
    fn a_list_of_bare_values_is_one_field() {
        let (old, new) = (
            json!({ "targets": ["a"] }),
            json!({ "targets": ["a", "b"] }),
        );
        assert_eq!(told(&old, &new), [r#"targets: ["a"] > ["a","b"]"#]);
    }

    #[test]
    fn of_a_new_thing_only_what_is_set_is_told() {
        let new = json!({ "name": "x", "hosts": [], "credential": { "header": null }, "n": 0 });
        let changes = changed_fields(None, &new);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].path, "n");
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4u8).prop_map(Value::from),
            "[ab]{1,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(
                    prop::sample::select(vec!["name", "path", "x", "y"]).prop_map(str::to_owned),
                    inner,
                    0..4
                )
                .prop_map(Value::from_iter),
            ]
        })
    }

    /// Null and "not there" are the same to a reader of a difference.
    fn without_nulls(value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect(),
            Value::Array(items) => items.iter().map(without_nulls).collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn there_is_a_difference_exactly_if_the_values_differ(old in tree(), new in tree()) {
            let (old, new) = (without_nulls(&old), without_nulls(&new));
            prop_assert_eq!(changed_fields(Some(&old), &new).is_empty(), old == new);
            prop_assert!(changed_fields(Some(&old), &old).is_empty());
        }
    }
}
