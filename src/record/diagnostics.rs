//! The process's own log, on standard error: what an operator reads when something is wrong.
//!
//! Events are formatted where they happen and written by a thread, so that a terminal or a pipe
//! that takes nothing never holds up a worker; what finds no room is dropped, and the next line
//! that fits says how many were. Panics are told by place and thread. Their text only if
//! it is a constant: a formatted one may quote a request, and with it a key.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that sets how much is logged.
pub const LOG_VARIABLE: &str = "KEYWAY_LOG";

/// Lines that may wait to be written.
const LINES_MAX: usize = 1_024;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The running log; what is waiting is written when it is dropped.
#[derive(Debug)]
pub struct Diagnostics {
    lines: Option<Sender<Message>>,
    /// Disconnected when the thread is gone.
    gone: Receiver<()>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

/// Starts the log of this process. At most once.
pub fn start(json: bool) -> io::Result<Diagnostics> {
    let (queue, diagnostics) = spawn(io::stderr())?;
    let filter = EnvFilter::builder()
        .with_env_var(LOG_VARIABLE)
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<&'static str>();
        tracing::error!(
            place = info.location().map(ToString::to_string),
            thread = std::thread::current().name(),
            "panic: {}",
            text.unwrap_or(&"(its text may quote a request and is withheld)")
        );
    }));
    Ok(diagnostics)
}

fn spawn(mut output: impl Write + Send + 'static) -> io::Result<(Queue, Diagnostics)> {
    let (lines, waiting) = bounded(LINES_MAX);
    let (here, gone) = bounded::<()>(0);
    std::thread::Builder::new()
        .name("keyway-stderr".into())
        .spawn(move || {
            let _here = here;
            while let Ok(Message::Line(line)) = waiting.recv() {
                // There is no other place to say that this one is gone.
                let _ = output.write_all(&line);
            }
            let _ = output.flush();
        })?;
    let queue = Queue {
        lines: lines.clone(),
        dropped: Arc::default(),
    };
    Ok((
        queue,
        Diagnostics {
            lines: Some(lines),
            gone,
        },
    ))
}

impl Drop for Diagnostics {
    fn drop(&mut self) {
        // Behind all that was logged so far. Other threads may still hold the queue, so its end
        // alone would not tell.
        if let Some(lines) = self.lines.take()
            && lines.send_timeout(Message::End, LAST_LINES).is_ok()
        {
            let _: Result<(), RecvTimeoutError> = self.gone.recv_timeout(LAST_LINES);
        }
    }
}

/// Where events are written to.
#[derive(Clone, Debug)]
struct Queue {
    lines: Sender<Message>,
    dropped: Arc<AtomicU64>,
}

/// One event on its way; sent when dropped.
#[derive(Debug)]
struct Line<'q> {
    queue: &'q Queue,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            queue: self,
            bytes: Vec::new(),
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let dropped = self.queue.dropped.swap(0, Ordering::Relaxed);
        let mut bytes = std::mem::take(&mut self.bytes);
        if dropped > 0 {
            bytes.extend_from_slice(format!("({dropped} lines dropped)\n").as_bytes());
        }
        if let Err(TrySendError::Full(_)) = self.queue.lines.try_send(Message::Line(bytes)) {
            self.queue.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// An output that takes nothing until its gate opens.
    #[derive(Clone, Default)]
    struct Gated(Arc<(Mutex<Taken>, Condvar)>);

    /// Whether the gate is open, and what went through it.
    type Taken = (bool, Vec<u8>);

    impl Gated {
        fn open(&self) {
            self.0.0.lock().expect("is whole").0 = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().expect("is whole").1.clone()).expect("is text")
        }
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.0.lock().expect("is whole");
            while !inner.0 {
                inner = self.0.1.wait(inner).expect("is whole");
            }
            inner.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(queue: &Queue, text: &str) {
        queue
            .make_writer()
            .write_all(text.as_bytes())
            .expect("writes to memory");
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let output = Gated::default();
        output.open();
        let (queue, diagnostics) = spawn(output.clone()).expect("starts");
        for i in 0..100 {
            say(&queue, &format!("{i}\n"));
        }
        drop(diagnostics);
        assert_eq!(output.text().lines().count(), 100);
    }

    #[test]
    fn an_output_that_takes_nothing_costs_lines_but_nobodys_time() {
        let output = Gated::default();
        let (queue, diagnostics) = spawn(output.clone()).expect("starts");
        let mut said = 0;
        for _ in 0..LINES_MAX * 2 {
            say(&queue, "line\n");
            said += 1;
        }
        output.open();
        // Room again, sooner or later: the thread works it off.
        while !output.text().contains("dropped") {
            say(&queue, "line\n");
            said += 1;
            std::thread::yield_now();
        }
        drop(diagnostics);
        let text = output.text();
        let written = text.lines().filter(|line| *line == "line").count();
        // The thread may have taken its one line late, and the first of several notes be small:
        // only all of them together are what is promised.
        let told: usize = text.lines().filter_map(dropped).sum();
        let untold = usize::try_from(queue.dropped.load(Ordering::Relaxed)).expect("is small");
        assert_eq!(written + told + untold, said);
        assert!(told >= LINES_MAX - 1, "of {said} lines {told} were dropped");
    }

    /// How many lines a note says were dropped.
    fn dropped(line: &str) -> Option<usize> {
        let count = line.strip_prefix('(')?.strip_suffix(" lines dropped)")?;
        Some(count.parse().expect("is a number"))
    }

    #[test]
    fn an_output_that_is_stuck_cannot_hold_the_end_up() {
        let (queue, diagnostics) = spawn(Gated::default()).expect("starts");
        say(&queue, "line\n");
        drop(diagnostics);
    }
}
