//! Who the client is, where other proxies stand before the gateway.
//!
//! A proxy in front hides the client's address and tells it in a header, and so can anyone else.
//! The header is believed only from a peer in the operator's [`TrustedHops`], and only as far as
//! each hop that vouches for the next one is trusted too: it is read from its end, and the first
//! address that is not trusted is the client. What stands before that was said by the client, is
//! worth nothing and does not pass.
//!
//! One header is read, the one that the operator's proxies write. A proxy that writes
//! `X-Forwarded-For` lets a `Forwarded` of the client through untouched, and the other way round.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::accept::Peer;
use crate::parse::RequestHead;

/// The longest way that is followed; a longer one ends there.
const HOPS_MAX: usize = 16;

/// The proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedHops {
    /// Their networks; none: nobody is believed.
    pub networks: Vec<IpNet>,
    /// What they write.
    pub field: HopField,
}

/// The header that trusted proxies write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HopField {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The way a request came, as far as it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hops<'h> {
    addresses: [IpAddr; HOPS_MAX],
    count: usize,
    /// The client speaks TLS: to the gateway, or to the first hop that is believed.
    pub https: bool,
    /// The host that the client asked the first trusted hop for.
    pub host: Option<&'h str>,
}

impl<'h> Hops<'h> {
    /// Straight from `peer`.
    fn direct(peer: IpAddr, https: bool) -> Self {
        let mut addresses = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); HOPS_MAX];
        addresses[0] = peer;
        Self {
            addresses,
            count: 1,
            https,
            host: None,
        }
    }

    /// Reads the way from a head that came from `peer`.
    pub fn read(trusted: &TrustedHops, head: &RequestHead<'_, 'h>, peer: &Peer) -> Self {
        let address = peer.address.ip();
        let mut hops = Self::direct(address, peer.is_secure);
        if !trusted.contains(address) {
            return hops;
        }
        match trusted.field {
            HopField::XForwardedFor => {
                hops.follow(trusted, elements(head, "x-forwarded-for").map(hop));
                hops.https = last(head, "x-forwarded-proto")
                    .and_then(scheme)
                    .unwrap_or(hops.https);
                hops.host = last(head, "x-forwarded-host").filter(|host| is_host(host));
            }
            HopField::Forwarded => {
                hops.follow(
                    trusted,
                    elements(head, "forwarded").map(|element| hop(parameter(element, "for")?)),
                );
                let nearest = elements(head, "forwarded").next();
                let said = |name| parameter(nearest?, name);
                hops.https = said("proto").and_then(scheme).unwrap_or(hops.https);
                hops.host = said("host").filter(|host| is_host(host));
            }
        }
        hops
    }

    /// The client.
    pub fn client(&self) -> IpAddr {
        self.addresses[self.count - 1]
    }

    /// The client, if it is not the gateway's own peer.
    pub fn told_client(&self) -> Option<IpAddr> {
        (self.count > 1).then(|| self.client())
    }

    /// All of them, the client first and the gateway's own peer last.
    pub fn from_client(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses[..self.count].iter().rev().copied()
    }

    /// Follows what trusted hops say, the nearest first.
    fn follow(&mut self, trusted: &TrustedHops, said: impl Iterator<Item = Option<IpAddr>>) {
        for next in said {
            let Some(next) = next else { return };
            if self.count == HOPS_MAX {
                return;
            }
            self.addresses[self.count] = next;
            self.count += 1;
            if !trusted.contains(next) {
                return;
            }
        }
    }
}

impl TrustedHops {
    fn contains(&self, address: IpAddr) -> bool {
        // `::ffff:10.0.0.1` is 10.0.0.1 on a socket for both.
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// The list elements of all fields called `name`, the last one first.
///
/// RFC 9110, section 5.3: field lines of one name are one list, "in the order received". A comma
/// within quotes ends no element; an unbalanced quote makes the rest of its line one element, which
/// is then no address.
fn elements<'h>(head: &RequestHead<'_, 'h>, name: &'static str) -> impl Iterator<Item = &'h str> {
    head.headers
        .iter()
        .rev()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .flat_map(|header| reversed(std::str::from_utf8(header.value).unwrap_or("?")))
}

/// The elements of one line, the last one first; empty ones do not count (RFC 9110, 5.6.1.2).
fn reversed(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut in_quotes = false;
        let comma = line.bytes().enumerate().rev().find(|(_, byte)| {
            in_quotes ^= *byte == b'"';
            *byte == b',' && !in_quotes
        });
        match comma {
            Some((place, _)) => {
                rest = Some(&line[..place]);
                Some(line[place + 1..].trim_matches([' ', '\t']))
            }
            None => {
                rest = None;
                Some(line.trim_matches([' ', '\t']))
            }
        }
    })
    .filter(|element| !element.is_empty())
}

fn last<'h>(head: &RequestHead<'_, 'h>, name: &'static str) -> Option<&'h str> {
    elements(head, name).next()
}

/// The value of a parameter of one `Forwarded` element, without its quotes.
///
/// RFC 7239, section 4: `forwarded-pair = token "=" value`, pairs separated by `;`, names
/// case-insensitive.
fn parameter<'e>(element: &'e str, name: &str) -> Option<&'e str> {
    element.split(';').find_map(|pair| {
        let (found, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        let bare = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        found
            .eq_ignore_ascii_case(name)
            .then(|| bare.unwrap_or(value))
    })
}

/// An address as hops write it: bare, in brackets, either with a port. `unknown` and names that
/// hide one (RFC 7239, section 6.3) are none.
fn hop(text: &str) -> Option<IpAddr> {
    let bare = |text: &str| text.parse::<IpAddr>().ok();
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse().ok().map(IpAddr::V6)
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare(text)
        .or_else(bracketed)
        .or_else(with_port)
        .map(|address| address.to_canonical())
}

fn scheme(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("https") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("http").then_some(false)
    }
}

/// A host, perhaps with a port, that can be written anew without quoting.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use proptest::prelude::*;

    use super::*;
    use crate::parse::{HeadLimits, Status, parse_request};

    const PROXIES: &str = "10.0.0.0/8";

    fn trusted(field: HopField) -> TrustedHops {
        let networks = [PROXIES, "fd00::/8"].map(|text| text.parse().unwrap());
        TrustedHops {
            networks: networks.to_vec(),
            field,
        }
    }

    /// What is read from `fields` of a request from `peer`.
    fn read(field: HopField, peer: &str, fields: &str) -> (Vec<String>, bool, String) {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let limits = HeadLimits {
            head_bytes_max: 64 * 1024,
            target_bytes_max: 100,
            headers_max: 64,
        };
        let mut slots = [const { MaybeUninit::uninit() }; 64];
        let parsed = parse_request(text.as_bytes(), &mut slots, &limits).unwrap();
        let Status::Complete((head, _)) = parsed else {
            panic!("{text:?} is whole");
        };
        let peer = Peer {
            address: SocketAddr::new(peer.parse().unwrap(), 4_711),
            is_secure: false,
            tls: None,
            identity: None,
        };
        let hops = Hops::read(&trusted(field), &head, &peer);
        let way = hops.from_client().map(|address| address.to_string());
        (way.collect(), hops.https, hops.host.unwrap_or("").into())
    }

    fn way(peer: &str, value: &str) -> Vec<String> {
        let fields = format!("X-Forwarded-For: {value}\r\n");
        read(HopField::XForwardedFor, peer, &fields).0
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_eq!(way("203.0.113.7", "198.51.100.1"), ["203.0.113.7"]);
        assert_eq!(way("203.0.113.7", "10.0.0.1"), ["203.0.113.7"]);
    }

    #[test]
    fn the_first_address_that_is_not_trusted_is_the_client() {
        for (value, expected) in [
            ("198.51.100.1", &["198.51.100.1", "10.0.0.1"][..]),
            ("6.6.6.6, 198.51.100.1", &["198.51.100.1", "10.0.0.1"]),
            (
                "6.6.6.6, 198.51.100.1, 10.9.9.9",
                &["198.51.100.1", "10.9.9.9", "10.0.0.1"],
            ),
            ("10.9.9.9", &["10.9.9.9", "10.0.0.1"]),
            ("198.51.100.1:4711", &["198.51.100.1", "10.0.0.1"]),
            ("[2001:db8::1]:4711", &["2001:db8::1", "10.0.0.1"]),
            ("2001:db8::1", &["2001:db8::1", "10.0.0.1"]),
            ("::ffff:198.51.100.1", &["198.51.100.1", "10.0.0.1"]),
            (", ,198.51.100.1 ,", &["198.51.100.1", "10.0.0.1"]),
            ("", &["10.0.0.1"]),
            ("unknown", &["10.0.0.1"]),
            ("198.51.100.1, unknown", &["10.0.0.1"]),
            ("198.51.100.1, 10.9.9.9, <x>", &["10.0.0.1"]),
            ("198.51.100.1, bad, 10.9.9.9", &["10.9.9.9", "10.0.0.1"]),
        ] {
            assert_eq!(way("10.0.0.1", value), expected, "{value}");
        }
        assert_eq!(
            way("::ffff:10.0.0.1", "198.51.100.1")[0],
            "198.51.100.1",
            "a socket for both families shows IPv4 in IPv6"
        );
    }

    #[test]
    fn lines_of_one_name_are_one_list() {
        let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 198.51.100.1, 10.9.9.9\r\n";
        let (way, ..) = read(HopField::XForwardedFor, "10.0.0.1", fields);
        assert_eq!(way, ["198.51.100.1", "10.9.9.9", "10.0.0.1"]);
    }

    #[test]
    fn only_the_header_that_trusted_hops_write_is_read() {
        let fields = "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 198.51.100.1\r\n";
        let (way, ..) = read(HopField::XForwardedFor, "10.0.0.1", fields);
        assert_eq!(way, ["198.51.100.1", "10.0.0.1"]);
        let (way, ..) = read(HopField::Forwarded, "10.0.0.1", fields);
        assert_eq!(way, ["6.6.6.6", "10.0.0.1"]);
    }

    #[test]
    fn a_forwarded_field_is_read_with_its_quotes() {
        let fields = "Forwarded: for=6.6.6.6;by=\"a, b\", For=\"[2001:db8::1]:4711\";proto=http, \
                      for=10.9.9.9;Proto=https;host=\"shop.test:8443\"\r\n";
        let (way, https, host) = read(HopField::Forwarded, "10.0.0.1", fields);
        assert_eq!(way, ["2001:db8::1", "10.9.9.9", "10.0.0.1"]);
        assert_eq!((https, host.as_str()), (true, "shop.test:8443"));
        let hidden = "Forwarded: for=198.51.100.1, for=_hidden\r\n";
        assert_eq!(
            read(HopField::Forwarded, "10.0.0.1", hidden).0,
            ["10.0.0.1"]
        );
    }

    #[test]
    fn scheme_and_host_come_from_a_trusted_hop_alone() {
        let fields = "X-Forwarded-Proto: http, https\r\nX-Forwarded-Host: shop.test\r\n";
        let (_, https, host) = read(HopField::XForwardedFor, "10.0.0.1", fields);
        assert_eq!((https, host.as_str()), (true, "shop.test"));
        let (_, https, host) = read(HopField::XForwardedFor, "203.0.113.7", fields);
        assert_eq!((https, host.as_str()), (false, ""));
        let odd = "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a\"b\r\n";
        let (_, https, host) = read(HopField::XForwardedFor, "10.0.0.1", odd);
        assert_eq!((https, host.as_str()), (false, ""));
    }

    #[test]
    fn a_way_longer_than_any_ends() {
        let long = vec!["10.9.9.9"; 500].join(",");
        assert_eq!(way("10.0.0.1", &long).len(), HOPS_MAX);
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_it_cannot_move_what_a_trusted_hop_appended(
            lie in "[ -~]{0,60}"
        ) {
            let value = format!("{lie}, 198.51.100.1");
            prop_assert_eq!(way("10.0.0.1", &value), ["198.51.100.1", "10.0.0.1"]);
        }

        #[test]
        fn any_value_is_survived(value in "[\\t -~]{0,80}") {
            for (field, name) in [
                (HopField::XForwardedFor, "X-Forwarded-For"),
                (HopField::Forwarded, "Forwarded"),
            ] {
                let fields = format!("{name}: {value}\r\n");
                let (way, ..) = read(field, "10.0.0.1", &fields);
                prop_assert_eq!(way.last().map(String::as_str), Some("10.0.0.1"));
            }
        }
    }
}
