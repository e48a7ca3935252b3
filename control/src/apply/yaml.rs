//! `gateway.yaml` read: every fault with its path and its line.
//!
//! Absent on purpose: meaning. That is checked after reading, here or by the server, and
//! [`Lines`] tells where in the file a path of such a fault stands.

use super::RawGateway;
use crate::domain::Invalid;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Options, Spanned};
use std::fmt;

/// Largest file, bytes; the server takes as much.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// Why a file could not be read as a gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", place(*.line, .path))]
pub struct YamlError {
    /// Line in the file, from 1; none: not known.
    pub line: Option<u64>,
    /// Path inside the document; empty: the whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// `line 3, apis[0].routes: `, as far as known.
pub fn place(line: Option<u64>, path: &str) -> String {
    match (line, path) {
        (Some(line), "") => format!("line {line}: "),
        (Some(line), path) => format!("line {line}, {path}: "),
        (None, "") => String::new(),
        (None, path) => format!("{path}: "),
    }
}

/// How YAML is read: `true` and `false` are the only flags, a file of [`FILE_BYTES_MAX`] fits, and
/// aliases do not grow it beyond reason.
fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_events: 20_000_000, max_nodes: 20_000_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
    }
}

/// Reads a document.
pub fn read(text: &str) -> Result<RawGateway, YamlError> {
    let mut path = String::new();
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |reader| {
        serde_path_to_error::deserialize(reader).map_err(|error| {
            path = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let line = error
            .location()
            .map(|location| location.line())
            .filter(|&line| line > 0);
        let text = error.without_snippet().to_string();
        // The place comes first here, for every kind of fault alike.
        let problem = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(problem, _)| problem);
        let path = if path == "." { String::new() } else { path };
        YamlError {
            line,
            path,
            problem: problem.to_owned(),
        }
    })
}

/// Where in a file each value stands.
#[derive(Debug)]
pub struct Lines(Option<Spanned<Node>>);

impl Lines {
    /// The lines of a document; of a text that is none, no line is known.
    pub fn of(text: &str) -> Self {
        Self(serde_saphyr::from_str_with_options(text, options()).ok())
    }

    /// The line of the value at a path such as `apis[0].routes[1].path`, or of the innermost
    /// value around it that the file has.
    pub fn line(&self, path: &str) -> Option<u64> {
        let mut node = self.0.as_ref()?;
        let mut line = None;
        for part in path
            .split(['.', '['])
            .map(|part| part.trim_end_matches(']'))
        {
            if part.is_empty() {
                continue;
            }
            let inner = match &node.value {
                Node::Map(entries) => {
                    entries
                        .iter()
                        .find(|(name, _)| name.value == part)
                        .map(|(name, value)| {
                            // A key stands on the line that a reader looks for, its value maybe below.
                            line = Some(name.referenced.line());
                            value
                        })
                }
                Node::List(items) => part
                    .parse()
                    .ok()
                    .and_then(|at: usize| items.get(at))
                    .inspect(|item| {
                        line = Some(item.referenced.line());
                    }),
                Node::Leaf => None,
            };
            match inner {
                Some(inner) => node = inner,
                None => break,
            }
        }
        line.filter(|&line| line > 0)
    }

    /// A fault of meaning, with its line.
    pub fn locate(&self, invalid: Invalid) -> YamlError {
        YamlError {
            line: self.line(&invalid.path),
            path: invalid.path,
            problem: invalid.problem,
        }
    }
}

/// A document without its values.
#[derive(Debug)]
enum Node {
    Leaf,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! leaves {
    ($($visit:ident: $ty:ty),*) => {
        $(fn $visit<E>(self, _: $ty) -> Result<Node, E> {
            Ok(Node::Leaf)
        })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    leaves! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64, visit_str: &str, visit_bytes: &[u8]
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        inner.deserialize_any(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "\
# Comments and blank lines count as lines.

upstreams:
  - name: orders-origin
    targets: [\"127.0.0.1:9000\"]
apis:
  - name: orders
    upstream: orders-origin
    routes:
      - { path: \"/orders/*\", methods: [GET, POST] }
      - path: //
tenants:
  - name: acme
    apps:
      - name: mobile
";

    #[test]
    fn a_path_is_found_on_its_line() {
        let lines = Lines::of(SOUND);
        for (path, line) in [
            ("upstreams[0].targets[0]", 5),
            ("apis[0].routes[0].methods[1]", 10),
            ("apis[0].routes[1].path", 11),
            ("apis[0].credential.header", 7),
            ("tenants[0].apps[0].subscriptions", 15),
        ] {
            assert_eq!(lines.line(path), Some(line), "{path}");
        }
        assert_eq!(lines.line("plans[0]"), None);
        assert_eq!(Lines::of("a: [").line("a"), None);
    }

    #[test]
    fn a_fault_of_form_tells_path_and_line() {
        for (text, line, path, problem) in [
            (
                "apis:\n  - name: a\n    routs: []\n",
                3,
                "apis[0].routs",
                "unknown field `routs`",
            ),
            (
                "plans:\n  - name: p\n    limits: 3\n",
                3,
                "plans[0].limits",
                "expected sequence",
            ),
            (
                "plans:\n  - name: p\n    name: q\n",
                3,
                "plans[0]",
                "duplicate",
            ),
            (
                "plans: []\n---\nplans: []\n",
                3,
                "",
                "multiple YAML documents",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.line, Some(line), "{text}");
            assert!(error.path.starts_with(path), "{text}: {error}");
            assert!(error.problem.starts_with(problem), "{text}: {error}");
            assert!(!error.problem.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(
            read("# nothing yet\n").expect("empty"),
            RawGateway::default()
        );
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let alias = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 10].join(", "));
        }
        assert_eq!(Lines::of(&text).line("a1"), None);
        assert!(read(&text).is_err());
    }
}
