//! The service's own telemetry: log lines to standard error, and traces and metrics by OTLP when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//!
//! It may be pointed at itself. Handling an OTLP request makes no span, so that exporting spans does
//! not make more of them, and the exporter's own libraries are left out.

use std::{io::IsTerminal, sync::Arc};

use ingest::Tenant;
use opentelemetry::{
    KeyValue,
    metrics::{Meter, MeterProvider as _},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{faces::Faces, view::Counts};

/// Targets of our own crates: nothing else is exported.
const OWN: [&str; 7] = ["bellwether", "ingest", "detect", "alerting", "window", "query", "proto"];

/// Holds the exporters, if there are any.
#[derive(Debug)]
pub(crate) struct Telemetry {
    providers: Option<(SdkTracerProvider, SdkMeterProvider)>,
}

impl Telemetry {
    /// Starts logging at `level` (or as `BELLWETHER_LOG` says), and exporting if the environment asks
    /// for it. Needs a running tokio runtime.
    #[must_use]
    pub(crate) fn start(level: &str) -> Self {
        let filter = EnvFilter::try_from_env("BELLWETHER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let ansi = std::io::stderr().is_terminal();
        let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr).with_filter(filter);
        let providers = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").filter(|v| !v.is_empty()).map(|_| providers());
        let (providers, failure) = match providers {
            Some(Ok(providers)) => (Some(providers), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let own = OWN.iter().map(|target| (format!("bellwether_{target}"), tracing::Level::INFO));
        let own = Targets::new().with_targets(own).with_target("bellwether", tracing::Level::INFO);
        let spans = providers.as_ref().map(|(tracer, _)| {
            tracing_opentelemetry::layer().with_tracer(tracer.tracer("bellwether")).with_filter(own)
        });
        // A second subscriber in one process happens in tests only, and the first one serves them.
        let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
        if let Some(error) = failure {
            tracing::warn!(%error, "own telemetry is not exported");
        }
        Self { providers }
    }

    /// Exports what is counted of all tenants together, and the default tenant's level, for as long as the
    /// service runs.
    pub(crate) fn observe(&self, faces: &Arc<Faces>) {
        if let Some((_, provider)) = &self.providers {
            instruments(&provider.meter("bellwether"), faces);
        }
    }

    /// Sends what is left.
    pub(crate) async fn stop(self) {
        let Some((tracer, meter)) = self.providers else { return };
        let flush = move || {
            for result in [tracer.shutdown(), meter.shutdown()] {
                if let Err(error) = result {
                    tracing::warn!(%error, "own telemetry could not be flushed");
                }
            }
        };
        // The exporters need the runtime while they flush.
        let _ = tokio::task::spawn_blocking(flush).await;
    }
}

fn providers() -> Result<(SdkTracerProvider, SdkMeterProvider), opentelemetry_otlp::ExporterBuildError> {
    let resource = Resource::builder()
        .with_service_name("bellwether")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let spans = SpanExporter::builder().with_tonic().build()?;
    let metrics = MetricExporter::builder().with_tonic().build()?;
    let tracer = SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans).build();
    let meter = SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(metrics).build();
    Ok((tracer, meter))
}

fn instruments(meter: &Meter, faces: &Arc<Faces>) {
    let counter = |name: &'static str, of: fn(&Counts) -> u64| {
        let faces = Arc::clone(faces);
        meter.u64_observable_counter(name).with_callback(move |o| o.observe(of(&faces.counts()), &[])).build();
    };
    counter("bellwether.points.judged", |c| c.judged);
    counter("bellwether.anomalies.opened", |c| c.decisions[0]);
    counter("bellwether.alert.transitions", |c| c.decisions[1]);
    counter("bellwether.evaluations", |c| c.evaluations);
    let gauge = |name: &'static str, unit: &'static str, of: fn(&Faces) -> f64| {
        let faces = Arc::clone(faces);
        let observe = move |o: &dyn opentelemetry::metrics::AsyncInstrument<f64>| o.observe(of(&faces), &[]);
        meter.f64_observable_gauge(name).with_unit(unit).with_callback(observe).build();
    };
    gauge("bellwether.window.memory", "By", |f| precise(f.counts().window.bytes));
    gauge("bellwether.window.series", "{series}", |f| precise(f.counts().window.series));
    gauge("bellwether.degradation.level", "", |f| {
        let view = f.of(&Tenant::default()).view();
        view.overall().map_or(0.0, |l| f64::from(l.level.number()))
    });
}

#[expect(clippy::cast_precision_loss, reason = "sizes stay below 2^52")]
fn precise(n: usize) -> f64 {
    n as f64
}
