//! Receipts: waiting for proof, no longer than asked.

use super::{Publisher, Receipt};
use keyway::clock::Tick;
use std::time::Duration;

/// Waits until the change is in force everywhere, or until it is clear that it will not be in
/// time.
pub(super) async fn enforced(publisher: &Publisher, change: u64, timeout: Duration) -> Receipt {
    let begun = publisher.clock.tick();
    let committed = publisher.store.committed_at(change).unwrap_or(begun);
    let mut turns = publisher.board.turns();
    let mut state = publisher.state.clone();
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    loop {
        turns.mark_unchanged();
        let receipt = receipt_now(publisher, change, committed);
        if is_final(&receipt, &state.borrow_and_update(), change) {
            return receipt;
        }
        tokio::select! {
            () = &mut deadline => return receipt_now(publisher, change, committed),
            _ = turns.changed() => {}
            alive = state.changed() => {
                if alive.is_err() {
                    return receipt;
                }
            }
        }
    }
}

/// Whether waiting longer could make the receipt a better one.
fn is_final(receipt: &Receipt, state: &super::push::State, change: u64) -> bool {
    let published = receipt.generation != 0;
    let refused = !published && state.tried >= change && state.problem.is_some();
    let nobody = published && receipt.nodes.is_empty();
    receipt.complete || refused || nobody
}

fn receipt_now(publisher: &Publisher, change: u64, committed: Tick) -> Receipt {
    let (generation, problem) = {
        let state = publisher.state.borrow();
        (state.first_with(change), state.problem.clone())
    };
    // Before it is published, nobody serves it.
    let verdict = publisher
        .board
        .verdict(generation.unwrap_or(u64::MAX), committed);
    let until = verdict
        .complete_at
        .unwrap_or_else(|| publisher.clock.tick());
    Receipt {
        generation: generation.unwrap_or(0),
        complete: generation.is_some() && verdict.complete_at.is_some(),
        elapsed_ms: until.since_ns(committed) / 1_000_000,
        nodes: verdict.nodes,
        problem: problem.filter(|_| generation.is_none()),
    }
}
