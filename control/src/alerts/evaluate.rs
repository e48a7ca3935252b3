//! Asking what each rule asks, over and over.

use super::settle::{moves, settle};
use crate::domain::{Actor, AlertRuleSpec, Condition};
use crate::store::{
    Author, FINDINGS_MAX, Finding, PAGE_ROWS_MAX, Page, QuotaOwner, Rows, Store, StoreError, Watch,
};
use keyway::clock::{Clock, WallTime};
use std::time::Duration;

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(5);
/// Of the time, at most one part in so many goes into asking: a store with much usage is asked less
/// often.
const TIME_SHARE: u32 = 20;
/// Quotas change slowly and are dear to sum up: they are asked for every so many rounds.
const QUOTA_EVERY: u64 = 3;
/// How often what is old is forgotten.
const FORGETTING_ROUNDS: u64 = 720;

/// Asks for ever. A round that fails is told and the next one tries again.
pub async fn evaluate(store: Store, clock: Clock) {
    for round in 0_u64.. {
        let began = clock.tick();
        let with_quotas = round.is_multiple_of(QUOTA_EVERY);
        let done = round_of(&store, clock.wall(), with_quotas).await;
        let done = match done {
            Ok(()) if round % FORGETTING_ROUNDS == FORGETTING_ROUNDS - 1 => {
                let forget = store.write(Author::system(), |tx| tx.alerts_forget());
                forget.await.map(drop)
            }
            done => done,
        };
        match done {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "alert rules cannot be looked at"),
        }
        let took = Duration::from_nanos(clock.tick().since_ns(began));
        tokio::time::sleep(PAUSE.max(took * TIME_SHARE)).await;
    }
}

/// One round over all rules, as of a moment.
pub async fn evaluate_once(store: &Store, now: WallTime) -> Result<(), StoreError> {
    round_of(store, now, true).await
}

async fn round_of(store: &Store, now: WallTime, with_quotas: bool) -> Result<(), StoreError> {
    for rule in store.read(|rows| rows.alert_rules_all()).await? {
        if !with_quotas && matches!(rule.condition, Condition::Quota(_)) {
            continue;
        }
        let asked = rule.clone();
        let (found, moving) = store
            .read(move |rows| {
                let found = findings(rows, &asked, now.0)?;
                let open = rows.alerts_open(&asked.name)?;
                let moving = !moves(open, &found, is_whole(&found), now.0).is_empty();
                Ok((found, moving))
            })
            .await?;
        if !moving {
            continue;
        }
        let (author, name) = (Author::new(Actor::rule(&rule.name)), rule.name.clone());
        let begun = store
            .write(author, move |tx| {
                settle(tx, &rule, &found, is_whole(&found), now.0)
            })
            .await?;
        if begun.value > 0 {
            tracing::warn!(rule = %name, alerts = begun.value, "an alert rule went off");
        }
    }
    Ok(())
}

/// Whether nothing was cut off.
fn is_whole(found: &[Finding]) -> bool {
    found.len() < usize::try_from(FINDINGS_MAX).unwrap_or(usize::MAX)
}

fn findings(
    rows: &Rows<'_>,
    rule: &AlertRuleSpec,
    now_ms: u64,
) -> Result<Vec<Finding>, StoreError> {
    match &rule.condition {
        Condition::Count {
            watched,
            cause,
            by,
            bound,
            window_minutes,
        } => {
            let watch = Watch {
                watched: *watched,
                cause: *cause,
                by: *by,
                bound: *bound,
                minutes: *window_minutes,
            };
            rows.usage_above(&watch, now_ms)
        }
        Condition::Quota(percents) => quotas(rows, percents, now_ms),
    }
}

fn quotas(rows: &Rows<'_>, percents: &[u32], now_ms: u64) -> Result<Vec<Finding>, StoreError> {
    let lowest = percents.first().copied().unwrap_or(u32::MAX);
    let mut findings = Vec::new();
    let mut owners = Vec::new();
    let whole = Page::first(PAGE_ROWS_MAX);
    let mut page = whole;
    loop {
        let plans = rows.plans(page)?;
        for plan in plans.items {
            let limits = plan.limits.into_iter().map(|limit| limit.spec);
            let owner = QuotaOwner::Plan(plan.number.0);
            owners.push((owner, format!("plan {}", plan.name), limits.collect()));
        }
        let Some(next) = plans.next else { break };
        page.after = Some(next);
    }
    page = whole;
    loop {
        let apis = rows.apis(page)?;
        for api in apis.items {
            let owner = QuotaOwner::Api(api.number.0);
            owners.push((owner, format!("api {}", api.spec.name), api.spec.limits));
        }
        let Some(next) = apis.next else { break };
        page.after = Some(next);
    }
    for (owner, whose, limits) in owners {
        let limits: Vec<crate::domain::LimitSpec> = limits;
        for limit in &limits {
            for used in rows.quota_above(owner, limit, lowest, now_ms)? {
                let is_reached = |percent: &&u32| {
                    let (value, total) = (u128::from(used.value), u128::from(used.total));
                    value * 100 >= total * u128::from(**percent)
                };
                for percent in percents.iter().filter(is_reached) {
                    findings.push(Finding {
                        quota: format!("{whose}: {}", limit.name),
                        level: *percent,
                        ..used.clone()
                    });
                }
            }
        }
    }
    Ok(findings)
}
