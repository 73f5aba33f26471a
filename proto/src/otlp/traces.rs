//! Spans, read in place.

use super::{
    envelope::{Names, walk},
    origin::OriginVisitor,
    value::{KeyValue, Repeated},
};
use crate::wire::{Fields, Malformed, Run, Text, delimited, exactly, fixed64, touch};

/// The tag of a span's kind.
const KIND: u8 = 6 << 3;

/// Takes the contents of a traces request in its order.
pub trait Visitor: OriginVisitor {
    /// A span of that scope.
    ///
    /// # Errors
    /// When its attributes, events or links, which are not looked into before, are not well formed.
    fn span(&mut self, span: &Span<'_>) -> Result<(), Malformed>;
}

/// `opentelemetry.proto.trace.v1.Span`. Lengths of ids are for the visitor to judge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span<'a> {
    /// `trace_id`.
    pub trace_id: &'a [u8],
    /// `span_id`.
    pub span_id: &'a [u8],
    /// `parent_span_id`; empty for a root.
    pub parent_span_id: &'a [u8],
    /// `trace_state`.
    pub trace_state: Text<'a>,
    /// `flags`.
    pub flags: u32,
    /// `name`.
    pub name: Text<'a>,
    /// `kind`'s number.
    pub kind: i32,
    /// `start_time_unix_nano`.
    pub start: u64,
    /// `end_time_unix_nano`.
    pub end: u64,
    /// `attributes`: [`KeyValue`]s, not looked into yet.
    pub attributes: Repeated<'a>,
    /// `events`: [`Event`]s, not looked into yet.
    pub events: Repeated<'a>,
    /// `links`: [`Link`]s, not looked into yet.
    pub links: Repeated<'a>,
    /// `dropped_attributes_count`, `dropped_events_count`, `dropped_links_count`.
    pub dropped: [u32; 3],
    /// `status.code`'s number.
    pub status_code: i32,
    /// `status.message`.
    pub status_message: Text<'a>,
}

/// `opentelemetry.proto.trace.v1.Span.Event`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// `time_unix_nano`.
    pub time: u64,
    /// `name`.
    pub name: Text<'a>,
    /// `attributes`; each is well formed.
    pub attributes: Repeated<'a>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
}

/// `opentelemetry.proto.trace.v1.Span.Link`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link<'a> {
    /// `trace_id`.
    pub trace_id: &'a [u8],
    /// `span_id`.
    pub span_id: &'a [u8],
    /// `trace_state`.
    pub trace_state: Text<'a>,
    /// `attributes`; each is well formed.
    pub attributes: Repeated<'a>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
    /// `flags`.
    pub flags: u32,
}

/// Reads an `ExportTraceServiceRequest`.
///
/// # Errors
/// [`Malformed`] when it is none. The visitor may have been told a part of it by then.
pub fn read(request: &[u8], visitor: &mut impl Visitor) -> Result<(), Malformed> {
    let names = Names { request: "ExportTraceServiceRequest", resource: "ResourceSpans", scope: "ScopeSpans" };
    walk(&names, request, visitor, |visitor, bytes| {
        touch(bytes);
        let mut span = Span::default();
        span.fill(bytes)?;
        visitor.span(&span)
    })
}

impl<'a> Span<'a> {
    /// Reads a message into a span that is empty, where it is: to be moved costs it more than a field.
    #[inline]
    fn fill(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let begun = self.begin(bytes);
        self.go_on(bytes, begun)
    }

    /// Reads the fields from byte `begun` on, in any order.
    #[inline]
    fn go_on(&mut self, bytes: &'a [u8], begun: usize) -> Result<(), Malformed> {
        let span = self;
        let mut fields = Fields::new("Span", bytes).from(begun);
        let [mut attributes, mut events, mut links] = [Run::default(); 3];
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                1 => span.trace_id = fields.bytes(value)?,
                2 => span.span_id = fields.bytes(value)?,
                3 => span.trace_state = fields.text(value)?,
                4 => span.parent_span_id = fields.bytes(value)?,
                5 => span.name = fields.text(value)?,
                6 => span.kind = fields.int32(value)?,
                7 => span.start = fields.fixed64(value)?,
                8 => span.end = fields.fixed64(value)?,
                9 => attributes.take(field, &mut fields)?,
                11 => events.take(field, &mut fields)?,
                13 => links.take(field, &mut fields)?,
                10 => span.dropped[0] = fields.int32(value)?.cast_unsigned(),
                12 => span.dropped[1] = fields.int32(value)?.cast_unsigned(),
                14 => span.dropped[2] = fields.int32(value)?.cast_unsigned(),
                15 => span.status(fields.bytes(value)?)?,
                16 => span.flags = fields.fixed32(value)?,
                _ => {}
            }
        }
        span.attributes = Repeated::new(attributes.of(9, &fields));
        span.events = Repeated::new(events.of(11, &fields));
        span.links = Repeated::new(links.of(13, &fields));
        Ok(())
    }

    /// Reads the fields up to the times as encoders write them: in order of their numbers, those that there are. How many
    /// bytes that were; what comes then may be any field, also one that was read already.
    #[inline]
    fn begin(&mut self, bytes: &'a [u8]) -> usize {
        let mut rest = bytes;
        if let Some((id, others)) = exactly::<16>(1 << 3 | 2, rest) {
            (self.trace_id, rest) = (id, others);
        }
        if let Some((id, others)) = exactly::<8>(2 << 3 | 2, rest) {
            (self.span_id, rest) = (id, others);
        }
        if let Some((id, others)) = exactly::<8>(4 << 3 | 2, rest) {
            (self.parent_span_id, rest) = (id, others);
        }
        if let Some((name, others)) = delimited(5 << 3 | 2, rest)
            && let Some(name) = Text::new(name)
        {
            (self.name, rest) = (name, others);
        }
        if let [KIND, kind @ ..0x80, others @ ..] = rest {
            (self.kind, rest) = ((*kind).into(), others);
        }
        if let Some((nanos, others)) = fixed64(7 << 3 | 1, rest) {
            (self.start, rest) = (nanos, others);
        }
        if let Some((nanos, others)) = fixed64(8 << 3 | 1, rest) {
            (self.end, rest) = (nanos, others);
        }
        bytes.len() - rest.len()
    }

    fn status(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::new("Status", bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => self.status_message = fields.text(field.value)?,
                3 => self.status_code = fields.int32(field.value)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Event<'a> {
    /// Reads the message and everything in it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut event = Self::default();
        let mut fields = Fields::new("Event", bytes);
        let mut attributes = Run::default();
        while let Some(field) = fields.next()? {
            match field.number {
                1 => event.time = fields.fixed64(field.value)?,
                2 => event.name = fields.text(field.value)?,
                3 => {
                    KeyValue::read(fields.bytes(field.value)?)?;
                    attributes.note(&fields);
                }
                4 => event.dropped_attributes = fields.int32(field.value)?.cast_unsigned(),
                _ => {}
            }
        }
        event.attributes = Repeated::new(attributes.of(3, &fields));
        Ok(event)
    }
}

impl<'a> Link<'a> {
    /// Reads the message and everything in it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut link = Self::default();
        let mut fields = Fields::new("Link", bytes);
        let mut attributes = Run::default();
        while let Some(field) = fields.next()? {
            match field.number {
                1 => link.trace_id = fields.bytes(field.value)?,
                2 => link.span_id = fields.bytes(field.value)?,
                3 => link.trace_state = fields.text(field.value)?,
                4 => {
                    KeyValue::read(fields.bytes(field.value)?)?;
                    attributes.note(&fields);
                }
                5 => link.dropped_attributes = fields.int32(field.value)?.cast_unsigned(),
                6 => link.flags = fields.fixed32(field.value)?,
                _ => {}
            }
        }
        link.attributes = Repeated::new(attributes.of(4, &fields));
        Ok(link)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1 as wire;
    use prost::Message as _;

    use super::*;
    use crate::wire::tests::damaged;

    #[test]
    fn a_span_in_order_is_read_as_one_in_any_order() {
        let full = wire::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            parent_span_id: vec![3; 8],
            name: "GET /quotes/{id} \u{e4}".into(),
            kind: 2,
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_000_000_000_007,
            status: Some(wire::Status { code: 2, message: "late".into() }),
            flags: 257,
            ..wire::Span::default()
        };
        let spans = [
            wire::Span { trace_state: "a=b".into(), ..full.clone() },
            wire::Span { parent_span_id: vec![], name: "n".repeat(200), ..full.clone() },
            wire::Span { kind: 0, trace_id: vec![1; 15], ..full.clone() },
            wire::Span { name: String::new(), start_time_unix_nano: 0, ..full.clone() },
            full,
            wire::Span::default(),
        ];
        let same = |bytes: &[u8]| {
            let (mut in_order, mut in_any_order) = (Span::default(), Span::default());
            let results = [in_order.fill(bytes), in_any_order.go_on(bytes, 0)];
            assert_eq!(results[0], results[1], "{bytes:?}");
            assert!(results[0].is_err() || in_order == in_any_order, "{bytes:?}");
        };
        for bytes in spans.iter().map(wire::Span::encode_to_vec) {
            same(&bytes);
            same(&[&bytes[..], &bytes].concat());
            damaged(&bytes, &[0, 8, 0x0a, 0x39, 0x80, 0xff]).for_each(|odd| same(&odd));
        }
    }
}
