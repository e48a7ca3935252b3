//! What makes two requests go the same way, as a number that every worker of every node agrees on.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64;

use crate::authorize::Permit;
use crate::parse::RequestHead;
use crate::parse::headers::same_name;
use crate::record::request_id::RequestId;
use crate::snapshot::catalog::Affinity;

/// What of a request may bind it to others.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Who calls; absent for an API that asks for no key.
    pub permit: Option<&'a Permit<'a>>,
    /// The client's address.
    pub client: IpAddr,
    /// The request itself.
    pub head: &'a RequestHead<'a, 'a>,
}

/// The number of what `affinity` names; `None` if the request does not have it.
pub fn value_of(affinity: &Affinity, told: &Told<'_>) -> Option<u64> {
    match affinity {
        Affinity::Key => Some(xxh3_64(&told.permit?.key().id.encode())),
        Affinity::App => Some(xxh3_64(&told.permit?.key().app.to_le_bytes())),
        Affinity::Address => Some(match told.client {
            IpAddr::V4(address) => xxh3_64(&address.octets()),
            IpAddr::V6(address) => xxh3_64(&address.octets()),
        }),
        Affinity::Header(name) => told.head.values(name).next().map(xxh3_64),
        Affinity::Cookie(name) => cookie(told.head, name).map(xxh3_64),
    }
}

/// A number for a request that nothing binds.
pub fn chance(request_id: RequestId) -> u64 {
    xxh3_64(request_id.as_bytes())
}

/// The value of a cookie (RFC 6265, section 4.2.1).
fn cookie<'a>(head: &RequestHead<'_, 'a>, name: &str) -> Option<&'a [u8]> {
    let lines = head
        .headers
        .iter()
        .filter(|header| same_name(header.name, "cookie"));
    lines
        .flat_map(|line| line.value.split(|octet| *octet == b';'))
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;
    use crate::parse::{HeadLimits, Status, parse_request};

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 4_096,
        target_bytes_max: 1_024,
        headers_max: 16,
    };

    fn value(affinity: &Affinity, client: &str, fields: &str) -> Option<u64> {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let mut slots = [const { MaybeUninit::uninit() }; 16];
        let Ok(Status::Complete((head, _))) = parse_request(text.as_bytes(), &mut slots, &LIMITS)
        else {
            panic!("{text} is well-formed")
        };
        let told = Told {
            permit: None,
            client: client.parse().expect("an address"),
            head: &head,
        };
        value_of(affinity, &told)
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let user = Affinity::Cookie("user".to_owned());
        let of = |fields| value(&user, "::1", fields);
        let seven = Some(xxh3_64(b"7"));
        for (fields, expected) in [
            ("Cookie: user=7\r\n", seven),
            ("Cookie: user2=8; user=7\r\n", seven),
            ("cookie: a=b;user=7\r\n", seven),
            ("Cookie: a=b\r\nCookie: user=7\r\n", seven),
            ("Cookie: xuser=7\r\n", None),
            ("Cookie: user\r\n", None),
            ("X-Cookie: user=7\r\n", None),
        ] {
            assert_eq!(of(fields), expected, "{fields}");
        }
    }

    #[test]
    fn an_address_binds_and_a_key_does_where_there_is_one() {
        let of = |client| value(&Affinity::Address, client, "");
        assert_eq!(of("10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_ne!(of("::1"), of("::2"));
        assert_eq!(value(&Affinity::Key, "::1", ""), None);
        assert_eq!(value(&Affinity::App, "::1", ""), None);
    }
}
