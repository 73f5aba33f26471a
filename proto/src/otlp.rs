//! OTLP requests in, OTLP answers out, in both encodings.
//!
//! Requests are read in place: a visitor is shown what the bytes say, and nothing is made of them
//! that it does not ask for. JSON is first written as the protobuf that it stands for, so that both
//! encodings mean the same by construction.

mod envelope;
pub mod logs;
mod measure;
pub mod metrics;
mod origin;
mod shape;
pub mod traces;
mod value;

use std::{borrow::Cow, fmt};

use prost::Message as _;
use serde_json::json;

use crate::{json, wire::Malformed};

pub use self::{
    measure::{Load, measure},
    origin::{OriginVisitor, Resource, Scope},
    shape::Shape,
    value::{AnyValue, Array, KeyValue, KeyValues, MAX_NESTING, Messages, Repeated},
};

/// Longest error text that is passed on to a peer, in bytes.
const MAX_REASON: usize = 512;
/// Longest message of a partial success, in bytes: far below the 4 MiB that an answer may have.
const MAX_MESSAGE: usize = 4096;

/// The three kinds of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Metrics; counted in data points.
    Metrics,
    /// Traces; counted in spans.
    Traces,
    /// Logs; counted in log records.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// The word used in URLs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }

    fn rejected_key(self) -> &'static str {
        match self {
            Self::Metrics => "rejectedDataPoints",
            Self::Traces => "rejectedSpans",
            Self::Logs => "rejectedLogRecords",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// JSON in OTLP's mapping: ids in hex, enums as numbers, lowerCamelCase keys.
    Json,
}

impl Encoding {
    /// The media type in HTTP.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why a request was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not such a request. Sending them again will not help.
    #[error("not a {signal} request: {reason}")]
    Malformed {
        /// What was expected.
        signal: Signal,
        /// What was found, and where; at most 512 bytes.
        reason: String,
    },
    /// Decoded, it would take more memory than a request may.
    #[error("{signal} request would take more than {budget} bytes in memory; send smaller batches")]
    TooCostly {
        /// What was being read.
        signal: Signal,
        /// The limit in bytes.
        budget: u64,
    },
}

fn malformed(signal: Signal, reason: &str) -> DecodeError {
    DecodeError::Malformed { signal, reason: cut(reason, MAX_REASON).to_owned() }
}

impl DecodeError {
    /// The bytes are no `signal` request, for this reason.
    #[must_use]
    pub fn malformed(signal: Signal, fault: &Malformed) -> Self {
        malformed(signal, &fault.to_string())
    }
}

/// The request as protobuf, whichever way it was written; JSON may become at most `limit` bytes.
///
/// # Errors
/// [`DecodeError`] when a JSON text is no such request, or a longer one.
pub fn as_protobuf(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    limit: usize,
) -> Result<Cow<'_, [u8]>, DecodeError> {
    match encoding {
        Encoding::Protobuf => Ok(Cow::Borrowed(body)),
        Encoding::Json => json::to_protobuf(signal, body, limit).map(Cow::Owned).map_err(|fault| match fault {
            json::Fault::Malformed(reason) => malformed(signal, &reason),
            json::Fault::TooLarge => DecodeError::TooCostly { signal, budget: limit as u64 },
        }),
    }
}

/// What of a request was not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// How many data points, spans or log records were rejected.
    pub rejected: u64,
    /// Why, for a person; empty when there is nothing to say.
    pub message: String,
}

/// The answer to a request that was read: complete success when nothing was rejected and there is
/// nothing to say. The message is cut at 4 KiB.
#[must_use]
pub fn encode_response(signal: Signal, encoding: Encoding, partial: &PartialSuccess) -> Vec<u8> {
    let rejected = i64::try_from(partial.rejected).unwrap_or(i64::MAX);
    let message = cut(&partial.message, MAX_MESSAGE);
    let is_complete = rejected == 0 && message.is_empty();
    match encoding {
        Encoding::Protobuf => {
            let partial_success = (!is_complete).then(|| WirePartial { rejected, message: message.to_owned() });
            WireResponse { partial_success }.encode_to_vec()
        }
        Encoding::Json if is_complete => b"{}".to_vec(),
        Encoding::Json => {
            let mut fields = serde_json::Map::new();
            fields.insert(signal.rejected_key().to_owned(), json!(rejected.to_string()));
            fields.insert("errorMessage".to_owned(), json!(message));
            json!({ "partialSuccess": fields }).to_string().into_bytes()
        }
    }
}

/// On the wire the three responses are the same message.
#[derive(Clone, PartialEq, prost::Message)]
struct WireResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<WirePartial>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePartial {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// The longest beginning of `text` that has at most `limit` bytes and ends between characters.
#[must_use]
pub fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod answers {
    use opentelemetry_proto::tonic::collector::{
        logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
        trace::v1::ExportTraceServiceResponse,
    };

    use super::*;

    fn two_rejected() -> PartialSuccess {
        PartialSuccess { rejected: 2, message: "time is 0".into() }
    }

    #[test]
    fn complete_success_says_nothing() {
        for signal in Signal::ALL {
            assert!(encode_response(signal, Encoding::Protobuf, &PartialSuccess::default()).is_empty());
            assert_eq!(encode_response(signal, Encoding::Json, &PartialSuccess::default()), b"{}");
        }
    }

    #[test]
    fn partial_success_reads_as_each_signals_own_message() {
        let bytes = |signal| encode_response(signal, Encoding::Protobuf, &two_rejected());
        let metrics = ExportMetricsServiceResponse::decode(&*bytes(Signal::Metrics)).expect("is such a message");
        let traces = ExportTraceServiceResponse::decode(&*bytes(Signal::Traces)).expect("is such a message");
        let logs = ExportLogsServiceResponse::decode(&*bytes(Signal::Logs)).expect("is such a message");
        assert_eq!(metrics.partial_success.map(|p| p.rejected_data_points), Some(2));
        assert_eq!(traces.partial_success.map(|p| p.rejected_spans), Some(2));
        assert_eq!(
            logs.partial_success.map(|p| (p.rejected_log_records, p.error_message)),
            Some((2, "time is 0".into()))
        );
    }

    #[test]
    fn partial_success_in_json_has_the_count_as_a_string() {
        let bytes = encode_response(Signal::Traces, Encoding::Json, &two_rejected());
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("is JSON");
        assert_eq!(value, json!({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "time is 0"}}));
    }

    #[test]
    fn json_is_bounded_and_its_faults_are_said() {
        let long = format!(r#"{{"resourceSpans":[{}{{}}]}}"#, "{},".repeat(20_000));
        let refused = as_protobuf(Signal::Traces, Encoding::Json, long.as_bytes(), 1 << 10);
        assert_eq!(refused, Err(DecodeError::TooCostly { signal: Signal::Traces, budget: 1 << 10 }));
        let refused =
            as_protobuf(Signal::Logs, Encoding::Json, b"{\"resourceLogs\":7}", 1 << 10).map_err(|e| e.to_string());
        assert!(refused.is_err_and(|e| e.contains("resourceLogs")));
        assert_eq!(as_protobuf(Signal::Logs, Encoding::Json, b"{}", 0), Ok(Cow::Borrowed(&[][..])));
        assert_eq!(as_protobuf(Signal::Logs, Encoding::Protobuf, b"", 0), Ok(Cow::Borrowed(&[][..])));
    }

    #[test]
    fn a_cut_ends_between_characters() {
        assert_eq!(cut("a\u{e4}b", 2), "a");
        assert_eq!(cut("a\u{e4}b", 3), "a\u{e4}");
        assert_eq!(cut("abc", 99), "abc");
    }
}
