//! What the admin listener says, taken apart.

use serde_json::Value;

/// A page of metrics in the text form of Prometheus.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
    /// The page itself.
    pub text: String,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Takes a page apart; fails the test if it is malformed.
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        Self {
            samples: lines.map(sample).collect(),
            text: text.into(),
        }
    }

    /// The sum of all samples of `name` that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample
                        .labels
                        .iter()
                        .any(|(own, text)| own == label && text == value)
                })
        };
        let matching: Vec<f64> = self
            .samples
            .iter()
            .filter(carries)
            .map(|sample| sample.value)
            .collect();
        matching.iter().sum()
    }

    /// Whether any sample is called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("no value: {line:?}"));
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("no number: {line:?}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
        None => (series, ""),
    };
    let pairs = labels.split(',').filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| {
        let (label, value) = pair.split_once('=').expect("a label has a value");
        (label.to_owned(), value.trim_matches('"').to_owned())
    });
    Sample {
        name: name.into(),
        labels: labels.collect(),
        value,
    }
}

/// The generation of each worker, from `/status`.
pub fn generations(status: &Value) -> Vec<u64> {
    let workers = status["workers"]
        .as_array()
        .expect("the status lists workers");
    let generation = |worker: &Value| worker["generation"].as_u64().unwrap_or(0);
    workers.iter().map(generation).collect()
}
