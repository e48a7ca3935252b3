//! CPU time of a process, of everything it started and of every thread, from the scheduler itself.
//!
//! `/proc/PID/task/TID/schedstat` counts nanoseconds on a core, user and system together; that
//! includes what the kernel does for loopback TCP in the sender's name, and the workers it starts
//! for a ring. A thread that ends between two readings is lost to the later one.

use std::collections::HashMap;
use std::fs;

use crate::trouble::{Outcome, Trouble};

/// CPU nanoseconds by thread at one moment.
#[derive(Clone, Debug, Default)]
pub struct CpuTime(HashMap<u32, u64>);

impl CpuTime {
    /// Reads the time of process `pid` and of all its descendants.
    ///
    /// # Errors
    /// When the kernel does not keep it, or the process is gone.
    pub fn of(pid: u32) -> Outcome<Self> {
        let mut by_thread = HashMap::new();
        for member in family(pid) {
            for thread in threads(member) {
                let path = format!("/proc/{member}/task/{thread}/schedstat");
                // A thread may end between the listing and the reading.
                let Ok(text) = fs::read_to_string(&path) else {
                    continue;
                };
                let on_core = text
                    .split_whitespace()
                    .next()
                    .and_then(|word| word.parse().ok());
                by_thread.insert(thread, on_core.unwrap_or(0));
            }
        }
        if by_thread.values().all(|time| *time == 0) {
            return Err(Trouble::wrong(
                format!("process {pid}"),
                "no CPU time in /proc/PID/task/TID/schedstat: gone, or a kernel without it",
            ));
        }
        Ok(Self(by_thread))
    }

    /// Nanoseconds spent since `earlier`.
    pub fn since(&self, earlier: &Self) -> u64 {
        self.0
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier.0.get(thread).copied().unwrap_or(0)))
            .sum()
    }
}

/// `pid` and all its descendants.
pub fn family(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let member = found[next];
        next += 1;
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == member)
                .map(|(child, _)| *child),
        );
    }
    found
}

fn processes() -> impl Iterator<Item = u32> {
    numbers_in("/proc")
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may itself hold some.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn threads(pid: u32) -> impl Iterator<Item = u32> {
    numbers_in(&format!("/proc/{pid}/task"))
}

fn numbers_in(directory: &str) -> impl Iterator<Item = u32> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_any_thread_counts() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let (started, go_on) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let sum: u64 = (0..30_000_000_u64).map(std::hint::black_box).sum();
                std::hint::black_box(sum);
                started.wait();
                go_on.wait();
            });
            started.wait();
            let spent = CpuTime::of(std::process::id()).unwrap().since(&before);
            go_on.wait();
            assert!(spent > 1_000_000, "30 million additions took {spent} ns");
        });
    }
}
