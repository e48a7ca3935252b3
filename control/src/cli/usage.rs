//! `usage` and `top`: what was called, and what is being called.

use super::Session;
use super::arguments::{TopArguments, UsageArguments};
use super::error::CliError;
use super::output::{or_dash, print, table};
use crate::admin::time::Moment;
use crate::admin::usage::{UsageReport, UsageView};
use keyway::clock::Clock;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

const HEADER: [&str; 8] = [
    "REQUESTS",
    "ERRORS",
    "ERROR %",
    "BYTES IN",
    "BYTES OUT",
    "P50",
    "P90",
    "P99",
];

pub(super) fn usage(session: &Session, arguments: &UsageArguments) -> Result<(), CliError> {
    let from = arguments.from.or_else(|| arguments.since.map(ago));
    if arguments.csv {
        let text = session
            .client
            .get("/v1/usage/export")
            .with("from", from)
            .with("to", arguments.to)
            .send_text()?;
        return print(text.trim_end());
    }
    let report: UsageReport = session
        .client
        .get("/v1/usage")
        .with("by", arguments.by.as_deref())
        .with("step", arguments.step.as_deref())
        .with("from", from)
        .with("to", arguments.to)
        .of(&arguments.whose)
        .send()?;
    session.output.one(&report, |report| {
        let row = |view: &UsageView| {
            let mut row = vec![or_dash(view.at), or_dash(view.subject.as_ref())];
            row.extend(numbers(view));
            row
        };
        let mut header = vec!["FROM", "OF"];
        header.extend(HEADER);
        table(Some(&header), report.items.iter().map(row)) + &warning(report)
    })
}

fn numbers(view: &UsageView) -> Vec<String> {
    vec![
        view.requests.to_string(),
        view.errors.to_string(),
        format!("{:.1}", view.error_rate * 100.0),
        bytes(view.bytes_in),
        bytes(view.bytes_out),
        span(view.p50_us),
        span(view.p90_us),
        span(view.p99_us),
    ]
}

/// What is missing must not be overlooked.
fn warning(report: &UsageReport) -> String {
    let told = |dropped: &crate::admin::usage::DroppedView| {
        let (node, requests) = (&dropped.node, dropped.requests);
        format!("\nwarning: node {node} had no room for {requests} requests; they are missing")
    };
    report.dropped.iter().map(told).collect()
}

/// `18.2 MiB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let place = (count.ilog2() / 10).min(5);
    let whole = count >> (10 * place);
    let tenths = (count >> (10 * (place - 1)) & 1_023) * 10 / 1_024;
    format!("{whole}.{tenths} {}", UNITS[place as usize - 1])
}

/// `350 µs`, `2.1 ms`, `1.5 s`.
fn span(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1_000 => format!("{us} µs"),
        Some(us) if us < 1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        Some(us) => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// So many seconds before now.
fn ago(seconds: u32) -> Moment {
    let now_ms = Clock::system().wall().0;
    Moment::at_ms(now_ms.saturating_sub(u64::from(seconds) * 1_000))
}

/// Shows the loudest, again and again where it is a terminal.
pub(super) fn top(session: &Session, arguments: &TopArguments) -> Result<(), CliError> {
    let live = !arguments.once && !session.output.is_json() && std::io::stdout().is_terminal();
    loop {
        // Whole minutes are kept: the one that runs and the one before it.
        let now_ms = Clock::system().wall().0;
        let from_ms = (now_ms / 60_000).saturating_sub(1) * 60_000;
        let report: UsageReport = session
            .client
            .get("/v1/usage/top")
            .with("by", Some(&arguments.by))
            .with("order", Some(&arguments.order))
            .with("limit", Some(arguments.limit))
            .with("from", Some(Moment::at_ms(from_ms)))
            .send()?;
        let elapsed_ms = report.to.ms().saturating_sub(from_ms).max(1);
        if live {
            // Clears the screen, and draws from its first line.
            print("\x1b[2J\x1b[H")?;
        }
        session
            .output
            .one(&report, |report| picture(report, elapsed_ms, &arguments.by))?;
        if !live {
            return Ok(());
        }
        let interval = arguments.interval;
        print(&format!("\nevery {interval} s; end with Ctrl-C"))?;
        // A terminal that is gone ends the command with the next line.
        let _ = std::io::stdout().flush();
        std::thread::park_timeout(Duration::from_secs(u64::from(arguments.interval.max(1))));
    }
}

fn picture(report: &UsageReport, elapsed_ms: u64, by: &str) -> String {
    let seconds = elapsed_ms / 1_000;
    let share = |view: &UsageView, cause: &[&str]| {
        let all: u64 = cause
            .iter()
            .filter_map(|cause| view.refusals.get(*cause))
            .sum();
        percent(all, view.requests)
    };
    let row = |view: &UsageView| {
        vec![
            or_dash(view.subject.as_ref()),
            per_second(view.requests, elapsed_ms),
            format!("{:.1}", view.error_rate * 100.0),
            share(view, &["limit"]),
            bytes(view.bytes_out * 1_000 / elapsed_ms),
            span(view.p50_us),
            span(view.p99_us),
        ]
    };
    let name = by.to_uppercase();
    let header = [
        name.as_str(),
        "REQ/S",
        "ERROR %",
        "LIMITED %",
        "OUT/S",
        "P50",
        "P99",
    ];
    let requests: u64 = report.items.iter().map(|view| view.requests).sum();
    format!(
        "the last {seconds} s, {} requests/s of those shown\n\n{}{}",
        per_second(requests, elapsed_ms),
        table(Some(&header), report.items.iter().map(row)),
        warning(report)
    )
}

fn per_second(count: u64, elapsed_ms: u64) -> String {
    let tenths = count.saturating_mul(10_000) / elapsed_ms;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn percent(part: u64, whole: u64) -> String {
    match (part.saturating_mul(1_000)).checked_div(whole) {
        None => "-".to_owned(),
        Some(thousandths) => format!("{}.{}", thousandths / 10, thousandths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_the_units_of_people() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(span(None), "-");
        assert_eq!(span(Some(999)), "999 µs");
        assert_eq!(span(Some(2_150)), "2.1 ms");
        assert_eq!(span(Some(1_500_000)), "1.5 s");
        assert_eq!(per_second(125, 1_000), "125.0");
        assert_eq!(percent(1, 3), "33.3");
        assert_eq!(percent(0, 0), "-");
    }
}
