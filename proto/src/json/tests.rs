//! The mapping case by case, whole requests, random ones against prost, and hostile ones.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

use super::{Fault, MAX_DEPTH, to_protobuf};
use crate::otlp::Signal;

mod arbitrary;
mod hostile;
mod mapping;
mod requests;
mod roundtrip;
mod writer;

const LIMIT: usize = 1 << 20;

fn read<T: Message + Default>(signal: Signal, text: &str) -> Result<T, Fault> {
    to_protobuf(signal, text.as_bytes(), LIMIT).map(|bytes| T::decode(&*bytes).expect("what is written is protobuf"))
}

fn metrics(text: &str) -> Result<ExportMetricsServiceRequest, Fault> {
    read(Signal::Metrics, text)
}

fn traces(text: &str) -> Result<ExportTraceServiceRequest, Fault> {
    read(Signal::Traces, text)
}

fn logs(text: &str) -> Result<ExportLogsServiceRequest, Fault> {
    read(Signal::Logs, text)
}

/// The text of an error.
fn refusal<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    match result {
        Err(Fault::Malformed(reason)) => reason,
        other => unreachable!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn keys_in_any_order_give_the_same_bytes() {
    let first =
        br#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"1"}}]},"schemaUrl":"u"}]}"#;
    let other =
        br#"{"resourceLogs":[{"schemaUrl":"u","resource":{"attributes":[{"value":{"intValue":1},"key":"a"}]}}]}"#;
    let bytes = to_protobuf(Signal::Logs, first, 1 << 10);
    assert_eq!(bytes, to_protobuf(Signal::Logs, other, 1 << 10));
    let read = ExportLogsServiceRequest::decode(&*bytes.expect("is a request")).expect("is a request");
    assert_eq!(
        read.encode_to_vec(),
        to_protobuf(Signal::Logs, other, 1 << 10).expect("is a request"),
        "as prost writes it"
    );
}
