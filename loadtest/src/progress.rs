//! What is happening, on standard error, with the seconds since the start; standard output is for
//! results alone.

use tokio::time::Instant;

/// Tells a person what a run is doing.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    start: Instant,
}

impl Progress {
    /// Starts counting seconds.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Prints one line.
    pub fn say(&self, line: impl AsRef<str>) {
        eprintln!(
            "[{:>6.1} s] {}",
            self.start.elapsed().as_secs_f64(),
            line.as_ref()
        );
    }
}
