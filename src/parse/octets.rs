//! Classes of octets, one table lookup each.
//!
//! The grammars of RFC 9110, RFC 9112 and RFC 3986 are made of a dozen character sets. They are
//! compiled into one table of flags, so that no two parsers of ours can disagree on a set.

/// `tchar` of RFC 9110, section 5.6.2: what methods, header names and list tokens are made of.
pub(crate) const TOKEN: u8 = 1;
/// `HTAB / SP / VCHAR / obs-text` of RFC 9110, section 5.5: what header values are made of.
pub(crate) const FIELD: u8 = 1 << 1;
/// `qdtext` of RFC 9110, section 5.6.4: what stands unescaped in a quoted string.
pub(crate) const QUOTED: u8 = 1 << 2;
/// What a request target may hold: visible ASCII without `#`. A fragment never leaves a client.
pub(crate) const TARGET: u8 = 1 << 3;
/// What a host name may hold here: `unreserved` of RFC 3986. Its `reg-name` also allows escapes
/// and sub-delimiters, but no such name resolves, and `,` or `%` in `Host` is a known way to make
/// two servers see two hosts.
pub(crate) const HOST: u8 = 1 << 4;
/// `pchar` of RFC 3986, section 3.3, with the `%` of an escape: what a path segment is made of.
pub(crate) const PATH: u8 = 1 << 5;

/// True if `octet` belongs to one of the sets in `class`.
pub(crate) const fn is(octet: u8, class: u8) -> bool {
    CLASSES[octet as usize] & class != 0
}

/// True if every octet of `text` belongs to one of the sets in `class`.
pub(crate) fn all(text: &[u8], class: u8) -> bool {
    text.iter().all(|octet| is(*octet, class))
}

/// True for a non-empty `token`.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

/// The value of a hexadecimal digit.
pub(crate) const fn hex_value(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

const fn classes_of(octet: u8) -> u8 {
    let alphanumeric = octet.is_ascii_alphanumeric();
    let unreserved = alphanumeric || matches!(octet, b'-' | b'.' | b'_' | b'~');
    let sub_delimiter = matches!(
        octet,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
    );
    let mut classes = 0;
    if unreserved
        || matches!(
            octet,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        )
        || matches!(octet, b'^' | b'`' | b'|')
    {
        classes |= TOKEN;
    }
    if octet == b'\t' || octet == b' ' || octet.is_ascii_graphic() || octet >= 0x80 {
        classes |= FIELD;
        if octet != b'"' && octet != b'\\' {
            classes |= QUOTED;
        }
    }
    if octet.is_ascii_graphic() && octet != b'#' {
        classes |= TARGET;
    }
    if unreserved {
        classes |= HOST;
    }
    if unreserved || sub_delimiter || matches!(octet, b':' | b'@' | b'%') {
        classes |= PATH;
    }
    classes
}

const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet: u8 = 0;
    loop {
        table[octet as usize] = classes_of(octet);
        if octet == u8::MAX {
            break table;
        }
        octet += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of a class as text, in order.
    fn ascii_of(class: u8) -> String {
        (0..0x80)
            .filter(|octet| is(*octet, class))
            .map(char::from)
            .collect()
    }

    #[test]
    fn the_sets_are_those_of_the_grammars() {
        let alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let lower = "abcdefghijklmnopqrstuvwxyz";
        let mut token: Vec<char> = format!("!#$%&'*+-.^_`|~{alphanumeric}{lower}")
            .chars()
            .collect();
        token.sort_unstable();
        assert_eq!(ascii_of(TOKEN), token.iter().collect::<String>());

        let mut path: Vec<char> = format!("-._~!$&'()*+,;=:@%{alphanumeric}{lower}")
            .chars()
            .collect();
        path.sort_unstable();
        assert_eq!(ascii_of(PATH), path.iter().collect::<String>());

        let visible: String = (0x21..0x7f_u8).map(char::from).collect();
        assert_eq!(ascii_of(FIELD), format!("\t {visible}"));
        assert_eq!(ascii_of(TARGET), visible.replace('#', ""));
        assert_eq!(
            ascii_of(QUOTED),
            format!("\t {visible}").replace(['"', '\\'], "")
        );
    }

    #[test]
    fn only_values_and_quoted_strings_may_hold_octets_beyond_ascii() {
        for octet in 0x80..=0xff {
            assert!(is(octet, FIELD) && is(octet, QUOTED));
            assert!(!is(octet, TOKEN | TARGET | HOST | PATH), "{octet:#x}");
        }
    }
}
