//! `logs`: calls as the nodes logged them.
//!
//! What clients sent is shown on a terminal that it must not drive, so control characters are never
//! printed as they are.

use super::Session;
use super::arguments::LogsArguments;
use super::error::CliError;
use super::output::print;
use crate::admin::time::Moment;
use keyway::clock::Clock;
use serde_json::Value;
use std::io::{BufRead as _, IsTerminal as _};

pub(super) fn logs(session: &Session, arguments: &LogsArguments) -> Result<(), CliError> {
    let since = match &arguments.since {
        Some(since) => Some(moment(since)?),
        None => None,
    };
    let lines = session
        .client
        .get("/v1/logs")
        .of(&arguments.whose)
        .with("route", arguments.route.as_deref())
        .with("status", arguments.status.as_deref())
        .with("refusal", arguments.refusal.as_deref())
        .with("method", arguments.method.as_deref())
        .with("path", arguments.path.as_deref())
        .with("client", arguments.client)
        .with("request_id", arguments.request_id.as_deref())
        .with("trace_id", arguments.trace_id.as_deref())
        .with("since", since)
        .with("until", arguments.until)
        .with("limit", arguments.limit)
        .with("follow", arguments.follow.then_some(true))
        .send_for_lines()?;
    let colored = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for line in lines.lines() {
        // A follower is cut off when control ends.
        let line = line.map_err(|error| CliError::Broken(error.to_string()))?;
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if value.get("notice").is_some() {
            if let Some(text) = noticed(&value) {
                eprintln!("keyway-control: {text}");
            }
        } else if session.output.is_json() {
            // As the node wrote it: every control character is escaped there.
            print(&line)?;
        } else {
            print(&told(&value, colored))?;
        }
    }
    Ok(())
}

/// A moment, or a span back from now.
fn moment(text: &str) -> Result<Moment, CliError> {
    if let Ok(seconds) = super::duration::seconds(text) {
        let now_ms = Clock::system().wall().0;
        return Ok(Moment::at_ms(
            now_ms.saturating_sub(u64::from(seconds) * 1_000),
        ));
    }
    text.parse().map_err(|_| {
        CliError::Usage(format!(
            "--since {text}: write a span such as 15m or 24h, or a time such as 2026-11-21T08:00:00Z"
        ))
    })
}

/// What a person is told of the search itself, if anything.
fn noticed(notice: &Value) -> Option<String> {
    let word = |name: &str| plain(notice[name].as_str().unwrap_or_default());
    let node = word("node");
    match notice["notice"].as_str()? {
        "searched" if !notice["error"].is_null() => Some(format!("{node}: {}", word("error"))),
        "searched" if notice["complete"] == false => Some(format!(
            "{node}: stopped after {} bytes; narrow the search with --since or --until",
            notice["scanned_bytes"]
        )),
        "missed" => Some(format!(
            "{node}: {} lines were passed over",
            notice["lines"]
        )),
        "failed" => Some(format!("{node}: {}", word("error"))),
        "joined" => Some(format!("{node} is connected")),
        "gone" => Some(format!("{node} is gone")),
        _ => None,
    }
}

/// `2026-11-21T08:00:00.120Z 200    1.2ms GET /orders/1  acme/mobile key_… > 10.0.0.1:9000`
fn told(line: &Value, colored: bool) -> String {
    let word = |name: &str| line[name].as_str().map(plain);
    let status = line["status"].as_u64().unwrap_or(0);
    let shown = match status {
        0 => "---".to_owned(),
        status => format!("{status:03}"),
    };
    let status = match status {
        _ if !colored => shown,
        200..=299 => format!("\u{1b}[32m{shown}\u{1b}[0m"),
        300..=499 => format!("\u{1b}[33m{shown}\u{1b}[0m"),
        _ => format!("\u{1b}[31m{shown}\u{1b}[0m"),
    };
    let mut text = format!(
        "{} {status} {:>9} {:<6} {}",
        word("time").unwrap_or_default(),
        span(line["duration_us"].as_u64().unwrap_or(0)),
        word("method").as_deref().unwrap_or("-"),
        word("path").as_deref().unwrap_or("-"),
    );
    if let Some(query) = word("query") {
        text += &format!("?{query}");
    }
    if let (Some(tenant), Some(app)) = (word("tenant"), word("app")) {
        text += &format!("  {tenant}/{app}");
    }
    if let Some(key) = word("key") {
        text += &format!(" {key}");
    }
    if let Some(target) = word("target") {
        text += &format!(" > {target}");
    }
    if let Some(refusal) = word("refusal") {
        text += &format!("  refused: {refusal}");
    }
    text
}

/// Microseconds as people read them.
fn span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{}.{}ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{}s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// Without what a terminal would obey, or would show in another order.
fn plain(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if obeyed(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_told_in_one_line() {
        let line = json!({
            "node": "edge-1", "time": "2026-11-21T08:00:00.120Z", "status": 502, "method": "GET",
            "path": "/orders/1", "query": "page=2", "tenant": "acme", "app": "mobile",
            "key": "key_06t0q3zkd8v1w", "target": "10.0.0.1:9000", "duration_us": 1_250,
            "refusal": "upstream_closed"
        });
        assert_eq!(
            told(&line, false),
            "2026-11-21T08:00:00.120Z 502     1.2ms GET    /orders/1?page=2  acme/mobile \
             key_06t0q3zkd8v1w > 10.0.0.1:9000  refused: upstream_closed"
        );
        assert!(told(&line, true).contains("\u{1b}[31m502\u{1b}[0m"));
    }

    #[test]
    fn a_client_cannot_drive_the_terminal() {
        let line = json!({ "path": "/\u{1b}[2J\n\u{9b}1m\u{202e}x", "method": "G\tT" });
        let text = told(&line, false);
        assert!(
            !text.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{text:?}"
        );
    }

    #[test]
    fn a_time_is_a_moment_or_a_span_back() {
        assert_eq!(
            moment("2026-11-21T08:00:00Z").expect("a time").to_string(),
            "2026-11-21T08:00:00Z"
        );
        assert!(moment("1h").expect("a span") < moment("1s").expect("a span"));
        assert!(moment("soon").is_err());
        for (us, text) in [
            (0, "0us"),
            (999, "999us"),
            (1_250, "1.2ms"),
            (3_450_000, "3.4s"),
        ] {
            assert_eq!(span(us), text);
        }
    }
}
