//! The same job for Keyway, nginx and HAProxy, in turn, several times, on one core each time.
//!
//! The proxy under test has the first core to itself; load and origin share the others. Every
//! proxy knows the same keys, holds a limit per key, writes a JSON line per request and keeps its
//! counters; [`verify`] makes sure of it before a number is taken. What counts is **CPU time of
//! the proxy per request**: on a small machine requests/s also measure the load generator.
//!
//! Rounds are interleaved and each starts with another proxy, so that a machine that gets slower
//! or faster meets all alike; ratios are taken within a round and their median is told.

pub mod certificate;
pub mod haproxy;
pub mod keyway;
pub mod nginx;
pub mod report;
pub mod rounds;
pub mod stage;
pub mod verify;

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use crate::progress::Progress;
use crate::trouble::{Outcome, Trouble};

use report::Report;
use stage::Stage;

/// Requests a second that every key may make, and as many at once. Far more than one of
/// [`KEYS_MIN`] keys gets to make during a run, so that limits are kept but not reached.
pub const LIMIT_PER_S: u64 = 100;

/// Fewest keys: with less, a fast proxy would bring single keys near their limit.
const KEYS_MIN: usize = 5_000;

/// One contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// This repository's data plane.
    Keyway,
    /// nginx with `map` and `limit_req`.
    Nginx,
    /// HAProxy with a map file and a stick table.
    Haproxy,
}

impl Rival {
    /// As shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyway => "keyway",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// What is asked of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    /// A good key: 1 KiB from the origin.
    Proxied,
    /// A well-formed key that nobody holds: 401 from the proxy itself.
    Refused,
    /// [`Job::Proxied`] over TLS 1.3 on kept-alive connections.
    Tls,
    /// TLS 1.3 handshakes that remember nothing, no request.
    Full,
    /// TLS 1.3 handshakes with a ticket of an earlier connection, no request.
    Resumed,
}

impl Job {
    /// As shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxied => "proxied",
            Self::Refused => "refused",
            Self::Tls => "tls",
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }

    /// Whether it needs a listener for TLS.
    pub const fn is_over_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Full | Self::Resumed)
    }

    /// Whether it is about handshakes and not about requests.
    pub const fn is_handshake(self) -> bool {
        matches!(self, Self::Full | Self::Resumed)
    }
}

/// How big a comparison is.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Size {
    /// Keys that every proxy knows, at least 5000.
    #[arg(long, default_value_t = 100_000)]
    pub keys: usize,
    /// Keep-alive connections of the load generator.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 1)]
    pub warm_up_seconds: u64,
    /// Measurements of each proxy and job.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How much of it.
    #[command(flatten)]
    pub size: Size,
    /// Proxies to run; ratios need nginx.
    #[arg(long, value_delimiter = ',', default_value = "keyway,nginx,haproxy")]
    pub only: Vec<Rival>,
    /// Jobs to run.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "proxied,refused,tls,full,resumed"
    )]
    pub jobs: Vec<Job>,
    /// Keyway's binary; the one beside this program when absent.
    #[arg(long)]
    pub keyway: Option<PathBuf>,
}

/// Runs the whole comparison.
///
/// # Errors
/// When a program is missing, does not start, or answers wrongly.
pub async fn run(options: &Options, progress: Progress) -> Outcome<Report> {
    if options.size.keys < KEYS_MIN {
        let what = format!("{} keys asked for, {KEYS_MIN} needed", options.size.keys);
        return Err(Trouble::wrong("comparison", what));
    }
    let mut stage = Stage::set(options, progress).await?;
    for contestant in &stage.contestants {
        progress.say(format!("{}: checking its answers", contestant.rival.name()));
        verify::verify(contestant, &stage.keys).await?;
    }
    let rounds = rounds::play(&mut stage, options, progress).await?;
    Ok(Report::of(options, &rounds))
}
