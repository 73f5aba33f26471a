//! From OTLP's structs to window rows: what is kept, what it is called, what is refused and why.
//!
//! A bad item is data: it is counted with a reason and the rest of the request goes on. Only bytes
//! that are no request are an error. The time and memory of one request are bounded by its size:
//! each item is looked at once, and what items share (resource, scope, metric, attribute names) is
//! made once.

mod ids;
mod keep;
mod limits;
mod logs;
mod metrics;
mod names;
mod origin;
mod sender;
mod senders;
mod spans;
mod values;

use std::borrow::Cow;

use bytes::Bytes;
use proto::otlp::{self, DecodeError, Encoding, Load, Signal};

use self::senders::Senders;
use crate::{Batch, KnownSeries};

pub use limits::Limits;
pub(crate) use names::metric as prometheus_name;
pub use values::attributes_as_json;

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
    senders: Senders,
}

impl Decoder {
    /// A decoder with these bounds.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, senders: Senders::default() }
    }

    /// Looks at what `body` will cost, before anything is allocated for it.
    ///
    /// # Errors
    /// [`DecodeError`] when it would take more memory than a request may, when its envelopes are
    /// none, or when it is no JSON of such a request.
    pub fn measure<'b>(&self, signal: Signal, encoding: Encoding, body: &'b [u8]) -> Result<Measured<'b>, DecodeError> {
        let budget = self.limits.decoded_bytes;
        let request = otlp::as_protobuf(signal, encoding, body, budget)?;
        let load = otlp::measure(signal, &request, budget as u64)?;
        Ok(Measured { signal, request, load })
    }

    /// Reads one request, whole or not at all. Series that are `known` for its tenant are named by their
    /// numbers.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no such request.
    pub fn decode(&self, measured: &Measured<'_>, known: &KnownSeries) -> Result<Decoded, DecodeError> {
        let Measured { signal, request, load } = measured;
        let Self { limits, senders } = self;
        let (context, items) = (Context { limits, senders }, load.items);
        let batch = match signal {
            Signal::Metrics => metrics::rows(request, items, context, known),
            Signal::Traces => spans::rows(request, items, context),
            Signal::Logs => logs::rows(request, items, context),
        };
        let batch = batch.map_err(|fault| DecodeError::malformed(*signal, &fault))?;
        Ok(Decoded { batch, items })
    }
}

/// What reading a request of any signal needs and does not own.
#[derive(Clone, Copy, Debug)]
struct Context<'d> {
    limits: &'d Limits,
    senders: &'d Senders,
}

/// A request whose cost is known.
#[derive(Clone, Debug)]
pub struct Measured<'b> {
    signal: Signal,
    /// In protobuf, whatever it came as.
    pub(crate) request: Cow<'b, [u8]>,
    /// What it will cost.
    pub load: Load,
}

impl Measured<'_> {
    /// The request in protobuf. `body` is what was measured: its bytes are shared where they are that already.
    #[must_use]
    pub fn into_body(self, body: &Bytes) -> Bytes {
        match self.request {
            Cow::Borrowed(_) => body.clone(),
            Cow::Owned(request) => request.into(),
        }
    }
}

#[cfg(test)]
mod tests;
