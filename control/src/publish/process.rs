//! Whether a node's process still lives, by what the kernel says of it under `/proc`.

/// A process, told from a later one with the same number by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The process with that number, if there is one that lives.
    pub fn of_pid(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = state_and_start(&text)?;
        // A zombie serves nothing; it only waits for its parent.
        (!matches!(state, 'Z' | 'X' | 'x')).then_some(Self { pid, started })
    }

    /// This very process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self::of_pid(pid).unwrap_or(Self { pid, started: 0 })
    }

    /// Whether it still lives.
    pub fn lives(self) -> bool {
        Self::of_pid(self.pid) == Some(self)
    }
}

/// Fields 3 and 22 of `/proc/PID/stat` (proc(5)). The name in field 2 may hold anything, so the
/// fields are counted from its closing parenthesis.
fn state_and_start(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let text = "12 (a) b) Z) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(state_and_start(text), Some(('S', 4242)));
        assert_eq!(state_and_start("nonsense"), None);
    }

    #[test]
    fn this_process_lives_and_a_process_of_another_start_does_not() {
        let own = Process::own();
        assert!(own.lives());
        assert!(
            !Process {
                started: own.started + 1,
                ..own
            }
            .lives()
        );
    }
}
