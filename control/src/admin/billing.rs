//! What usage costs, by subscription; and the sums made again from what nodes sent.

use super::Admin;
use super::answer::Shown;
use super::asked::Asked;
use super::problem::Problem;
use super::query::Query;
use super::time::Moment;
use super::usage::period;
use crate::domain::Name;
use crate::store::BilledUsage;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The form of a bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BillForm {
    /// Comma-separated values (RFC 4180), with a header.
    #[default]
    Csv,
    /// JSON.
    Json,
}

/// Which period.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BillQuery {
    /// From this moment on, in whole hours; default: an hour before `to`.
    from: Option<Moment>,
    /// Before this moment; default: now.
    to: Option<Moment>,
    /// Default `csv`.
    format: Option<BillForm>,
}

/// What one subscription costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BillRow {
    /// The app's tenant.
    pub tenant: Name,
    /// The app.
    pub app: Name,
    /// The API.
    pub api: Name,
    /// The plan that it has now.
    pub plan: Name,
    /// All requests.
    pub requests: u64,
    /// Those that are paid for: answered by a target, with a status below 500. What the gateway refused
    /// is not.
    pub billable_requests: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// The plan's currency; null: it has no price.
    pub currency: Option<String>,
    /// The amount, in millionths of the currency's unit, as a decimal number.
    pub amount_micro: Option<String>,
}

/// A bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bill {
    /// Beginning of the period.
    pub from: Moment,
    /// Its end.
    pub to: Moment,
    /// Calendar months (UTC) that begin in it: as often the base is paid.
    pub months: u32,
    /// One row a subscription in force.
    pub rows: Vec<BillRow>,
}

/// Exports what each subscription used and costs.
#[utoipa::path(get, path = "/v1/usage/export", tag = "usage", params(BillQuery),
    responses((status = 200, description = "One row a subscription in force", content(
        (String = "text/csv"), (Bill = "application/json")))))]
pub(super) async fn export(
    State(admin): State<Admin>,
    Query(query): Query<BillQuery>,
) -> Result<Response, Problem> {
    let (from_ms, to_ms) = period(&admin, query.from, query.to)?;
    let read = move |rows: &crate::store::Rows<'_>| rows.usage_billed(from_ms, to_ms);
    let used = admin.control.store.read(read).await?;
    let months = months_beginning(from_ms, to_ms);
    let bill = Bill {
        from: Moment::at_ms(from_ms),
        to: Moment::at_ms(to_ms),
        months,
        rows: used.into_iter().map(|used| row(used, months)).collect(),
    };
    Ok(match query.format.unwrap_or_default() {
        BillForm::Json => Shown(bill).into_response(),
        BillForm::Csv => ([(CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&bill)).into_response(),
    })
}

fn row(used: BilledUsage, months: u32) -> BillRow {
    let amount = used.price.as_ref().map(|price| {
        let micro = price.amount_micro(months, used.billable, used.bytes_out);
        micro.to_string()
    });
    BillRow {
        tenant: used.tenant,
        app: used.app,
        api: used.api,
        plan: used.plan,
        requests: used.requests,
        billable_requests: used.billable,
        bytes_in: used.bytes_in,
        bytes_out: used.bytes_out,
        currency: used.price.map(|price| price.currency),
        amount_micro: amount,
    }
}

/// Names are of `a-z0-9._-`, so no field needs a quote.
fn csv(bill: &Bill) -> String {
    let mut text = "from,to,tenant,app,api,plan,requests,billable_requests,bytes_in,bytes_out,\
                    currency,amount_micro\r\n"
        .to_owned();
    for row in &bill.rows {
        let fields = [
            bill.from.to_string(),
            bill.to.to_string(),
            row.tenant.to_string(),
            row.app.to_string(),
            row.api.to_string(),
            row.plan.to_string(),
            row.requests.to_string(),
            row.billable_requests.to_string(),
            row.bytes_in.to_string(),
            row.bytes_out.to_string(),
            row.currency.clone().unwrap_or_default(),
            row.amount_micro.clone().unwrap_or_default(),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Calendar months that begin in a period, its first moment included.
fn months_beginning(from_ms: u64, to_ms: u64) -> u32 {
    let month = |ms: u64| {
        let at = i64::try_from(ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let date = at.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC).date();
        i64::from(date.year()) * 12 + i64::from(date.month())
    };
    // A month begins in the period unless it has begun a moment before it.
    let before = month(from_ms.saturating_sub(1));
    u32::try_from(month(to_ms.saturating_sub(1)) - before).unwrap_or(0)
}

/// Which days.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z" }))]
pub(super) struct RebuildBody {
    /// From the first midnight (UTC) after this moment, or at it.
    from: Moment,
    /// To the first midnight after this moment, or at it.
    to: Moment,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rebuilt {
    /// Segments that the sums were made of; 0: none that are kept are of such days.
    pub segments: u64,
}

/// Makes the sums of whole days again from the segments that nodes sent, as far as they are kept.
#[utoipa::path(post, path = "/v1/usage/rebuild", tag = "usage", request_body = RebuildBody,
    responses((status = 200, description = "Done", body = Rebuilt)))]
pub(super) async fn rebuild(
    State(admin): State<Admin>,
    asked: Asked<RebuildBody>,
) -> Result<Shown<Rebuilt>, Problem> {
    let RebuildBody { from, to } = asked.body;
    if from >= to {
        return Err(Problem::invalid("to", "lies after `from`"));
    }
    let rebuild = move |tx: &mut crate::store::Tx<'_>| tx.usage_rebuild(from.ms(), to.ms());
    let outcome = admin.control.store.write(asked.author, rebuild).await?;
    Ok(Shown(Rebuilt {
        segments: outcome.value,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_counts_where_it_begins() {
        let months = |from: &str, to: &str| {
            let ms = |text: &str| text.parse::<Moment>().expect("a moment").ms();
            months_beginning(ms(from), ms(to))
        };
        assert_eq!(months("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"), 1);
        assert_eq!(months("2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z"), 0);
        assert_eq!(
            months("2026-11-02T00:00:00Z", "2026-12-01T00:00:00.001Z"),
            1
        );
        assert_eq!(months("2026-11-01T00:00:00Z", "2027-02-01T00:00:00Z"), 3);
    }
}
