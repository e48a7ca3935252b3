//! Generations: what was published, who serves it, and the two commands about it.
//!
//! Publishing follows every change by itself; the command is for a first base, a deliberate
//! shrinking, or the end of a rollback.

use super::Admin;
use super::answer::{self, Answer, Answered, Changed, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::time::Moment;
use crate::domain::Subject;
use crate::publish::{NodeReceipt, PublishOptions, Published, Receipt};
use crate::store::{Author, Outcome, Publication, StoreError, Totals};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A published generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "generation": 17, "base": 12, "configuration": 9, "begun_at": "2026-11-21T08:00:00.120Z",
    "done_at": "2026-11-21T08:00:00.131Z", "keys": 42, "bytes": 8192, "rollback": false
}))]
pub struct GenerationView {
    /// Its number.
    pub generation: u64,
    /// The generation of its base; the same for a base.
    pub base: u64,
    /// The generation whose configuration (plans, APIs, upstreams) it carries.
    pub configuration: u64,
    /// When it was begun.
    pub begun_at: Moment,
    /// When that was noted down, right after nodes could see it; null: they never could.
    pub done_at: Option<Moment>,
    /// Key records in its file.
    pub keys: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// True: it stepped the configuration back.
    pub rollback: bool,
}

impl From<Publication> for GenerationView {
    fn from(publication: Publication) -> Self {
        Self {
            generation: publication.generation,
            base: publication.base,
            configuration: publication.configuration,
            begun_at: Moment::at_ms(publication.begun_ms),
            done_at: publication.done_ms.map(Moment::at_ms),
            keys: publication.keys,
            bytes: publication.bytes,
            rollback: publication.rollback,
        }
    }
}

/// What is served, by whom, and how much there is of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// Version of the control process.
    pub version: String,
    /// The newest published generation; null: never published.
    pub published: Option<Published>,
    /// The number of the last change.
    pub store_generation: u64,
    /// The configuration is held here since a rollback; released by the next change of a plan,
    /// API or upstream, or by a publish.
    pub held_configuration: Option<u64>,
    /// Why the newest state is not published; null: it is, or is about to be.
    pub problem: Option<String>,
    /// Every known node.
    pub nodes: Vec<NodeReceipt>,
    /// How much there is of everything.
    pub totals: Totals,
}

/// What was published; its number is the answer's `generation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedView {
    /// The generation of its base.
    pub base: u64,
    /// The generation whose configuration it carries.
    pub configuration: u64,
    /// Key records in the written file.
    pub keys: u64,
}

impl From<Published> for PublishedView {
    fn from(published: Published) -> Self {
        let Published {
            generation: _,
            base,
            configuration,
            keys,
        } = published;
        Self {
            base,
            configuration,
            keys,
        }
    }
}

/// How to publish.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "full": true }))]
pub(super) struct PublishBody {
    /// Write a whole new base, also where an overlay would do.
    #[serde(default)]
    full: bool,
    /// Publish even though the store is empty or far smaller than what is served.
    #[serde(default)]
    allow_shrink: bool,
}

/// Where to step back to.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": 12 }))]
pub(super) struct RollbackBody {
    /// The generation whose plans, APIs and upstreams shall be served again. Keys are not stepped
    /// back: what was revoked stays revoked.
    to: u64,
}

/// How long a receipt is waited for.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReceiptQuery {
    /// Longest wait in milliseconds, 1 to 60000; default 10000.
    #[param(minimum = 1, maximum = 60000)]
    timeout_ms: Option<u32>,
}

/// Lists published generations, newest first.
#[utoipa::path(get, path = "/v1/generations", tag = "generations", params(PageQuery),
    responses((status = 200, description = "Newest first", body = Listed<GenerationView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<GenerationView>>, Problem> {
    let page = query.page()?;
    let publications = admin
        .control
        .store
        .read(move |rows| rows.publications(page))
        .await?;
    Ok(Shown(Listed::of(publications, GenerationView::from)))
}

/// Waits until every worker of every known node serves this generation or a later one, and
/// answers who does.
#[utoipa::path(get, path = "/v1/generations/{generation}/receipt", tag = "generations",
    params(("generation" = u64, Path, description = "Its number"), ReceiptQuery),
    responses((status = 200, description = "Complete, or who is late", body = Receipt)))]
pub(super) async fn receipt(
    State(admin): State<Admin>,
    Path(generation): Path<u64>,
    Query(query): Query<ReceiptQuery>,
) -> Result<Shown<Receipt>, Problem> {
    let timeout = answer::timeout(query.timeout_ms)?;
    let newest = admin.control.store.read(|rows| rows.generation()).await?;
    if generation == 0 || generation > newest {
        return Err(StoreError::not_found(Subject::Publication, generation).into());
    }
    Ok(Shown(
        admin.control.publisher.enforced(generation, timeout).await,
    ))
}

/// Publishes now, and ends the hold of a rollback.
#[utoipa::path(post, path = "/v1/publish", tag = "generations", params(WaitQuery),
    request_body = PublishBody,
    responses((status = 200, description = "What was published", body = Changed<PublishedView>)))]
pub(super) async fn publish(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<PublishBody>,
) -> Answered<PublishedView> {
    let PublishBody {
        full: new_base,
        allow_shrink,
    } = asked.body;
    if let Some(before) = admin.recalled(&asked.author).await? {
        return Ok(admin.published(before, timeout).await);
    }
    let options = PublishOptions {
        allow_shrink,
        new_base,
    };
    let published = admin
        .control
        .publisher
        .publish(asked.author.actor.clone(), options)
        .await?;
    let outcome = admin.remembered(asked.author, published).await?;
    Ok(admin.published(outcome, timeout).await)
}

/// Steps the configuration back to an earlier generation and holds it there.
#[utoipa::path(post, path = "/v1/rollback", tag = "generations", params(WaitQuery),
    request_body = RollbackBody,
    responses((status = 200, description = "What was published", body = Changed<PublishedView>)))]
pub(super) async fn rollback(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<RollbackBody>,
) -> Answered<PublishedView> {
    if let Some(before) = admin.recalled(&asked.author).await? {
        return Ok(admin.published(before, timeout).await);
    }
    let actor = asked.author.actor.clone();
    let published = admin
        .control
        .publisher
        .rollback(actor, asked.body.to)
        .await?;
    let outcome = admin.remembered(asked.author, published).await?;
    Ok(admin.published(outcome, timeout).await)
}

/// Shows what is served, by whom.
#[utoipa::path(get, path = "/v1/status", tag = "generations",
    responses((status = 200, description = "The state of the fleet", body = StatusView)))]
pub(super) async fn status(State(admin): State<Admin>) -> Result<Shown<StatusView>, Problem> {
    let totals = admin.control.store.read(|rows| rows.totals()).await?;
    let status = admin.control.publisher.status();
    Ok(Shown(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        published: status.published,
        store_generation: status.store_generation,
        held_configuration: status.held_configuration,
        problem: status.problem,
        nodes: status.nodes,
        totals,
    }))
}

/// A publication is no change of the store, so its answer is kept beside it and not with it: after
/// a crash between the two a repeated request publishes once more, which harms nobody.
impl Admin {
    async fn recalled(&self, author: &Author) -> Result<Option<Outcome<Published>>, Problem> {
        if author.idempotency.is_none() {
            return Ok(None);
        }
        // Never commits: either the answer is there already, or the change refuses itself.
        let look = self.control.store.write(author.clone(), |_| {
            Err::<Published, _>(StoreError::not_found(Subject::Publication, "none"))
        });
        match look.await {
            Ok(outcome) => Ok(Some(outcome)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    async fn remembered(
        &self,
        author: Author,
        published: Published,
    ) -> Result<Outcome<Published>, Problem> {
        if author.idempotency.is_some() {
            self.control
                .store
                .write(author, move |_| Ok(published))
                .await?;
        }
        let generation = published.generation;
        Ok(Outcome {
            value: published,
            generation,
            replayed: false,
        })
    }

    async fn published(
        &self,
        outcome: Outcome<Published>,
        timeout: Option<Duration>,
    ) -> Answer<Changed<PublishedView>> {
        let generation = outcome.value.generation;
        self.changed(
            Outcome {
                generation,
                ..outcome
            },
            timeout,
            PublishedView::from,
        )
        .await
    }
}
