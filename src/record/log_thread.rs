//! The log thread: takes full buffers from the workers and appends them to the access log.
//!
//! It never dies of the disk. What cannot be written is dropped, counted, and told once a
//! minute; after a torn line the next one starts on a line of its own. A file that is full is put
//! aside between two buffers, and so between two lines; where that fails, the file goes on to grow.
//! On request the file is opened anew by its name, so that one that others rotate ends and a fresh
//! one begins. At the end it writes what is left.

use super::access_log::{LogSink, Shared};
use super::log_policy::Sample;
use super::log_rotation::{self, Rotation};
use super::throttle::Throttle;
use crate::clock::{Clock, Tick};
use crate::settings::{AccessLog, LogSettings};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time between two complaints about the same disk.
const COMPLAINT_PAUSE_MS: u64 = 60_000;

/// Time between two attempts at a rotation that failed.
const ROTATION_AGAIN_NS: u64 = 1_000_000_000;

/// The running log thread.
#[derive(Debug)]
pub struct LogThread {
    shared: Arc<Shared>,
    /// Disconnected when the thread is gone.
    gone: Receiver<()>,
}

/// Opens the access log and starts its thread. `None` and a sink to nowhere if it is off.
pub fn start(
    log: &AccessLog,
    settings: LogSettings,
    clock: Clock,
) -> io::Result<(LogSink, Option<LogThread>)> {
    let output = match log {
        AccessLog::Off => return Ok((LogSink::off(), None)),
        AccessLog::File(path) => Output::file(path)?,
        // A descriptor of its own: the library's stdout is locked and flushed at each line.
        AccessLog::Stdout => Output {
            path: None,
            file: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            bytes: 0,
        },
    };
    let shared = Arc::new(Shared::new(
        settings.sample.and_then(Sample::new),
        output.path.clone(),
    ));
    let mut writer = Writer::new(Arc::clone(&shared), output, settings.rotation);
    let (here, gone) = bounded(0);
    let thread = std::thread::Builder::new()
        .name("keyway-log".into())
        .spawn(move || {
            let _here: Sender<()> = here;
            writer.run(&clock);
        })?;
    let known = shared.thread.set(thread.thread().clone()).is_ok();
    debug_assert!(known, "only this function names the thread");
    let sink = LogSink::on(Arc::clone(&shared));
    Ok((sink, Some(LogThread { shared, gone })))
}

impl LogThread {
    /// Asks for the file to be opened anew; what is waiting goes to the new one.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.shared.ring();
    }

    /// Has the thread write what is left and end; false if it did not within `patience`. A pipe
    /// that nobody reads, or a dead network disk, can hold it forever.
    pub fn stop(self, patience: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.ring();
        self.gone.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

struct Output {
    /// Absent for standard output.
    path: Option<PathBuf>,
    file: File,
    /// What is in it.
    bytes: u64,
}

impl Output {
    fn file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path: Some(path.to_owned()),
            file,
            bytes,
        })
    }
}

struct Writer {
    shared: Arc<Shared>,
    output: Output,
    rotation: Option<Rotation>,
    /// No rotation is tried before this.
    rotation_due: Tick,
    /// The last line on the disk is incomplete.
    torn: bool,
    complaints: Throttle,
}

impl Writer {
    fn new(shared: Arc<Shared>, output: Output, rotation: Option<Rotation>) -> Self {
        Self {
            shared,
            output,
            rotation,
            rotation_due: Tick::default(),
            torn: false,
            complaints: Throttle::every_ms(COMPLAINT_PAUSE_MS),
        }
    }

    fn run(&mut self, clock: &Clock) {
        loop {
            // Read before the queue: whatever was pushed before the stop is then still seen.
            let stop = self.shared.stop.load(Ordering::Acquire);
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen(clock);
            }
            while let Some(mut buffer) = self.shared.filled.pop() {
                self.rotate_before(&buffer, clock);
                self.write(&buffer, clock);
                buffer.clear();
                // With enough of them on the way back already, this one is freed.
                let _ = self.shared.emptied.push(buffer);
            }
            if stop {
                return;
            }
            // A ring between the last look and here makes this return at once.
            std::thread::park();
        }
    }

    fn write(&mut self, buffer: &[u8], clock: &Clock) {
        let mut rest = buffer;
        let mut result = Ok(());
        if self.torn {
            result = write_from(&mut self.output.file, &mut &b"\n"[..]);
            self.torn = result.is_err();
        }
        if result.is_ok() {
            result = write_from(&mut self.output.file, &mut rest);
        }
        let written = &buffer[..buffer.len() - rest.len()];
        self.output.bytes += u64::try_from(written.len()).unwrap_or(u64::MAX);
        let (kept, lost) = (lines(written), lines(rest));
        self.shared.lines_written.fetch_add(kept, Ordering::Relaxed);
        self.shared.lines_lost.fetch_add(lost, Ordering::Relaxed);
        if let Err(error) = result {
            self.torn |= written.last().is_some_and(|&last| last != b'\n');
            self.complain(&error, "the access log loses lines", clock);
        }
    }

    /// Puts the file aside if `buffer` would make it outgrow its bound.
    fn rotate_before(&mut self, buffer: &[u8], clock: &Clock) {
        let (Some(rotation), Some(path)) = (self.rotation, &self.output.path) else {
            return;
        };
        let bytes = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let is_full = self.output.bytes > 0 && self.output.bytes + bytes > rotation.bytes;
        if !is_full || clock.tick() < self.rotation_due {
            return;
        }
        // Another process that writes to the same log, as during an upgrade, may have put it aside.
        let rotated = if log_rotation::is_at(&self.output.file, path) {
            log_rotation::put_aside(path, rotation)
        } else {
            Ok(())
        };
        match rotated.and_then(|()| Output::file(path)) {
            Ok(output) => {
                self.output = output;
                self.torn = false;
            }
            Err(error) => {
                self.rotation_due = Tick(clock.tick().0.saturating_add(ROTATION_AGAIN_NS));
                self.complain(
                    &error,
                    "the access log cannot be rotated and grows on",
                    clock,
                );
            }
        }
    }

    fn reopen(&mut self, clock: &Clock) {
        let Some(path) = &self.output.path else {
            return;
        };
        match Output::file(path) {
            Ok(output) => {
                tracing::info!(path = %path.display(), "access log opened anew");
                self.output = output;
                self.torn = false;
            }
            Err(error) => self.complain(&error, "the access log cannot be opened anew", clock),
        }
    }

    fn complain(&mut self, error: &io::Error, what: &'static str, clock: &Clock) {
        self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
        if self.complaints.tell(clock.tick().millis()).is_some() {
            let lost = self.shared.lines_lost.load(Ordering::Relaxed);
            tracing::error!(%error, lines_lost = lost, "{what}");
        }
    }
}

/// Writes all of `rest`, leaving in it what could not be written.
fn write_from(file: &mut File, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lines(bytes: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX)
}

/// Callers' addresses are in it: for its owner and group alone.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Counters, LogBuffer, LogLine};

    fn line(path: &[u8]) -> LogLine<'_> {
        super::super::log_line::tests::line(path, b"h")
    }

    struct Log {
        thread: LogThread,
        buffer: LogBuffer,
        sink: LogSink,
    }

    impl Log {
        fn to(path: &Path) -> Self {
            Self::rotated(path, LogSettings::default())
        }

        fn rotated(path: &Path, settings: LogSettings) -> Self {
            let (sink, thread) =
                start(&AccessLog::File(path.to_owned()), settings, Clock::system())
                    .expect("starts");
            Self {
                thread: thread.expect("is on"),
                buffer: LogBuffer::new(sink.clone()),
                sink,
            }
        }

        fn send(&mut self, path: &[u8]) {
            let mut counters = Counters::new();
            self.buffer.add(&line(path), &mut counters);
            self.buffer.flush(&mut counters);
        }

        fn wait(&self, condition: impl Fn(super::super::access_log::LogStats) -> bool) {
            while !condition(self.sink.stats()) {
                std::thread::yield_now();
            }
        }

        fn stop(self) {
            assert!(self.thread.stop(Duration::from_secs(20)), "did not end");
        }
    }

    fn read(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("is a file");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_of_a_log_that_is_stopped_are_all_on_the_disk() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        let mut log = Log::to(&path);
        for i in 0..500 {
            log.send(format!("/{i}").as_bytes());
        }
        log.stop();
        let lines = read(&path);
        assert_eq!(lines.len(), 500);
        assert!(lines[499].contains("\"path\":\"/499\""), "{}", lines[499]);
    }

    #[test]
    fn a_renamed_log_is_followed_until_it_is_reopened() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        let rotated = directory.path().join("access.log.1");
        let mut log = Log::to(&path);
        log.send(b"/before");
        log.wait(|stats| stats.lines_written == 1);
        std::fs::rename(&path, &rotated).expect("renames");
        log.send(b"/between");
        log.wait(|stats| stats.lines_written == 2);
        log.thread.reopen();
        while !path.exists() {
            std::thread::yield_now();
        }
        log.send(b"/after");
        log.stop();
        assert_eq!(read(&rotated).len(), 2);
        let lines = read(&path);
        assert!(lines.len() == 1 && lines[0].contains("/after"), "{lines:?}");
    }

    #[test]
    fn a_log_that_cannot_be_reopened_stays_with_the_file_it_has() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let inner = directory.path().join("logs");
        std::fs::create_dir(&inner).expect("makes a directory");
        let mut log = Log::to(&inner.join("access.log"));
        let moved = directory.path().join("moved");
        std::fs::rename(&inner, &moved).expect("renames");
        log.thread.reopen();
        log.wait(|stats| stats.write_errors == 1);
        log.send(b"/still");
        log.stop();
        assert_eq!(read(&moved.join("access.log")).len(), 1);
    }

    #[test]
    fn a_full_file_is_put_aside_between_two_lines_and_none_is_lost() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        let rotation = Some(Rotation {
            bytes: 4_000,
            files: 100,
        });
        let settings = LogSettings {
            rotation,
            ..LogSettings::default()
        };
        let mut log = Log::rotated(&path, settings);
        for i in 0..200 {
            log.send(format!("/{i}").as_bytes());
        }
        log.stop();
        let mut files = log_rotation::open_all(&path).expect("opens");
        assert!(files.len() > 10, "{} files", files.len());
        files.reverse();
        let mut text = String::new();
        for mut file in files {
            let before = text.len();
            io::Read::read_to_string(&mut file, &mut text).expect("is text");
            assert!(text.len() - before <= 4_000 && text.ends_with('\n'));
        }
        let paths: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("is whole"))
            .map(|line| line["path"].as_str().expect("has one").to_owned())
            .collect();
        let expected: Vec<String> = (0..200).map(|i| format!("/{i}")).collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_log_that_cannot_be_rotated_grows_on() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        // A directory with something in it cannot be overwritten by a file.
        let in_the_way = log_rotation::rotated(&path, 1);
        std::fs::create_dir(&in_the_way).expect("makes a directory");
        std::fs::write(in_the_way.join("x"), "").expect("writes");
        let rotation = Some(Rotation { bytes: 1, files: 1 });
        let settings = LogSettings {
            rotation,
            ..LogSettings::default()
        };
        let mut log = Log::rotated(&path, settings);
        log.send(b"/one");
        log.send(b"/two");
        log.wait(|stats| stats.lines_written == 2 && stats.write_errors == 1);
        log.stop();
        assert_eq!(read(&path).len(), 2);
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_counted_but_the_thread_goes_on() {
        let mut log = Log::to(Path::new("/dev/full"));
        log.send(b"/one");
        log.wait(|stats| stats.lines_lost == 1);
        log.send(b"/two");
        log.wait(|stats| stats.lines_lost == 2 && stats.write_errors == 2);
        assert_eq!(log.sink.stats().lines_written, 0);
        log.stop();
    }

    #[test]
    fn a_reader_that_never_reads_cannot_hold_the_end_up() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("makes a pipe");
        let reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("opens");
        let mut log = Log::to(&path);
        // More than a pipe holds.
        let long = vec![b'a'; 2_000];
        for _ in 0..200 {
            log.send(&long);
        }
        assert!(!log.thread.stop(Duration::from_millis(20)));
        drop(reader);
    }

    #[test]
    fn after_a_torn_line_the_next_one_starts_on_its_own() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        std::fs::write(&path, "{\"torn").expect("writes");
        let shared = Arc::new(Shared::new(None, None));
        let output = Output::file(&path).expect("opens");
        let mut writer = Writer::new(shared, output, None);
        writer.torn = true;
        writer.write(b"{\"whole\":1}\n", &Clock::system());
        assert_eq!(read(&path), ["{\"torn", "{\"whole\":1}"]);
    }

    #[test]
    fn a_log_that_is_off_takes_lines_to_nowhere() {
        let (sink, thread) =
            start(&AccessLog::Off, LogSettings::default(), Clock::system()).expect("starts");
        assert!(thread.is_none() && !sink.is_on());
        let mut buffer = LogBuffer::new(sink);
        buffer.add(&line(b"/"), &mut Counters::new());
        buffer.flush(&mut Counters::new());
    }
}
