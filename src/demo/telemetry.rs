//! The way out of the shop: each service's own providers, sending OTLP/gRPC as any service would.
//!
//! Every exporter is wrapped, for two reasons: the SDK says nothing about what it sent, and an
//! exporter that goes silent is one of the incidents.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{self, BatchLogProcessor, LogBatch, SdkLoggerProvider},
    metrics::{
        PeriodicReader, SdkMeterProvider, Temporality,
        data::{AggregatedMetrics, MetricData, ResourceMetrics},
        exporter::PushMetricExporter,
    },
    trace::{self, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData},
};

/// Between two exports of metrics.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// Between two exports of spans, and of logs.
const BATCH_EVERY: Duration = Duration::from_millis(500);
/// An export that takes longer has failed. Retries included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "shop";
const VERSION: &str = "1.4.2";

/// What has been sent so far, by signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Spans that were acknowledged.
    pub(crate) spans: u64,
    /// Metric points that were acknowledged.
    pub(crate) points: u64,
    /// Log records that were acknowledged.
    pub(crate) logs: u64,
    /// Spans, points and records that the silent exporter kept to itself.
    pub(crate) withheld: u64,
    /// Export requests that failed for good, after the exporter's own retries.
    pub(crate) failures: u64,
    /// The first of these failures, in words.
    pub(crate) first_failure: Option<String>,
}

/// The account of all exporters of a shop.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    spans: AtomicU64,
    points: AtomicU64,
    logs: AtomicU64,
    withheld: AtomicU64,
    failures: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl Ledger {
    /// What has been sent so far.
    #[must_use]
    pub(crate) fn sent(&self) -> Sent {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Sent {
            spans: read(&self.spans),
            points: read(&self.points),
            logs: read(&self.logs),
            withheld: read(&self.withheld),
            failures: read(&self.failures),
            first_failure: self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn failed(&self, what: &str, why: &dyn fmt::Display) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| format!("{what}: {why}"));
    }
}

/// One service's line to the receiver.
#[derive(Debug)]
struct Line {
    service: &'static str,
    silent: AtomicBool,
    ledger: Arc<Ledger>,
}

/// An exporter that keeps account and can be silenced.
#[derive(Debug)]
struct Accounted<E> {
    inner: E,
    line: Arc<Line>,
}

impl<E> Accounted<E> {
    /// Whether `items` are to be withheld; if so, they are in the account.
    fn withholds(&self, items: u64) -> bool {
        let silent = self.line.silent.load(Ordering::Relaxed);
        if silent {
            self.line.ledger.withheld.fetch_add(items, Ordering::Relaxed);
        }
        silent
    }

    fn account(&self, signal: &str, count: &AtomicU64, items: u64, result: OTelSdkResult) -> OTelSdkResult {
        match &result {
            Ok(()) => {
                count.fetch_add(items, Ordering::Relaxed);
            }
            Err(error) => self.line.ledger.failed(&format!("{signal} of {}", self.line.service), error),
        }
        result
    }
}

impl<E: trace::SpanExporter> trace::SpanExporter for Accounted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len() as u64;
        if self.withholds(items) {
            return Ok(());
        }
        let result = self.inner.export(batch).await;
        self.account("spans", &self.line.ledger.spans, items, result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: logs::LogExporter> logs::LogExporter for Accounted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count() as u64;
        if self.withholds(items) {
            return Ok(());
        }
        let result = self.inner.export(batch).await;
        self.account("logs", &self.line.ledger.logs, items, result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Accounted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let items = points(metrics);
        if self.withholds(items) {
            return Ok(());
        }
        let result = self.inner.export(metrics).await;
        self.account("metrics", &self.line.ledger.points, items, result)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

/// How many points a request holds.
fn points(metrics: &ResourceMetrics) -> u64 {
    fn of<T>(data: &MetricData<T>) -> u64 {
        let points = match data {
            MetricData::Gauge(gauge) => gauge.data_points().count(),
            MetricData::Sum(sum) => sum.data_points().count(),
            MetricData::Histogram(histogram) => histogram.data_points().count(),
            MetricData::ExponentialHistogram(histogram) => histogram.data_points().count(),
        };
        points as u64
    }
    let metrics = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    let counts = metrics.map(|metric| match metric.data() {
        AggregatedMetrics::F64(data) => of(data),
        AggregatedMetrics::U64(data) => of(data),
        AggregatedMetrics::I64(data) => of(data),
    });
    counts.sum()
}

/// The providers of one service.
#[derive(Debug)]
pub(crate) struct Providers {
    /// Of spans.
    pub(crate) tracer: SdkTracerProvider,
    /// Of metrics.
    pub(crate) meter: SdkMeterProvider,
    /// Of log records.
    pub(crate) logger: SdkLoggerProvider,
    line: Arc<Line>,
}

impl Providers {
    /// Providers of `service` that send to `endpoint` (`http://host:port`) and keep account in
    /// `ledger`. Needs a Tokio runtime around it; connects when there is something to send.
    ///
    /// # Errors
    /// [`ExporterBuildError`] when the endpoint is no URL.
    pub(crate) fn open(
        endpoint: &str,
        service: &'static str,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, ExporterBuildError> {
        let line = Arc::new(Line { service, silent: AtomicBool::new(false), ledger: Arc::clone(ledger) });
        // Only what is said here: the environment of the demo must not rename the shop's services.
        let attributes = [
            KeyValue::new("service.name", service),
            KeyValue::new("service.namespace", NAMESPACE),
            KeyValue::new("service.instance.id", format!("{service}-1")),
            KeyValue::new("service.version", VERSION),
        ];
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        Ok(Self {
            tracer: tracer(endpoint, &line, resource.clone())?,
            meter: meter(endpoint, &line, resource.clone())?,
            logger: logger(endpoint, &line, resource)?,
            line,
        })
    }

    /// Lets nothing out while `silent`; what comes up meanwhile is lost, as with a broken exporter.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.line.silent.store(silent, Ordering::Relaxed);
    }

    /// Sends what is left and closes the line. Blocks for up to a few export timeouts.
    pub(crate) fn close(&self) {
        let results = [self.tracer.shutdown(), self.meter.shutdown(), self.logger.shutdown()];
        for error in results.into_iter().filter_map(Result::err) {
            self.line.ledger.failed(&format!("shutdown of {}", self.line.service), &error);
        }
    }
}

fn tracer(endpoint: &str, line: &Arc<Line>, resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let inner = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let exporter = Accounted { inner, line: Arc::clone(line) };
    let batches = trace::BatchConfigBuilder::default().with_scheduled_delay(BATCH_EVERY).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_sampler(Sampler::AlwaysOn);
    Ok(provider.with_resource(resource).build())
}

fn meter(endpoint: &str, line: &Arc<Line>, resource: Resource) -> Result<SdkMeterProvider, ExporterBuildError> {
    let builder = MetricExporter::builder().with_tonic().with_temporality(Temporality::Cumulative);
    let inner = builder.with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let exporter = Accounted { inner, line: Arc::clone(line) };
    let reader = PeriodicReader::builder(exporter).with_interval(METRICS_EVERY).build();
    Ok(SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build())
}

fn logger(endpoint: &str, line: &Arc<Line>, resource: Resource) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let inner = LogExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let exporter = Accounted { inner, line: Arc::clone(line) };
    let batches = logs::BatchConfigBuilder::default().with_scheduled_delay(BATCH_EVERY).build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(SdkLoggerProvider::builder().with_log_processor(processor).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endpoint_that_is_no_url_is_refused() {
        let error = Providers::open("not a url", "pricing", &Arc::default()).expect_err("no URL");
        assert!(error.to_string().contains("not a url"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_export_is_in_the_account_and_a_withheld_one_is_no_failure() {
        // A port that was free a moment ago: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback").port();
        let endpoint = format!("http://127.0.0.1:{port}");
        for (silent, withheld) in [(false, 0), (true, 1)] {
            let ledger = Arc::new(Ledger::default());
            let providers = Providers::open(&endpoint, "pricing", &ledger).expect("a URL");
            providers.set_silent(silent);
            providers.tracer.tracer("test").start("price").end();
            tokio::task::spawn_blocking(move || providers.close()).await.expect("close does not panic");
            let sent = ledger.sent();
            assert_eq!((sent.spans, sent.withheld), (0, withheld));
            assert_eq!(sent.failures > 0, !silent, "{sent:?}");
            assert_eq!(sent.first_failure.is_some(), !silent);
        }
    }
}
