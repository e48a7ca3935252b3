//! Usage: how often which key called which API, by minute, as far as nodes have reported.

use super::Admin;
use super::answer::Shown;
use super::keys::KeyIdText;
use super::problem::Problem;
use super::query::{self, Listed, Query};
use super::time::Moment;
use crate::domain::{KeyId, Name, Subject};
use crate::store::{PAGE_ROWS_MAX, Page, Paged, Rows, StoreError, UsageBucket, UsageFilter};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Requests of one key to one API with one class of answer, in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "minute": "2026-11-21T08:03:00Z", "key": "key_06t0q3zkd8v1w", "api": "orders",
    "api_number": 1, "class": 2, "requests": 120, "bytes_in": 18000, "bytes_out": 130000
}))]
pub struct UsageView {
    /// Start of the minute.
    pub minute: Moment,
    /// The key; null: none was asked, or none was good.
    #[schema(value_type = Option<KeyIdText>)]
    pub key: Option<KeyId>,
    /// The API's name; null: none was matched, or it is deleted.
    pub api: Option<Name>,
    /// The API's number; 0: none was matched.
    pub api_number: u32,
    /// First digit of the status: 2 for 200 to 299; 0: no answer was sent.
    pub class: u8,
    /// How many.
    pub requests: u64,
    /// Bytes from the clients.
    pub bytes_in: u64,
    /// Bytes to the clients.
    pub bytes_out: u64,
}

/// Which usage to list; every filter narrows.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    /// By this key.
    #[param(value_type = Option<KeyIdText>)]
    key: Option<KeyId>,
    /// Of this API.
    api: Option<Name>,
    /// From this minute on.
    from: Option<Moment>,
    /// Before this minute.
    until: Option<Moment>,
    /// Rows of the page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists usage by minute, newest first.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, description = "Newest first", body = Listed<UsageView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<UsageQuery>,
) -> Result<Shown<Listed<UsageView>>, Problem> {
    let page = query::page(query.limit, query.cursor.as_deref())?;
    let filter = UsageFilter {
        key: query.key,
        api: query.api,
        from_ms: query.from.map(Moment::ms),
        until_ms: query.until.map(Moment::ms),
    };
    let read = move |rows: &Rows<'_>| {
        if let Some(api) = &filter.api {
            // A misspelled name would otherwise look like an API that nobody calls.
            rows.api(api)?;
        }
        Ok((rows.usage(&filter, page)?, api_names(rows)?))
    };
    let (usage, names) = admin.control.store.read(read).await.map_err(|error| {
        Problem::of_body(error, |subject| (subject == Subject::Api).then_some("api"))
    })?;
    Ok(Shown(named(usage, &names)))
}

fn named(usage: Paged<UsageBucket>, names: &BTreeMap<u32, Name>) -> Listed<UsageView> {
    Listed::of(usage, |bucket| UsageView {
        minute: Moment::at_ms(bucket.minute_ms),
        key: bucket.key,
        api: names.get(&bucket.api).cloned(),
        api_number: bucket.api,
        class: bucket.class,
        requests: bucket.requests,
        bytes_in: bucket.bytes_in,
        bytes_out: bucket.bytes_out,
    })
}

fn api_names(rows: &Rows<'_>) -> Result<BTreeMap<u32, Name>, StoreError> {
    let mut names = BTreeMap::new();
    let mut page = Page::first(PAGE_ROWS_MAX);
    loop {
        let apis = rows.apis(page)?;
        names.extend(
            apis.items
                .into_iter()
                .map(|api| (api.number.0, api.spec.name)),
        );
        match apis.next {
            Some(next) => page.after = Some(next),
            None => return Ok(names),
        }
    }
}
