//! The suite `base`: what the first version promises.

use super::{Figure, memory, revocation};
use crate::compare::{self, Job, Options, Rival, Size};
use crate::progress::Progress;
use crate::trouble::{Outcome, Trouble};

/// Most CPU for a request, as a share of nginx's.
const CPU_RATIO_MAX: f64 = 0.9;

/// Longest time, at the 99th percentile, from the answer to a revocation to 401 everywhere.
const REVOCATION_MS_MAX: f64 = 100.0;

/// Most memory of an idle data plane with 100 000 keys.
const IDLE_MIB_MAX: f64 = 40.0;

const KEYS: usize = 100_000;
const REVOCATIONS: usize = 200;

/// Measures the suite.
///
/// # Errors
/// When something that is needed is missing, fails, or answers wrongly.
pub async fn measure(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();

    progress.say(format!("idle memory with {KEYS} keys"));
    let idle = memory::idle(KEYS).await?;
    figures.push(Figure::at_most(
        "idle_memory_100k_keys",
        idle,
        "MiB",
        IDLE_MIB_MAX,
    ));

    progress.say(format!("{REVOCATIONS} revocations under load"));
    let times = revocation::under_load(REVOCATIONS, progress).await?;
    figures.push(Figure::told(
        "revocation_everywhere_p50",
        times.p50_ms,
        "ms",
    ));
    figures.push(Figure::at_most(
        "revocation_everywhere_p99",
        times.p99_ms,
        "ms",
        REVOCATION_MS_MAX,
    ));
    figures.push(Figure::told(
        "revocation_answer_p99",
        times.answer_p99_ms,
        "ms",
    ));
    figures.push(Figure::told(
        "load_during_revocations",
        times.load_per_s,
        "1/s",
    ));

    progress.say("CPU for each request, beside nginx");
    figures.extend(cpu(quick, progress).await?);
    Ok(figures)
}

async fn cpu(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    let (rounds, seconds) = if quick { (5, 2) } else { (9, 5) };
    let options = Options {
        size: Size {
            keys: KEYS,
            connections: 64,
            seconds,
            warm_up_seconds: 1,
            rounds,
        },
        only: vec![Rival::Keyway, Rival::Nginx],
        jobs: vec![Job::Proxied, Job::Refused],
        keyway: None,
    };
    let report = compare::run(&options, progress).await?;
    eprintln!("{}", report.table());
    let row = |job, rival| {
        report
            .row(job, rival)
            .ok_or_else(|| Trouble::wrong("comparison", "a row is missing"))
    };
    let mut figures = Vec::new();
    for (job, ratio, own, theirs) in [
        (
            Job::Proxied,
            "cpu_proxied_vs_nginx",
            "cpu_proxied",
            "cpu_proxied_nginx",
        ),
        (
            Job::Refused,
            "cpu_refused_401_vs_nginx",
            "cpu_refused_401",
            "cpu_refused_401_nginx",
        ),
    ] {
        let (keyway, nginx) = (row(job, Rival::Keyway)?, row(job, Rival::Nginx)?);
        let measured = keyway.cpu_ratio.unwrap_or(f64::NAN);
        figures.push(Figure::at_most(ratio, measured, "ratio", CPU_RATIO_MAX));
        figures.push(Figure::told(own, keyway.cpu_us, "µs"));
        figures.push(Figure::told(theirs, nginx.cpu_us, "µs"));
    }
    Ok(figures)
}
