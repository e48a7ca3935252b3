//! Certificates for tests: authorities, and what they sign, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// A directory of certificates, and the authority that signs them.
#[derive(Debug)]
pub struct Pki {
    directory: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// A new authority; its certificate is `ca.pem`.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let directory = TempDir::new().expect("room for a directory");
        fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("room for it");
        Self {
            authority: Issuer::new(params, key),
            directory,
        }
    }

    /// A file of it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Signs a certificate for `names`; it is `FILE.pem`, its key `FILE.key`.
    pub fn sign(&self, file: &str, names: &[&str]) {
        self.sign_with(file, names, |_| {});
    }

    /// Like [`Pki::sign`], with a change to what is signed.
    pub fn sign_with(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        write(
            &self.path(&format!("{file}.pem")),
            &certificate.pem(),
            0o644,
        );
        write(
            &self.path(&format!("{file}.key")),
            &key.serialize_pem(),
            0o600,
        );
    }

    /// The entry of `tls.certificates` for a signed certificate.
    pub fn entry(&self, file: &str) -> String {
        format!(
            "{{ certificate = {:?}, key = {:?} }}",
            self.path(&format!("{file}.pem")),
            self.path(&format!("{file}.key")),
        )
    }

    /// What a client believes that trusts this authority, showing `identity` if one is named.
    pub fn client(&self, identity: Option<&str>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate(&self.path("ca.pem")))
            .expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{file}.key")));
                let chain = vec![certificate(&self.path(&format!("{file}.pem")))];
                builder
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("they match")
            }
        }
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

fn write(path: &Path, text: &str, mode: u32) {
    // A new file each time: a renewal replaces files, it does not rewrite them.
    let temporary = path.with_extension("new");
    fs::write(&temporary, text).expect("room for it");
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).expect("it is ours");
    fs::rename(temporary, path).expect("it was written");
}
