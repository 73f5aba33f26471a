//! What the fuzz targets share: our readers beside prost.
//!
//! prost is the oracle. What it reads, ours must read, with the same items; and the same request
//! written anew by prost, or as JSON by the conformance suite's writer, must give the same rows.
//! Ours may be stricter in two ways, and says so in its reason: nesting and groups have a bound.

use std::sync::LazyLock;

use ingest::{Decoded, Decoder, Limits};
use prost::Message as _;
use proto::otlp::{DecodeError, Encoding, Signal};

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
            scopes.flat_map(|s| &s.metrics).map(build::point_count).sum()
        }
        Payload::Traces(request) => {
            request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
        }
        Payload::Logs(request) => {
            request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum()
        }
    }
}

/// Everything that a request became, as text: rows, feeds, what was refused and why.
fn rows(decoded: &Decoded) -> String {
    format!("{:?}", decoded.batch)
}

/// Whether ours may refuse what prost takes.
fn is_documented(error: &DecodeError) -> bool {
    match error {
        DecodeError::Malformed { reason, .. } => ["nest", "group", "deep"].iter().any(|word| reason.contains(word)),
        DecodeError::TooCostly { .. } => false,
    }
}

/// `bytes` as a protobuf request.
pub fn protobuf(signal: Signal, bytes: &[u8]) {
    let ours = DECODER.decode(signal, Encoding::Protobuf, bytes);
    let Some(request) = oracle(signal, bytes) else { return };
    let ours = match ours {
        Ok(ours) => ours,
        Err(error) => return assert!(is_documented(&error), "prost reads it, ours says: {error}"),
    };
    assert_eq!(ours.items, items(&request) as u64, "items of {request:?}");
    let again = DECODER.decode(signal, Encoding::Protobuf, &request.protobuf());
    let again = again.unwrap_or_else(|e| panic!("what prost writes anew is refused: {e}\n{request:?}"));
    assert_eq!(rows(&ours), rows(&again), "rows of {request:?}");
}

/// `bytes` as a JSON request, and as a protobuf request that is written as JSON.
pub fn json(bytes: &[u8]) {
    for signal in Signal::ALL {
        // Whatever it is, it is read or refused.
        drop(DECODER.decode(signal, Encoding::Json, bytes));
        let Some(request) = oracle(signal, bytes) else { continue };
        let Ok(binary) = DECODER.decode(signal, Encoding::Protobuf, &request.protobuf()) else { continue };
        let text = json_of::of(&request).to_string();
        match DECODER.decode(signal, Encoding::Json, text.as_bytes()) {
            Ok(json) => assert_eq!(rows(&json), rows(&binary), "rows of {text}"),
            Err(error) => assert!(is_documented(&error), "{error}\n{text}"),
        }
    }
}
