//! Changes to the headers of a message: an API's, then its route's, made into one list of names
//! that do not pass and one piece of text that is added.

use crate::snapshot::catalog::{Field, HeaderEdits};

/// Changes, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// In lower case, `_` as `-`.
    withheld: Vec<Box<str>>,
    /// Whole field lines.
    added: Vec<u8>,
}

/// No changes.
pub static NONE: Edits = Edits {
    withheld: Vec::new(),
    added: Vec::new(),
};

impl Edits {
    /// Merges checked changes, the later ones on what the earlier ones left.
    pub fn merge(layers: &[&HeaderEdits]) -> Self {
        let mut withheld: Vec<Box<str>> = Vec::new();
        let mut lines: Vec<&Field> = Vec::new();
        for layer in layers {
            let set = layer.set.iter().map(|field| &field.name);
            for name in layer.remove.iter().chain(set) {
                lines.retain(|line| !is_same(&line.name, name));
                if !withheld.iter().any(|known| is_same(known, name)) {
                    withheld.push(folded(name).into());
                }
            }
            lines.extend(layer.set.iter().chain(&layer.add));
        }
        let mut added = Vec::new();
        for line in lines {
            for part in [&line.name, ": ", &line.value, "\r\n"] {
                added.extend_from_slice(part.as_bytes());
            }
        }
        Self { withheld, added }
    }

    /// Whether a header of the message does not pass.
    ///
    /// `_` counts as `-`: to a target that keeps headers in CGI variables both are one, and a
    /// client could bring back what was removed.
    pub fn withhold(&self, name: &str) -> bool {
        self.withheld.iter().any(|own| is_same(own, name))
    }

    /// Whole field lines to be added.
    pub fn added(&self) -> &[u8] {
        &self.added
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
        let merged = Edits::merge(&[&api, &route]);
        for name in ["X-A", "x-b", "X_C"] {
            assert!(merged.withhold(name), "{name}");
        }
        assert!(!merged.withhold("X-D"));
        assert_eq!(
            std::str::from_utf8(merged.added()),
            Ok("X-D: api\r\nx-b: route\r\nX-A: route\r\nX-D: route\r\n")
        );
    }

    #[test]
    fn no_changes_are_none() {
        assert_eq!(Edits::merge(&[&HeaderEdits::default()]), NONE);
    }
}
