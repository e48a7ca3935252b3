//! What a comparison stands on: cores, key files, the origin, and the proxies, started.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::certificate::Certificate;
use super::{Options, Rival, haproxy, keyway, nginx};
use crate::http::{Ask, once};
use crate::process::{Child, Cores};
use crate::progress::Progress;
use crate::tools::{self, Tool};
use crate::trouble::{Outcome, Trouble};
use crate::{files, keys};

/// Longest time a proxy may take to start with its keys.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Keys, and the file of them that the load generator reads.
#[derive(Debug)]
pub struct Keys {
    /// Known to every proxy.
    pub good: Vec<String>,
    /// [`Keys::good`], one a line.
    pub good_file: PathBuf,
    /// Well-formed and known to nobody.
    pub unknown: Vec<String>,
    /// [`Keys::unknown`], one a line.
    pub unknown_file: PathBuf,
}

/// One running proxy.
#[derive(Debug)]
pub struct Contestant {
    /// Which one.
    pub rival: Rival,
    /// Its process.
    pub child: Child,
    /// Where it takes traffic.
    pub address: SocketAddr,
    /// Where it takes traffic over TLS, if it does.
    pub tls: Option<SocketAddr>,
    /// Its access log.
    pub log: PathBuf,
}

/// Everything that runs. Fields are dropped in order: proxies before the origin, files last.
#[derive(Debug)]
pub struct Stage {
    /// The proxies.
    pub contestants: Vec<Contestant>,
    /// The origin, only to be kept running.
    pub origin: Child,
    /// The keys.
    pub keys: Keys,
    /// Who runs where.
    pub cores: Cores,
    /// Where all files are.
    pub directory: TempDir,
}

/// What a proxy needs to know to start.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Its own directory.
    pub directory: &'a Path,
    /// The keys to accept.
    pub keys: &'a [String],
    /// Where to send what it accepts.
    pub origin: SocketAddr,
    /// Cores as `taskset -c` writes them.
    pub cores: &'a str,
    /// Connections it will meet.
    pub connections: usize,
    /// What to show over TLS.
    pub certificate: &'a Certificate,
    /// Whether anybody will come over TLS.
    pub over_tls: bool,
}

impl Stage {
    /// Writes the keys and starts the origin and the proxies.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub async fn set(options: &Options, progress: Progress) -> Outcome<Self> {
        let mut needed = vec![Tool::Nginx, Tool::Wrk, Tool::Taskset, Tool::Setpriv];
        if options.only.contains(&Rival::Haproxy) {
            needed.push(Tool::Haproxy);
        }
        tools::need(&needed)?;
        let cores = Cores::split()?;
        cores.keep_to_load()?;
        progress.say(format!(
            "proxy on core {}, load and origin on {}",
            cores.proxy, cores.load
        ));
        let directory = files::scratch("compare")?;
        progress.say(format!(
            "{} keys, and as many that nobody knows",
            options.size.keys
        ));
        let keys = Keys::write(directory.path(), options.size.keys)?;
        progress.say("starting the origin (nginx)");
        let (origin, origin_address) = nginx::origin(directory.path(), &cores.load).await?;
        let certificate = Certificate::make(directory.path())?;
        let mut contestants = Vec::new();
        for rival in &options.only {
            progress.say(format!(
                "starting {} with {} keys",
                rival.name(),
                keys.good.len()
            ));
            let own = directory.path().join(rival.name());
            std::fs::create_dir(&own).map_err(Trouble::file("create", &own))?;
            let setting = Setting {
                directory: &own,
                keys: &keys.good,
                origin: origin_address,
                cores: &cores.proxy,
                connections: options.size.connections,
                certificate: &certificate,
                over_tls: options.jobs.iter().any(|job| job.is_over_tls()),
            };
            contestants.push(match rival {
                Rival::Nginx => nginx::start(setting).await?,
                Rival::Haproxy => haproxy::start(setting).await?,
                Rival::Keyway => keyway::start(setting, options.keyway.as_deref()).await?,
            });
        }
        Ok(Self {
            contestants,
            origin,
            keys,
            cores,
            directory,
        })
    }
}

impl Keys {
    fn write(directory: &Path, count: usize) -> Outcome<Self> {
        let made = Self {
            good: keys::mint(count)?,
            good_file: directory.join("keys"),
            unknown: keys::mint(count)?,
            unknown_file: directory.join("unknown-keys"),
        };
        let plain = |_, key: &str| key.to_owned();
        keys::write(&made.good_file, &made.good, plain)?;
        keys::write(&made.unknown_file, &made.unknown, plain)?;
        Ok(made)
    }
}

/// A port on loopback that was free a moment ago, for programs that cannot choose one themselves.
///
/// # Errors
/// When none is free.
pub fn free_port() -> Outcome<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Trouble::io("find a free port"))
}

/// Waits until something at `address` answers `path` with `status`.
///
/// # Errors
/// When the child ends first or takes too long.
pub async fn answers(
    child: &mut Child,
    address: SocketAddr,
    path: &str,
    status: u16,
) -> Outcome<()> {
    child
        .until("an answer", START_WITHIN, async || {
            let answer = once(address, Ask::get(path)).await.ok()?;
            (answer.status == status).then_some(())
        })
        .await
}
