//! Spans, read in place.

use super::{
    envelope::{Names, walk},
    origin::OriginVisitor,
    value::{KeyValue, Repeated},
};
use crate::wire::{Fields, Malformed, Run, Text};

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
        let mut span = Span::default();
        span.fill(bytes)?;
        visitor.span(&span)
    })
}

impl<'a> Span<'a> {
    /// Reads a message into a span that is empty, where it is: to be moved costs it more than a field.
    #[inline]
    fn fill(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let span = self;
        let mut fields = Fields::new("Span", bytes);
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
