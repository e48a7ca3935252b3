//! Who a client is by its certificate, which the handshake has verified.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

/// A client's verified certificate, as far as later stages ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
}

impl ClientIdentity {
    /// The identity in `chain`, its own certificate first; none of an empty one.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        let subject = x509_parser::parse_x509_certificate(own)
            .map(|(_, parsed)| parsed.subject().to_string())
            .unwrap_or_default();
        Some(Self {
            fingerprint: Sha256::digest(own.as_ref()).into(),
            subject,
        })
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
