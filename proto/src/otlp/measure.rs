//! What a request will cost, read off the wire before anything is allocated for it.

use super::{DecodeError, Signal, malformed, metrics::Kind};
use crate::wire::{Fields, Malformed};

/// The cost of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Data points, spans or log records.
    pub items: u64,
    /// Bytes that it takes once decoded, estimated from above.
    pub bytes: u64,
}

/// What a resource, a scope or a metric takes apart from its texts.
const SHARED: u64 = 256;
/// What a row takes apart from its texts: the columns' widths, rounded up.
const POINT: u64 = 64;
const SPAN: u64 = 160;
const RECORD: u64 = 128;
/// A count of a bucket is a byte on the wire at the least, and eight bytes decoded.
const PER_BUCKET_BYTE: u64 = 8;

/// Counts the items of a protobuf request and estimates its cost. It looks at the envelopes only;
/// what is within an item costs no more than a multiple of the item's length. Nothing is allocated,
/// and the scan stops where `budget` bytes are exceeded: an empty item takes two bytes on the wire,
/// so that a small body can ask for very many rows.
///
/// # Errors
/// [`DecodeError::TooCostly`] over the budget, [`DecodeError::Malformed`] when an envelope is none.
pub fn measure(signal: Signal, request: &[u8], budget: u64) -> Result<Load, DecodeError> {
    let mut scan = Scan { load: Load::default(), budget, signal };
    match scan.request(request) {
        Ok(()) => Ok(scan.load),
        Err(Stop::TooCostly) => Err(DecodeError::TooCostly { signal, budget }),
        Err(Stop::Malformed(fault)) => Err(malformed(signal, &fault.to_string())),
    }
}

enum Stop {
    TooCostly,
    Malformed(Malformed),
}

impl From<Malformed> for Stop {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

struct Scan {
    load: Load,
    budget: u64,
    signal: Signal,
}

impl Scan {
    fn charge(&mut self, bytes: u64) -> Result<(), Stop> {
        self.load.bytes = self.load.bytes.saturating_add(bytes);
        if self.load.bytes > self.budget { Err(Stop::TooCostly) } else { Ok(()) }
    }

    fn request(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut fields = Fields::new("request", bytes);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.shared("resource's envelope", fields.bytes(field.value)?, Self::scope)?;
            }
        }
        Ok(())
    }

    /// An envelope with items or further envelopes in field 2.
    fn shared(
        &mut self,
        message: &'static str,
        bytes: &[u8],
        inner: fn(&mut Self, &[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.charge(SHARED)?;
        let mut fields = Fields::new(message, bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.charge(2 * fields.bytes(field.value)?.len() as u64)?,
                2 => inner(self, fields.bytes(field.value)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn scope(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let inner = match self.signal {
            Signal::Metrics => Self::metric,
            Signal::Traces => |scan: &mut Self, item: &[u8]| scan.item(SPAN, item, 1),
            Signal::Logs => |scan: &mut Self, item: &[u8]| scan.item(RECORD, item, 1),
        };
        self.shared("scope's envelope", bytes, inner)
    }

    #[inline]
    fn item(&mut self, row: u64, item: &[u8], factor: u64) -> Result<(), Stop> {
        self.load.items += 1;
        self.charge(row + factor * item.len() as u64)
    }

    fn metric(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.charge(SHARED)?;
        let mut fields = Fields::new("Metric", bytes);
        let before = self.load.items;
        let mut found = None;
        while let Some(field) = fields.next()? {
            let Some(kind) = Kind::of(field.number) else { continue };
            // Of several members of a oneof the last counts.
            if found.replace(kind) != Some(kind) {
                self.load.items = before;
            }
            let factor = if kind == Kind::Exponential { PER_BUCKET_BYTE } else { 1 };
            let mut points = Fields::new("metric's data", fields.bytes(field.value)?);
            while let Some(point) = points.next()? {
                if point.number == 1 {
                    self.item(POINT, points.bytes(point.value)?, factor)?;
                }
            }
        }
        // A metric without data is answered as one rejected item.
        self.load.items += u64::from(found.is_none());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use prost::Message as _;

    use super::*;

    fn spans(count: usize) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); count], ..ScopeSpans::default() }];
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
            .encode_to_vec()
    }

    #[test]
    fn items_are_counted_and_empty_ones_cost_a_row() {
        let load = measure(Signal::Traces, &spans(100), u64::MAX).expect("is well formed");
        assert_eq!(load, Load { items: 100, bytes: 2 * SHARED + 100 * SPAN });
    }

    #[test]
    fn a_bomb_of_empty_spans_stops_at_the_budget() {
        let bomb = spans(1 << 20);
        let refused = measure(Signal::Traces, &bomb, 64 << 20);
        assert_eq!(refused, Err(DecodeError::TooCostly { signal: Signal::Traces, budget: 64 << 20 }));
    }

    #[test]
    fn an_envelope_that_is_cut_is_malformed() {
        let whole = spans(3);
        let cut = measure(Signal::Traces, &whole[..whole.len() - 1], u64::MAX);
        assert!(matches!(cut, Err(DecodeError::Malformed { .. })), "{cut:?}");
    }
}
