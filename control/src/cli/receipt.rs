//! Receipts as people read them, and as scripts must not overlook them.

use super::Session;
use super::error::CliError;
use crate::admin::answer::Changed;
use crate::publish::{NodeReceipt, Receipt};
use serde::Serialize;

impl Session {
    /// Prints what a change answered. `done` says in one word what is in force once every worker
    /// serves it: `dead`, `off`, `live`. A receipt that proves nothing is an error of its own:
    /// the change is durable, but a script that asked for proof must not go on.
    pub(super) fn changed<T: Serialize>(
        &self,
        changed: &Changed<T>,
        done: &str,
        people: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        self.output.one(changed, |changed| {
            let mut text = people(&changed.thing);
            if let Some(receipt) = changed.receipt.as_ref().filter(|receipt| receipt.complete) {
                text = format!("{}\n{}", text.trim_end(), told(receipt, done));
            }
            text
        })?;
        proven(changed.receipt.as_ref(), done)
    }
}

/// Refuses a receipt that proves nothing.
pub(super) fn proven(receipt: Option<&Receipt>, done: &str) -> Result<(), CliError> {
    match receipt {
        Some(receipt) if !receipt.complete => Err(CliError::NotProven(late(receipt, done))),
        _ => Ok(()),
    }
}

/// `dead on all 2 cores of 1 node at generation 17, 9 ms`.
pub(super) fn told(receipt: &Receipt, done: &str) -> String {
    let cores: u64 = receipt
        .nodes
        .iter()
        .map(|node| u64::from(node.workers))
        .sum();
    format!(
        "{done} on all {} of {} at generation {}, {} ms",
        counted(cores, "core"),
        counted(length(&receipt.nodes), "node"),
        receipt.generation,
        receipt.elapsed_ms,
    )
}

fn late(receipt: &Receipt, done: &str) -> String {
    let mut text = format!(
        "durable, but not proven to be {done} after {} ms",
        receipt.elapsed_ms
    );
    if let Some(problem) = &receipt.problem {
        text += &format!("\n  nothing was published: {problem}");
    }
    if receipt.nodes.is_empty() {
        text += "\n  no node is known";
    }
    for node in receipt.nodes.iter().filter(|node| !node.enforced) {
        text += &format!("\n  node {}: {}", node.node, why(node));
    }
    text
}

/// What a node is at.
pub(super) fn why(node: &NodeReceipt) -> String {
    let mut text = match node.connected {
        true => format!("serves generation {}", node.generation),
        false => format!(
            "is not connected; it last served generation {}",
            node.generation
        ),
    };
    if let Some(refused) = &node.refused {
        text += &format!(", and refused a newer one: {refused}");
    }
    text
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// `1 node`, `2 nodes`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, workers: u32, enforced: bool) -> NodeReceipt {
        NodeReceipt {
            node: name.to_owned(),
            workers,
            generation: 17,
            enforced,
            connected: enforced,
            elapsed_ms: enforced.then_some(9),
            refused: None,
        }
    }

    fn receipt(nodes: Vec<NodeReceipt>) -> Receipt {
        let complete = !nodes.is_empty() && nodes.iter().all(|node| node.enforced);
        Receipt {
            generation: 17,
            complete,
            elapsed_ms: 9,
            nodes,
            problem: None,
        }
    }

    #[test]
    fn a_complete_receipt_is_one_line() {
        let one = receipt(vec![node("a", 2, true)]);
        assert_eq!(
            told(&one, "dead"),
            "dead on all 2 cores of 1 node at generation 17, 9 ms"
        );
        let two = receipt(vec![node("a", 1, true), node("b", 0, true)]);
        assert_eq!(
            told(&two, "off"),
            "off on all 1 core of 2 nodes at generation 17, 9 ms"
        );
        assert!(proven(Some(&two), "off").is_ok());
    }

    #[test]
    fn a_receipt_that_proves_nothing_is_an_error_that_names_who_is_late() {
        let error = proven(
            Some(&receipt(vec![node("a", 2, true), node("b", 2, false)])),
            "dead",
        )
        .expect_err("late");
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(text.contains("node b: is not connected"), "{text}");
        assert!(!text.contains("node a"), "{text}");

        let nobody = proven(Some(&receipt(Vec::new())), "dead").expect_err("no node");
        assert!(nobody.to_string().contains("no node is known"));
    }
}
