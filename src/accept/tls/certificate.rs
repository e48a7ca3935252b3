//! One certificate with its key, from files to what a handshake needs.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use crate::settings::CertificateFiles;

/// The largest file that is read: a chain has a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate that can be shown.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain, its key and, if there is one, the proof that it is not revoked.
    pub certified: Arc<CertifiedKey>,
    /// The names in it, lower case; `*.example.com` for one label.
    pub names: Vec<String>,
    /// When it ends, seconds since 1970.
    pub not_after_s: i64,
    /// Where it came from.
    pub file: PathBuf,
}

/// Why a file cannot be used. The text names the file and the mend.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

fn fault(file: &Path, problem: impl ToString) -> FileError {
    FileError {
        file: file.to_owned(),
        problem: problem.to_string(),
    }
}

impl Certificate {
    /// Reads and checks the files: a chain, its own key, and a stapled answer if one is named.
    pub fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, FileError> {
        let chain = read_chain(&files.certificate)?;
        let key = read_key(&files.key)?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| fault(&files.key, format!("is no key that can sign: {error}")))?;
        let names = names(&files.certificate, &chain[0])?;
        let not_after_s = not_after_s(&files.certificate, &chain[0])?;
        let mut certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| {
            let problem = "is not the key of the certificate beside it";
            fault(&files.key, problem)
        })?;
        if let Some(file) = &files.ocsp {
            certified.ocsp = Some(read(file)?);
        }
        Ok(Self {
            certified: Arc::new(certified),
            names,
            not_after_s,
            file: files.certificate.clone(),
        })
    }
}

/// Reads certificates in PEM, at least one.
pub fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| fault(file, format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        let problem = "has no certificate; it must hold the chain in PEM, its own first";
        return Err(fault(file, problem));
    }
    Ok(chain)
}

/// Reads a private key in PEM that not everyone may read.
pub fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    // The open file is asked, so that what is checked is what is read.
    let open = File::open(file).map_err(|error| fault(file, error))?;
    let status = open.metadata().map_err(|error| fault(file, error))?;
    let mode = status.permissions().mode();
    // A group may read it: a web server's keys are often its group's.
    if mode & 0o007 != 0 {
        let problem = format!(
            "everyone may use it (mode {:o}); chmod 600 it",
            mode & 0o777
        );
        return Err(fault(file, problem));
    }
    let bytes = read_open(file, open)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        // The error never holds what it read.
        fault(file, format!("has no private key in PEM: {error}"))
    })
}

fn read(file: &Path) -> Result<Vec<u8>, FileError> {
    let open = File::open(file).map_err(|error| fault(file, error))?;
    read_open(file, open)
}

fn read_open(file: &Path, open: File) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(file, error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        // Cut, it could still be read: with authorities missing.
        return Err(fault(file, "is larger than 1 MiB; split it"));
    }
    Ok(bytes)
}

fn names(file: &Path, own: &CertificateDer<'_>) -> Result<Vec<String>, FileError> {
    let parsed = EndEntityCert::try_from(own).map_err(|error| {
        fault(
            file,
            format!("is no certificate that can be shown: {error}"),
        )
    })?;
    let names = parsed.valid_dns_names();
    Ok(names.map(str::to_ascii_lowercase).collect())
}

fn not_after_s(file: &Path, own: &CertificateDer<'_>) -> Result<i64, FileError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(own)
        .map_err(|error| fault(file, format!("is no certificate: {error}")))?;
    Ok(parsed.validity().not_after.timestamp())
}
