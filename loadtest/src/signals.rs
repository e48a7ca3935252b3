//! Ctrl-C and SIGTERM: a run that is interrupted is dropped, and dropping it ends its processes.

use tokio::signal::unix::{SignalKind, signal};

use crate::trouble::{Outcome, Trouble};

/// Runs `work` until it is done or a signal asks to stop.
///
/// # Errors
/// Those of `work`; [`Trouble::Interrupted`] after a signal.
pub async fn until_interrupted<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::select! {
        done = work => done,
        stopped = interrupt() => stopped.and(Err(Trouble::Interrupted)),
    }
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP (the terminal is gone).
///
/// # Errors
/// When the system refuses a handler.
pub async fn interrupt() -> Outcome<()> {
    let listen = |kind| signal(kind).map_err(Trouble::io("listen for signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
