//! The page as a scraper reads it.

use super::*;
use crate::record::Counters;
use crate::record::exposition::parser::Page;
use crate::refusal::Refusal;

fn page(workers: &[PublishedCounters], ready: bool) -> Page {
    let worker = |(index, counters)| WorkerScrape {
        index,
        counters,
        generation: 7,
        driver: Some("epoll"),
        load: Told::default(),
    };
    Page::read(&render(&Scrape {
        version: "1.2.3",
        now: WallTime(10_500),
        started: WallTime(1_000),
        ready,
        outlook: Arc::default(),
        checks_failed: 0,
        lookups_failed: 0,
        certificates: vec![("a.pem".into(), 1_900_000_000)],
        workers: workers.iter().enumerate().map(worker).collect(),
        log: LogStats {
            lines_written: 1,
            lines_lost: 2,
            write_errors: 3,
        },
        snapshot: Some(SnapshotInfo {
            generation: 7,
            base_generation: 5,
            created_ms: 10_000,
            keys: 100,
            memory_bytes: 6_400,
        }),
        link: LinkScrape {
            connected: true,
            ..LinkScrape::default()
        },
        ledger: LedgerScrape::default(),
        spool: SpoolScrape {
            dropped: 5,
            ..SpoolScrape::default()
        },
        spans: SpanStats {
            exported: 9,
            dropped: [1, 2, 3, 4, 5],
        },
        process: ProcessInfo {
            cpu_ms: Some(1_500),
            ..ProcessInfo::default()
        },
    }))
}

#[test]
fn a_scraper_reads_the_page_and_finds_all_workers_added_up() {
    let mut counters = Counters::new();
    counters.finished(200, 10, 20, 1_500_000);
    counters.finished(401, 10, 20, 30_000);
    counters.refused(Refusal::KeyUnknown);
    counters.add(Counter::UsageLost, 2);
    counters.count(Counter::ConnectionsAccepted);
    let workers: [PublishedCounters; 2] = Default::default();
    workers
        .iter()
        .for_each(|published| counters.publish(published));

    let page = page(&workers, true);
    for (name, labels, expected) in [
        ("keyway_requests_total", &[("class", "2xx")][..], 2.0),
        ("keyway_requests_total", &[("class", "4xx")], 2.0),
        ("keyway_requests_total", &[("class", "none")], 0.0),
        ("keyway_refusals_total", &[("cause", "key_unknown")], 2.0),
        (
            "keyway_request_duration_seconds_bucket",
            &[("le", "0.00005")],
            2.0,
        ),
        (
            "keyway_request_duration_seconds_bucket",
            &[("le", "0.002")],
            4.0,
        ),
        ("keyway_request_duration_seconds_count", &[], 4.0),
        ("keyway_request_duration_seconds_sum", &[], 0.00306),
        ("keyway_connections_open", &[("worker", "1")], 1.0),
        ("keyway_worker_generation", &[("worker", "0")], 7.0),
        ("keyway_driver_info", &[("driver", "epoll")], 2.0),
        ("keyway_snapshot_age_seconds", &[], 0.5),
        ("keyway_usage_lost_total", &[], 9.0),
        ("keyway_access_log_lost_total", &[], 2.0),
        ("keyway_link_connected", &[], 1.0),
        ("process_cpu_seconds_total", &[], 1.5),
        ("keyway_build_info", &[("version", "1.2.3")], 1.0),
        ("keyway_ready", &[], 1.0),
    ] {
        assert_eq!(page.value(name, labels), expected, "{name}{labels:?}");
    }
}

#[test]
fn every_cause_is_on_the_page_before_it_ever_happened() {
    let page = page(&Default::default() as &[PublishedCounters; 1], false);
    assert_eq!(page.value("keyway_ready", &[]), 0.0);
    for refusal in REFUSALS {
        let cause = refusal.face().label;
        assert_eq!(
            page.value("keyway_refusals_total", &[("cause", cause)]),
            0.0
        );
    }
    for cause in CloseCause::ALL {
        let cause = cause.label();
        assert_eq!(
            page.value("keyway_connections_closed_total", &[("cause", cause)]),
            0.0
        );
    }
}

#[test]
fn a_histogram_shows_twenty_five_bounds_and_infinity() {
    let page = page(&Default::default() as &[PublishedCounters; 1], true);
    let name = "keyway_request_duration_seconds_bucket";
    let les: Vec<_> = page.samples.iter().filter(|s| s.name == name).collect();
    assert_eq!(les.len(), 26);
    assert_eq!(les[0].labels[0].1, "0.000001");
    assert_eq!(les[24].labels[0].1, "60");
}
