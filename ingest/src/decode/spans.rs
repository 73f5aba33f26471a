//! Spans, from the wire into columns.

use std::borrow::Cow;

use proto::{
    otlp::{
        OriginVisitor, Repeated, Resource, Scope, cut,
        traces::{self, Event, Link, Span, Visitor},
    },
    wire::{Fields, Malformed, put_bytes, put_varint},
};
use window::{SpanKind, SpanRow, SpanStatus, UnixNanos};

use super::{
    Context, Limits,
    ids::id,
    keep::{Keeper, Kept, varint_length},
    origin::{Origin, put_count, put_text},
};
use crate::Batch;

/// A span with ids and times, and without anything else, takes this many bytes in a request.
const LEAST_BYTES: usize = 39;
/// Field of a `KeyValueList` as which attributes are kept.
const ATTRIBUTE: u8 = 1;

/// Reads a traces request that has `items` spans.
pub(super) fn rows(request: &[u8], items: u64, context: Context<'_>) -> Result<Batch, Malformed> {
    let mut batch = Batch::default();
    // Spans that cannot be valid make no room for themselves.
    let rows = usize::try_from(items).unwrap_or(usize::MAX).min(request.len() / LEAST_BYTES);
    batch.spans.reserve(rows, request.len() - rows * LEAST_BYTES);
    let mut reader = Reader {
        context,
        origin: Origin::default(),
        keeper: Keeper::default(),
        batch,
        attributes: Vec::new(),
        rest: Vec::new(),
    };
    traces::read(request, &mut reader)?;
    Ok(reader.origin.finish(reader.batch))
}

struct Reader<'d> {
    context: Context<'d>,
    origin: Origin,
    keeper: Keeper,
    batch: Batch,
    /// What the span at hand is kept as, its attributes only if that is not as they were sent.
    attributes: Vec<u8>,
    rest: Vec<u8>,
}

impl OriginVisitor for Reader<'_> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.origin.resource(resource, self.context);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.origin.scope(scope, self.context.limits);
        let (service, resource, scope) = self.origin.parts();
        self.batch.spans.set_origin(service, resource, scope);
    }
}

impl Visitor for Reader<'_> {
    #[inline]
    fn span(&mut self, span: &Span<'_>) -> Result<(), Malformed> {
        self.attributes.clear();
        let limits = self.context.limits;
        let kept = self.keeper.keep("span", &span.attributes, ATTRIBUTE, limits, &mut self.attributes)?;
        self.rest.clear();
        let dropped = kept.as_ref().map_or(0, |kept| kept.dropped);
        put_rest(span, dropped, limits, &mut self.rest)?;
        if let Err(fault) = self.row(span, kept) {
            self.batch.rejected.add(1, || fault);
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// Keeps the span, unless it is refused with a reason. `kept` is what became of its attributes.
    #[inline]
    fn row(&mut self, span: &Span<'_>, kept: Result<Kept, String>) -> Result<(), String> {
        if let Some(fault) = self.origin.fault() {
            return Err(fault.to_owned());
        }
        let row = SpanRow {
            trace_id: id(span.trace_id).ok_or("trace_id is not 16 bytes, or all zero")?,
            span_id: id(span.span_id).ok_or("span_id is not 8 bytes, or all zero")?,
            start: time("start_time_unix_nano", span.start)?,
            end: time("end_time_unix_nano", span.end)?,
            name: cut(span.name.as_str(), self.context.limits.span_name_bytes),
            kind: SpanKind::from_wire(span.kind),
            status: SpanStatus::from_wire(span.status_code),
            parent_span_id: id(span.parent_span_id).unwrap_or_default(),
            flags: span.flags,
            attributes: match kept {
                Ok(Kept { is_as_sent: true, .. }) => span.attributes.raw(),
                _ => &self.attributes,
            },
            rest: &self.rest,
        };
        let kept = kept?;
        self.batch.spans.push(&row).map_err(|full| full.to_string())?;
        if kept.is_as_sent {
            self.keeper.tag(ATTRIBUTE, self.batch.spans.last_attributes_mut());
        }
        self.batch.repeated_attributes += u64::from(kept.repeated);
        Ok(())
    }
}

/// Appends what few spans have, as a `Span` with these fields only; `dropped` attributes were not
/// kept, and of events and links those are that fit into [`Limits::attribute_bytes_per_item`].
fn put_rest(span: &Span<'_>, dropped: u32, limits: &Limits, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let is_bare = span.events.is_empty() && span.links.is_empty() && span.dropped == [0; 3] && dropped == 0;
    if is_bare && span.trace_state.bytes().is_empty() && span.status_message.bytes().is_empty() {
        return Ok(());
    }
    let [attributes, events, links] = span.dropped;
    let limit = limits.attribute_bytes_per_item;
    put_text(3, cut(span.trace_state.as_str(), limit), out);
    put_count(10, attributes.saturating_add(dropped), out);
    let unfit = put_those_that_fit(&EVENTS, &span.events, limits, out)?;
    put_count(12, events.saturating_add(unfit), out);
    let unfit = put_those_that_fit(&LINKS, &span.links, limits, out)?;
    put_count(14, links.saturating_add(unfit), out);
    let message = cut(span.status_message.as_str(), limit);
    if !message.is_empty() {
        put_varint(15 << 3 | 2, out);
        put_varint((1 + varint_length(message.len()) + message.len()) as u64, out);
        put_text(2, message, out);
    }
    Ok(())
}

/// A list of messages within a span.
struct Part {
    /// Its field in the span.
    number: u32,
    /// The fields of a message's attributes, and of how many of them were dropped.
    attributes: u32,
    dropped: u32,
    /// Checks a message; how many attributes it has.
    check: fn(&[u8]) -> Result<usize, Malformed>,
}

const EVENTS: Part =
    Part { number: 11, attributes: 3, dropped: 4, check: |m| Ok(Event::read(m)?.attributes.iter().count()) };
const LINKS: Part =
    Part { number: 13, attributes: 4, dropped: 5, check: |m| Ok(Link::read(m)?.attributes.iter().count()) };

/// Checks each message and appends those with which `out` stays within the limit of bytes, each with
/// as many attributes as an item may have; returns how many did not fit.
#[inline]
fn put_those_that_fit(
    part: &Part,
    messages: &Repeated<'_>,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<u32, Malformed> {
    let mut unfit = 0;
    for sent in messages.iter() {
        let attributes = (part.check)(sent)?;
        let message = if attributes > limits.attributes_per_item {
            Cow::Owned(shortened(part, sent, limits.attributes_per_item)?)
        } else {
            Cow::Borrowed(sent)
        };
        if out.len() + 1 + varint_length(message.len()) + message.len() > limits.attribute_bytes_per_item {
            unfit += 1;
        } else {
            put_bytes(part.number, &message, out);
        }
    }
    Ok(unfit)
}

/// The message with its first `most` attributes, which counts the others as dropped.
#[cold]
fn shortened(part: &Part, message: &[u8], most: usize) -> Result<Vec<u8>, Malformed> {
    let (mut out, mut seen, mut dropped) = (Vec::new(), 0, 0_u32);
    let mut fields = Fields::new("Span", message);
    while let Some(field) = fields.next()? {
        if field.number == part.dropped {
            dropped = fields.int32(field.value)?.cast_unsigned();
            continue;
        }
        if field.number == part.attributes {
            seen += 1;
            if seen > most {
                continue;
            }
        }
        out.extend_from_slice(&message[fields.range()]);
    }
    let others = u32::try_from(seen - most).unwrap_or(u32::MAX);
    put_count(part.dropped, dropped.saturating_add(others), &mut out);
    Ok(out)
}

#[inline]
fn time(field: &str, nanos: u64) -> Result<UnixNanos, String> {
    match UnixNanos::from_unsigned(nanos) {
        Some(UnixNanos(0)) => Err(format!("span: {field} is 0")),
        Some(time) => Ok(time),
        None => Err(format!("span: {field} is beyond the year 2262")),
    }
}

#[cfg(test)]
#[path = "spans/tests.rs"]
pub(super) mod tests;
