//! What the system says of this process: memory, descriptors, processor time.
//!
//! Read from `/proc/self` when someone scrapes. Whatever cannot be read is absent.

use crate::record::exposition::{Exposition, Kind, seconds};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// The process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessInfo {
    /// Bytes of memory that are resident.
    pub resident_bytes: Option<u64>,
    /// Descriptors open.
    pub open_descriptors: Option<u64>,
    /// Processor time used in user and system mode, in milliseconds.
    pub cpu_ms: Option<u64>,
}

impl ProcessInfo {
    /// Writes it to a page of metrics, by the names that are usual.
    pub fn tell(&self, page: &mut Exposition) {
        if let Some(bytes) = self.resident_bytes {
            let name = "process_resident_memory_bytes";
            page.single(name, Kind::Gauge, "Memory resident.", bytes);
        }
        if let Some(open) = self.open_descriptors {
            page.single("process_open_fds", Kind::Gauge, "Descriptors open.", open);
        }
        if let Some(ms) = self.cpu_ms {
            let value = seconds(ms, 1_000);
            let name = "process_cpu_seconds_total";
            page.single(name, Kind::Counter, "Processor time used.", value);
        }
    }

    /// Reads it.
    pub fn read() -> Self {
        Self {
            resident_bytes: resident_bytes(),
            open_descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                // One of them is the directory being read.
                .and_then(|entries| u64::try_from(entries.count()).ok()?.checked_sub(1)),
            cpu_ms: cpu_ms(),
        }
    }
}

fn unit(name: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(name).ok()??).ok()
}

/// Bytes of memory that are resident.
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(unit(SysconfVar::PAGE_SIZE)?)
}

fn cpu_ms() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    (user + system)
        .checked_mul(1_000)?
        .checked_div(unit(SysconfVar::CLK_TCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_descriptors_and_processor_time() {
        let info = ProcessInfo::read();
        assert!(info.resident_bytes.expect("is known") > 100_000);
        assert!(info.open_descriptors.expect("is known") >= 3);
        assert!(info.cpu_ms.is_some());
    }
}
