//! What a comparison found: medians by proxy and job, and ratios to nginx taken within a round.

use std::fmt::Write as _;

use serde::Serialize;

use super::rounds::Round;
use super::{Job, LIMIT_PER_S, Options, Rival, Size};
use crate::statistics::median;
use crate::tools::Tool;

/// The result of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// How big it was.
    pub size: Size,
    /// Requests a second each key was allowed.
    pub limit_per_s: u64,
    /// One row for each job and proxy.
    pub rows: Vec<Row>,
}

/// The machine and the programs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Version of the kernel.
    pub kernel: String,
    /// What the programs say of themselves.
    pub programs: Vec<String>,
}

/// What one proxy did on one job: medians over its rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was asked.
    pub job: Job,
    /// Of whom.
    pub proxy: Rival,
    /// Answers a second.
    pub requests_per_s: f64,
    /// Median latency in microseconds, closed loop.
    pub p50_us: f64,
    /// 99th percentile of the latency in microseconds, closed loop.
    pub p99_us: f64,
    /// CPU microseconds of the proxy for each answer, user and system.
    pub cpu_us: f64,
    /// Share of its core that the proxy was busy.
    pub core_busy: f64,
    /// CPU for each answer, divided by nginx's in the same round.
    pub cpu_ratio: Option<f64>,
    /// Answers a second, divided by nginx's in the same round.
    pub requests_ratio: Option<f64>,
    /// CPU microseconds for each answer, by round.
    pub cpu_us_rounds: Vec<f64>,
    /// Answers a second, by round.
    pub requests_per_s_rounds: Vec<f64>,
}

impl Report {
    /// Sums up rounds.
    pub fn of(options: &Options, rounds: &[Round]) -> Self {
        let pairs = options
            .jobs
            .iter()
            .flat_map(|job| options.only.iter().map(|of| (*job, *of)));
        Self {
            machine: Machine::this(&options.only),
            size: options.size.clone(),
            limit_per_s: LIMIT_PER_S,
            rows: pairs
                .map(|(job, proxy)| Row::of(job, proxy, rounds))
                .collect(),
        }
    }

    /// The row of `proxy` on `job`.
    pub fn row(&self, job: Job, proxy: Rival) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.job == job && row.proxy == proxy)
    }

    /// The report as text for a person.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} · Linux {}\n{}\n{} keys, {} connections, median of {} rounds of {} s; limit, JSON log and \
             counters on; ratios against nginx within a round\n",
            self.machine.processor,
            self.machine.kernel,
            self.machine.programs.join(" · "),
            self.size.keys,
            self.size.connections,
            self.size.rounds,
            self.size.seconds,
        );
        let columns = [
            "job",
            "proxy",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "CPU µs/request",
            "core",
            "CPU ×nginx",
            "requests ×nginx",
        ];
        let mut last_job = None;
        for row in &self.rows {
            if last_job.replace(row.job) != Some(row.job) {
                line(&mut text, &columns.map(str::to_owned));
            }
            line(&mut text, &row.cells());
        }
        text
    }
}

fn line(text: &mut String, cells: &[String; 9]) {
    let [
        job,
        proxy,
        requests,
        p50,
        p99,
        cpu,
        core,
        cpu_ratio,
        requests_ratio,
    ] = cells;
    writeln!(
        text,
        "{job:<9}{proxy:<9}{requests:>11}{p50:>9}{p99:>9}{cpu:>16}{core:>7}{cpu_ratio:>12}{requests_ratio:>17}"
    )
    .expect("a String takes all");
}

impl Row {
    fn of(job: Job, proxy: Rival, rounds: &[Round]) -> Self {
        let own: Vec<&Round> = rounds
            .iter()
            .filter(|round| round.job == job && round.rival == proxy)
            .collect();
        let by_round = |value: fn(&Round) -> f64| -> Vec<f64> {
            own.iter().map(|round| value(round)).collect()
        };
        let against_nginx = |value: fn(&Round) -> f64| {
            let ratios: Vec<f64> = own
                .iter()
                .filter_map(|mine| {
                    let theirs = rounds.iter().find(|other| {
                        other.job == job && other.rival == Rival::Nginx && other.round == mine.round
                    })?;
                    Some(value(mine) / value(theirs))
                })
                .collect();
            (!ratios.is_empty()).then(|| median(&ratios))
        };
        let requests_per_s = |round: &Round| round.measured.requests_per_s();
        Self {
            job,
            proxy,
            requests_per_s: median(&by_round(requests_per_s)),
            p50_us: median(&by_round(|round| round.measured.p50_us as f64)),
            p99_us: median(&by_round(|round| round.measured.p99_us as f64)),
            cpu_us: median(&by_round(Round::cpu_us)),
            core_busy: median(&by_round(Round::busy)),
            cpu_ratio: against_nginx(Round::cpu_us),
            requests_ratio: against_nginx(requests_per_s),
            cpu_us_rounds: by_round(Round::cpu_us),
            requests_per_s_rounds: by_round(requests_per_s),
        }
    }

    fn cells(&self) -> [String; 9] {
        let ratio = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        [
            self.job.name().into(),
            self.proxy.name().into(),
            format!("{:.0}", self.requests_per_s),
            format!("{:.2}", self.p50_us / 1e3),
            format!("{:.2}", self.p99_us / 1e3),
            format!("{:.2}", self.cpu_us),
            format!("{:.0} %", self.core_busy * 100.0),
            ratio(self.cpu_ratio),
            ratio(self.requests_ratio),
        ]
    }
}

impl Machine {
    fn this(rivals: &[Rival]) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = file("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("processor unknown".into(), |(_, model)| {
                model.trim().to_owned()
            });
        let mut programs = vec![format!("keyway {}", env!("CARGO_PKG_VERSION"))];
        programs.push(
            Tool::Nginx
                .version()
                .replace("nginx version: nginx/", "nginx "),
        );
        if rivals.contains(&Rival::Haproxy) {
            let said = Tool::Haproxy.version();
            let version = said
                .split_whitespace()
                .nth(2)
                .unwrap_or("unknown")
                .to_owned();
            programs.push(format!("haproxy {version}"));
        }
        programs.push(
            Tool::Wrk
                .version()
                .split('[')
                .next()
                .unwrap_or("wrk")
                .trim()
                .to_owned(),
        );
        Self {
            processor,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            programs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrk::Measured;

    fn round(round: usize, rival: Rival, cpu_us: u64) -> Round {
        let measured = Measured {
            requests: 1_000,
            elapsed_us: 1_000_000,
            ..Measured::default()
        };
        Round {
            round,
            rival,
            job: Job::Proxied,
            measured,
            cpu_ns: cpu_us * 1_000_000,
        }
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        // The machine halves its speed after round 0: medians of ratios do not see it.
        let rounds = [
            round(0, Rival::Nginx, 20),
            round(0, Rival::Keyway, 15),
            round(1, Rival::Nginx, 40),
            round(1, Rival::Keyway, 30),
            round(2, Rival::Nginx, 40),
            round(2, Rival::Keyway, 30),
        ];
        let row = Row::of(Job::Proxied, Rival::Keyway, &rounds);
        assert!((row.cpu_ratio.unwrap() - 0.75).abs() < 1e-9, "{row:?}");
        assert!((row.cpu_us - 30.0).abs() < 1e-9, "{row:?}");
        assert_eq!(
            Row::of(Job::Refused, Rival::Keyway, &rounds).cpu_ratio,
            None
        );
    }
}
