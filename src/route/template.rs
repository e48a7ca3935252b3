//! Paths made from the path that matched: for rewriting and for redirects.
//!
//! A template is written like a route's pattern: literals, `{id}` for the segment that the
//! pattern's own `{id}` matched, `*` at the end for what its own `*` matched. It is made of whole
//! segments only, each of them either checked with the catalog or part of a path that passed
//! [`check_path`](super::path::check_path): so the path that it makes passes it too, and a caller
//! cannot make one that is read differently from the one that was judged.

use crate::route::PatternFault;
use crate::route::pattern::{self, Segment};

/// What is wrong with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// It is not of the form that patterns have.
    #[error("{0}")]
    Pattern(#[from] PatternFault),
    /// A parameter that the route's path does not have, or has twice.
    #[error("a parameter here is one that the route's path has, once")]
    ParameterUnknown,
    /// A `*` though the route's path has none.
    #[error("`*` stands for what the `*` of the route's path matched, and it has none")]
    RestUnknown,
    /// A parameter that comes twice: a long one would make the path many times as long.
    #[error("a parameter stands here once at most")]
    ParameterRepeated,
}

/// One part of the path to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A segment as it is.
    Literal(Box<str>),
    /// The request's segment at this place.
    Segment(usize),
    /// The request's path from this segment on, if it goes on.
    Rest(usize),
}

/// A template, ready to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

impl Template {
    /// Checks a template for a route with the path `pattern`, before which a request's path has
    /// `before` more segments: its version.
    pub fn new(template: &str, pattern: &str, before: usize) -> Result<Self, TemplateFault> {
        let matched = pattern::parse(pattern)?;
        let mut parts = Vec::new();
        let texts = template.split('/').skip(1);
        for (segment, text) in pattern::parse(template)?.iter().zip(texts) {
            let part = match segment {
                Segment::Literal(_) => Part::Literal(text.into()),
                Segment::Parameter(_) => Part::Segment(before + place_of(segment, &matched)?),
                Segment::Rest if matched.last() == Some(&Segment::Rest) => {
                    Part::Rest(before + matched.len() - 1)
                }
                Segment::Rest => return Err(TemplateFault::RestUnknown),
            };
            if matches!(part, Part::Segment(_)) && parts.contains(&part) {
                return Err(TemplateFault::ParameterRepeated);
            }
            parts.push(part);
        }
        Ok(Self {
            parts: parts.into(),
        })
    }

    /// Appends the path made from `path`, which matched the route.
    pub fn write(&self, path: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for part in &self.parts {
            let text = match part {
                Part::Literal(text) => Some(&**text),
                Part::Segment(place) => from_segment(path, *place)
                    .map(|rest| rest.split_once('/').map_or(rest, |(segment, _)| segment)),
                Part::Rest(place) => from_segment(path, *place),
            };
            if let Some(text) = text {
                out.push(b'/');
                out.extend_from_slice(text.as_bytes());
            }
        }
        if out.len() == start {
            out.push(b'/');
        }
    }
}

fn place_of(parameter: &Segment, matched: &[Segment]) -> Result<usize, TemplateFault> {
    let mut places = (0..matched.len()).filter(|place| matched[*place] == *parameter);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        _ => Err(TemplateFault::ParameterUnknown),
    }
}

/// The path from its segment `place` on, without the slash before it; `None` if it ends earlier.
fn from_segment(path: &str, place: usize) -> Option<&str> {
    let slash = memchr::memchr_iter(b'/', path.as_bytes()).nth(place)?;
    path.get(slash + 1..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::path::check_path;

    fn made(template: &str, pattern: &str, path: &str) -> String {
        let mut out = b"GET ".to_vec();
        let template = Template::new(template, pattern, 0).expect("well-formed");
        template.write(path, &mut out);
        String::from_utf8(out).expect("text")[4..].to_owned()
    }

    #[test]
    fn a_path_is_made_from_what_matched() {
        for (template, pattern, path, expected) in [
            ("/new", "/old", "/old", "/new"),
            ("/*", "/api/*", "/api/a/b", "/a/b"),
            ("/*", "/api/*", "/api/a/", "/a/"),
            ("/*", "/api/*", "/api/", "/"),
            ("/*", "/api/*", "/api", "/"),
            ("/v2/*", "/api/*", "/api", "/v2"),
            ("/v2/*", "/api/*", "/api/", "/v2/"),
            ("/v2/*", "/*", "/", "/v2/"),
            ("/", "/api/*", "/api/a", "/"),
            ("/x/", "/api/*", "/api/a", "/x/"),
            ("/u/{id}/o/{order}", "/{order}/{id}", "/7/8", "/u/8/o/7"),
            ("/{id}/*", "/users/{id}/*", "/users/5/a/b%20c", "/5/a/b%20c"),
            ("/caf%C3%A9/{id}", "/{id}", "/%c3%a9", "/caf%C3%A9/%c3%a9"),
        ] {
            assert_eq!(
                made(template, pattern, path),
                expected,
                "{template} {pattern} {path}"
            );
        }
    }

    #[test]
    fn a_version_before_the_path_counts_as_a_segment() {
        let template = Template::new("/o/{id}/*", "/orders/{id}/*", 1).expect("well-formed");
        let mut out = Vec::new();
        template.write("/v2/orders/7/lines", &mut out);
        assert_eq!(out, b"/o/7/lines");
    }

    #[test]
    fn templates_that_cannot_be_filled_are_refused() {
        for (template, pattern, fault) in [
            ("new", "/old", PatternFault::NotAbsolute.into()),
            ("//evil.example", "/old", PatternFault::Unsafe.into()),
            ("/a/../b", "/old", PatternFault::Unsafe.into()),
            ("/a?b=c", "/old", PatternFault::Unsafe.into()),
            ("/x-{id}", "/{id}", PatternFault::ParameterMalformed.into()),
            ("/{id}", "/{other}", TemplateFault::ParameterUnknown),
            ("/{id}", "/{id}/x/{id}", TemplateFault::ParameterUnknown),
            ("/{id}/{id}", "/{id}", TemplateFault::ParameterRepeated),
            ("/*", "/{id}", TemplateFault::RestUnknown),
        ] {
            assert_eq!(
                Template::new(template, pattern, 0),
                Err(fault),
                "{template}"
            );
        }
    }

    fn texts(of: &'static [&'static str]) -> impl Strategy<Value = String> {
        let ends = prop::sample::select(&["", "/", "/*"][..]);
        (prop::collection::vec(prop::sample::select(of), 0..5), ends).prop_map(|(segments, end)| {
            let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
            match path + end {
                path if path.is_empty() => "/".to_owned(),
                path => path,
            }
        })
    }

    const SEGMENTS: &[&str] = &[
        "a",
        "..a",
        "%2ea",
        "a;b",
        "...",
        "%2e%2e%2e",
        "%253a",
        "caf%c3%a9",
        "a%20b",
        ";x",
        ":",
        "~.",
        "..",
        "%2e;",
    ];

    proptest! {
        /// Whatever the request, the path that is made is one that the router would have let in.
        #[test]
        fn a_made_path_is_as_safe_as_the_one_that_matched(
            template in texts(&["a", "..", "%2e", "b;c", "{p}", "{q}", "caf%C3%A9"]),
            pattern in texts(&["a", "{p}", "{q}"]),
            filling in prop::collection::vec(prop::sample::select(SEGMENTS), 1..8),
            end in prop::sample::select(&["", "/"][..]),
        ) {
            let mut filling = filling.into_iter();
            let mut path = String::new();
            for segment in pattern.split('/').skip(1) {
                let wanted = if segment == "*" { 3 } else { 1 };
                let is_literal = segment == "a" || segment.is_empty();
                for text in filling.by_ref().take(wanted) {
                    path.push('/');
                    path += if is_literal { segment } else { text };
                }
            }
            path += end;
            prop_assume!(check_path(&path).is_ok());
            prop_assume!(crate::route::matcher::tests::path_rank(&pattern, &path).is_some());
            let Ok(template) = Template::new(&template, &pattern, 0) else {
                return Ok(());
            };
            let mut out = Vec::new();
            template.write(&path, &mut out);
            let made = String::from_utf8(out).expect("text");
            prop_assert_eq!(check_path(&made), Ok(()), "{} from {}", made, path);
        }
    }
}
