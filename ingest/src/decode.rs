//! From OTLP's structs to window rows: what is kept, what it is called, what is refused and why.
//!
//! A bad item is data: it is counted with a reason and the rest of the request goes on. Only bytes
//! that are no request are an error. The time and memory of one request are bounded by its size:
//! each item is looked at once, and what items share (resource, scope, metric, attribute names) is
//! made once.

mod attributes;
mod cache;
mod keep;
mod limits;
mod logs;
mod metrics;
mod names;
mod origin;
mod resource;
mod sender;
mod spans;
mod values;

use std::borrow::Cow;

use prost::Message as _;
use proto::{
    otlp::{self, DecodeError, Encoding, Load, Signal},
    wire::Malformed,
};

use self::cache::SeriesCache;
use crate::Batch;

pub use limits::Limits;

/// A request as rows.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The rows, and the account of what was refused so far.
    pub batch: Batch,
    /// How many data points, spans or log records the sender sent; a histogram's point is one item
    /// although it becomes two rows.
    pub items: u64,
}

/// Reads requests; knows the series that were seen lately. Shared by all threads that decode.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    series: SeriesCache,
}

impl Decoder {
    /// A decoder with these bounds.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let series = SeriesCache::new(limits.series_cache_bytes);
        Self { limits, series }
    }

    /// Reads one request.
    ///
    /// # Errors
    /// [`DecodeError`] when `bytes` are no such request, or one that would take too much memory.
    pub fn decode(&self, signal: Signal, encoding: Encoding, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        let (limits, budget) = (&self.limits, self.limits.decoded_bytes);
        let read = match signal {
            Signal::Metrics => {
                return Ok(metrics::rows(&otlp::decode_metrics(bytes, encoding, budget)?, limits, &self.series));
            }
            Signal::Traces => spans::read,
            Signal::Logs => logs::read,
        };
        let request = self.as_protobuf(signal, encoding, bytes)?;
        let load = self.measure(signal, &request)?;
        read(&request, load.items, limits).map_err(|fault| malformed(signal, fault))
    }

    /// Counts the items of a protobuf request and estimates what it will take in memory.
    ///
    /// # Errors
    /// [`DecodeError`] when its envelopes are none, or when it would take too much.
    pub fn measure(&self, signal: Signal, request: &[u8]) -> Result<Load, DecodeError> {
        otlp::measure(signal, request, self.limits.decoded_bytes as u64)
    }

    /// The request in the one encoding that is read.
    fn as_protobuf<'a>(
        &self,
        signal: Signal,
        encoding: Encoding,
        bytes: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, DecodeError> {
        let budget = self.limits.decoded_bytes;
        Ok(match (encoding, signal) {
            (Encoding::Protobuf, _) => Cow::Borrowed(bytes),
            (Encoding::Json, Signal::Metrics) => otlp::decode_metrics(bytes, encoding, budget)?.encode_to_vec().into(),
            (Encoding::Json, Signal::Traces) => otlp::decode_traces(bytes, encoding, budget)?.encode_to_vec().into(),
            (Encoding::Json, Signal::Logs) => otlp::decode_logs(bytes, encoding, budget)?.encode_to_vec().into(),
        })
    }
}

fn malformed(signal: Signal, fault: Malformed) -> DecodeError {
    DecodeError::Malformed { signal, reason: fault.to_string() }
}

#[cfg(test)]
mod tests;
