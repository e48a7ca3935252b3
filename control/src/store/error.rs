//! Every way the store says no.

use crate::domain::{FinalState, Invalid, Subject, TransitionRefused};

/// Why a read or a change did not happen. A change that fails leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("there is no {} `{id}`", subject.word())]
    NotFound {
        /// What kind of thing.
        subject: Subject,
        /// The name, id or number asked for.
        id: String,
    },
    /// The name, or the key's digest, is taken.
    #[error("the {} `{id}` exists already", subject.word())]
    Exists {
        /// What kind of thing.
        subject: Subject,
        /// The name or id that is taken.
        id: String,
    },
    /// Something else refers to it.
    #[error("the {} `{id}` is in use by {by}", subject.word())]
    InUse {
        /// What kind of thing.
        subject: Subject,
        /// Its name.
        id: String,
        /// Who refers to it, such as ``the API `orders` ``.
        by: String,
    },
    /// The key is revoked.
    #[error(transparent)]
    KeyFinal(#[from] FinalState),
    /// The subscription cannot go there.
    #[error(transparent)]
    Transition(#[from] TransitionRefused),
    /// A subscription asks for an API that its plan does not include.
    #[error("the plan `{plan}` does not include the API `{api}`")]
    PlanLacksApi {
        /// The plan's name.
        plan: String,
        /// The API's name.
        api: String,
    },
    /// A value is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The data plane would refuse the whole configuration after this change, such as two APIs
    /// with the same route.
    #[error("the data plane would refuse this configuration: {0}")]
    Catalog(String),
    /// The idempotency key was used within 24 h for another request.
    #[error("this idempotency key was used for another request")]
    IdempotencyMismatch,
    /// A number ran out (2^32 - 1 of a kind).
    #[error("no number is left for one more {}", .0.word())]
    NumbersSpent(Subject),
    /// The answer would be too long.
    #[error("that is too much for one answer; narrow it: a shorter time, longer steps, a filter")]
    TooMuch,
    /// A row does not hold what the schema promises.
    #[error("the database holds a row that makes no sense: {0}")]
    Corrupt(String),
    /// The database file is of a newer Keyway.
    #[error("the database was made by a newer keyway-control")]
    TooNew,
    /// SQLite or the disk failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The change hit a bug of ours and was rolled back.
    #[error("the change failed inside keyway-control and was rolled back")]
    Panicked,
    /// The store is shutting down, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// There is no `subject` by that id.
    pub fn not_found(subject: Subject, id: impl ToString) -> Self {
        Self::NotFound {
            subject,
            id: id.to_string(),
        }
    }
}
