//! A strict reader of the exposition format, for tests: refuses what a scraper would refuse, and
//! what it would take but misunderstand.

use std::collections::{BTreeMap, HashSet};

/// One sample: name, labels in order, value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name with its suffix.
    pub name: String,
    /// Label names and values.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// A page that was read.
#[derive(Debug, Default)]
pub struct Page {
    /// Type of each family.
    pub families: BTreeMap<String, String>,
    /// All samples.
    pub samples: Vec<Sample>,
}

impl Page {
    /// The value of the one sample with this name and these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self
            .samples
            .iter()
            .filter(|s| s.name == name)
            .filter(|s| {
                labels
                    .iter()
                    .all(|(l, v)| s.labels.iter().any(|(a, b)| a == l && b == v))
            })
            .collect();
        assert_eq!(found.len(), 1, "samples of {name}{labels:?}: {found:?}");
        found[0].value
    }

    /// Reads a page; panics with the line that is wrong.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end");
        let mut page = Self::default();
        let (mut current, mut helped) = (String::new(), HashSet::new());
        let mut seen = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert!(helped.contains(name), "no HELP before {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let total = name.ends_with("_total");
                assert_eq!(
                    total,
                    kind == "counter",
                    "{line}: counters, and only they, end in _total"
                );
                let before = page.families.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{line} comes twice");
                current = name.to_owned();
            } else {
                let sample = sample(line);
                assert!(
                    belongs(&sample.name, &current, &page.families),
                    "{line} is in {current}"
                );
                assert!(
                    seen.insert(line.rsplit_once(' ').expect(line).0.to_owned()),
                    "{line} twice"
                );
                page.samples.push(sample);
            }
        }
        page.check_histograms();
        page
    }

    fn check_histograms(&self) {
        for (name, _) in self
            .families
            .iter()
            .filter(|(_, kind)| *kind == "histogram")
        {
            let bucket = format!("{name}_bucket");
            let buckets: Vec<_> = self.samples.iter().filter(|s| s.name == bucket).collect();
            let le = |s: &Sample| match s.labels.last().expect("has an le").1.as_str() {
                "+Inf" => f64::INFINITY,
                number => number.parse().expect("is a number"),
            };
            assert!(
                buckets
                    .windows(2)
                    .all(|w| le(w[0]) < le(w[1]) && w[0].value <= w[1].value)
            );
            let last = buckets.last().expect("has buckets");
            assert!(le(last).is_infinite());
            assert_eq!(last.value, self.value(&format!("{name}_count"), &[]));
            self.value(&format!("{name}_sum"), &[]);
        }
    }
}

fn belongs(sample: &str, family: &str, families: &BTreeMap<String, String>) -> bool {
    match families.get(family).map(String::as_str) {
        Some("histogram") => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| sample.strip_suffix(suffix) == Some(family)),
        Some(_) => sample == family,
        None => false,
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, tail) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (value, tail) = quoted(tail, line);
            labels.push((label.to_owned(), value));
            match tail.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = tail.strip_prefix('}').expect(line);
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').expect(line).parse().expect(line);
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

/// A label's value up to its closing quote, and what follows.
fn quoted<'t>(text: &'t str, line: &str) -> (String, &'t str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().expect(line).1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => panic!("unknown escape in {line}"),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote in {line}")
}
