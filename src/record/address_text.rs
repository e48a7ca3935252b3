//! Writes addresses as text without the machinery of `core::fmt`: for IPv4, some hundred
//! instructions instead of more than a thousand, several times a request.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Appends an address, IPv6 without brackets.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            let mut digits = itoa::Buffer::new();
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(digits.format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => {
            // Writes into a Vec cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

/// Appends an address with its port, IPv6 in brackets.
pub fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv6() {
        // Writes into a Vec cannot fail.
        let _ = write!(out, "{address}");
        return;
    }
    push_ip(out, address.ip());
    out.push(b':');
    out.extend_from_slice(itoa::Buffer::new().format(address.port()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_the_standard_library_writes_them() {
        for text in [
            "127.0.0.1:80",
            "255.255.255.255:65535",
            "0.0.0.0:0",
            "[::1]:8080",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut out = Vec::new();
            push_address(&mut out, address);
            assert_eq!(out, text.as_bytes());
            out.clear();
            push_ip(&mut out, address.ip());
            assert_eq!(out, address.ip().to_string().as_bytes());
        }
    }
}
