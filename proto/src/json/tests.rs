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
