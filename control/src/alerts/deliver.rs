//! Telling webhooks: signed after Standard Webhooks, tried again for a day, never twice at the same
//! time.

use crate::store::{Author, Delivery, Store, StoreError};
use keyway::clock::Clock;
use rustls::crypto::aws_lc_rs::default_provider;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// How often it is looked for what is due.
const PAUSE: Duration = Duration::from_secs(1);
/// Whole time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Waits between attempts, in seconds; after the last one a message is given up, about a day after
/// it was made.
const WAITS_S: [u64; 12] = [
    1, 5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 14_400, 21_600, 21_600,
];
/// Attempts at the same time, in all and to one webhook: one that hangs does not hold up the rest.
const ATTEMPTS_MAX: usize = 16;
const ATTEMPTS_OF_ONE_MAX: usize = 4;
/// Messages of one webhook that are looked at for what may be sent: those under way, and as many.
const LOOKED_AT: u32 = 8;

/// Whose certificates receivers may have.
#[derive(Clone, Debug, Default)]
pub enum WebhookTrust {
    /// Those of the public authorities.
    #[default]
    Public,
    /// Those of the authorities in a PEM file, and no others.
    File(PathBuf),
}

/// Why no receiver could be trusted.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TrustError {
    path: PathBuf,
    problem: String,
}

/// Sends messages.
#[derive(Clone, Debug)]
pub struct Deliverer {
    agent: Agent,
}

impl Deliverer {
    /// A deliverer that trusts these.
    pub fn new(trust: &WebhookTrust) -> Result<Self, TrustError> {
        let roots = match trust {
            WebhookTrust::Public => RootCerts::WebPki,
            WebhookTrust::File(path) => RootCerts::from(certificates(path)?),
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(ATTEMPT))
            // A receiver that moved says so to people: what is signed for one is sent to no other.
            .max_redirects(0)
            .http_status_as_error(false)
            // Where alerts go is said in one place.
            .proxy(None)
            .user_agent(concat!("keyway-control/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent })
    }

    /// One attempt; blocks.
    fn attempt(&self, delivery: &Delivery, now_s: u64) -> Result<(), String> {
        let body = delivery.body.as_bytes();
        let signature = delivery.secret.sign(&delivery.message, now_s, body);
        let sent = self
            .agent
            .post(delivery.url.as_str())
            .header("content-type", "application/json")
            .header("webhook-id", &delivery.message)
            .header("webhook-timestamp", now_s.to_string())
            .header("webhook-signature", signature)
            .send(body);
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, TrustError> {
    let fault = |problem: String| TrustError {
        path: path.to_owned(),
        problem,
    };
    let pem = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item.map_err(|e| fault(e.to_string()))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            _ => return Err(fault("certificates alone belong here".to_owned())),
        }
    }
    match certificates.is_empty() {
        true => Err(fault("it holds no certificate in PEM form".to_owned())),
        false => Ok(certificates),
    }
}

/// Sends what is due, for ever.
pub async fn deliver(store: Store, clock: Clock, deliverer: Deliverer) {
    let mut under_way: JoinSet<(u64, Delivery, Result<(), String>)> = JoinSet::new();
    let mut numbers = HashSet::new();
    let mut by_webhook: HashMap<String, usize> = HashMap::new();
    loop {
        let now = clock.wall();
        let due = store.read(move |rows| rows.deliveries_due(now.0, LOOKED_AT));
        let due = match due.await {
            Ok(due) => due,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "what webhooks are to be told cannot be read");
                Vec::new()
            }
        };
        for delivery in due {
            let of_one = by_webhook.entry(delivery.webhook.to_string()).or_default();
            if under_way.len() >= ATTEMPTS_MAX
                || *of_one >= ATTEMPTS_OF_ONE_MAX
                || !numbers.insert(delivery.number)
            {
                continue;
            }
            *of_one += 1;
            let deliverer = deliverer.clone();
            under_way.spawn_blocking(move || {
                let outcome = deliverer.attempt(&delivery, now.0 / 1_000);
                (delivery.number, delivery, outcome)
            });
        }
        let pause = tokio::time::sleep(PAUSE);
        tokio::select! {
            Some(ended) = under_way.join_next() => {
                let Ok((number, delivery, outcome)) = ended else { continue };
                if let Err(error) = note(&store, &delivery, outcome).await {
                    tracing::warn!(%error, "what a webhook answered cannot be kept");
                    // Not told again at once: the store may be ill for longer.
                    tokio::time::sleep(PAUSE).await;
                }
                numbers.remove(&number);
                if let Some(of_one) = by_webhook.get_mut(delivery.webhook.as_str()) {
                    *of_one = of_one.saturating_sub(1);
                }
            }
            () = pause => {}
        }
    }
}

async fn note(
    store: &Store,
    delivery: &Delivery,
    outcome: Result<(), String>,
) -> Result<(), StoreError> {
    let number = delivery.number;
    let (webhook, attempts) = (&delivery.webhook, delivery.attempts + 1);
    let Err(error) = outcome else {
        let taken = store.write(Author::system(), move |tx| tx.delivery_taken(number));
        return taken.await.map(drop);
    };
    let place = usize::try_from(delivery.attempts).unwrap_or(usize::MAX);
    let again_in_ms = WAITS_S.get(place).map(|s| s * 1_000);
    match again_in_ms {
        Some(_) => tracing::warn!(%webhook, attempts, %error, "a webhook was not told yet"),
        None => tracing::error!(%webhook, attempts, %error, "a message to a webhook is given up"),
    }
    let failed =
        move |tx: &mut crate::store::Tx<'_>| tx.delivery_failed(number, &error, again_in_ms);
    store.write(Author::system(), failed).await.map(drop)
}
