//! What a request says under the names that conditions ask for, read once for all of them.

use httparse::Header;

use super::{NAME_BYTES_MAX, NAMES_MAX, Place, VALUE_BYTES_MAX};
use crate::parse::headers::same_name;
use crate::route::path::first_octet;

/// The names that the routes of one pattern ask for.
#[derive(Debug, Default)]
pub(in crate::route) struct Names {
    headers: Vec<Box<str>>,
    query: Vec<Box<str>>,
}

impl Names {
    pub fn place_of(&mut self, place: Place, name: &str) -> Option<usize> {
        let list = match place {
            Place::Header => &mut self.headers,
            Place::Query => &mut self.query,
        };
        let known = list.iter().position(|known| **known == *name);
        if known.is_none() && list.len() < NAMES_MAX {
            list.push(name.into());
            return Some(list.len() - 1);
        }
        known
    }
}

/// The value of one name in a request.
#[derive(Clone, Copy)]
pub(in crate::route) enum Value<'r> {
    Absent,
    One(&'r [u8]),
    /// It comes more than once, with different values.
    Several,
}

impl<'r> Value<'r> {
    fn add(&mut self, value: &'r [u8]) {
        *self = match *self {
            Self::Absent => Self::One(value),
            Self::One(first) if first == value => Self::One(first),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// What a request says under the names that are asked for.
pub(in crate::route) struct Values<'r> {
    headers: [Value<'r>; NAMES_MAX],
    query: [Value<'r>; NAMES_MAX],
    /// What the values in the query stand for.
    plain: [Plain<{ VALUE_BYTES_MAX + 1 }>; NAMES_MAX],
}

impl<'r> Values<'r> {
    /// One pass over headers and query.
    pub fn read(names: &Names, headers: &'r [Header<'r>], query: Option<&'r str>) -> Self {
        let mut values = Self {
            headers: [Value::Absent; NAMES_MAX],
            query: [Value::Absent; NAMES_MAX],
            plain: [Plain::EMPTY; NAMES_MAX],
        };
        if !names.headers.is_empty() {
            for header in headers {
                for (slot, name) in values.headers.iter_mut().zip(&names.headers) {
                    if same_name(header.name, name) {
                        slot.add(header.value);
                    }
                }
            }
        }
        if let Some(query) = query.filter(|_| !names.query.is_empty()) {
            values.read_query(&names.query, query);
        }
        values
    }

    fn read_query(&mut self, names: &[Box<str>], query: &'r str) {
        let mut plain = Plain::<{ NAME_BYTES_MAX + 1 }>::EMPTY;
        for pair in query.as_bytes().split(|octet| *octet == b'&') {
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at(end);
            let name = if is_plain(name) {
                name
            } else {
                plain.decode(name)
            };
            let place = names.iter().position(|own| own.as_bytes() == name);
            if let Some(place) = place {
                self.query[place].add(value.get(1..).unwrap_or_default());
            }
        }
        for (slot, plain) in self.query.iter().zip(&mut self.plain) {
            if let Value::One(value) = slot {
                plain.decode(value);
            }
        }
    }

    pub fn of(&self, place: Place, name: usize) -> Value<'_> {
        match place {
            Place::Header => self.headers[name],
            Place::Query => match self.query[name] {
                Value::One(_) => Value::One(self.plain[name].octets()),
                other => other,
            },
        }
    }
}

/// The first octets that a part of a query stands for: escapes decoded, `+` a space, as every form
/// is sent. One octet more than any that it is compared with.
#[derive(Clone, Copy)]
struct Plain<const BYTES_MAX: usize> {
    octets: [u8; BYTES_MAX],
    count: usize,
}

impl<const BYTES_MAX: usize> Plain<BYTES_MAX> {
    const EMPTY: Self = Self {
        octets: [0; BYTES_MAX],
        count: 0,
    };

    fn decode(&mut self, mut text: &[u8]) -> &[u8] {
        self.count = 0;
        while let (Some(slot), Some((octet, behind))) =
            (self.octets.get_mut(self.count), first_octet(text))
        {
            let is_space = text[0] == b'+';
            *slot = if is_space { b' ' } else { octet };
            self.count += 1;
            text = behind;
        }
        self.octets()
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.count]
    }
}

/// Nothing in this part of a query stands for something else.
fn is_plain(text: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', text).is_none()
}
