//! The tables: which keys an OTLP message has in JSON, and where their values go in protobuf.
//!
//! All messages that an export request can hold. Left out on purpose, and so ignored as unknown keys:
//! `keyStrindex` and `stringValueStrindex`, which only profiles may use.

/// A message: its keys, in the order in which senders tend to write them.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) fields: &'static [Field],
}

/// One key of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) number: u8,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
}

/// Whether a value that is its type's default is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// No: it cannot be told from an absent one.
    Implicit,
    /// Yes.
    Explicit,
    /// Yes, and only one field of this kind may be in a message. No message of OTLP has two oneofs.
    OneOf,
}

/// What a key's value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// Bytes in base64.
    Base64,
    /// Bytes in hex.
    Id,
    Number(Number),
    Message(&'static Shape),
    Messages(&'static Shape),
    Texts,
    /// A packed list.
    Numbers(Number),
}

/// How a number (or a truth value, which protobuf writes as one) is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Bool,
    Enum,
    Uint32,
    Sint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    Double,
}

use Number::{Bool, Double, Enum, Fixed32, Fixed64, Int64, Sfixed64, Sint32, Uint32, Uint64};

/// Fields of a message at most: those seen are kept in the bits of a `u32`.
const MAX_FIELDS: usize = 32;

const fn shape(fields: &'static [Field]) -> Shape {
    assert!(fields.len() <= MAX_FIELDS, "fields are counted in the bits of a u32");
    Shape { fields }
}

const fn field(key: &'static str, number: u8, kind: Kind) -> Field {
    Field { key, number, kind, presence: Presence::Implicit }
}

const fn text(key: &'static str, number: u8) -> Field {
    field(key, number, Kind::Text)
}

const fn id(key: &'static str, number: u8) -> Field {
    field(key, number, Kind::Id)
}

const fn num(key: &'static str, number: u8, kind: Number) -> Field {
    field(key, number, Kind::Number(kind))
}

/// A number that may be zero and yet be there.
const fn optional(key: &'static str, number: u8, kind: Number) -> Field {
    Field { key, number, kind: Kind::Number(kind), presence: Presence::Explicit }
}

const fn one(key: &'static str, number: u8, shape: &'static Shape) -> Field {
    Field { key, number, kind: Kind::Message(shape), presence: Presence::Explicit }
}

const fn many(key: &'static str, number: u8, shape: &'static Shape) -> Field {
    field(key, number, Kind::Messages(shape))
}

const fn one_of(key: &'static str, number: u8, kind: Kind) -> Field {
    Field { key, number, kind, presence: Presence::OneOf }
}

pub(super) static METRICS_REQUEST: Shape = shape(&[many("resourceMetrics", 1, &RESOURCE_METRICS)]);
pub(super) static TRACES_REQUEST: Shape = shape(&[many("resourceSpans", 1, &RESOURCE_SPANS)]);
pub(super) static LOGS_REQUEST: Shape = shape(&[many("resourceLogs", 1, &RESOURCE_LOGS)]);

static RESOURCE: Shape = shape(&[
    many("attributes", 1, &KEY_VALUE),
    num("droppedAttributesCount", 2, Uint32),
    many("entityRefs", 3, &ENTITY_REF),
]);
static ENTITY_REF: Shape = shape(&[
    text("schemaUrl", 1),
    text("type", 2),
    field("idKeys", 3, Kind::Texts),
    field("descriptionKeys", 4, Kind::Texts),
]);
static SCOPE: Shape = shape(&[
    text("name", 1),
    text("version", 2),
    many("attributes", 3, &KEY_VALUE),
    num("droppedAttributesCount", 4, Uint32),
]);
static KEY_VALUE: Shape = shape(&[text("key", 1), one("value", 2, &ANY_VALUE)]);
static ANY_VALUE: Shape = shape(&[
    one_of("stringValue", 1, Kind::Text),
    one_of("boolValue", 2, Kind::Number(Bool)),
    one_of("intValue", 3, Kind::Number(Int64)),
    one_of("doubleValue", 4, Kind::Number(Double)),
    one_of("arrayValue", 5, Kind::Message(&ARRAY)),
    one_of("kvlistValue", 6, Kind::Message(&KEY_VALUES)),
    one_of("bytesValue", 7, Kind::Base64),
]);
static ARRAY: Shape = shape(&[many("values", 1, &ANY_VALUE)]);
static KEY_VALUES: Shape = shape(&[many("values", 1, &KEY_VALUE)]);

static RESOURCE_METRICS: Shape =
    shape(&[one("resource", 1, &RESOURCE), many("scopeMetrics", 2, &SCOPE_METRICS), text("schemaUrl", 3)]);
static SCOPE_METRICS: Shape = shape(&[one("scope", 1, &SCOPE), many("metrics", 2, &METRIC), text("schemaUrl", 3)]);
static METRIC: Shape = shape(&[
    text("name", 1),
    text("description", 2),
    text("unit", 3),
    one_of("gauge", 5, Kind::Message(&GAUGE)),
    one_of("sum", 7, Kind::Message(&SUM)),
    one_of("histogram", 9, Kind::Message(&HISTOGRAM)),
    one_of("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
    one_of("summary", 11, Kind::Message(&SUMMARY)),
    many("metadata", 12, &KEY_VALUE),
]);
static GAUGE: Shape = shape(&[many("dataPoints", 1, &NUMBER_POINT)]);
static SUM: Shape =
    shape(&[many("dataPoints", 1, &NUMBER_POINT), num("aggregationTemporality", 2, Enum), num("isMonotonic", 3, Bool)]);
static HISTOGRAM: Shape = shape(&[many("dataPoints", 1, &HISTOGRAM_POINT), num("aggregationTemporality", 2, Enum)]);
static EXPONENTIAL_HISTOGRAM: Shape =
    shape(&[many("dataPoints", 1, &EXPONENTIAL_POINT), num("aggregationTemporality", 2, Enum)]);
static SUMMARY: Shape = shape(&[many("dataPoints", 1, &SUMMARY_POINT)]);
static NUMBER_POINT: Shape = shape(&[
    many("attributes", 7, &KEY_VALUE),
    num("startTimeUnixNano", 2, Fixed64),
    num("timeUnixNano", 3, Fixed64),
    one_of("asDouble", 4, Kind::Number(Double)),
    one_of("asInt", 6, Kind::Number(Sfixed64)),
    many("exemplars", 5, &EXEMPLAR),
    num("flags", 8, Uint32),
]);
static HISTOGRAM_POINT: Shape = shape(&[
    many("attributes", 9, &KEY_VALUE),
    num("startTimeUnixNano", 2, Fixed64),
    num("timeUnixNano", 3, Fixed64),
    num("count", 4, Fixed64),
    optional("sum", 5, Double),
    field("bucketCounts", 6, Kind::Numbers(Fixed64)),
    field("explicitBounds", 7, Kind::Numbers(Double)),
    many("exemplars", 8, &EXEMPLAR),
    num("flags", 10, Uint32),
    optional("min", 11, Double),
    optional("max", 12, Double),
]);
static EXPONENTIAL_POINT: Shape = shape(&[
    many("attributes", 1, &KEY_VALUE),
    num("startTimeUnixNano", 2, Fixed64),
    num("timeUnixNano", 3, Fixed64),
    num("count", 4, Fixed64),
    optional("sum", 5, Double),
    num("scale", 6, Sint32),
    num("zeroCount", 7, Fixed64),
    one("positive", 8, &BUCKETS),
    one("negative", 9, &BUCKETS),
    num("flags", 10, Uint32),
    many("exemplars", 11, &EXEMPLAR),
    optional("min", 12, Double),
    optional("max", 13, Double),
    num("zeroThreshold", 14, Double),
]);
static BUCKETS: Shape = shape(&[num("offset", 1, Sint32), field("bucketCounts", 2, Kind::Numbers(Uint64))]);
static SUMMARY_POINT: Shape = shape(&[
    many("attributes", 7, &KEY_VALUE),
    num("startTimeUnixNano", 2, Fixed64),
    num("timeUnixNano", 3, Fixed64),
    num("count", 4, Fixed64),
    num("sum", 5, Double),
    many("quantileValues", 6, &QUANTILE),
    num("flags", 8, Uint32),
]);
static QUANTILE: Shape = shape(&[num("quantile", 1, Double), num("value", 2, Double)]);
static EXEMPLAR: Shape = shape(&[
    many("filteredAttributes", 7, &KEY_VALUE),
    num("timeUnixNano", 2, Fixed64),
    one_of("asDouble", 3, Kind::Number(Double)),
    one_of("asInt", 6, Kind::Number(Sfixed64)),
    id("spanId", 4),
    id("traceId", 5),
]);

static RESOURCE_SPANS: Shape =
    shape(&[one("resource", 1, &RESOURCE), many("scopeSpans", 2, &SCOPE_SPANS), text("schemaUrl", 3)]);
static SCOPE_SPANS: Shape = shape(&[one("scope", 1, &SCOPE), many("spans", 2, &SPAN), text("schemaUrl", 3)]);
static SPAN: Shape = shape(&[
    id("traceId", 1),
    id("spanId", 2),
    text("traceState", 3),
    id("parentSpanId", 4),
    num("flags", 16, Fixed32),
    text("name", 5),
    num("kind", 6, Enum),
    num("startTimeUnixNano", 7, Fixed64),
    num("endTimeUnixNano", 8, Fixed64),
    many("attributes", 9, &KEY_VALUE),
    num("droppedAttributesCount", 10, Uint32),
    many("events", 11, &EVENT),
    num("droppedEventsCount", 12, Uint32),
    many("links", 13, &LINK),
    num("droppedLinksCount", 14, Uint32),
    one("status", 15, &STATUS),
]);
static EVENT: Shape = shape(&[
    num("timeUnixNano", 1, Fixed64),
    text("name", 2),
    many("attributes", 3, &KEY_VALUE),
    num("droppedAttributesCount", 4, Uint32),
]);
static LINK: Shape = shape(&[
    id("traceId", 1),
    id("spanId", 2),
    text("traceState", 3),
    many("attributes", 4, &KEY_VALUE),
    num("droppedAttributesCount", 5, Uint32),
    num("flags", 6, Fixed32),
]);
static STATUS: Shape = shape(&[text("message", 2), num("code", 3, Enum)]);

static RESOURCE_LOGS: Shape =
    shape(&[one("resource", 1, &RESOURCE), many("scopeLogs", 2, &SCOPE_LOGS), text("schemaUrl", 3)]);
static SCOPE_LOGS: Shape = shape(&[one("scope", 1, &SCOPE), many("logRecords", 2, &LOG_RECORD), text("schemaUrl", 3)]);
static LOG_RECORD: Shape = shape(&[
    num("timeUnixNano", 1, Fixed64),
    num("observedTimeUnixNano", 11, Fixed64),
    num("severityNumber", 2, Enum),
    text("severityText", 3),
    one("body", 5, &ANY_VALUE),
    many("attributes", 6, &KEY_VALUE),
    num("droppedAttributesCount", 7, Uint32),
    num("flags", 8, Fixed32),
    id("traceId", 9),
    id("spanId", 10),
    text("eventName", 12),
]);
