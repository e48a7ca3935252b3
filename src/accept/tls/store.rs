//! The certificates that the node shows, and their renewal without a restart.
//!
//! Files are read and checked whole on the main thread, at start and at each SIGHUP; what cannot be
//! used leaves what is shown as it is. Workers take the newest configuration when a handshake begins:
//! one relaxed load, and a lock only after a renewal.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{Certificate, FileError, read_chain};
use super::choice::Choice;
use crate::published::{Latest, Published};
use crate::settings::{ClientAuth, TlsSettings};

/// What the node speaks over TLS: HTTP/1.1 (RFC 7301, section 6).
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The library refuses the whole.
    #[error("tls: {0}")]
    Refused(String),
}

/// A certificate, as an operator sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its file.
    pub file: String,
    /// Its names.
    pub names: Vec<String>,
    /// When it ends, seconds since 1970.
    pub not_after_s: i64,
}

/// The configuration that new handshakes get.
#[derive(Debug)]
pub struct TlsStore {
    settings: TlsSettings,
    current: Published<Current>,
}

/// What is shown now.
#[derive(Debug)]
pub struct Current {
    config: Arc<ServerConfig>,
    shown: Vec<Shown>,
}

impl TlsStore {
    /// Reads everything that `settings` name.
    pub fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self {
            current: Published::new(build(settings)?),
            settings: settings.clone(),
        })
    }

    /// Reads everything anew; what cannot be used changes nothing.
    pub fn renew(&self) -> Result<(), TlsError> {
        self.current.replace(build(&self.settings)?);
        Ok(())
    }

    /// Longest time of a handshake.
    pub fn handshake_timeout_ms(&self) -> u64 {
        self.settings.handshake_timeout_ms
    }

    /// What is shown now.
    pub fn shown(&self) -> Vec<Shown> {
        self.current.newest().shown.clone()
    }

    /// A worker's first copy.
    pub fn latest(&self) -> Latest<Current> {
        self.current.latest()
    }

    /// The configuration for a handshake that begins now.
    pub fn config(&self, latest: &mut Latest<Current>) -> Arc<ServerConfig> {
        latest.renew(&self.current);
        Arc::clone(&latest.value().config)
    }
}

fn build(settings: &TlsSettings) -> Result<Current, TlsError> {
    let refused = |error: rustls::Error| TlsError::Refused(error.to_string());
    let provider = Arc::new(default_provider());
    let certificates = settings
        .certificates
        .iter()
        .map(|files| Certificate::read(files, &provider))
        .collect::<Result<Vec<_>, _>>()?;
    let choice = Choice::among(&certificates)
        .ok_or_else(|| TlsError::Refused("no certificate is named".into()))?;
    let versions: &[_] = if settings.tls13_only {
        &[&TLS13]
    } else {
        &[&TLS13, &TLS12]
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(refused)?;
    let builder = match verifier(settings, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(choice));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // New with each configuration: a ticket must not outlive the authority that vouched for it. The
    // keys of tickets are in memory only, and change every six hours.
    let tickets: Arc<dyn ProducesTickets> = Ticketer::new().map_err(refused)?;
    config.ticketer = tickets;
    let shown = certificates.into_iter().map(|certificate| Shown {
        file: certificate.file.display().to_string(),
        names: certificate.names,
        not_after_s: certificate.not_after_s,
    });
    Ok(Current {
        config: Arc::new(config),
        shown: shown.collect(),
    })
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(client) = &settings.client else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(&client.ca)? {
        roots.add(certificate).map_err(|error| FileError {
            file: client.ca.clone(),
            problem: format!("has a certificate that cannot be an authority: {error}"),
        })?;
    }
    let provider = Arc::clone(provider);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match client.auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    let built = builder
        .build()
        .map_err(|error| TlsError::Refused(format!("client_ca: {error}")))?;
    Ok(Some(built))
}
