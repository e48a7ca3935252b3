//! Reasons not to publish.
//!
//! Changes that the data plane would refuse never get as far as here: the store does not commit
//! them. What is left is the question whether this store is the right one to speak at all: an
//! empty store, or one that knows far fewer keys than the snapshot that is served, is nearly
//! always a wrong directory or a lost database, and publishing it would lock everybody out.
//!
//! Keys that were revoked are no loss: a revocation is a change like any other, and its row stays.

use crate::store::Totals;

/// Most keys, in percent of those in the served snapshot, that may be missing in a store which
/// did not publish that snapshot.
pub const KEYS_LOST_MAX_PERCENT: u64 = 50;

/// Why nothing is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is nothing in the store.
    #[error("the store is empty: there is nothing to publish before there is an API or a key")]
    Empty,
    /// The served snapshot is of another store, and this one knows far fewer keys.
    #[error(
        "the snapshot that is served has {served} keys and was not published from this store, which \
         has only {here}; if that is meant, publish with the override"
    )]
    Stranger {
        /// Keys that are served.
        served: u64,
        /// Keys in this store.
        here: u64,
    },
    /// The served snapshot is of another store, and cannot be read.
    #[error(
        "the snapshot directory holds generation {generation}, which was not published from this \
         store and cannot be compared with it; if that is meant, publish with the override"
    )]
    Unreadable {
        /// The generation that `CURRENT` names.
        generation: u64,
    },
}

/// What is served before the publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing yet.
    Nothing,
    /// What this store published.
    Ours,
    /// What another store published, or this one in a future that was lost.
    Strange {
        /// The generation.
        generation: u64,
        /// Its keys that are not revoked; none if it cannot be read.
        keys: Option<u64>,
    },
}

/// Whether a store with these totals may publish over what is served.
pub fn reasons(served: Served, totals: &Totals) -> Result<(), Reason> {
    let empty = totals.apis == 0 && totals.keys == 0;
    match served {
        Served::Ours => Ok(()),
        Served::Nothing if empty => Err(Reason::Empty),
        Served::Nothing => Ok(()),
        Served::Strange {
            generation,
            keys: None,
        } => Err(Reason::Unreadable { generation }),
        Served::Strange {
            keys: Some(served), ..
        } => {
            let lost = served.saturating_sub(totals.keys);
            if empty || lost.saturating_mul(100) > served.saturating_mul(KEYS_LOST_MAX_PERCENT) {
                return Err(Reason::Stranger {
                    served,
                    here: totals.keys,
                });
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(apis: u64, keys: u64) -> Totals {
        Totals {
            apis,
            keys,
            ..Totals::default()
        }
    }

    #[test]
    fn an_empty_store_publishes_nothing() {
        assert_eq!(reasons(Served::Nothing, &totals(0, 0)), Err(Reason::Empty));
        assert_eq!(reasons(Served::Nothing, &totals(1, 0)), Ok(()));
    }

    #[test]
    fn a_store_with_far_fewer_keys_does_not_publish_over_a_snapshot_of_another() {
        let served = |keys| Served::Strange {
            generation: 9,
            keys: Some(keys),
        };
        for (here, expected) in [
            (50, Ok(())),
            (
                49,
                Err(Reason::Stranger {
                    served: 100,
                    here: 49,
                }),
            ),
            (
                0,
                Err(Reason::Stranger {
                    served: 100,
                    here: 0,
                }),
            ),
            (1_000, Ok(())),
        ] {
            assert_eq!(reasons(served(100), &totals(1, here)), expected);
        }
        let unreadable = Served::Strange {
            generation: 9,
            keys: None,
        };
        let expected = Err(Reason::Unreadable { generation: 9 });
        assert_eq!(reasons(unreadable, &totals(1, 1_000)), expected);
    }

    #[test]
    fn what_this_store_published_it_may_always_follow() {
        // Else the revocation of the only key would be the one that never arrives.
        assert_eq!(reasons(Served::Ours, &totals(0, 0)), Ok(()));
    }
}
