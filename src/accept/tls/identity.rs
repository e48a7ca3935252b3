//! Who a client is by its certificate, which a handshake has verified.
//!
//! A session that goes on brings the certificate along without verifying it again, so whoever asks
//! for the identity looks whether it is still valid.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::clock::WallTime;

/// Names of one certificate that are kept; who has more is known by the first.
const NAMES_MAX: usize = 32;

/// A client's verified certificate, as far as later stages ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// What else it names: hosts, URIs and mail addresses (RFC 5280, section 4.2.1.6), each behind its
    /// kind: `dns:`, `uri:` or `email:`.
    pub names: Vec<String>,
    /// From when and until when it is valid, seconds since 1970.
    pub valid_s: (i64, i64),
}

impl ClientIdentity {
    /// The identity in `chain`, its own certificate first; none of an empty one.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        let parsed = x509_parser::parse_x509_certificate(own).ok();
        let parsed = parsed.as_ref().map(|(_, parsed)| parsed);
        Some(Self {
            fingerprint: Sha256::digest(own.as_ref()).into(),
            subject: parsed.map_or_else(String::new, |parsed| parsed.subject().to_string()),
            names: parsed.map(names).unwrap_or_default(),
            // What cannot be read was never verified, and is never valid.
            valid_s: parsed.map_or((i64::MAX, i64::MIN), |parsed| {
                let validity = parsed.validity();
                (
                    validity.not_before.timestamp(),
                    validity.not_after.timestamp(),
                )
            }),
        })
    }

    /// Whether it may be believed at this time.
    pub fn is_valid_at(&self, now: WallTime) -> bool {
        let now_s = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
        (self.valid_s.0..=self.valid_s.1).contains(&now_s)
    }

    /// The fingerprint in hex.
    pub fn fingerprint_hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.fingerprint) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let named = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(host) => Some(format!("dns:{host}")),
            GeneralName::URI(uri) => Some(format!("uri:{uri}")),
            GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
            _ => None,
        });
    named.take(NAMES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    #[test]
    fn a_certificate_tells_its_names_and_its_time() {
        let mut params = CertificateParams::new(vec!["app.test".to_owned()]).unwrap();
        let uri = "spiffe://mesh/app".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let identity = ClientIdentity::of(&[certificate.der().clone()]).unwrap();
        assert_eq!(identity.names, ["dns:app.test", "uri:spiffe://mesh/app"]);
        let at = |seconds: u64| identity.is_valid_at(WallTime(seconds * 1_000));
        // 2020-01-01 and 2021-01-01, both included (RFC 5280, section 4.1.2.5).
        assert!(!at(1_577_836_799) && at(1_577_836_800));
        assert!(at(1_609_459_200) && !at(1_609_459_201));
    }

    #[test]
    fn what_is_no_certificate_is_never_valid() {
        let identity = ClientIdentity::of(&[CertificateDer::from(vec![1, 2, 3])]).unwrap();
        assert!(!identity.is_valid_at(WallTime(1_600_000_000_000)));
        assert_eq!(ClientIdentity::of(&[]), None);
    }
}
