//! TLS to targets: whom the node believes, and what it shows.
//!
//! What lies in files is read at start, off the workers, and named in the settings; a catalog names
//! it and brings no file of its own. Verification is never off. Each worker makes a configuration of
//! its own for each upstream that needs one, so that sessions are resumed without a lock between
//! cores.

use std::cell::RefCell;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::accept::tls::certificate::{Certificate, FileError, read_chain};
use crate::io::Endpoint;
use crate::settings::{CertificateFiles, UpstreamTlsSettings};
use crate::snapshot::catalog::{Upstream, UpstreamTls};

/// What the settings name.
#[derive(Debug)]
pub struct Trusts {
    public: Arc<WebPkiServerVerifier>,
    named: HashMap<String, Arc<WebPkiServerVerifier>, RandomState>,
    identities: HashMap<String, Arc<CertifiedKey>, RandomState>,
}

impl Trusts {
    /// Reads everything that `settings` name.
    pub fn read(settings: &UpstreamTlsSettings) -> Result<Self, FileError> {
        let provider = default_provider();
        let mut public = RootCertStore::empty();
        public.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let mut named = HashMap::default();
        for trust in &settings.trusts {
            let fault = |problem: String| FileError {
                file: trust.ca.clone(),
                problem,
            };
            let mut roots = RootCertStore::empty();
            for certificate in read_chain(&trust.ca)? {
                roots
                    .add(certificate)
                    .map_err(|error| fault(format!("cannot be an authority: {error}")))?;
            }
            let verifier = verifier(roots).map_err(|error| fault(error.to_string()))?;
            named.insert(trust.name.clone(), verifier);
        }
        let mut identities = HashMap::default();
        for identity in &settings.identities {
            let files = CertificateFiles {
                certificate: identity.certificate.clone(),
                key: identity.key.clone(),
                ocsp: None,
            };
            let certificate = Certificate::read(&files, &provider)?;
            identities.insert(identity.name.clone(), certificate.certified);
        }
        let public = verifier(public).map_err(|error| FileError {
            file: "public roots".into(),
            problem: error.to_string(),
        })?;
        Ok(Self {
            public,
            named,
            identities,
        })
    }

    /// A configuration for an upstream; what is missing, if something is.
    pub fn config(&self, tls: &UpstreamTls) -> Result<ClientConfig, String> {
        let verifier = match &tls.trust {
            None => &self.public,
            Some(name) => self
                .named
                .get(name)
                .ok_or_else(|| format!("the settings have no [[trust]] called `{name}`"))?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<WebPkiServerVerifier>::clone(verifier));
        let mut config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let identity = self
                    .identities
                    .get(name)
                    .ok_or_else(|| format!("the settings have no [[identity]] called `{name}`"))?;
                let resolver = SingleCertAndKey::from(Arc::clone(identity));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn verifier(
    roots: RootCertStore,
) -> Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    let provider = Arc::new(default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
}

/// A worker's configurations, by what makes them differ.
#[derive(Debug)]
pub struct ClientConfigs {
    trusts: Arc<Trusts>,
    made: RefCell<HashMap<u64, Option<Arc<ClientConfig>>, RandomState>>,
}

/// Configurations that are kept; more upstreams than this with TLS of their own are unheard of.
const KEPT_MAX: usize = 4_096;

impl ClientConfigs {
    /// None made yet.
    pub fn new(trusts: Arc<Trusts>) -> Self {
        Self {
            trusts,
            made: RefCell::default(),
        }
    }

    /// How to speak TLS to `upstream`; `None` if this node cannot, which is logged once.
    pub fn of(&self, upstream: &Upstream) -> Option<Arc<ClientConfig>> {
        let (tls, key) = upstream.tls.as_ref()?;
        let mut made = self.made.borrow_mut();
        if made.len() >= KEPT_MAX {
            made.clear();
        }
        made.entry(*key)
            .or_insert_with(|| match self.trusts.config(tls) {
                Ok(config) => Some(Arc::new(config)),
                Err(missing) => {
                    tracing::error!(
                        upstream = upstream.name,
                        missing,
                        "no request can be sent to this upstream"
                    );
                    None
                }
            })
            .clone()
    }
}

/// The name that a target's certificate must have: the one that is set, or the `host` that stands
/// for the target, or its address.
pub fn server_name(
    tls: &UpstreamTls,
    endpoint: &Endpoint,
    host: Option<&str>,
) -> Option<ServerName<'static>> {
    // A name that is written as absolute is asked for without its last dot (RFC 6066, section 3).
    let host = host.map(|host| host.strip_suffix('.').unwrap_or(host));
    match (tls.server_name.as_deref().or(host), endpoint) {
        (Some(name), _) => ServerName::try_from(name.to_owned()).ok(),
        (None, Endpoint::Tcp(address)) => Some(ServerName::from(address.ip())),
        (None, Endpoint::Unix(_)) => None,
    }
}
