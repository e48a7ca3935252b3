//! Reads the files of a log backwards, block by block, for the newest lines that are meant.

use super::filter::Sieve;
use super::{BLOCK_BYTES, LINE_BYTES_MAX};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

/// Bytes of lines that one search keeps.
const FOUND_BYTES_MAX: usize = 8 << 20;

/// What is looked for, and how much may be spent on it.
#[derive(Clone, Copy, Debug)]
pub struct Search<'s> {
    /// Which lines.
    pub sieve: &'s Sieve,
    /// Lines wanted.
    pub limit: usize,
    /// Bytes that may be read.
    pub bytes_max: u64,
    /// Nobody waits any more.
    pub stopped: &'s AtomicBool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Lines without their newlines, the oldest first.
    pub lines: Vec<String>,
    /// Bytes read.
    pub scanned_bytes: u64,
    /// Everything that could be meant was looked at, or as many lines were found as were wanted.
    pub complete: bool,
    bytes: usize,
}

/// Looks through `files`, the newest first; of the first one only up to `end`.
pub fn scan(files: &[File], end: u64, search: &Search<'_>) -> io::Result<Found> {
    let mut found = Found {
        complete: true,
        ..Found::default()
    };
    for (place, file) in files.iter().enumerate() {
        let metadata = file.metadata()?;
        let end = if place == 0 { end } else { metadata.len() };
        let written_ms = metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .and_then(|at| u64::try_from(at.as_millis()).ok());
        // Nothing in it is younger than its last write.
        let is_old = written_ms
            .zip(search.sieve.since_ms())
            .is_some_and(|(at, since)| at < since);
        if is_old || !scan_file(file, end, search, &mut found)? {
            break;
        }
    }
    found.lines.reverse();
    Ok(found)
}

/// False once nothing more needs to be read.
fn scan_file(file: &File, end: u64, search: &Search<'_>, found: &mut Found) -> io::Result<bool> {
    let mut end = end;
    // The beginning of a line whose end has been read.
    let mut carry: Vec<u8> = Vec::new();
    while end > 0 {
        let left = search.bytes_max.saturating_sub(found.scanned_bytes);
        if left == 0 || search.stopped.load(Ordering::Relaxed) {
            found.complete = false;
            return Ok(false);
        }
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(BLOCK_BYTES)];
        match file.read_exact_at(&mut block, start) {
            Ok(()) => {}
            // Somebody made it shorter.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
            Err(error) => return Err(error),
        }
        found.scanned_bytes += end - start;
        block.append(&mut carry);
        let whole = if start == 0 {
            &block[..]
        } else if let Some(first) = memchr::memchr(b'\n', &block) {
            carry = block[..=first].to_vec();
            &block[first + 1..]
        } else {
            if block.len() <= LINE_BYTES_MAX {
                carry = block;
            }
            end = start;
            continue;
        };
        if !sift(whole, search, found) {
            return Ok(false);
        }
        end = start;
    }
    Ok(true)
}

/// Takes the lines of a block, the last first; false once nothing more needs to be read.
fn sift(block: &[u8], search: &Search<'_>, found: &mut Found) -> bool {
    let mut all_past = !block.is_empty();
    let mut rest = block.strip_suffix(b"\n").unwrap_or(block);
    while !rest.is_empty() {
        let start = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
        let line = &rest[start..];
        rest = &rest[..start.saturating_sub(1)];
        all_past &= search.sieve.is_past(line);
        if !search.sieve.keeps(line) {
            continue;
        }
        if found.lines.len() >= search.limit {
            return false;
        }
        if found.bytes + line.len() > FOUND_BYTES_MAX {
            found.complete = false;
            return false;
        }
        if let Ok(line) = std::str::from_utf8(line) {
            found.bytes += line.len();
            found.lines.push(line.to_owned());
        }
    }
    if found.lines.len() >= search.limit {
        return false;
    }
    !all_past
}

/// Where the last whole line of `file` ends.
pub fn whole_end(file: &File) -> io::Result<u64> {
    let bytes = file.metadata()?.len();
    let start = bytes.saturating_sub(LINE_BYTES_MAX as u64);
    let mut last = vec![0; usize::try_from(bytes - start).unwrap_or(LINE_BYTES_MAX)];
    let read = file.read_at(&mut last, start)?;
    let end = memchr::memrchr(b'\n', &last[..read]).map_or(0, |at| at + 1);
    Ok(start + u64::try_from(end).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::LogFilter;
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn line(number: usize, padding: usize) -> String {
        let text = "x".repeat(padding);
        format!(
            "{{\"time\":\"2026-11-21T08:00:{:02}.000Z\",\"path\":\"/{number}\",\"status\":{},\"pad\":\"{text}\",\"duration_us\":1}}",
            number / 1_000 % 60,
            if number.is_multiple_of(3) { 500 } else { 200 },
        )
    }

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("makes a file");
        file.write_all(text).expect("writes");
        file
    }

    fn found(files: &[File], filter: LogFilter, limit: usize, bytes_max: u64) -> Found {
        let sieve = filter.sieve().expect("can be meant");
        let search = Search {
            sieve: &sieve,
            limit,
            bytes_max,
            stopped: &AtomicBool::new(false),
        };
        let end = whole_end(&files[0]).expect("is read");
        scan(files, end, &search).expect("is read")
    }

    fn text(numbers: std::ops::Range<usize>, padding: usize) -> Vec<u8> {
        let lines = numbers.map(|number| line(number, padding) + "\n");
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn the_newest_lines_of_all_files_are_found_and_stand_in_order() {
        let files = [file(&text(2_000..3_000, 300)), file(&text(0..2_000, 300))];
        let filter = LogFilter {
            status: Some("5xx".into()),
            ..LogFilter::default()
        };
        let some = found(&files, filter.clone(), 500, u64::MAX);
        let expected: Vec<String> = (0..3_000)
            .filter(|n: &usize| n.is_multiple_of(3))
            .map(|n| line(n, 300))
            .collect();
        assert_eq!(some.lines, expected[500..]);
        assert!(
            some.complete && some.scanned_bytes < 800_000,
            "{}",
            some.scanned_bytes
        );
        let all = found(&files, filter, 10_000, u64::MAX);
        assert_eq!(all.lines, expected);
        assert!(all.complete);
    }

    #[test]
    fn a_search_ends_where_nothing_older_can_be_meant() {
        let files = [file(&text(0..40_000, 300))];
        let since_ms = Some(1_795_248_035_000);
        let late = found(
            &files,
            LogFilter {
                since_ms,
                ..LogFilter::default()
            },
            10_000,
            u64::MAX,
        );
        assert_eq!(late.lines.len(), 5_000);
        assert!(
            late.complete && late.scanned_bytes < 8_000_000,
            "{}",
            late.scanned_bytes
        );
    }

    #[test]
    fn a_search_that_is_too_large_ends_and_says_so() {
        let files = [file(&text(0..10_000, 300))];
        let filter = LogFilter {
            path: Some("/none".into()),
            ..LogFilter::default()
        };
        let cut = found(&files, filter, 10, 1_000_000);
        assert!(!cut.complete && cut.scanned_bytes < 1_500_000);
    }

    #[test]
    fn a_line_that_is_still_written_is_left_for_later() {
        let mut bytes = text(0..2, 0);
        bytes.extend_from_slice(b"{\"time\":\"2026");
        let all = found(&[file(&bytes)], LogFilter::default(), 10, u64::MAX);
        assert_eq!(all.lines, [line(0, 0), line(1, 0)]);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_look_at_every_line_finds(
            paddings in prop::collection::vec(0usize..90_000, 0..40),
            limit in 1usize..50,
            noise: Vec<u8>,
        ) {
            let mut bytes = noise;
            bytes.push(b'\n');
            let lines: Vec<String> = paddings.iter().enumerate().map(|(n, p)| line(n, *p)).collect();
            for line in &lines {
                bytes.extend_from_slice(line.as_bytes());
                bytes.push(b'\n');
            }
            let all = found(&[file(&bytes)], LogFilter::default(), limit, u64::MAX);
            prop_assert_eq!(&all.lines[..], &lines[lines.len().saturating_sub(limit)..]);
        }
    }
}
