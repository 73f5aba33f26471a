//! From OTLP's structs to window rows: what is kept, what it is called, what is refused and why.
//!
//! A bad item is data: it is counted with a reason and the rest of the request goes on. Only bytes
//! that are no request are an error. The time and memory of one request are bounded by its size:
//! each item is looked at once, and what items share (resource, scope, metric, attribute names) is
//! made once.

mod attributes;
mod ids;
mod limits;
mod logs;
mod metrics;
mod names;
mod resource;
mod sender;
mod senders;
mod spans;
mod values;

use std::sync::Arc;

use proto::otlp::{self, DecodeError, Encoding, Load, Signal};

use self::senders::Senders;
use crate::{Batch, KnownSeries};

pub use limits::Limits;

/// A request as rows.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The rows, and the account of what was refused so far.
    pub batch: Batch,
    /// How many data points, spans or log records the sender sent; a histogram's point is one item
    /// although it becomes several rows.
    pub items: u64,
}

/// Reads requests. Shared by all tasks that decode.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    known: Arc<KnownSeries>,
    senders: Senders,
}

impl Decoder {
    /// A decoder with these bounds, that names the series which are `known` by their numbers.
    #[must_use]
    pub fn new(limits: Limits, known: Arc<KnownSeries>) -> Self {
        Self { limits, known, senders: Senders::default() }
    }

    /// What a protobuf request will cost, without decoding it.
    ///
    /// # Errors
    /// [`DecodeError`] when it would take more memory than a request may, or its envelopes are none.
    pub fn measure(&self, signal: Signal, request: &[u8]) -> Result<Load, DecodeError> {
        otlp::measure(signal, request, self.limits.decoded_bytes as u64)
    }

    /// Reads one request, whole or not at all.
    ///
    /// # Errors
    /// [`DecodeError`] when `body` is no such request, or one that would take too much memory.
    pub fn decode(&self, signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Decoded, DecodeError> {
        let request = otlp::as_protobuf(signal, encoding, body, self.limits.decoded_bytes)?;
        let load = self.measure(signal, &request)?;
        let batch = match signal {
            Signal::Metrics => {
                let Self { limits, known, senders } = self;
                metrics::rows(&request, load.items, metrics::Context { limits, known, senders })
            }
            Signal::Traces => spans::rows(&request, &self.limits),
            Signal::Logs => logs::rows(&request, &self.limits),
        };
        let batch = batch.map_err(|fault| DecodeError::malformed(signal, &fault))?;
        Ok(Decoded { batch, items: load.items })
    }
}

#[cfg(test)]
mod tests;
