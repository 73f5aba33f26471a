//! What the fuzz targets share: our readers beside prost.
//!
//! prost is the oracle. What it reads, ours must read, with the same items; and the same request
//! written anew by prost, or as JSON by the conformance suite's writer, must give the same rows.
//! Ours may be stricter in two ways, and says so in its reason: nesting and groups have a bound.

use std::sync::LazyLock;

use ingest::{Decoded, Decoder, KnownSeries, Limits, SeriesRef, Stranger};
use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValueList},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message as _;
use proto::otlp::{DecodeError, Encoding, Signal};
use window::{LogRow, Series, SpanRow};

use self::build::{ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, Payload};

#[path = "../../tests/conformance/kit/build.rs"]
#[allow(dead_code, reason = "the targets use a part of it")]
mod build;
#[path = "../../tests/conformance/kit/json.rs"]
#[allow(dead_code, reason = "the targets use a part of it")]
mod json_of;
pub mod seeds;
#[path = "../../tests/conformance/kit/text.rs"]
#[allow(dead_code, reason = "the targets use a part of it")]
mod text;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new(Limits::default()));
/// Nothing is ever known, so that every series is described.
static KNOWN: LazyLock<KnownSeries> = LazyLock::new(|| KnownSeries::new(1));

/// A request as prost reads it; `None` when it does not.
fn oracle(signal: Signal, bytes: &[u8]) -> Option<Payload> {
    match signal {
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).ok().map(Payload::Metrics),
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).ok().map(Payload::Traces),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).ok().map(Payload::Logs),
    }
}

/// The items of a request: data points, spans or log records. A metric without data is one that is refused.
fn items(request: &Payload) -> usize {
    match request {
        Payload::Metrics(request) => {
            let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
            scopes.flat_map(|s| &s.metrics).map(point_count).sum()
        }
        Payload::Traces(request) => {
            request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
        }
        Payload::Logs(request) => {
            request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum()
        }
    }
}

/// The items of a metric: its points, or 1 when it has no data, which is refused as one.
fn point_count(metric: &build::Metric) -> usize {
    match &metric.data {
        None => 1,
        Some(build::Data::Gauge(data)) => data.data_points.len(),
        Some(build::Data::Sum(data)) => data.data_points.len(),
        Some(build::Data::Histogram(data)) => data.data_points.len(),
        Some(build::Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(build::Data::Summary(data)) => data.data_points.len(),
    }
}

/// Everything that a request became, as text: rows, feeds, what was refused and why. How a series was
/// spelt on the wire is left out, and so is the place where its description stands.
fn rows(decoded: &Decoded) -> String {
    let batch = &decoded.batch;
    let strangers = &batch.numbers.strangers;
    let numbers: Vec<String> = batch
        .numbers
        .rows
        .iter()
        .map(|r| format!("{:?} {:?} {:?} {:?}", series(&r.series, strangers), r.time, r.start, r.value))
        .collect();
    let exemplars: Vec<String> = batch
        .numbers
        .exemplars
        .iter()
        .map(|e| {
            format!("{:?} {:?} {:?} {:?} {:?}", series(&e.series, strangers), e.time, e.value, e.trace_id, e.span_id)
        })
        .collect();
    let histograms: Vec<String> =
        batch.numbers.histograms.iter().map(|(s, row)| format!("{:?} {row:?}", series(s, strangers))).collect();
    let spans: Vec<String> = (0..batch.spans.len())
        .map(|i| {
            let span = batch.spans.get(i).expect("is one of them");
            let kept = (message::<KeyValueList>(span.attributes), message::<Span>(span.rest));
            format!("{:?} {kept:?} {}", SpanRow { attributes: &[], rest: &[], ..span }, origin(batch.spans.origin(i)))
        })
        .collect();
    let logs: Vec<String> = (0..batch.logs.len())
        .map(|i| {
            let log = batch.logs.get(i).expect("is one of them");
            let kept = message::<KeyValueList>(log.attributes);
            format!("{:?} {kept:?} {}", LogRow { attributes: &[], ..log }, origin(batch.logs.origin(i)))
        })
        .collect();
    format!(
        "{numbers:#?}\n{histograms:#?}\n{exemplars:#?}\n{:#?}\n{:#?}\n{:?}\n{}\n{:?}",
        spans, logs, batch.feeds, batch.repeated_attributes, batch.rejected
    )
}

/// A message that was kept as it was sent, as prost reads it: the order of its fields does not count.
fn message<M: prost::Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).expect("what is kept is well formed")
}

fn origin([service, resource, scope]: [&[u8]; 3]) -> String {
    format!("{service:?} {:?} {:?}", message::<Resource>(resource), message::<InstrumentationScope>(scope))
}

/// The description of a row's series. No series is known here, so each is described in the request.
fn series<'a>(reference: &SeriesRef, strangers: &'a [Stranger]) -> Option<&'a Series> {
    Some(&strangers.get(reference.id().err()?)?.series)
}

/// Whether ours may refuse what prost takes.
fn is_documented(error: &DecodeError) -> bool {
    match error {
        DecodeError::Malformed { reason, .. } => {
            ["nest", "group", "deep", "twice"].iter().any(|word| reason.contains(word))
        }
        DecodeError::TooCostly { .. } => false,
    }
}

fn read(signal: Signal, encoding: Encoding, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    DECODER.measure(signal, encoding, bytes).and_then(|measured| DECODER.decode(&measured, &KNOWN))
}

/// `bytes` as a protobuf request.
pub fn protobuf(signal: Signal, bytes: &[u8]) {
    let ours = read(signal, Encoding::Protobuf, bytes);
    let Some(request) = oracle(signal, bytes) else { return };
    let ours = match ours {
        Ok(ours) => ours,
        Err(error) => return assert!(is_documented(&error), "prost reads it, ours says: {error}"),
    };
    assert_eq!(ours.items, items(&request) as u64, "items of {request:?}");
    let again = read(signal, Encoding::Protobuf, &request.protobuf());
    let again = again.unwrap_or_else(|e| panic!("what prost writes anew is refused: {e}\n{request:?}"));
    // prost leaves a zero out whatever its sign, where the schema does not say `optional`.
    let without_sign = |decoded| rows(decoded).replace("-0.0\"", "0.0\"").replace("-0.0,", "0.0,");
    assert_eq!(without_sign(&ours), without_sign(&again), "rows of {request:?}");
}

/// Whether something in it refers to a dictionary, which only profiles carry and JSON does not write.
fn names_a_dictionary(request: &Payload) -> bool {
    let shown = format!("{request:?}");
    shown.contains("Strindex(") || shown.split("key_strindex: ").skip(1).any(|rest| !rest.starts_with("0 "))
}

/// `bytes` as a JSON request, and as a protobuf request that is written as JSON.
pub fn json(bytes: &[u8]) {
    for signal in Signal::ALL {
        // Whatever it is, it is read or refused.
        drop(read(signal, Encoding::Json, bytes));
        let Some(request) = oracle(signal, bytes) else { continue };
        let Ok(binary) = read(signal, Encoding::Protobuf, &request.protobuf()) else { continue };
        if names_a_dictionary(&request) {
            continue;
        }
        let text = json_of::of(&request).to_string();
        match read(signal, Encoding::Json, text.as_bytes()) {
            Ok(json) => assert_eq!(rows(&json), rows(&binary), "rows of {text}"),
            Err(error) => assert!(is_documented(&error), "{error}\n{text}"),
        }
    }
}
