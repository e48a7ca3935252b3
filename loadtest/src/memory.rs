//! Memory of a process, with its mapped snapshots counted whole.
//!
//! A snapshot lives in a memory file: its pages take memory even where this process has not
//! touched its mapping, and `VmRSS` would leave those out. So the sum here is what is resident
//! outside of memory files plus the full size of every mapped memory file.

use crate::files;
use crate::trouble::Outcome;

/// Kibibytes of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, as `VmRSS` would say.
    pub resident_kib: u64,
    /// Resident within memory files.
    pub memory_files_resident_kib: u64,
    /// Full size of the mapped memory files.
    pub memory_files_kib: u64,
}

impl Memory {
    /// Reads the memory of process `pid`.
    ///
    /// # Errors
    /// When the process is gone or is not ours.
    pub fn of(pid: u32) -> Outcome<Self> {
        Ok(Self::parse(&files::read(
            format!("/proc/{pid}/smaps").as_ref(),
        )?))
    }

    /// All of it: resident, plus the part of memory files that is not.
    pub fn total_kib(self) -> u64 {
        self.resident_kib - self.memory_files_resident_kib + self.memory_files_kib
    }

    fn parse(smaps: &str) -> Self {
        let mut memory = Self::default();
        let mut in_memory_file = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let kib = || second.parse::<u64>().unwrap_or(0);
            match first {
                "Size:" if in_memory_file => memory.memory_files_kib += kib(),
                "Rss:" => {
                    memory.resident_kib += kib();
                    if in_memory_file {
                        memory.memory_files_resident_kib += kib();
                    }
                }
                _ if !first.ends_with(':') => in_memory_file = line.contains("/memfd:"),
                _ => {}
            }
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_snapshot_counts_in_full() {
        let smaps = "\
55d0-55e0 r-xp 00000000 fe:00 12 /usr/bin/keyway
Size:               2000 kB
Rss:                 700 kB
7f00-7f10 r--s 00000000 00:01 34 /memfd:snapshot (deleted)
Size:               8000 kB
Rss:                 100 kB
7f20-7f30 rw-p 00000000 00:00 0 
Size:               5000 kB
Rss:                 200 kB
VmFlags: rd wr
";
        let memory = Memory::parse(smaps);
        assert_eq!(memory.resident_kib, 1000);
        assert_eq!(memory.total_kib(), 8900);
    }

    #[test]
    fn our_own_memory_can_be_read() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.total_kib() > 500, "{memory:?}");
    }
}
