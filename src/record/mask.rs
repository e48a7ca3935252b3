//! Which names stand for secrets, and a query string with the values behind them masked.
//!
//! What a parameter is called is judged as a target might read it: escapes decoded, in any case, with
//! or without the brackets of an array. A value is masked as well where it carries a secret of its
//! own: a name and a value that stand for one, as in an address passed along, or one of Keyway's
//! keys. Masking too much costs a detail in a log, too little a secret, so doubt masks. Absent on
//! purpose: bodies; they are never logged.

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// What stands in a secret's place.
pub const MASKED: &[u8] = b"***";

/// Names that stand for secrets wherever they come; a `*` at an end stands for any text.
const SECRETS: [&str; 28] = [
    "*key",
    "key",
    "*token*",
    "*secret*",
    "*password*",
    "*passwd*",
    "*passphrase*",
    "pass",
    "pwd",
    "*signature*",
    "sig",
    "sign",
    "code",
    "*_code",
    "*credential*",
    "auth",
    "*authorization*",
    "*auth",
    "*jwt*",
    "*session*",
    "*sid",
    "*assertion*",
    "*apikey*",
    "otp",
    "pin",
    "*cookie*",
    "bearer",
    "hmac",
];

/// Headers beside those, whose names say nothing of what they carry.
const SECRET_HEADERS: [&str; 2] = ["x-amz-*", "x-forwarded-client-cert"];

/// What begins a key of Keyway's; what begins a JSON Web Token.
const SECRET_VALUES: [&[u8]; 3] = [b"kw_live_", b"kw_test_", b"eyJ"];

/// Parameters that are read of a query; what comes behind them is left out.
const PAIRS_MAX: usize = 64;

/// Names inside of a value that are read; one with more is masked unread.
const INNER_NAMES_MAX: usize = 16;

/// How often an escape may itself be escaped; beyond that a value is masked unread.
const DECODINGS_MAX: usize = 4;

/// A name, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// In lower case.
    text: Box<[u8]>,
    open_start: bool,
    open_end: bool,
}

impl Pattern {
    fn new(written: &str) -> Self {
        let text = written.to_ascii_lowercase();
        let open_start = text.starts_with('*');
        let open_end = text.ends_with('*');
        Self {
            text: text.trim_matches('*').as_bytes().into(),
            open_start,
            open_end,
        }
    }

    /// Whether it matches `name`, which is in lower case.
    fn matches(&self, name: &[u8]) -> bool {
        match (self.open_start, self.open_end) {
            (false, false) => name == &*self.text,
            (true, false) => name.ends_with(&self.text),
            (false, true) => name.starts_with(&self.text),
            (true, true) => memchr::memmem::find(name, &self.text).is_some(),
        }
    }
}

/// Names whose values are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(Vec<Pattern>);

impl Mask {
    /// The names that always are, and these.
    pub fn new<'n>(own: impl Iterator<Item = &'n str>) -> Self {
        Self(SECRETS.into_iter().chain(own).map(Pattern::new).collect())
    }

    /// The headers that always are, and these.
    pub fn of_headers<'n>(own: impl Iterator<Item = &'n str>) -> Self {
        Self::new(SECRET_HEADERS.into_iter().chain(own))
    }

    /// Whether a value behind this name is masked. Names with brackets or dots, such as
    /// `user[password]`, are judged by each of their parts as well.
    pub fn covers(&self, name: &[u8]) -> bool {
        let Some(name) = decoded(name) else {
            return true;
        };
        let name = name.to_ascii_lowercase();
        let name = name.trim_ascii();
        let covers = |part: &[u8]| self.0.iter().any(|pattern| pattern.matches(part));
        let mut parts = name.split(|octet| b"[].".contains(octet));
        covers(name) || parts.any(|part| !part.is_empty() && covers(part))
    }

    /// Whether `value` carries a secret that its own name does not tell of.
    fn covers_inside(&self, value: &[u8]) -> bool {
        let Some(value) = decoded(value) else {
            return true;
        };
        let holds = |word: &[u8]| memchr::memmem::find(&value, word).is_some();
        if SECRET_VALUES.iter().any(|word| holds(word)) {
            return true;
        }
        // `https://h/?token=x`, `{"token":"x"}`, `token: x`
        memchr::memchr2_iter(b'=', b':', &value)
            .zip(0..)
            .any(|(end, count)| {
                let before = value[..end].trim_ascii_end();
                let before = before.strip_suffix(b"\"").unwrap_or(before);
                let word = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_[]".contains(octet);
                let start = before.iter().rposition(|octet| !word(octet));
                let name = &before[start.map_or(0, |at| at + 1)..];
                count >= INNER_NAMES_MAX || (!name.is_empty() && self.covers(name))
            })
    }

    /// Appends `query` with secrets masked.
    pub fn write_query(&self, query: &[u8], out: &mut Vec<u8>) {
        let mut rest = query;
        for _ in 0..PAIRS_MAX {
            // Some targets part at `;` too.
            let end = memchr::memchr2(b'&', b';', rest).unwrap_or(rest.len());
            self.write_pair(&rest[..end], out);
            let Some(separator) = rest.get(end) else {
                return;
            };
            out.push(*separator);
            rest = &rest[end + 1..];
        }
        out.extend_from_slice("…".as_bytes());
    }

    fn write_pair(&self, pair: &[u8], out: &mut Vec<u8>) {
        let Some(end) = memchr::memchr(b'=', pair) else {
            // A word alone may be a value: a key pasted without its name.
            let masks = self.covers_inside(pair);
            out.extend_from_slice(if masks { MASKED } else { pair });
            return;
        };
        let (name, value) = (&pair[..end], &pair[end + 1..]);
        let name_holds = self.covers_inside(name);
        out.extend_from_slice(if name_holds { MASKED } else { name });
        out.push(b'=');
        let masks = !value.is_empty() && (self.covers(name) || self.covers_inside(value));
        out.extend_from_slice(if masks { MASKED } else { value });
    }

    /// A header's value as it may be logged.
    pub fn value<'v>(&self, name: &str, value: &'v [u8]) -> &'v [u8] {
        if self.covers(name.as_bytes()) || self.covers_inside(value) {
            MASKED
        } else {
            value
        }
    }
}

/// Whether `value` holds what looks like one of Keyway's keys or a JSON Web Token.
pub fn is_secret(value: &[u8]) -> bool {
    let holds = |word: &&[u8]| memchr::memmem::find(value, word).is_some();
    SECRET_VALUES.iter().any(holds)
}

/// What a part of a query stands for: escapes decoded until none is left. `None` if there is no end
/// to them.
fn decoded(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..DECODINGS_MAX {
        if memchr::memchr2(b'%', b'+', &text).is_none() {
            return Some(text);
        }
        let once = decoded_once(&text);
        if once == *text {
            return Some(text);
        }
        text = Cow::Owned(once);
    }
    None
}

/// As a form is read: a plus is a space.
fn decoded_once(text: &[u8]) -> Vec<u8> {
    let plain = |octet: &u8| if *octet == b'+' { b' ' } else { *octet };
    let spaced: Vec<u8> = text.iter().map(plain).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask() -> Mask {
        Mask::new(["x-own", "*_private", "tmp*"].into_iter())
    }

    fn masked(query: &str) -> String {
        let mut out = Vec::new();
        mask().write_query(query.as_bytes(), &mut out);
        String::from_utf8(out).expect("text in, text out")
    }

    #[test]
    fn secrets_are_masked_by_their_names_in_any_spelling() {
        for (query, expected) in [
            ("a=1&b=2", "a=1&b=2"),
            ("api_key=SECRET", "api_key=***"),
            ("API_KEY=SECRET&page=2", "API_KEY=***&page=2"),
            ("to%6ben=SECRET", "to%6ben=***"),
            ("to%256ben=SECRET", "to%256ben=***"),
            ("user[password]=SECRET", "user[password]=***"),
            ("user%5Bpassword%5D=SECRET", "user%5Bpassword%5D=***"),
            ("token[]=SECRET&token[]=SECRET", "token[]=***&token[]=***"),
            ("x=1;token=SECRET", "x=1;token=***"),
            ("code=SECRET&zipcode=8000", "code=***&zipcode=8000"),
            ("X-Amz-Signature=SECRET", "X-Amz-Signature=***"),
            ("token=a=SECRET", "token=***"),
            ("token=", "token="),
            (
                "x-own=SECRET&a_private=SECRET&tmp1=SECRET",
                "x-own=***&a_private=***&tmp1=***",
            ),
            ("q=what+is+a+token", "q=what+is+a+token"),
            ("", ""),
            ("&&=&", "&&=&"),
        ] {
            assert_eq!(masked(query), expected, "{query}");
        }
    }

    #[test]
    fn secrets_are_masked_where_no_name_tells_of_them() {
        for (query, expected) in [
            ("kw_live_SECRET", "***"),
            ("q=kw_live_SECRET", "q=***"),
            ("kw_live_abc=1", "***=1"),
            ("id=eyJhbGciOiJIUzI1NiJ9.x.SECRET", "id=***"),
            ("to=https%3A%2F%2Fh%2F%3Ftoken%3DSECRET", "to=***"),
            ("f={%22password%22:%22SECRET%22}", "f=***"),
            (
                "at=12:30:00&to=https://h/a?b=c",
                "at=12:30:00&to=https://h/a?b=c",
            ),
            ("q=%25252525252541", "q=***"),
        ] {
            assert_eq!(masked(query), expected, "{query}");
        }
    }

    #[test]
    fn a_query_of_a_thousand_parameters_is_read_in_part() {
        let text = masked(&"a=1&".repeat(1_000));
        assert_eq!(text, format!("{}…", "a=1&".repeat(PAIRS_MAX)));
    }

    #[test]
    fn headers_that_carry_credentials_are_masked() {
        let mask = Mask::of_headers(std::iter::once("x-partner"));
        for name in [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "Set-Cookie",
            "X-API-Key",
            "x-amz-security-token",
            "X-Auth-Token",
            "x-partner",
            "X-CSRF-Token",
            "apikey",
        ] {
            assert_eq!(mask.value(name, b"SECRET"), MASKED, "{name}");
        }
        assert_eq!(mask.value("x-tenant", b"acme"), b"acme");
        assert_eq!(mask.value("x-tenant", b"kw_live_SECRET"), MASKED);
    }

    /// Any spelling of a name that a target could read as `name`.
    fn spelled(name: &'static str) -> impl Strategy<Value = String> {
        let letters: Vec<_> = name
            .bytes()
            .map(|byte| {
                let upper = byte.to_ascii_uppercase();
                prop_oneof![
                    Just(char::from(byte).to_string()),
                    Just(char::from(upper).to_string()),
                    Just(format!("%{byte:02x}")),
                    Just(format!("%{upper:02X}")),
                    Just(format!("%25{byte:02x}")),
                ]
            })
            .collect();
        letters.prop_map(|letters| letters.concat())
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_secret_name_shows_its_value(
            before in "[a-z0-9=&;%+]{0,20}",
            name in prop_oneof![
                spelled("token"), spelled("api_key"), spelled("password"), spelled("x-own")
            ],
            nested: bool,
            value in "SECRET[a-zA-Z0-9=:/?]{0,20}",
        ) {
            let name = if nested { format!("f[{name}]") } else { name };
            let text = masked(&format!("{before}&{name}={value}&c=1"));
            prop_assert!(!text.contains("SECRET"), "{}", text);
            prop_assert!(text.ends_with("&c=1"));
        }

        #[test]
        fn any_bytes_are_taken(query: Vec<u8>) {
            let mut out = Vec::new();
            mask().write_query(&query, &mut out);
            prop_assert!(out.len() <= query.len() + 3 * PAIRS_MAX + MASKED.len() + 3);
        }
    }
}
