//! Tells the service manager how the node fares: the protocol of `sd_notify(3)`.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. A manager that does not listen costs
//! a line in the log and no traffic: it decides by itself what its silence means.

use std::time::Duration;

use sd_notify::NotifyState;

/// It accepts traffic; or has done what [`reloading`] began.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It takes files anew; [`ready`] ends that, also when some were refused and the old serve on.
pub(super) fn reloading() {
    // The time tells the manager that this answers its own signal and not an earlier one; without
    // it, `Type=notify-reload` does not see the reload at all.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// It is `pid` that accepts traffic from here on.
pub(super) fn handed_over(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
}

/// Its workers are alive.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the manager wants to hear that, if it does.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// It drains, and will end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}
