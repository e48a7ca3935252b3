//! Which nodes there are and what each serves: filled by the link, read by receipts.
//!
//! A node that control has to wait for is one whose link is up, or whose process still lives
//! although its link is down: it may be serving what it last had. A node whose process is gone
//! serves nothing, and is forgotten. Where the kernel does not name the process (another pid
//! namespace), the node is waited for during [`UNSEEN_KEPT_MS`].

use super::NodeReceipt;
use super::process::Process;
use crate::logs::LogDesk;
use keyway::clock::{Clock, Tick};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How long a node without a visible process is waited for after its link went down.
const UNSEEN_KEPT_MS: u64 = 600_000;
/// Steps that are remembered of each node.
const STEPS_KEPT: usize = 256;

/// One start of one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeStart {
    /// The node's name.
    pub node: String,
    /// Random number of the start.
    pub boot: u64,
}

/// What a node says of itself when its link comes up.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Who.
    pub start: NodeStart,
    /// How many workers it has.
    pub workers: u32,
    /// The generation that every worker serves.
    pub generation: u64,
    /// Its process, if the kernel names one.
    pub process: Option<Process>,
}

/// Tells one link of a node from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId(u64);

#[derive(Debug)]
struct Node {
    workers: u32,
    generation: u64,
    process: Option<Process>,
    link: Option<LinkId>,
    gone: Tick,
    /// When it came to serve each of its last generations.
    steps: VecDeque<(u64, Tick)>,
    refused: Option<(u64, String)>,
}

/// The board; cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    nodes: Mutex<Nodes>,
    turned: watch::Sender<()>,
    logs: LogDesk,
}

#[derive(Debug, Default)]
struct Nodes {
    by_start: BTreeMap<NodeStart, Node>,
    links: u64,
}

/// What the board says of a generation.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Every known node, by name.
    pub nodes: Vec<NodeReceipt>,
    /// When the last of them came to serve it; none while one of them does not, or there is none.
    pub complete_at: Option<Tick>,
}

impl Board {
    /// An empty board.
    pub fn new(clock: Clock) -> Self {
        let nodes = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                clock,
                nodes,
                turned: watch::Sender::new(()),
                logs: LogDesk::default(),
            }),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.inner
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the nodes that are connected are asked for their call logs.
    pub fn logs(&self) -> &LogDesk {
        &self.inner.logs
    }

    fn turn(&self) {
        self.inner.turned.send_replace(());
    }

    /// The moment, on the board's clock.
    pub fn now(&self) -> Tick {
        self.inner.clock.tick()
    }

    /// Tells of every change of the board.
    pub fn turns(&self) -> watch::Receiver<()> {
        self.inner.turned.subscribe()
    }

    /// A node that was connected before this start of control.
    pub fn expect(&self, start: NodeStart, workers: u32, process: Option<Process>) {
        let node = Node {
            workers,
            generation: 0,
            process,
            link: None,
            gone: self.inner.clock.tick(),
            steps: VecDeque::new(),
            refused: None,
        };
        self.nodes().by_start.entry(start).or_insert(node);
        self.turn();
    }

    /// A node's link is up.
    pub fn greet(&self, greeting: Greeting) -> LinkId {
        let at = self.inner.clock.tick();
        let link = {
            let mut nodes = self.nodes();
            nodes.links += 1;
            let link = LinkId(nodes.links);
            let node = nodes
                .by_start
                .entry(greeting.start)
                .or_insert_with(|| Node {
                    workers: greeting.workers,
                    generation: 0,
                    process: None,
                    link: None,
                    gone: at,
                    steps: VecDeque::new(),
                    refused: None,
                });
            node.workers = greeting.workers;
            node.process = greeting.process;
            node.link = Some(link);
            node.step_to(greeting.generation, at);
            link
        };
        self.turn();
        link
    }

    /// All workers of a node serve `generation`.
    pub fn serving(&self, start: &NodeStart, generation: u64) {
        let at = self.inner.clock.tick();
        if let Some(node) = self.nodes().by_start.get_mut(start) {
            node.step_to(generation, at);
        }
        self.turn();
    }

    /// A node could not take a generation over.
    pub fn refused(&self, start: &NodeStart, generation: u64, reason: String) {
        if let Some(node) = self.nodes().by_start.get_mut(start) {
            node.refused = Some((generation, reason));
        }
        self.turn();
    }

    /// A node's link is down.
    pub fn gone(&self, start: &NodeStart, link: LinkId) {
        let at = self.inner.clock.tick();
        if let Some(node) = self.nodes().by_start.get_mut(start)
            // A newer link of the same node may be up already.
            && node.link == Some(link)
        {
            node.link = None;
            node.gone = at;
        }
        self.turn();
    }

    /// Drops nodes that nobody has to wait for; answers who they were.
    pub fn forget_dead(&self) -> Vec<NodeStart> {
        let now = self.inner.clock.tick();
        let mut nodes = self.nodes();
        let dead: Vec<NodeStart> = nodes
            .by_start
            .iter()
            .filter(|(_, node)| node.is_dead(now))
            .map(|(start, _)| start.clone())
            .collect();
        for start in &dead {
            nodes.by_start.remove(start);
        }
        dead
    }

    /// Who serves `generation`, or a later one. `committed` is when the change was on disk.
    pub fn verdict(&self, generation: u64, committed: Tick) -> Verdict {
        let now = self.inner.clock.tick();
        let nodes = self.nodes();
        let mut verdict = Verdict {
            nodes: Vec::new(),
            complete_at: Some(committed),
        };
        for (start, node) in nodes.by_start.iter().filter(|(_, node)| !node.is_dead(now)) {
            let reached = node.reached(generation);
            verdict.complete_at = verdict
                .complete_at
                .zip(reached)
                .map(|(all, one)| all.max(one));
            verdict
                .nodes
                .push(node.receipt(start, generation, reached, committed));
        }
        if verdict.nodes.is_empty() {
            verdict.complete_at = None;
        }
        verdict
    }
}

impl Node {
    fn step_to(&mut self, generation: u64, at: Tick) {
        self.generation = generation;
        if self
            .steps
            .back()
            .is_some_and(|&(last, _)| last >= generation)
        {
            return;
        }
        if self.steps.len() == STEPS_KEPT {
            self.steps.pop_front();
        }
        self.steps.push_back((generation, at));
        // It took over something newer: what it refused is past.
        if self
            .refused
            .as_ref()
            .is_some_and(|&(refused, _)| refused <= generation)
        {
            self.refused = None;
        }
    }

    /// When it came to serve `generation` or a later one; none if it does not.
    fn reached(&self, generation: u64) -> Option<Tick> {
        if self.generation < generation {
            return None;
        }
        self.steps
            .iter()
            .find(|&&(step, _)| step >= generation)
            .map(|&(_, at)| at)
    }

    fn is_dead(&self, now: Tick) -> bool {
        match (self.link, &self.process) {
            (Some(_), _) => false,
            (None, Some(process)) => !process.lives(),
            (None, None) => now.since_ns(self.gone) / 1_000_000 > UNSEEN_KEPT_MS,
        }
    }

    fn receipt(
        &self,
        start: &NodeStart,
        generation: u64,
        reached: Option<Tick>,
        committed: Tick,
    ) -> NodeReceipt {
        let refused = self
            .refused
            .as_ref()
            .filter(|_| self.generation < generation);
        NodeReceipt {
            node: start.node.clone(),
            workers: self.workers,
            generation: self.generation,
            enforced: reached.is_some(),
            connected: self.link.is_some(),
            elapsed_ms: reached.map(|at| at.since_ns(committed) / 1_000_000),
            refused: refused.map(|(refused, why)| format!("generation {refused}: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board_with(names: &[&str]) -> (Board, Vec<(NodeStart, LinkId)>) {
        let board = Board::new(Clock::system());
        let greet = |name: &&str| {
            let start = NodeStart {
                node: (*name).to_owned(),
                boot: 1,
            };
            let process = Some(Process::own());
            let greeting = Greeting {
                start: start.clone(),
                workers: 2,
                generation: 3,
                process,
            };
            (start, board.greet(greeting))
        };
        let nodes = names.iter().map(greet).collect();
        (board, nodes)
    }

    #[test]
    fn without_a_node_nothing_is_proven() {
        let (board, _) = board_with(&[]);
        assert_eq!(board.verdict(1, Tick(0)).complete_at, None);
    }

    #[test]
    fn one_late_node_keeps_a_verdict_open_and_is_named() {
        let (board, nodes) = board_with(&["edge-1", "edge-2"]);
        assert!(board.verdict(3, Tick(0)).complete_at.is_some());
        board.serving(&nodes[0].0, 4);
        let verdict = board.verdict(4, Tick(0));
        assert_eq!(verdict.complete_at, None);
        let late: Vec<&str> = verdict
            .nodes
            .iter()
            .filter(|n| !n.enforced)
            .map(|n| n.node.as_str())
            .collect();
        assert_eq!(late, ["edge-2"]);
        board.refused(&nodes[1].0, 4, "damaged".to_owned());
        let verdict = board.verdict(4, Tick(0));
        assert_eq!(
            verdict.nodes[1].refused.as_deref(),
            Some("generation 4: damaged")
        );
        board.serving(&nodes[1].0, 5);
        let verdict = board.verdict(4, Tick(0));
        assert!(verdict.complete_at.is_some());
        assert_eq!(verdict.nodes[1].refused, None);
    }

    #[test]
    fn a_node_that_lives_on_without_its_link_is_waited_for() {
        let (board, nodes) = board_with(&["edge-1"]);
        let (start, link) = nodes[0].clone();
        board.gone(&start, link);
        let verdict = board.verdict(4, Tick(0));
        assert_eq!(verdict.complete_at, None);
        assert!(!verdict.nodes[0].connected);
        assert!(board.forget_dead().is_empty(), "this very process lives");
    }

    #[test]
    fn a_node_whose_process_is_gone_is_forgotten() {
        let board = Board::new(Clock::system());
        let start = NodeStart {
            node: "edge-1".to_owned(),
            boot: 1,
        };
        let never = Process {
            pid: Process::own().pid,
            started: Process::own().started + 1,
        };
        board.expect(start.clone(), 2, Some(never));
        assert_eq!(board.forget_dead(), [start]);
        assert!(board.verdict(1, Tick(0)).nodes.is_empty());
    }

    #[test]
    fn the_end_of_an_old_link_does_not_touch_the_new_one() {
        let (board, nodes) = board_with(&["edge-1"]);
        let (start, old) = nodes[0].clone();
        let process = Some(Process::own());
        board.greet(Greeting {
            start: start.clone(),
            workers: 2,
            generation: 3,
            process,
        });
        board.gone(&start, old);
        assert!(board.verdict(3, Tick(0)).nodes[0].connected);
    }
}
