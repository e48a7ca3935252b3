//! The exporter's thread: takes records from the queue, and posts them to the collector in batches.
//!
//! It looks at the queue on a beat of its own, so that a worker makes no system call to wake it. A
//! batch goes out when it is full or its first span is half a second old. While a slow collector
//! holds the thread, the queue fills and then drops; what is lost is counted by cause, and told in
//! the log once a minute. At the end it posts what is left, with one try a batch.

use super::collector::{self, Collector};
use super::convert;
use super::span::{DropCause, Shared, SpanSink};
use crate::clock::{Clock, Tick};
use crate::record::throttle::Throttle;
use crate::settings::TracingSettings;
use crate::upstream::tls::Trusts;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Spans of a batch, two more at most.
const BATCH_SPANS: usize = 512;

/// How old the first span of a batch may grow.
const BATCH_AGE_NS: u64 = 500_000_000;

/// Between two looks at the queue.
const BEAT: Duration = Duration::from_millis(100);

/// Between two complaints about the collector.
const COMPLAINT_PAUSE_MS: u64 = 60_000;

/// Longest value of a field that is read from a file.
const SECRET_BYTES_MAX: u64 = 8_192;

/// Why there can be no export.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A file with a field's value cannot be read.
    #[error("tracing.header_files: cannot read {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// Others may read the file.
    #[error(
        "tracing.header_files: {} is open to others (mode {mode:03o}); run chmod 600 on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A value has bytes that no field may have.
    #[error("tracing: the value of field {name} cannot be sent; it must be one line of text")]
    Field {
        /// The field.
        name: String,
    },
    /// The endpoint cannot be reached in any case.
    #[error("tracing.endpoint: {0}")]
    Endpoint(String),
    /// The library refuses.
    #[error("tracing: {0}")]
    Library(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The system gave no thread.
    #[error("tracing: {0}")]
    System(io::Error),
}

/// The running exporter.
#[derive(Debug)]
pub struct ExportThread {
    stop: watch::Sender<bool>,
    /// Disconnected when the thread is gone.
    gone: Receiver<()>,
}

/// Starts the exporter of `node`.
pub fn start(
    settings: &TracingSettings,
    node: &str,
    trusts: &Trusts,
    clock: Clock,
) -> Result<(SpanSink, ExportThread), TraceError> {
    let (stop, stopping) = watch::channel(false);
    let headers = headers(settings)?;
    let collector = Collector::new(settings, headers, trusts, stopping.clone());
    let collector = Arc::new(collector.map_err(TraceError::Endpoint)?);
    let mut library = SpanExporter::builder()
        .with_http()
        .with_shared_http_client(Arc::<Collector>::clone(&collector))
        .with_endpoint(settings.endpoint.to_string())
        .with_protocol(Protocol::HttpBinary)
        // The collector's client tries again by itself, without blocking its thread.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    library.set_resource(&convert::resource(&settings.service_name, node));
    let shared = Arc::new(Shared::new());
    let mut exporter = Exporter {
        shared: Arc::clone(&shared),
        library,
        collector,
        clock,
        batch: Vec::new(),
        begun: Tick(0),
        complaints: Throttle::every_ms(COMPLAINT_PAUSE_MS),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TraceError::System)?;
    let (here, gone) = bounded(0);
    std::thread::Builder::new()
        .name("keyway-trace".into())
        .spawn(move || {
            let _here: Sender<()> = here;
            runtime.block_on(exporter.run(stopping));
            // A lookup of a name that still runs must not hold the end up.
            runtime.shutdown_background();
        })
        .map_err(TraceError::System)?;
    Ok((SpanSink::on(shared), ExportThread { stop, gone }))
}

impl ExportThread {
    /// Has the thread post what is left and end; false if it did not within `patience`.
    pub fn stop(self, patience: Duration) -> bool {
        self.stop.send_replace(true);
        self.gone.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

struct Exporter {
    shared: Arc<Shared>,
    library: SpanExporter,
    collector: Arc<Collector>,
    clock: Clock,
    batch: Vec<SpanData>,
    /// When the first span of the batch came.
    begun: Tick,
    complaints: Throttle,
}

impl Exporter {
    async fn run(&mut self, mut stopping: watch::Receiver<bool>) {
        let scope = convert::scope();
        loop {
            // Read before the queue: whatever was pushed before the stop is then still seen.
            let stop = *stopping.borrow_and_update();
            while let Some(record) = self.shared.records.pop() {
                if self.batch.is_empty() {
                    self.begun = self.clock.tick();
                }
                convert::push(&record, &scope, &mut self.batch);
                if self.batch.len() >= BATCH_SPANS {
                    self.export().await;
                }
            }
            let age_ns = self.clock.tick().since_ns(self.begun);
            if !self.batch.is_empty() && (stop || age_ns >= BATCH_AGE_NS) {
                self.export().await;
            }
            if stop {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                // An error means that nobody is left to say it.
                _ = stopping.changed() => {}
            }
        }
    }

    async fn export(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let spans = batch.len() as u64;
        let outcome = self.library.export(batch).await;
        let report = self.collector.take_report();
        match (outcome, report.failure) {
            (Ok(()), _) => {
                let rejected = report.rejected.min(spans);
                self.shared.exported(spans - rejected);
                if rejected > 0 {
                    self.lose(DropCause::Rejected, rejected, "the collector rejects spans");
                }
            }
            (Err(_), Some(failure)) => self.lose(failure.cause, spans, &failure.text),
            (Err(error), None) => self.lose(DropCause::Refused, spans, &error.to_string()),
        }
    }

    fn lose(&mut self, cause: DropCause, spans: u64, error: &str) {
        self.shared.dropped(cause, spans);
        if let Some(batches) = self.complaints.tell(self.clock.tick().millis()) {
            let cause = cause.label();
            tracing::warn!(cause, error, spans, batches, "spans are not exported");
        }
    }
}

/// The field lines for the collector, some of them from files.
pub fn headers(settings: &TracingSettings) -> Result<http::HeaderMap, TraceError> {
    let mut lines = settings.headers.clone();
    for (name, file) in &settings.header_files {
        lines.push((name.clone(), secret(file)?));
    }
    let pairs = lines
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    collector::headers(pairs).map_err(|name| TraceError::Field { name: name.into() })
}

/// Reads the one line of a file that nobody else may read.
fn secret(path: &Path) -> Result<String, TraceError> {
    let fault = |cause| TraceError::File {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(fault)?;
    let mode = file.metadata().map_err(fault)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TraceError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(fault)?;
    Ok(text.trim_end().to_owned())
}
