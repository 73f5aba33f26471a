//! Answers of the doors, read with prost and serde only.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::Value;

use super::{GrpcAnswer, HttpAnswer, Route};

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Detail {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What a sender is told about when to come again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Hint {
    /// In seconds, from `RetryInfo`.
    pub(crate) details: Option<f64>,
    /// In seconds, from `retry-after`.
    pub(crate) header: Option<f64>,
}

/// What was not kept of a request that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) rejected: i64,
    pub(crate) message: String,
}

/// A request that was not taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Refusal {
    /// The gRPC code; in HTTP the one of the body.
    pub(crate) code: i32,
    /// The HTTP status; 0 in gRPC.
    pub(crate) http: u16,
    pub(crate) message: String,
    pub(crate) hint: Hint,
}

/// An answer of one of the doors.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Grpc(GrpcAnswer),
    Http(Route, HttpAnswer),
}

impl Answer {
    /// Success and what it leaves out, or the refusal. Fails the test when it is neither in the form
    /// that OTLP prescribes.
    pub(crate) fn verdict(&self) -> Result<Partial, Refusal> {
        match self {
            Self::Grpc(answer) if answer.code == 0 => Ok(partial_of_protobuf(&answer.body)),
            Self::Grpc(answer) => Err(grpc_refusal(answer)),
            Self::Http(route, answer) => http_verdict(*route, answer),
        }
    }

    /// That everything was taken.
    pub(crate) fn is_complete(&self) -> bool {
        self.verdict() == Ok(Partial::default())
    }

    /// The bytes of the answer's message.
    pub(crate) fn body(&self) -> &[u8] {
        match self {
            Self::Grpc(answer) => &answer.body,
            Self::Http(_, answer) => &answer.body,
        }
    }
}

fn grpc_refusal(answer: &GrpcAnswer) -> Refusal {
    let details = RpcStatus::decode(answer.details.as_slice()).expect("details are a google.rpc.Status");
    if !answer.details.is_empty() {
        assert_eq!(details.code, answer.code, "details and trailers say the same: {answer:?}");
    }
    let header = answer.header("retry-after").parse().ok();
    let hint = Hint { details: delay_of(&details.details), header };
    Refusal { code: answer.code, http: 0, message: answer.message.clone(), hint }
}

fn http_verdict(route: Route, answer: &HttpAnswer) -> Result<Partial, Refusal> {
    let expected = if route.is_json() { "application/json" } else { "application/x-protobuf" };
    let shown = answer.text();
    assert_eq!(answer.header("content-type"), expected, "{} {shown}", answer.status);
    if answer.status == 200 {
        return Ok(if route.is_json() { partial_of_json(&answer.body) } else { partial_of_protobuf(&answer.body) });
    }
    let header = answer.header("retry-after").parse().ok();
    if !route.is_json() {
        let status = RpcStatus::decode(answer.body.as_slice()).expect("an error's body is a google.rpc.Status");
        assert!(status.code != 0 && !status.message.is_empty(), "{} {status:?}", answer.status);
        let hint = Hint { details: delay_of(&status.details), header };
        return Err(Refusal { code: status.code, http: answer.status, message: status.message, hint });
    }
    let status: Value = serde_json::from_slice(&answer.body).expect("an error's body is JSON");
    let code = status["code"].as_i64().and_then(|c| i32::try_from(c).ok()).unwrap_or_default();
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    assert!(code != 0 && !message.is_empty(), "{} {status}", answer.status);
    let details = status["details"].as_array().cloned().unwrap_or_default();
    let delay = details.iter().find_map(|d| d["retryDelay"].as_str()?.strip_suffix('s')?.parse().ok());
    Err(Refusal { code, http: answer.status, message, hint: Hint { details: delay, header } })
}

fn delay_of(details: &[Detail]) -> Option<f64> {
    let info = details.iter().find(|d| d.type_url == "type.googleapis.com/google.rpc.RetryInfo")?;
    let delay = RetryInfo::decode(info.value.as_slice()).expect("is a google.rpc.RetryInfo").retry_delay?;
    #[expect(clippy::cast_precision_loss, reason = "delays are seconds")]
    Some(delay.seconds as f64 + f64::from(delay.nanos) / 1e9)
}

/// The three responses are the same message on the wire.
fn partial_of_protobuf(body: &[u8]) -> Partial {
    let response = ExportTraceServiceResponse::decode(body).expect("the answer is an export response");
    let partial = response.partial_success.unwrap_or_default();
    Partial { rejected: partial.rejected_spans, message: partial.error_message }
}

fn partial_of_json(body: &[u8]) -> Partial {
    let response: Value = serde_json::from_slice(body).expect("the answer is JSON");
    let partial = &response["partialSuccess"];
    let counts = ["rejectedDataPoints", "rejectedSpans", "rejectedLogRecords"].map(|key| match &partial[key] {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    });
    Partial { rejected: counts.iter().sum(), message: partial["errorMessage"].as_str().unwrap_or_default().to_owned() }
}
