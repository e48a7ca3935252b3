//! The PROXY protocol, version 2: who the client of a load balancer is, told before its first byte.
//!
//! Bytes in, an address out; [`ppp`] knows the format, this module says what is accepted. Only
//! version 2, only over streams, and no more than [`HEADER_BYTES_MAX`]. What follows the header
//! (a TLS hello, a request) is the caller's. Absent on purpose: additions behind the address
//! (TLVs); they are skipped.
//!
//! The protocol proves nothing: whoever can reach the listener can claim any address. So it is
//! spoken only on listeners where the operator says so, and there nothing else is.

use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header, ParseError, Protocol};

use crate::parse::Status;

/// The longest header: addresses need 52 bytes, common additions some hundred. A balancer that says
/// more is not one.
pub const HEADER_BYTES_MAX: usize = 4_096;

/// The part of a header that tells how long it is.
const FIXED_BYTES: usize = 16;

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The client; none: the balancer speaks for itself (a health check), or its client has no
    /// address of the internet.
    pub client: Option<SocketAddr>,
    /// Bytes of the header.
    pub bytes: usize,
}

/// Not a header that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a header of the PROXY protocol, version 2")]
pub struct NotProxied;

/// Reads the header at the start of `bytes`; refuses as soon as it cannot become one.
pub fn read(bytes: &[u8]) -> Result<Status<Told>, NotProxied> {
    let header = match Header::try_from(bytes) {
        Ok(header) => header,
        Err(ParseError::Incomplete(_)) => return Ok(Status::Partial),
        Err(ParseError::Partial(_, announced)) if announced <= HEADER_BYTES_MAX => {
            return Ok(Status::Partial);
        }
        Err(_) => return Err(NotProxied),
    };
    let bytes = header.len();
    if bytes > HEADER_BYTES_MAX {
        return Err(NotProxied);
    }
    let client = match (header.command, header.protocol) {
        (Command::Local, _) => None,
        (Command::Proxy, Protocol::Stream | Protocol::Unspecified) => client(&header.addresses),
        (Command::Proxy, Protocol::Datagram) => return Err(NotProxied),
    };
    Ok(Status::Complete(Told { client, bytes }))
}

/// How many bytes are certainly missing from the start of a header: reading so many takes nothing of
/// what follows it.
pub fn missing_bytes(bytes: &[u8]) -> usize {
    match Header::try_from(bytes) {
        Err(ParseError::Partial(come, announced)) => announced.saturating_sub(come).max(1),
        _ => FIXED_BYTES.saturating_sub(bytes.len()).max(1),
    }
}

fn client(addresses: &Addresses) -> Option<SocketAddr> {
    match addresses {
        Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        Addresses::IPv6(ip) => Some(SocketAddr::new(
            // `::ffff:10.0.0.1` is 10.0.0.1 from a balancer that listens on one socket for both.
            std::net::IpAddr::V6(ip.source_address).to_canonical(),
            ip.source_port,
        )),
        Addresses::Unix(_) | Addresses::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ppp::v2::{Builder, Type, Version};
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    const FOUR: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn told(bytes: &[u8]) -> Option<(Option<String>, usize)> {
        match read(bytes) {
            Ok(Status::Complete(told)) => Some((told.client.map(|a| a.to_string()), told.bytes)),
            Ok(Status::Partial) => panic!("whole: {bytes:?}"),
            Err(NotProxied) => None,
        }
    }

    #[test]
    fn the_source_is_the_client_and_what_follows_is_left() {
        let mut bytes = header(0x21, 0x11, &FOUR);
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        assert_eq!(told(&bytes), Some((Some("203.0.113.7:4660".into()), 28)));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[32..34].copy_from_slice(&[0, 9]);
        let bytes = header(0x21, 0x21, &six);
        assert_eq!(told(&bytes), Some((Some("[2001:db8::7]:9".into()), 52)));
        six[..16].copy_from_slice(&Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets());
        let bytes = header(0x21, 0x21, &six);
        assert_eq!(told(&bytes), Some((Some("203.0.113.7:9".into()), 52)));
    }

    #[test]
    fn additions_are_skipped_whether_well_formed_or_not() {
        for addition in [&[4, 0, 2, 1, 1][..], &[4, 0xff, 0xff, 1]] {
            let bytes = header(0x21, 0x11, &[&FOUR[..], addition].concat());
            let expected = Some((Some("203.0.113.7:4660".into()), bytes.len()));
            assert_eq!(told(&bytes), expected);
        }
    }

    #[test]
    fn a_balancer_that_speaks_for_itself_tells_no_client() {
        assert_eq!(told(&header(0x20, 0x00, &[])), Some((None, 16)));
        assert_eq!(told(&header(0x20, 0x11, &FOUR)), Some((None, 28)));
        assert_eq!(told(&header(0x21, 0x00, &[1, 2, 3])), Some((None, 19)));
        assert_eq!(told(&header(0x21, 0x31, &[7; 216])), Some((None, 232)));
    }

    #[test]
    fn whatever_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00".to_vec(),
            header(0x11, 0x11, &FOUR),
            header(0x22, 0x11, &FOUR),
            header(0x21, 0x41, &FOUR),
            header(0x21, 0x12, &FOUR),
            header(0x21, 0x13, &FOUR),
            header(0x21, 0x11, &FOUR[..11]),
            header(0x21, 0x11, &[0; HEADER_BYTES_MAX]),
            header(0x21, 0x11, &[0; 60_000])[..20].to_vec(),
        ] {
            assert_eq!(told(&bytes), None, "{:?}", &bytes[..bytes.len().min(40)]);
        }
    }

    #[test]
    fn a_header_in_pieces_is_partial_until_its_last_byte() {
        let bytes = header(0x21, 0x11, &FOUR);
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Ok(Status::Partial), "{cut}");
        }
        assert_eq!(read(b"\r\n\r\nG"), Err(NotProxied));
    }

    #[test]
    fn reading_what_is_missing_never_takes_what_follows() {
        let bytes = header(0x21, 0x11, &FOUR);
        for cut in 0..bytes.len() {
            let missing = missing_bytes(&bytes[..cut]);
            assert!(
                (1..=bytes.len() - cut).contains(&missing),
                "{cut}: {missing}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            command in any::<u8>(),
            family in any::<u8>(),
            payload in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0..320_usize,
        ) {
            let bytes = header(command, family, &payload);
            if let Ok(Status::Complete(told)) = read(&bytes[..cut.min(bytes.len())]) {
                prop_assert!(told.bytes <= cut);
            }
        }

        #[test]
        fn what_another_writes_is_read(source in any::<[u8; 4]>(), port in any::<u16>()) {
            let source = SocketAddr::from((source, port));
            let local = SocketAddr::from(([127, 0, 0, 1], 80));
            let flags = Version::Two | Command::Proxy;
            let bytes = Builder::with_addresses(flags, Protocol::Stream, (source, local))
                .write_tlv(Type::NoOp, &[0; 5])
                .and_then(Builder::build)
                .unwrap();
            prop_assert_eq!(told(&bytes), Some((Some(source.to_string()), bytes.len())));
        }
    }
}
