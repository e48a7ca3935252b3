//! The measuring itself: rounds of warm-up and load, in rotating order.

use super::certificate;
use super::stage::{Contestant, Keys, Stage};
use super::{Job, Options, Rival};
use crate::cpu::CpuTime;
use crate::files;
use crate::handshakes;
use crate::progress::Progress;
use crate::trouble::{Outcome, Trouble};
use crate::wrk::{self, Load, Measured};
use std::path::Path;

/// Log lines a proxy may owe to its answers: what it still holds in buffers when we count.
const LOGGED_MIN: f64 = 0.97;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Number of the round, from 0.
    pub round: usize,
    /// Whom.
    pub rival: Rival,
    /// What.
    pub job: Job,
    /// As the load generator saw it.
    pub measured: Measured,
    /// CPU time of the proxy, in nanoseconds.
    pub cpu_ns: u64,
}

impl Round {
    /// CPU microseconds of the proxy for each answer.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / (self.measured.requests.max(1)) as f64
    }

    /// Share of its core that the proxy was busy, 0 to 1.
    pub fn busy(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / (self.measured.elapsed_us.max(1)) as f64
    }
}

/// Plays all rounds.
///
/// # Errors
/// When a proxy fails, or answers anything but what the job is about.
pub async fn play(stage: &mut Stage, options: &Options, progress: Progress) -> Outcome<Vec<Round>> {
    let mut rounds = Vec::new();
    let mut logs = vec![Logged::default(); stage.contestants.len()];
    for round in 0..options.size.rounds {
        for turn in 0..stage.contestants.len() {
            let index = (round + turn) % stage.contestants.len();
            for job in &options.jobs {
                let played = measure(stage, index, *job, round, options).await?;
                let Round {
                    rival, measured, ..
                } = played.last;
                logs[index].answers += played.answers;
                logs[index].lines += files::count_lines_and_empty(&stage.contestants[index].log)?;
                progress.say(format!(
                    "round {}/{} {:<8} {:<8} {:>7.0}/s  p50 {:>6} µs  p99 {:>6} µs  CPU {:>6.2} µs  core {:>3.0} %",
                    round + 1,
                    options.size.rounds,
                    job.name(),
                    rival.name(),
                    measured.requests_per_s(),
                    measured.p50_us,
                    measured.p99_us,
                    played.last.cpu_us(),
                    played.last.busy() * 100.0,
                ));
                rounds.push(played.last);
            }
        }
    }
    // Buffered logs are flushed every second.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    for (contestant, log) in stage.contestants.iter().zip(&mut logs) {
        log.lines += files::count_lines_and_empty(&contestant.log)?;
        log.check(contestant)?;
    }
    Ok(rounds)
}

struct Played {
    /// Answers of warm-up and measurement.
    answers: u64,
    last: Round,
}

async fn measure(
    stage: &mut Stage,
    index: usize,
    job: Job,
    round: usize,
    options: &Options,
) -> Outcome<Played> {
    let contestant = &stage.contestants[index];
    let load = JobLoad {
        job,
        contestant,
        keys: &stage.keys,
        cores: &stage.cores.load,
        seed: u64::try_from(round).unwrap_or(0),
        connections: options.size.connections,
        directory: stage.directory.path(),
    };
    let mut answers = 0;
    if options.size.warm_up_seconds > 0 {
        answers += load.run(options.size.warm_up_seconds).await?.requests;
    }
    let before = CpuTime::of(contestant.child.pid())?;
    let measured = load.run(options.size.seconds).await?;
    let cpu_ns = CpuTime::of(contestant.child.pid())?.since(&before);
    let contestant = &mut stage.contestants[index];
    if let Some(status) = contestant.child.ended() {
        return Err(contestant
            .child
            .trouble(format!("ended under load ({status})")));
    }
    let last = Round {
        round,
        rival: contestant.rival,
        job,
        measured,
        cpu_ns,
    };
    check(&last)?;
    answers += measured.requests;
    if job.is_handshake() {
        // Nothing was asked, so nothing is logged.
        answers = 0;
    }
    Ok(Played { answers, last })
}

/// One job's load on one proxy.
#[derive(Clone, Copy, Debug)]
struct JobLoad<'a> {
    job: Job,
    contestant: &'a Contestant,
    keys: &'a Keys,
    cores: &'a str,
    seed: u64,
    connections: usize,
    directory: &'a Path,
}

impl JobLoad<'_> {
    async fn run(self, seconds: u64) -> Outcome<Measured> {
        let Contestant { address, tls, .. } = *self.contestant;
        let tls = tls.unwrap_or(address);
        if self.job.is_handshake() {
            let load = handshakes::Load {
                to: tls,
                name: certificate::NAME,
                connections: self.connections,
                seconds,
                resumed: self.job == Job::Resumed,
            };
            return handshakes::run(&load).await;
        }
        let over_tls = self.job == Job::Tls;
        let load = Load {
            to: if over_tls { tls } else { address },
            tls: over_tls,
            path: "/orders/1k".into(),
            keys: match self.job {
                Job::Refused => self.keys.unknown_file.clone(),
                _ => self.keys.good_file.clone(),
            },
            connections: self.connections,
            seconds,
            seed: self.seed,
            cores: Some(self.cores.to_owned()),
        };
        wrk::run(&load, self.directory).await
    }
}

/// Only a run in which every answer was the right one is a measurement.
fn check(round: &Round) -> Outcome<()> {
    let Measured {
        requests, errors, ..
    } = round.measured;
    let refused = match round.job {
        Job::Refused => requests,
        _ => 0,
    };
    if requests == 0 || round.measured.broken() > 0 || errors.status != refused {
        return Err(Trouble::wrong(
            round.rival.name(),
            format!(
                "{} run with {requests} answers is no measurement: {errors:?}",
                round.job.name()
            ),
        ));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    answers: u64,
    lines: u64,
}

impl Logged {
    fn check(self, contestant: &Contestant) -> Outcome<()> {
        let share = self.lines as f64 / self.answers.max(1) as f64;
        if share < LOGGED_MIN {
            let Self { answers, lines } = self;
            let what = format!("its access log has {lines} lines for {answers} answers");
            return Err(Trouble::wrong(contestant.rival.name(), what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrk::Errors;

    #[test]
    fn a_run_with_one_wrong_answer_is_no_measurement() {
        let round = |job, requests, status, read| Round {
            round: 0,
            rival: Rival::Nginx,
            job,
            measured: Measured {
                requests,
                elapsed_us: 1_000_000,
                errors: Errors {
                    status,
                    read,
                    ..Errors::default()
                },
                ..Measured::default()
            },
            cpu_ns: 500_000_000,
        };
        assert!(check(&round(Job::Proxied, 100, 0, 0)).is_ok());
        assert!(check(&round(Job::Refused, 100, 100, 0)).is_ok());
        for bad in [
            round(Job::Proxied, 100, 1, 0),
            round(Job::Proxied, 100, 0, 1),
            round(Job::Proxied, 0, 0, 0),
            round(Job::Refused, 100, 99, 0),
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
        let good = round(Job::Proxied, 1_000, 0, 0);
        assert!((good.cpu_us() - 500.0).abs() < 1e-9);
        assert!((good.busy() - 0.5).abs() < 1e-9);
    }
}
