//! From what a rule found to what begins, goes on and ends.

use super::view::{AlertView, Event, Message};
use crate::admin::time::Moment;
use crate::domain::{AlertRuleSpec, KeyId, KeyState, Name};
use crate::store::{Alert, AlertAction, Finding, StoreError, Tx};
use std::collections::HashMap;

/// An alert is over once nothing was found for so long, so that a count that plays around its
/// bound does not tell on and off.
const QUIET_MS: u64 = 60_000;
/// How often it is noted that an alert lasts.
const NOTED_EVERY_MS: u64 = 20_000;
/// Most alerts of one rule that last at the same time.
const LASTING_MAX: usize = 1_000;
const HOUR_MS: u64 = 3_600_000;

/// What is to be done with an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Begin(Finding),
    Seen(Alert, Finding),
    End(Alert),
}

/// Compares what lasts with what was found. `whole` is false if there is more than was found:
/// then nothing is over.
pub(super) fn moves(open: Vec<Alert>, found: &[Finding], whole: bool, now_ms: u64) -> Vec<Move> {
    type Known<'a> = (&'a str, &'a str, u32);
    fn known(finding: &Finding) -> Known<'_> {
        (&finding.subject, &finding.quota, finding.level)
    }
    let now: HashMap<Known<'_>, &Finding> = found.iter().map(|one| (known(one), one)).collect();
    let lasting: std::collections::HashSet<(String, String, u32)> = open
        .iter()
        .map(|alert| {
            let (subject, quota, level) = known(&alert.finding);
            (subject.to_owned(), quota.to_owned(), level)
        })
        .collect();
    let room = LASTING_MAX.saturating_sub(open.len());
    let mut moves = Vec::new();
    for alert in open {
        let quiet_ms = now_ms.saturating_sub(alert.seen_ms);
        let found = now.get(&known(&alert.finding)).copied();
        match found {
            Some(finding) if quiet_ms >= NOTED_EVERY_MS => {
                moves.push(Move::Seen(alert, finding.clone()));
            }
            None if whole && quiet_ms >= QUIET_MS => moves.push(Move::End(alert)),
            _ => {}
        }
    }
    let is_new = |finding: &&Finding| {
        let (subject, quota, level) = known(finding);
        !lasting.contains(&(subject.to_owned(), quota.to_owned(), level))
    };
    moves.extend(
        found
            .iter()
            .filter(is_new)
            .take(room)
            .cloned()
            .map(Move::Begin),
    );
    moves
}

/// Carries out what follows from the findings of `rule`. Nothing follows if the rule was changed or
/// deleted since it was asked for. Answers how many alerts began.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    rule: &AlertRuleSpec,
    found: &[Finding],
    whole: bool,
    now_ms: u64,
) -> Result<u32, StoreError> {
    match tx.alert_rule(&rule.name) {
        Ok(now) if now == *rule => {}
        Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(0),
        Err(error) => return Err(error),
    }
    let mut begun = 0;
    for step in moves(tx.alerts_open(&rule.name)?, found, whole, now_ms) {
        match step {
            Move::Begin(finding) => {
                let action = act(tx, rule, &finding, now_ms)?;
                let alert = tx.alert_begin(&rule.name, &finding, action, now_ms)?;
                begun += 1;
                tell(tx, rule, Event::Raised, (alert, now_ms))?;
            }
            Move::Seen(alert, finding) => tx.alert_seen(&alert, &finding, now_ms)?,
            Move::End(alert) => {
                let ended = tx.alert_end(&alert, now_ms)?;
                tell(tx, rule, Event::Resolved, (ended, now_ms))?;
            }
        }
    }
    Ok(begun)
}

/// Disables the key, if the rule says so.
fn act(
    tx: &mut Tx<'_>,
    rule: &AlertRuleSpec,
    finding: &Finding,
    now_ms: u64,
) -> Result<AlertAction, StoreError> {
    let Some(most) = rule.disable_keys_max else {
        return Ok(AlertAction::None);
    };
    let Ok(id) = finding.subject.parse::<KeyId>() else {
        return Ok(AlertAction::None);
    };
    match tx.key(id) {
        Ok(key) if key.state == KeyState::Active => {}
        // A node may have counted a key that is not in this store.
        Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(AlertAction::KeyOffAlready),
        Err(error) => return Err(error),
    }
    // A rule that goes off for everybody tells of an outage, and must not become one.
    let since_ms = now_ms.saturating_sub(HOUR_MS);
    if tx.keys_disabled_by(&rule.name, since_ms)? >= most.into() {
        return Ok(AlertAction::TooManyDisabled);
    }
    tx.key_set_enabled(id, false)?;
    Ok(AlertAction::KeyDisabled)
}

fn tell(
    tx: &mut Tx<'_>,
    rule: &AlertRuleSpec,
    event: Event,
    (alert, now_ms): (Alert, u64),
) -> Result<(), StoreError> {
    let (number, timestamp) = (alert.number, Moment::at_ms(now_ms));
    let message = Message {
        event,
        timestamp,
        data: Some(AlertView::from(alert)),
    };
    for webhook in &rule.webhooks {
        leave(tx, webhook, &message, number)?;
    }
    Ok(())
}

/// Deletes a rule; what it went off for is over, and that is told.
pub fn delete_rule(tx: &mut Tx<'_>, name: &Name) -> Result<(), StoreError> {
    let now_ms = tx.at_ms();
    let (rule, ended) = tx.alert_rule_delete(name)?;
    ended
        .into_iter()
        .try_for_each(|alert| tell(tx, &rule, Event::Resolved, (alert, now_ms)))
}

/// Leaves a message for a webhook that says nothing, so that its receiver can be tried.
pub fn tell_test(tx: &mut Tx<'_>, webhook: &Name) -> Result<(), StoreError> {
    let message = Message {
        event: Event::Test,
        timestamp: Moment::at_ms(tx.at_ms()),
        data: None,
    };
    leave(tx, webhook, &message, 0)
}

fn leave(
    tx: &mut Tx<'_>,
    webhook: &Name,
    message: &Message,
    number: u64,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(message).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    // Random: a store that was restored from a backup must not send an id twice.
    let random = getrandom::u64().map_err(|e| StoreError::Corrupt(e.to_string()))?;
    if !tx.delivery_add(webhook, &format!("msg_{random:016x}"), &body)? {
        tracing::warn!(%webhook, alert = number, "too many messages wait for a webhook; one is lost");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str) -> Finding {
        Finding {
            subject: subject.to_owned(),
            quota: String::new(),
            level: 0,
            value: 5,
            total: 9,
        }
    }

    fn lasting(subject: &str, seen_ms: u64) -> Alert {
        Alert {
            number: 1,
            rule: crate::fixture::name("r"),
            finding: finding(subject),
            began_ms: 0,
            seen_ms,
            ended_ms: None,
            action: AlertAction::None,
        }
    }

    #[test]
    fn an_alert_begins_once_and_ends_when_it_has_been_quiet() {
        let found = [finding("a")];
        assert_eq!(
            moves(vec![], &found, true, 0),
            [Move::Begin(finding("a"))],
            "new"
        );
        let alert = lasting("a", 1_000);
        assert_eq!(moves(vec![alert.clone()], &found, true, 2_000), []);
        assert_eq!(
            moves(vec![alert.clone()], &found, true, 21_000),
            [Move::Seen(alert.clone(), finding("a"))]
        );
        assert_eq!(moves(vec![alert.clone()], &[], true, 60_999), []);
        assert_eq!(moves(vec![alert.clone()], &[], false, 61_000), []);
        assert_eq!(
            moves(vec![alert.clone()], &[], true, 61_000),
            [Move::End(alert)]
        );
    }

    #[test]
    fn a_flood_of_subjects_has_an_end() {
        let found: Vec<Finding> = (0..5_000).map(|n| finding(&n.to_string())).collect();
        assert_eq!(moves(vec![], &found, true, 0).len(), LASTING_MAX);
        let open = (0..LASTING_MAX)
            .map(|n| lasting(&n.to_string(), 0))
            .collect();
        assert_eq!(moves(open, &found, true, 1), []);
    }
}
