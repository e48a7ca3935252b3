//! The check of where the node listens, and of what it shows there over TLS.

use super::check::{Check, HOUR_MS};
use super::raw::{RawIdentity, RawListener, RawTls, RawTrust};
use super::{
    CertificateFiles, ClientAuth, ClientCertificates, Identity, ListenerSettings, TlsSettings,
    Trust, UpstreamTlsSettings,
};
use crate::snapshot::catalog::name_is_well_formed;
use std::path::PathBuf;

/// The most certificates: all are read at each renewal.
const CERTIFICATES_MAX: usize = 1_000;

impl Check<'_> {
    pub(super) fn listen(&mut self, written: Option<Vec<RawListener>>) -> Vec<ListenerSettings> {
        let written = written.unwrap_or_default();
        if written.is_empty() {
            let mend = "at least one address is needed, such as listen = [\"127.0.0.1:8080\"]";
            self.problem("listen", None, mend);
        }
        let mut listeners: Vec<ListenerSettings> = Vec::new();
        for (i, raw) in written.into_iter().enumerate() {
            let (text, tls, proxy_protocol, path) = match raw {
                RawListener::Address(text) => (text, false, false, format!("listen[{i}]")),
                RawListener::Table(raw) => {
                    let path = format!("listen[{i}].address");
                    (raw.address, raw.tls, raw.proxy_protocol, path)
                }
            };
            let Some(address) = self.address(&path, &text) else {
                continue;
            };
            if address.port() != 0 && listeners.iter().any(|other| other.address == address) {
                let mend = "is written twice; remove one";
                self.problem(&path, Some(format!("{text:?}")), mend);
            }
            listeners.push(ListenerSettings {
                address,
                tls,
                proxy_protocol,
            });
        }
        listeners
    }

    pub(super) fn tls(&mut self, raw: RawTls, listen: &[ListenerSettings]) -> Option<TlsSettings> {
        let wanted = listen.iter().any(|listener| listener.tls);
        let written = raw.certificates.unwrap_or_default();
        if !wanted && written.is_empty() {
            return None;
        }
        if written.is_empty() {
            let mend = "is missing, and listen has an address with tls = true; name the files, such as \
                        certificates = [{ certificate = \"chain.pem\", key = \"key.pem\" }]";
            self.problem("tls.certificates", None, mend);
        }
        if written.len() > CERTIFICATES_MAX {
            let mend = format!("at most {CERTIFICATES_MAX}");
            self.problem("tls.certificates", Some(written.len().to_string()), &mend);
        }
        let mut certificates = Vec::new();
        for (i, raw) in written.into_iter().enumerate() {
            let mut file = |name: &str, written, must| {
                let path = format!("tls.certificates[{i}].{name}");
                match written {
                    Some(file) => self.path(&path, file),
                    None if must => {
                        self.problem(&path, None, "is missing; name a file in PEM");
                        None
                    }
                    None => None,
                }
            };
            let certificate = file("certificate", raw.certificate, true);
            let key = file("key", raw.key, true);
            let ocsp = file("ocsp", raw.ocsp, false);
            if let (Some(certificate), Some(key)) = (certificate, key) {
                certificates.push(CertificateFiles {
                    certificate,
                    key,
                    ocsp,
                });
            }
        }
        let tls13_only = match raw.min_version.as_deref() {
            None | Some("1.2") => false,
            Some("1.3") => true,
            Some(other) => {
                let mend = "must be \"1.2\" or \"1.3\"";
                self.problem("tls.min_version", Some(format!("{other:?}")), mend);
                false
            }
        };
        let mut handshake_timeout_ms = 10_000;
        self.number(
            "tls.handshake_timeout_ms",
            raw.handshake_timeout_ms,
            &mut handshake_timeout_ms,
            1..=HOUR_MS,
        );
        let client_ca = raw.client_ca.and_then(|ca| self.path("tls.client_ca", ca));
        let client = self.client_auth(raw.client_auth.as_deref(), client_ca);
        Some(TlsSettings {
            certificates,
            tls13_only,
            handshake_timeout_ms,
            client,
        })
    }

    pub(super) fn upstream_tls(
        &mut self,
        trusts: Vec<RawTrust>,
        identities: Vec<RawIdentity>,
    ) -> UpstreamTlsSettings {
        let mut settings = UpstreamTlsSettings::default();
        for (i, raw) in trusts.into_iter().enumerate() {
            let name = self.name_of(&format!("trust[{i}].name"), raw.name);
            let ca = self.file_of(&format!("trust[{i}].ca"), raw.ca);
            let taken = settings
                .trusts
                .iter()
                .any(|one| Some(&one.name) == name.as_ref());
            if taken {
                self.problem(&format!("trust[{i}].name"), name.clone(), "is given twice");
            }
            if let (Some(name), Some(ca)) = (name, ca) {
                settings.trusts.push(Trust { name, ca });
            }
        }
        for (i, raw) in identities.into_iter().enumerate() {
            let name = self.name_of(&format!("identity[{i}].name"), raw.name);
            let certificate = self.file_of(&format!("identity[{i}].certificate"), raw.certificate);
            let key = self.file_of(&format!("identity[{i}].key"), raw.key);
            let taken = settings
                .identities
                .iter()
                .any(|one| Some(&one.name) == name.as_ref());
            if taken {
                self.problem(
                    &format!("identity[{i}].name"),
                    name.clone(),
                    "is given twice",
                );
            }
            if let (Some(name), Some(certificate), Some(key)) = (name, certificate, key) {
                settings.identities.push(Identity {
                    name,
                    certificate,
                    key,
                });
            }
        }
        settings
    }

    fn name_of(&mut self, path: &str, written: Option<String>) -> Option<String> {
        let good = written.filter(|name| name_is_well_formed(name));
        if good.is_none() {
            let mend = "must be a name such as \"internal\", by which upstreams refer to it";
            self.problem(path, None, mend);
        }
        good
    }

    fn file_of(&mut self, path: &str, written: Option<PathBuf>) -> Option<PathBuf> {
        match written {
            Some(file) => self.path(path, file),
            None => {
                self.problem(path, None, "is missing; name a file in PEM");
                None
            }
        }
    }

    fn client_auth(
        &mut self,
        auth: Option<&str>,
        ca: Option<std::path::PathBuf>,
    ) -> Option<ClientCertificates> {
        let auth = match auth {
            Some("optional") => Some(ClientAuth::Optional),
            Some("required") => Some(ClientAuth::Required),
            None => None,
            Some(other) => {
                let mend = "must be \"optional\" or \"required\"";
                self.problem("tls.client_auth", Some(format!("{other:?}")), mend);
                None
            }
        };
        match (auth, ca) {
            (Some(auth), Some(ca)) => Some(ClientCertificates { ca, auth }),
            (Some(_), None) => {
                let mend = "is missing; name the file with the authorities of client certificates";
                self.problem("tls.client_ca", None, mend);
                None
            }
            (None, Some(_)) => {
                let mend = "is missing beside client_ca; write \"optional\" or \"required\"";
                self.problem("tls.client_auth", None, mend);
                None
            }
            (None, None) => None,
        }
    }
}
