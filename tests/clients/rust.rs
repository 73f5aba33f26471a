//! The Rust SDK as a client.

use std::{error::Error, time::SystemTime};

use opentelemetry::{
    KeyValue,
    logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    metrics::MeterProvider as _,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::SdkMeterProvider,
    trace::{Sampler, SdkTracerProvider},
};

/// How the SDK exports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

type Failure = Box<dyn Error + Send + Sync>;

/// Sends so many entries to the receiver at `endpoint`, `http://host:port`, as `send.py --ledger` does.
///
/// # Errors
/// What an exporter or a provider complains of.
pub(crate) async fn enter(
    endpoint: String,
    transport: Transport,
    service: &'static str,
    entries: u32,
) -> Result<(), Failure> {
    // Shutting down waits for the last export.
    tokio::task::spawn_blocking(move || send(&endpoint, transport, service, entries)).await?
}

fn send(endpoint: &str, transport: Transport, service: &'static str, entries: u32) -> Result<(), Failure> {
    let (spans, metrics, logs) = exporters(endpoint, transport)?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.instance.id", format!("{service}-1")))
        .build();
    let tracers = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(Sampler::AlwaysOn)
        .with_batch_exporter(spans)
        .build();
    let meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_periodic_exporter(metrics).build();
    let loggers = SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(logs).build();
    let (tracer, logger) = (tracers.tracer("client-test"), loggers.logger("client-test"));
    let counter = meters.meter("client-test").u64_counter("ledger.entries").with_unit("{entry}").build();
    for number in 0..entries {
        tracer.start(format!("entry {number:04}")).end();
        counter.add(u64::from(number) + 1, &[KeyValue::new("id", format!("{number:04}"))]);
        let mut record = logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        record.set_body(format!("entry {number:04}").into());
        logger.emit(record);
    }
    tracers.shutdown()?;
    meters.shutdown()?;
    loggers.shutdown()?;
    Ok(())
}

fn exporters(endpoint: &str, transport: Transport) -> Result<(SpanExporter, MetricExporter, LogExporter), Failure> {
    Ok(match transport {
        Transport::Grpc => (
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?,
            MetricExporter::builder().with_tonic().with_endpoint(endpoint).build()?,
            LogExporter::builder().with_tonic().with_endpoint(endpoint).build()?,
        ),
        Transport::Http => {
            let to = |signal: &str| format!("{endpoint}/v1/{signal}");
            let protocol = Protocol::HttpBinary;
            (
                SpanExporter::builder().with_http().with_protocol(protocol).with_endpoint(to("traces")).build()?,
                MetricExporter::builder().with_http().with_protocol(protocol).with_endpoint(to("metrics")).build()?,
                LogExporter::builder().with_http().with_protocol(protocol).with_endpoint(to("logs")).build()?,
            )
        }
    })
}
