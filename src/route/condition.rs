//! What a route asks of headers and of the query, beside host, path and method.
//!
//! The routes of one pattern share a list of [`Names`]: a request's headers and query are read
//! once into [`Values`], however many routes ask for them, so that the most hostile request costs
//! no more than one pass over its head. Values are compared and nothing else: there is no
//! expression that a caller could make expensive.
//!
//! A header or parameter that comes several times with different values has no value that two
//! servers would agree on: it is there, but it is neither equal to anything nor begins with
//! anything.

use crate::parse::headers::is_hop_by_hop;
use crate::parse::octets;
use crate::snapshot::catalog;

mod values;

use values::Value;
pub(super) use values::{Names, Values};

/// Most conditions of one route.
pub const CONDITIONS_MAX: usize = 8;
/// Most different headers, and most different query parameters, that the routes of one pattern
/// may ask for.
pub const NAMES_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 256;

/// What is wrong with a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    /// Not the name of a header.
    #[error("a condition names a header of 1 to {NAME_BYTES_MAX} letters, digits and dashes")]
    HeaderName,
    /// Not the name of a query parameter.
    #[error("a condition names a query parameter of 1 to {NAME_BYTES_MAX} printable characters")]
    QueryName,
    /// A header that is not about the request, or that holds a secret.
    #[error(
        "routes are not told apart by this header: it frames the message, carries a key or \
             is the gateway's own; use `hosts`, or a header of your own"
    )]
    HeaderReserved,
    /// Two ways to compare one value.
    #[error("write `exact` or `prefix`, not both")]
    TwoTests,
    /// Every value begins with nothing.
    #[error("an empty `prefix` says nothing: leave it out, and the name must only be there")]
    EmptyPrefix,
    /// A value that no request can have.
    #[error("a value has at most {VALUE_BYTES_MAX} bytes, none of them a control character")]
    Value,
    /// The same name twice.
    #[error("an earlier condition of this route has the same name")]
    Repeated,
    /// More than a request is compared with.
    #[error("a route has at most {CONDITIONS_MAX} conditions")]
    TooMany,
}

/// Where a value stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Header,
    Query,
}

/// What a value must be; the strictest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// This version, in its header.
    Version(Box<[u8]>),
    /// This version in its header, or no such header.
    VersionOrAbsent(Box<[u8]>),
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Present,
}

impl Test {
    pub fn is_version(&self) -> bool {
        matches!(self, Self::Version(_) | Self::VersionOrAbsent(_))
    }

    fn is_exact(&self) -> bool {
        self.is_version() || matches!(self, Self::Exact(_))
    }

    /// Some request passes both, and nothing says which one is meant.
    fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::VersionOrAbsent(_), Self::VersionOrAbsent(_)) => true,
            (
                Self::Version(left) | Self::VersionOrAbsent(left) | Self::Exact(left),
                Self::Version(right) | Self::VersionOrAbsent(right) | Self::Exact(right),
            ) => left == right,
            _ => self == other,
        }
    }

    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::VersionOrAbsent(_), Value::Absent) => true,
            (_, Value::Absent) => false,
            (Self::Present, _) => true,
            (_, Value::Several) => false,
            (
                Self::Version(wanted) | Self::VersionOrAbsent(wanted) | Self::Exact(wanted),
                Value::One(value),
            ) => *value == **wanted,
            (Self::Prefix(wanted), Value::One(value)) => value.starts_with(wanted),
        }
    }
}

/// One condition, by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition {
    pub place: Place,
    /// In lower case for a header.
    pub name: Box<str>,
    pub test: Test,
}

/// All conditions of a route, in one order for every way to write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions(Vec<Condition>);

/// How special conditions are: the greater, the earlier they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    all: usize,
    headers: usize,
    exact: usize,
    prefix: usize,
}

/// Where a fault is: the list's name and the place in it.
pub(super) type FaultAt = (&'static str, usize, ConditionFault);

impl Conditions {
    /// Checks conditions as written; `version` is the one that the API's version makes.
    pub fn new(
        headers: &[catalog::Condition],
        query: &[catalog::Condition],
        version: Option<&Condition>,
    ) -> Result<Self, FaultAt> {
        let mut all: Vec<Condition> = version.into_iter().cloned().collect();
        let lists = [
            ("headers", Place::Header, headers),
            ("query", Place::Query, query),
        ];
        for (list, place, written) in lists {
            for (at, written) in written.iter().enumerate() {
                let condition =
                    Condition::new(place, written).map_err(|fault| (list, at, fault))?;
                if all.iter().any(|other| other.is_same(&condition)) {
                    return Err((list, at, ConditionFault::Repeated));
                }
                if all.len() == CONDITIONS_MAX {
                    return Err((list, at, ConditionFault::TooMany));
                }
                all.push(condition);
            }
        }
        all.sort();
        Ok(Self(all))
    }

    pub fn rank(&self) -> Rank {
        let count = |of: fn(&Condition) -> bool| self.0.iter().filter(|one| of(one)).count();
        Rank {
            all: self.0.len(),
            headers: count(|one| one.place == Place::Header),
            exact: count(|one| one.test.is_exact()),
            prefix: count(|one| matches!(one.test, Test::Prefix(_))),
        }
    }

    /// Nothing tells routes with these conditions apart.
    pub fn collide(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(left, right)| left.is_same(right) && left.test.collides(&right.test))
    }

    /// The conditions by the places of their names; `None` if there are too many names.
    pub fn bind(&self, names: &mut Names) -> Option<Box<[Bound]>> {
        let bind = |condition: &Condition| {
            Some(Bound {
                place: condition.place,
                name: names.place_of(condition.place, &condition.name)?,
                test: condition.test.clone(),
            })
        };
        self.0.iter().map(bind).collect()
    }
}

impl Condition {
    /// The condition that a version in the header `name` makes.
    pub fn version(name: &str, version: &str, default: bool) -> Result<Self, ConditionFault> {
        let value = version.as_bytes().into();
        Ok(Self {
            place: Place::Header,
            name: header_name(name)?,
            test: if default {
                Test::VersionOrAbsent(value)
            } else {
                Test::Version(value)
            },
        })
    }

    fn new(place: Place, written: &catalog::Condition) -> Result<Self, ConditionFault> {
        let name = match place {
            Place::Header => header_name(&written.name)?,
            Place::Query => query_name(&written.name)?,
        };
        let test = match (&written.exact, &written.prefix) {
            (Some(_), Some(_)) => return Err(ConditionFault::TwoTests),
            (Some(value), None) => Test::Exact(checked_value(value)?),
            (None, Some(value)) if value.is_empty() => return Err(ConditionFault::EmptyPrefix),
            (None, Some(value)) => Test::Prefix(checked_value(value)?),
            (None, None) => Test::Present,
        };
        Ok(Self { place, name, test })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.place == other.place && self.name == other.name
    }
}

fn header_name(name: &str) -> Result<Box<str>, ConditionFault> {
    if name.len() > NAME_BYTES_MAX || !octets::is_token(name.as_bytes()) {
        return Err(ConditionFault::HeaderName);
    }
    let name = name.to_ascii_lowercase();
    let framing = is_hop_by_hop(&name)
        || matches!(
            name.as_str(),
            "host" | "expect" | "content-length" | "forwarded" | "via"
        );
    let secret = matches!(name.as_str(), "authorization" | "x-api-key" | "cookie");
    let own = name.starts_with("keyway-") || name.starts_with("x-forwarded-");
    if framing || secret || own {
        return Err(ConditionFault::HeaderReserved);
    }
    Ok(name.into())
}

fn query_name(name: &str) -> Result<Box<str>, ConditionFault> {
    let printable = |character: char| !character.is_control();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(printable) {
        return Err(ConditionFault::QueryName);
    }
    Ok(name.into())
}

fn checked_value(value: &str) -> Result<Box<[u8]>, ConditionFault> {
    if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        return Err(ConditionFault::Value);
    }
    Ok(value.as_bytes().into())
}

/// A condition whose name is a place in [`Names`].
#[derive(Clone, Debug)]
pub(super) struct Bound {
    place: Place,
    name: usize,
    test: Test,
}

impl Bound {
    pub fn is_version(&self) -> bool {
        self.test.is_version()
    }

    pub fn is_header(&self) -> bool {
        self.place == Place::Header
    }

    pub fn holds(&self, values: &Values<'_>) -> bool {
        self.test.holds(values.of(self.place, self.name))
    }
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;

    fn written(name: &str, exact: Option<&str>, prefix: Option<&str>) -> catalog::Condition {
        catalog::Condition {
            name: name.to_owned(),
            exact: exact.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
        }
    }

    #[test]
    fn a_query_is_compared_by_what_it_stands_for() {
        let long = "a".repeat(VALUE_BYTES_MAX);
        let longer = format!("{long}a");
        for (query, exact, prefix, expected) in [
            ("k=a", Some("a"), None, true),
            ("k=%61", Some("a"), None, true),
            ("%6b=a", Some("a"), None, true),
            ("k=a+b", Some("a b"), None, true),
            ("k=a%20b", Some("a b"), None, true),
            ("k=a%2bb", Some("a+b"), None, true),
            ("k=a%2bb", Some("a b"), None, false),
            ("k=a=b", Some("a=b"), None, true),
            ("k=ab", Some("a"), None, false),
            ("k=ab", None, Some("a"), true),
            ("k=", None, Some("a"), false),
            ("k=%", Some("%"), None, true),
            ("k=%4", Some("%4"), None, true),
            ("k", Some(""), None, true),
            ("k", None, None, true),
            ("kk=a&a=k", None, None, false),
            ("x=1&k=a&k=a", Some("a"), None, true),
            (&format!("k={long}"), Some(&long), None, true),
            (&format!("k={longer}"), Some(&long), None, false),
            (&format!("k={longer}"), None, Some(&long), true),
        ] {
            let mut names = Names::default();
            let written = [written("k", exact, prefix)];
            let conditions = Conditions::new(&[], &written, None).expect("well-formed");
            let bound = conditions.bind(&mut names).expect("room");
            let values = Values::read(&names, &[], Some(query));
            assert_eq!(
                bound[0].holds(&values),
                expected,
                "{query} {exact:?} {prefix:?}"
            );
        }
    }

    #[test]
    fn a_value_said_twice_in_two_ways_is_no_value() {
        let mut names = Names::default();
        let conditions = |exact| {
            Conditions::new(&[written("X-Kind", exact, None)], &[], None).expect("well-formed")
        };
        let (equal, there) = (conditions(Some("a")), conditions(None));
        let equal = equal.bind(&mut names).expect("room");
        let there = there.bind(&mut names).expect("room");
        for (sent, is_equal, is_there) in [
            (&["a"][..], true, true),
            (&["a", "a"], true, true),
            (&["a", "b"], false, true),
            (&["b", "a"], false, true),
            (&[], false, false),
        ] {
            let headers: Vec<Header<'_>> = sent
                .iter()
                .map(|value| Header {
                    name: "x-kind",
                    value: value.as_bytes(),
                })
                .collect();
            let values = Values::read(&names, &headers, None);
            assert_eq!(equal[0].holds(&values), is_equal, "{sent:?}");
            assert_eq!(there[0].holds(&values), is_there, "{sent:?}");
        }
    }

    #[test]
    fn conditions_that_make_no_sense_are_refused() {
        for (condition, fault) in [
            (written("a b", None, None), ConditionFault::HeaderName),
            (written("", None, None), ConditionFault::HeaderName),
            (
                written("Authorization", None, None),
                ConditionFault::HeaderReserved,
            ),
            (
                written("Host", Some("a"), None),
                ConditionFault::HeaderReserved,
            ),
            (
                written("Keyway-Plan", Some("a"), None),
                ConditionFault::HeaderReserved,
            ),
            (
                written("X-A", Some("a"), Some("a")),
                ConditionFault::TwoTests,
            ),
            (written("X-A", None, Some("")), ConditionFault::EmptyPrefix),
            (written("X-A", Some("a\n"), None), ConditionFault::Value),
        ] {
            let refused = Conditions::new(std::slice::from_ref(&condition), &[], None);
            assert_eq!(refused, Err(("headers", 0, fault)), "{condition:?}");
        }
        let twice = [written("X-A", None, None), written("x-a", Some("b"), None)];
        let refused = Conditions::new(&twice, &[], None);
        assert_eq!(refused, Err(("headers", 1, ConditionFault::Repeated)));
    }
}
