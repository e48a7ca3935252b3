//! Changes to the headers of a message: an API's, then its route's.
//!
//! A route keeps its own changes and shares its API's: a catalog that changes many headers for
//! many routes takes no more memory than it takes to say so.

use std::sync::Arc;

use crate::snapshot::catalog::{Field, HeaderEdits};

/// Changes, on top of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    under: Option<Arc<Edits>>,
    /// In lower case, `_` as `-`.
    withheld: Vec<Box<str>>,
    added: Vec<Line>,
}

/// No changes.
pub static NONE: Edits = Edits {
    under: None,
    withheld: Vec::new(),
    added: Vec::new(),
};

/// A header with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    name_bytes: usize,
    /// The whole field line.
    text: Box<str>,
}

impl Line {
    /// The line of a checked field.
    pub fn new(field: &Field) -> Self {
        Self {
            name_bytes: field.name.len(),
            text: format!("{}: {}\r\n", field.name, field.value).into(),
        }
    }

    fn name(&self) -> &str {
        &self.text[..self.name_bytes]
    }
}

impl Edits {
    /// Checked changes by themselves.
    pub fn new(entry: &HeaderEdits) -> Self {
        let set = entry.set.iter().map(|field| &field.name);
        let withheld = entry.remove.iter().chain(set);
        Self {
            under: None,
            withheld: withheld.map(|name| folded(name).into()).collect(),
            added: entry.set.iter().chain(&entry.add).map(Line::new).collect(),
        }
    }

    /// The same on top of `under`.
    pub fn over(self, under: &Arc<Self>) -> Self {
        let under = (**under != NONE).then(|| Arc::clone(under));
        Self { under, ..self }
    }

    /// Whether a header of the message does not pass.
    ///
    /// `_` counts as `-`: to a target that keeps headers in CGI variables both are one, and a
    /// client could bring back what was removed.
    pub fn withhold(&self, name: &str) -> bool {
        self.withheld.iter().any(|own| is_same(own, name))
            || self
                .under
                .as_ref()
                .is_some_and(|under| under.withhold(name))
    }

    /// Appends those of `lines` that pass.
    pub fn write_passing(&self, lines: &[Line], out: &mut Vec<u8>) {
        for line in lines.iter().filter(|line| !self.withhold(line.name())) {
            out.extend_from_slice(line.text.as_bytes());
        }
    }

    /// Appends what is added: what lies under these changes as far as they leave it.
    pub fn write_added(&self, out: &mut Vec<u8>) {
        if let Some(under) = &self.under {
            let passes = |line: &&Line| !self.withheld.iter().any(|own| is_same(own, line.name()));
            for line in under.added.iter().filter(passes) {
                out.extend_from_slice(line.text.as_bytes());
            }
        }
        for line in &self.added {
            out.extend_from_slice(line.text.as_bytes());
        }
    }
}

fn fold(octet: u8) -> u8 {
    match octet {
        b'_' => b'-',
        octet => octet.to_ascii_lowercase(),
    }
}

fn folded(name: &str) -> String {
    name.bytes().map(|octet| char::from(fold(octet))).collect()
}

/// Whether two names are one to every server.
pub fn is_same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .all(|(left, right)| fold(left) == fold(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderEdits {
        let fields = |list: &[(&str, &str)]| {
            let field = |(name, value): &(&str, &str)| Field {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            };
            list.iter().map(field).collect()
        };
        HeaderEdits {
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
            set: fields(set),
            add: fields(add),
        }
    }

    #[test]
    fn a_routes_changes_come_on_top_of_its_apis() {
        let api = edits(
            &["X-A"],
            &[("X-B", "api")],
            &[("X-C", "api"), ("X-D", "api")],
        );
        let route = edits(
            &["x-c"],
            &[("x-b", "route")],
            &[("X-A", "route"), ("X-D", "route")],
        );
        let merged = Edits::new(&route).over(&Arc::new(Edits::new(&api)));
        for name in ["X-A", "x-b", "X_C"] {
            assert!(merged.withhold(name), "{name}");
        }
        assert!(!merged.withhold("X-D"));
        let mut added = Vec::new();
        merged.write_added(&mut added);
        assert_eq!(
            std::str::from_utf8(&added),
            Ok("X-D: api\r\nx-b: route\r\nX-A: route\r\nX-D: route\r\n")
        );
    }

    #[test]
    fn no_changes_are_none() {
        let none = Edits::new(&HeaderEdits::default());
        assert_eq!(none.clone().over(&Arc::new(none)), NONE);
    }
}
