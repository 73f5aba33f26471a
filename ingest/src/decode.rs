//! From OTLP's structs to window rows: what is kept, what it is called, what is refused and why.
//!
//! A bad item is data: it is counted with a reason and the rest of the request goes on. Only bytes
//! that are no request are an error. The time and memory of one request are bounded by its size:
//! each item is looked at once, and what items share (resource, scope, metric, attribute names) is
//! made once.

mod attributes;
mod cache;
mod limits;
mod logs;
mod metrics;
mod names;
mod resource;
mod sender;
mod spans;
mod values;

use proto::otlp::{self, DecodeError, Encoding, Signal};

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
        Ok(match signal {
            Signal::Metrics => metrics::rows(&otlp::decode_metrics(bytes, encoding, budget)?, limits, &self.series),
            Signal::Traces => spans::rows(&otlp::decode_traces(bytes, encoding, budget)?, limits),
            Signal::Logs => logs::rows(&otlp::decode_logs(bytes, encoding, budget)?, limits),
        })
    }
}

#[cfg(test)]
mod tests;
