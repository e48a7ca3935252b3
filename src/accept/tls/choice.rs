//! Which certificate a client is shown: by the name it asks for (SNI, RFC 6066, section 3).
//!
//! A name of its own wins over a wildcard for one label, and the certificate that is listed first is
//! shown to whoever asks for no name or an unknown one: such a client learns at once that it is at
//! the wrong place, instead of from an alert that tells it nothing.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// All certificates, by name.
#[derive(Debug)]
pub struct Choice {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>, RandomState>,
    /// By what follows the `*.`
    wildcard: HashMap<String, Arc<CertifiedKey>, RandomState>,
}

impl Choice {
    /// A choice among `certificates`; of two with one name the earlier is shown. `None` of none.
    pub fn among(certificates: &[Certificate]) -> Option<Self> {
        let first = Arc::clone(&certificates.first()?.certified);
        let (mut exact, mut wildcard) = (HashMap::default(), HashMap::default());
        for certificate in certificates {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut wildcard, rest),
                    None => (&mut exact, name.as_str()),
                };
                names
                    .entry(name.to_owned())
                    .or_insert_with(|| Arc::clone(&certificate.certified));
            }
        }
        Some(Self {
            first,
            exact,
            wildcard,
        })
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let below = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(below).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // In lower case: the library reads it so.
        let name = hello.server_name().unwrap_or_default();
        Some(Arc::clone(self.find(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::PrivateKeyDer;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let key = default_provider().key_provider.load_private_key(key);
        let certified = CertifiedKey::new(vec![made.cert.der().clone()], key.unwrap());
        Certificate {
            certified: Arc::new(certified),
            names,
            not_after_s: 0,
            file: "test.pem".into(),
        }
    }

    #[test]
    fn a_name_of_its_own_wins_over_a_wildcard_and_the_first_one_over_nothing() {
        let certificates = [
            certificate(&["first.test"]),
            certificate(&["*.example.test", "example.test"]),
            certificate(&["api.example.test"]),
        ];
        let choice = Choice::among(&certificates).unwrap();
        for (name, expected) in [
            ("first.test", 0),
            ("example.test", 1),
            ("shop.example.test", 1),
            ("api.example.test", 2),
            ("a.b.example.test", 0),
            ("elsewhere.test", 0),
            ("test", 0),
            ("", 0),
        ] {
            let shown = choice.find(name);
            assert!(
                Arc::ptr_eq(shown, &certificates[expected].certified),
                "{name}"
            );
        }
        assert!(Choice::among(&[]).is_none());
    }
}
