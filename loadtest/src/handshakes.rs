//! Load of TLS handshakes: connect, shake hands, take a session ticket, close; many at once.
//!
//! No request is sent, so that what a proxy spends is the handshake and its TCP connection. Full
//! handshakes remember nothing; resumed ones use a ticket of an earlier connection, and each
//! connection that should have been resumed and was not is counted as an error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::trouble::{Outcome, Trouble};
use crate::wrk::{Errors, Measured};

/// Longest time of one connection.
const EACH_WITHIN: Duration = Duration::from_secs(5);

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Whom.
    pub to: SocketAddr,
    /// The name to ask for.
    pub name: &'static str,
    /// Connections at once.
    pub connections: usize,
    /// How long.
    pub seconds: u64,
    /// With tickets of earlier connections.
    pub resumed: bool,
}

/// Runs `load` to its end; a request in the result is a handshake.
///
/// # Errors
/// When TLS cannot be set up here.
pub async fn run(load: &Load) -> Outcome<Measured> {
    let start = clock();
    let end = start + Duration::from_secs(load.seconds);
    let mut loops = JoinSet::new();
    for _ in 0..load.connections {
        let one = Loop::new(*load)?;
        loops.spawn(one.run(end));
    }
    let (mut times_us, mut errors) = (Vec::new(), Errors::default());
    while let Some(done) = loops.join_next().await {
        let done = done.map_err(|error| Trouble::io("shake hands")(error.into()))?;
        times_us.extend(done.times_us);
        errors.connect += done.errors.connect;
        errors.read += done.errors.read;
        errors.status += done.errors.status;
    }
    times_us.sort_unstable();
    let at = |percent: usize| {
        let place = times_us.len().saturating_sub(1) * percent / 100;
        times_us.get(place).copied().unwrap_or(0)
    };
    Ok(Measured {
        requests: u64::try_from(times_us.len()).unwrap_or(u64::MAX),
        elapsed_us: micros(clock() - start),
        bytes: 0,
        p50_us: at(50),
        p99_us: at(99),
        max_us: at(100),
        errors,
    })
}

/// Handshakes one after another.
struct Loop {
    load: Load,
    connector: TlsConnector,
    /// The next handshake can be resumed: a ticket is there.
    has_ticket: bool,
    times_us: Vec<u64>,
    errors: Errors,
}

impl Loop {
    fn new(load: Load) -> Outcome<Self> {
        Ok(Self {
            load,
            connector: TlsConnector::from(Arc::new(client(load.resumed)?)),
            has_ticket: false,
            times_us: Vec::new(),
            errors: Errors::default(),
        })
    }

    async fn run(mut self, end: Instant) -> Self {
        while clock() < end {
            let start = clock();
            match tokio::time::timeout(EACH_WITHIN, self.one()).await {
                Ok(Ok(())) => self.times_us.push(micros(clock() - start)),
                Ok(Err(Broken::Connect)) => self.errors.connect += 1,
                Ok(Err(Broken::Read)) | Err(_) => self.errors.read += 1,
            }
        }
        self
    }

    async fn one(&mut self) -> Result<(), Broken> {
        let stream = TcpStream::connect(self.load.to)
            .await
            .map_err(|_| Broken::Connect)?;
        let name = ServerName::try_from(self.load.name).map_err(|_| Broken::Connect)?;
        let mut stream = self
            .connector
            .connect(name, stream)
            .await
            .map_err(|_| Broken::Read)?;
        let kind = stream.get_ref().1.handshake_kind();
        if self.load.resumed && self.has_ticket && kind != Some(HandshakeKind::Resumed) {
            self.errors.status += 1;
        }
        take_ticket(&mut stream).await?;
        self.has_ticket = true;
        // An error means that the other side closed first.
        let _ = stream.shutdown().await;
        Ok(())
    }
}

enum Broken {
    Connect,
    Read,
}

/// Reads until a ticket came: TLS 1.3 sends it behind the handshake.
async fn take_ticket(
    stream: &mut tokio_rustls::client::TlsStream<TcpStream>,
) -> Result<(), Broken> {
    loop {
        let (socket, session) = stream.get_mut();
        if session.tls13_tickets_received() > 0 {
            return Ok(());
        }
        socket.readable().await.map_err(|_| Broken::Read)?;
        match session.read_tls(&mut Ready(socket)) {
            Ok(0) => return Err(Broken::Read),
            Ok(_) => {
                session.process_new_packets().map_err(|_| Broken::Read)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Broken::Read),
        }
    }
}

/// What a socket holds now, as a blocking reader.
struct Ready<'a>(&'a TcpStream);

impl std::io::Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.try_read(buffer)
    }
}

fn client(resumed: bool) -> Outcome<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // The one group that every proxy knows: a post-quantum one would cost only those that have it.
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Trouble::io("set TLS up")(std::io::Error::other(error)))?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.resumption = if resumed {
        Resumption::store(Arc::new(ClientSessionMemoryCache::new(1)))
    } else {
        Resumption::disabled()
    };
    Ok(config)
}

/// Believes every certificate: the proxies show one that we made, and what is measured is theirs.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a load generator measures by the clock itself"
)]
fn clock() -> Instant {
    Instant::now()
}
