//! The numbers that Keyway promises, measured: suites of figures with their bounds.
//!
//! A suite is a module with one function that answers [`Figure`]s; [`Suite`] lists them. A figure
//! without a bound is told for orientation and is always well.

pub mod abuse;
pub mod base;
pub mod idle;
pub mod ledger;
pub mod limits;
pub mod memory;
mod node_kills;
pub mod revocation;
pub mod slow;
pub mod upgrade;

use clap::ValueEnum;
use serde::Serialize;

use crate::progress::Progress;
use crate::trouble::Outcome;

/// A set of figures that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// CPU against nginx, revocation, idle memory.
    Base,
    /// Normal traffic beside slow clients, memory of idle connections.
    Abuse,
    /// Ten upgrades under load, to fewer and more workers.
    Upgrade,
    /// Whether usage adds up to what was sent, whatever dies meanwhile.
    Ledger,
    /// How exact limits are beside others, what they cost, memory and scrape with very many keys.
    Limits,
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// How much it is.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// The most it may be.
    pub bound: Option<f64>,
    /// Whether it is within its bound.
    pub ok: bool,
}

impl Figure {
    /// A number that may be at most `bound`.
    pub fn at_most(name: &'static str, value: f64, unit: &'static str, bound: f64) -> Self {
        let value = rounded(value);
        // NaN is no measurement and meets no bound.
        Self {
            name,
            value,
            unit,
            bound: Some(bound),
            ok: value <= bound,
        }
    }

    /// A number that stands beside one with a bound.
    pub fn told(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value: rounded(value),
            unit,
            bound: None,
            ok: true,
        }
    }
}

/// Three decimals: more would only pretend.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Measures a suite.
///
/// # Errors
/// When something that is needed is missing, fails, or answers wrongly.
pub async fn measure(suite: Suite, quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    match suite {
        Suite::Base => base::measure(quick, progress).await,
        Suite::Abuse => abuse::measure(quick, progress).await,
        Suite::Upgrade => upgrade::measure(progress).await,
        Suite::Ledger => ledger::measure(quick, progress).await,
        Suite::Limits => limits::measure(quick, progress).await,
    }
}

/// The figures as text for a person.
pub fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<44}{:>12}{:>12}  {:<8}\n",
        "figure", "value", "bound", "unit"
    );
    for figure in figures {
        let bound = figure.bound.map_or("-".into(), |bound| format!("{bound}"));
        let verdict = if figure.ok { "" } else { "MISSED" };
        text += &format!(
            "{:<44}{:>12}{bound:>12}  {:<8}{verdict}\n",
            figure.name, figure.value, figure.unit
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_at_its_bound_is_well_and_one_above_is_not() {
        assert!(Figure::at_most("a", 0.9, "ratio", 0.9).ok);
        assert!(!Figure::at_most("a", 0.902, "ratio", 0.9).ok);
        assert!(!Figure::at_most("a", f64::NAN, "ratio", 0.9).ok);
        assert!(Figure::told("a", 1e9, "ms").ok);
    }

    #[test]
    fn a_figure_is_one_json_object_with_five_fields() {
        let json = serde_json::to_value(Figure::at_most("a", 0.12345, "ratio", 0.9)).unwrap();
        let expected =
            serde_json::json!({"name":"a","value":0.123,"unit":"ratio","bound":0.9,"ok":true});
        assert_eq!(json, expected);
    }
}
