//! The text form of metrics, as Prometheus reads it: families with `HELP` and `TYPE`, and
//! samples with escaped labels.
//!
//! Source: Prometheus, "Exposition formats", text format 0.0.4. Names are constants of this
//! crate and need no escaping; label values may be anything.

use std::fmt::{Display, Write as _};

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

/// What a family counts.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

/// Label names and values of one sample.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family: all its samples must follow before the next one begins.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// One sample of the family.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.sample_of("", labels, value)
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The samples of a histogram in seconds. `buckets` counts each range by itself, the last one
    /// beyond the last of `bounds_us`; `shown` says which bounds become an `le`.
    pub fn histogram(
        &mut self,
        bounds_us: &[u64],
        buckets: &[u64],
        sum_ns: u64,
        shown: impl Fn(u64) -> bool,
    ) {
        let mut total: u64 = 0;
        for (bound, count) in bounds_us.iter().zip(buckets) {
            total += count;
            if shown(*bound) {
                let le = seconds(*bound, 1_000_000);
                self.sample_of("_bucket", &[("le", &le)], total);
            }
        }
        total += buckets[bounds_us.len()..].iter().sum::<u64>();
        self.sample_of("_bucket", &[("le", "+Inf")], total);
        self.sample_of("_sum", &[], seconds(sum_ns, 1_000_000_000));
        self.sample_of("_count", &[], total);
    }

    /// The page.
    pub fn finish(self) -> String {
        self.text
    }

    fn sample_of(&mut self, suffix: &str, labels: Labels<'_>, value: impl Display) -> &mut Self {
        let name = self.name;
        self.put(format_args!("{name}{suffix}"));
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            self.put(format_args!("{open}{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.put(format_args!(" {value}\n"));
        self
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A string takes any number of characters, so this cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// `value / per_second` as a decimal number of seconds without needless zeros, exact.
pub fn seconds(value: u64, per_second: u64) -> String {
    let (whole, rest) = (value / per_second, value % per_second);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = per_second.ilog10() as usize;
    let text = format!("{whole}.{rest:0digits$}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
pub mod parser;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_and_short() {
        for (value, per_second, expected) in [
            (0, 1_000_000, "0"),
            (1, 1_000_000, "0.000001"),
            (1_500, 1_000_000, "0.0015"),
            (60_000_000, 1_000_000, "60"),
            (1_000_000_001, 1_000_000_000, "1.000000001"),
            (10_200_000_000, 1_000_000_000, "10.2"),
        ] {
            assert_eq!(seconds(value, per_second), expected);
        }
    }

    #[test]
    fn label_values_cannot_leave_their_quotes() {
        let mut page = Exposition::new();
        page.family("a", Kind::Gauge, "Some\nhelp")
            .sample(&[("l", "x\"} 9\n\\")], 1);
        assert_eq!(
            page.finish(),
            "# HELP a Some\\nhelp\n# TYPE a gauge\na{l=\"x\\\"} 9\\n\\\\\"} 1\n"
        );
    }

    #[test]
    fn buckets_of_a_histogram_add_up() {
        let mut page = Exposition::new();
        page.family("d_seconds", Kind::Histogram, "Time.");
        page.histogram(&[1, 2, 5], &[1, 2, 3, 4], 1_500_000_000, |bound| bound != 2);
        assert_eq!(
            page.finish().lines().skip(2).collect::<Vec<_>>(),
            [
                "d_seconds_bucket{le=\"0.000001\"} 1",
                "d_seconds_bucket{le=\"0.000005\"} 6",
                "d_seconds_bucket{le=\"+Inf\"} 10",
                "d_seconds_sum 1.5",
                "d_seconds_count 10",
            ]
        );
    }
}
