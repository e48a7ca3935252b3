//! Where the call log goes, how much of it there is, and how much of it is kept.

use super::check::Check;
use super::raw::RawAccessLog;
use super::{AccessLog, LogSettings};
use crate::record::log_rotation::{FILES_MAX, Rotation};
use crate::snapshot::catalog::SampleShare;

/// Files kept where only their size is said.
const FILES_USUAL: u64 = 5;

impl Check<'_> {
    pub(super) fn access_log(&mut self, written: &RawAccessLog) -> AccessLog {
        match (&written.file, written.stdout) {
            (None, false) => AccessLog::Off,
            (None, true) => AccessLog::Stdout,
            (Some(file), false) => self
                .path("access_log.file", file.clone())
                .map_or(AccessLog::Off, AccessLog::File),
            (Some(_), true) => {
                let mend = "cannot go with access_log.file; remove one of the two";
                self.problem("access_log.stdout", Some("true".into()), mend);
                AccessLog::Stdout
            }
        }
    }

    pub(super) fn log(&mut self, written: &RawAccessLog) -> LogSettings {
        let sample = written.sample.map(SampleShare::from);
        if sample.is_some_and(|share| !share.is_possible()) {
            let mend = "must be from 0 to 1, such as 0.1 for every tenth call";
            let value = written.sample.map(|share| share.to_string());
            self.problem("access_log.sample", value, mend);
        }
        LogSettings {
            sample,
            rotation: self.rotation(written),
        }
    }

    fn rotation(&mut self, written: &RawAccessLog) -> Option<Rotation> {
        let path = "access_log.rotate_files";
        let Some(bytes) = written.rotate_bytes else {
            if let Some(files) = written.rotate_files {
                let mend = "says nothing without access_log.rotate_bytes; add that or remove this";
                self.problem(path, Some(files.to_string()), mend);
            }
            return None;
        };
        if written.file.is_none() {
            let mend = "needs access_log.file: nothing else can be rotated";
            self.problem("access_log.rotate_bytes", Some(bytes.to_string()), mend);
        }
        let (mut rotate_bytes, mut files) = (64 << 20, FILES_USUAL);
        let sizes = 64 << 10..=1 << 40;
        self.number(
            "access_log.rotate_bytes",
            Some(bytes),
            &mut rotate_bytes,
            sizes,
        );
        let most = u64::try_from(FILES_MAX).unwrap_or(u64::MAX);
        self.number(path, written.rotate_files, &mut files, 1..=most);
        Some(Rotation {
            bytes: rotate_bytes,
            files: u32::try_from(files).unwrap_or(1),
        })
    }
}
