//! Log records, read in place.

use super::{
    envelope::{Names, walk},
    origin::OriginVisitor,
    value::{AnyValue, MAX_NESTING, Repeated},
};
use crate::wire::{Fields, Malformed, Run, Text};

/// Takes the contents of a logs request in its order.
pub trait Visitor: OriginVisitor {
    /// A log record of that scope.
    ///
    /// # Errors
    /// When its attributes, which are not looked into before, are not well formed.
    fn record(&mut self, record: &LogRecord<'_>) -> Result<(), Malformed>;
}

/// `opentelemetry.proto.logs.v1.LogRecord`. Lengths of ids are for the visitor to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord<'a> {
    /// `time_unix_nano`; 0 when unknown.
    pub time: u64,
    /// `observed_time_unix_nano`.
    pub observed: u64,
    /// `severity_number`.
    pub severity: i32,
    /// `severity_text`.
    pub severity_text: Text<'a>,
    /// `body`.
    pub body: AnyValue<'a>,
    /// `attributes`: [`super::KeyValue`]s, not looked into yet.
    pub attributes: Repeated<'a>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
    /// `flags`.
    pub flags: u32,
    /// `trace_id`.
    pub trace_id: &'a [u8],
    /// `span_id`.
    pub span_id: &'a [u8],
    /// `event_name`.
    pub event_name: Text<'a>,
}

/// Reads an `ExportLogsServiceRequest`.
///
/// # Errors
/// [`Malformed`] when it is none. The visitor may have been told a part of it by then.
pub fn read(request: &[u8], visitor: &mut impl Visitor) -> Result<(), Malformed> {
    let names = Names { request: "ExportLogsServiceRequest", resource: "ResourceLogs", scope: "ScopeLogs" };
    walk(&names, request, visitor, |visitor, bytes| visitor.record(&LogRecord::read(bytes)?))
}

impl<'a> LogRecord<'a> {
    fn empty() -> Self {
        Self {
            time: 0,
            observed: 0,
            severity: 0,
            severity_text: Text::default(),
            body: AnyValue::Unset,
            attributes: Repeated::default(),
            dropped_attributes: 0,
            flags: 0,
            trace_id: &[],
            span_id: &[],
            event_name: Text::default(),
        }
    }

    #[inline]
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut record = Self::empty();
        let mut fields = Fields::new("LogRecord", bytes);
        let mut attributes = Run::default();
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                1 => record.time = fields.fixed64(value)?,
                2 => record.severity = fields.int32(value)?,
                3 => record.severity_text = fields.text(value)?,
                5 => record.body.merge(fields.bytes(value)?, MAX_NESTING)?,
                6 => attributes.take(field, &mut fields)?,
                7 => record.dropped_attributes = fields.int32(value)?.cast_unsigned(),
                8 => record.flags = fields.fixed32(value)?,
                9 => record.trace_id = fields.bytes(value)?,
                10 => record.span_id = fields.bytes(value)?,
                11 => record.observed = fields.fixed64(value)?,
                12 => record.event_name = fields.text(value)?,
                _ => {}
            }
        }
        record.attributes = Repeated::new(attributes.of(6, &fields));
        Ok(record)
    }
}
