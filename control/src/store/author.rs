//! Who asks for a change, and what came of it.

use crate::domain::Actor;

/// Who asks, and under which idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Goes into the audit log.
    pub actor: Actor,
    /// Makes a repeated request answer like the first one.
    pub idempotency: Option<Idempotency>,
}

impl Author {
    /// An author without an idempotency key.
    pub fn new(actor: Actor) -> Self {
        Self {
            actor,
            idempotency: None,
        }
    }

    /// Keyway itself.
    pub fn system() -> Self {
        Self::new(Actor::system())
    }
}

/// A client's promise that requests with the same key are one and the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, 1 to 255 bytes; it counts per actor and for 24 h.
    pub key: String,
    /// SHA-256 over method, path and body, so that a key reused for something else is refused.
    pub request: [u8; 32],
}

/// What came of a change. It is on disk by the time anybody sees this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<T> {
    /// The change's own answer.
    pub value: T,
    /// Every published generation at or above this number holds the change: what to ask
    /// [`Publisher::enforced`](crate::publish::Publisher::enforced) for. A change that changed
    /// nothing has the number of the last one that did.
    pub generation: u64,
    /// True: this request was carried out before, and `value` is what it answered then.
    pub replayed: bool,
}
