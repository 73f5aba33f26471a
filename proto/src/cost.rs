//! What a protobuf request will weigh once it is decoded, read off the wire without allocating.
//!
//! An empty sub-message takes two bytes on the wire and up to some 260 decoded, so a bound on the
//! bytes received does not bound memory: a megabyte of empty spans, a kilobyte under gzip, becomes
//! 130 MB. Out-of-memory aborts the process, so the sum is taken before the decoder runs.

use std::mem::size_of;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, SummaryDataPoint, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span},
};

use crate::otlp::Signal;

/// Messages within messages beyond which a request is refused; prost itself stops at 100.
pub(crate) const MAX_DEPTH: usize = 64;
/// The least that a growing vector allocates for elements of up to a kilobyte.
const FIRST_ALLOCATION: usize = 4;
/// No message below has more fields worth knowing.
const MAX_FIELDS: usize = 8;

/// Why a scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end within a field, or a tag or a length is no such thing.
    Malformed,
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More than the budget.
    TooCostly,
}

/// Bytes that the decoded request will take: exact for the structs, capacity included as far as a
/// vector's first allocation, and the payload's length for text.
///
/// # Errors
/// [`Fault`]; the scan stops at the first byte that proves it.
pub(crate) fn estimate(bytes: &[u8], signal: Signal, budget: usize) -> Result<usize, Fault> {
    let request = match signal {
        Signal::Metrics => &METRICS_REQUEST,
        Signal::Traces => &TRACE_REQUEST,
        Signal::Logs => &LOGS_REQUEST,
    };
    let mut scan = Scan { used: 0, budget };
    scan.message(request, bytes, MAX_DEPTH)?;
    Ok(scan.used)
}

/// What a message's decoded form allocates: its own size is charged by whoever holds it in a vector.
struct Shape {
    size: usize,
    fields: &'static [(u64, Field)],
}

enum Field {
    /// Held in place by its parent, so only its contents cost.
    One(&'static Shape),
    /// Elements of a vector.
    Many(&'static Shape),
    /// A vector of strings.
    Texts,
    /// A vector of 64-bit numbers from varints, a byte each at the least.
    Varints,
}

use Field::{Many, One, Texts, Varints};

const fn shape<T>(fields: &'static [(u64, Field)]) -> Shape {
    assert!(fields.len() <= MAX_FIELDS, "the scan counts elements in an array of this length");
    Shape { size: size_of::<T>(), fields }
}

static METRICS_REQUEST: Shape = shape::<()>(&[(1, Many(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Shape = shape::<ResourceMetrics>(&[(1, One(&RESOURCE)), (2, Many(&SCOPE_METRICS))]);
static SCOPE_METRICS: Shape = shape::<ScopeMetrics>(&[(1, One(&SCOPE)), (2, Many(&METRIC))]);
static METRIC: Shape = shape::<Metric>(&[
    (5, One(&NUMBERS)),
    (7, One(&NUMBERS)),
    (9, One(&HISTOGRAMS)),
    (10, One(&EXPONENTIALS)),
    (11, One(&SUMMARIES)),
    (12, Many(&KEY_VALUE)),
]);
static NUMBERS: Shape = shape::<()>(&[(1, Many(&NUMBER))]);
static HISTOGRAMS: Shape = shape::<()>(&[(1, Many(&HISTOGRAM))]);
static EXPONENTIALS: Shape = shape::<()>(&[(1, Many(&EXPONENTIAL))]);
static SUMMARIES: Shape = shape::<()>(&[(1, Many(&SUMMARY))]);
static NUMBER: Shape = shape::<NumberDataPoint>(&[(5, Many(&EXEMPLAR)), (7, Many(&KEY_VALUE))]);
static HISTOGRAM: Shape = shape::<HistogramDataPoint>(&[(8, Many(&EXEMPLAR)), (9, Many(&KEY_VALUE))]);
static EXPONENTIAL: Shape = shape::<ExponentialHistogramDataPoint>(&[
    (1, Many(&KEY_VALUE)),
    (8, One(&BUCKETS)),
    (9, One(&BUCKETS)),
    (11, Many(&EXEMPLAR)),
]);
static BUCKETS: Shape = shape::<()>(&[(2, Varints)]);
static SUMMARY: Shape = shape::<SummaryDataPoint>(&[(6, Many(&QUANTILE)), (7, Many(&KEY_VALUE))]);
static QUANTILE: Shape = shape::<ValueAtQuantile>(&[]);
static EXEMPLAR: Shape = shape::<Exemplar>(&[(7, Many(&KEY_VALUE))]);

static TRACE_REQUEST: Shape = shape::<()>(&[(1, Many(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Shape = shape::<ResourceSpans>(&[(1, One(&RESOURCE)), (2, Many(&SCOPE_SPANS))]);
static SCOPE_SPANS: Shape = shape::<ScopeSpans>(&[(1, One(&SCOPE)), (2, Many(&SPAN))]);
static SPAN: Shape = shape::<Span>(&[(9, Many(&KEY_VALUE)), (11, Many(&EVENT)), (13, Many(&LINK))]);
static EVENT: Shape = shape::<span::Event>(&[(3, Many(&KEY_VALUE))]);
static LINK: Shape = shape::<span::Link>(&[(4, Many(&KEY_VALUE))]);

static LOGS_REQUEST: Shape = shape::<()>(&[(1, Many(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Shape = shape::<ResourceLogs>(&[(1, One(&RESOURCE)), (2, Many(&SCOPE_LOGS))]);
static SCOPE_LOGS: Shape = shape::<ScopeLogs>(&[(1, One(&SCOPE)), (2, Many(&LOG))]);
static LOG: Shape = shape::<LogRecord>(&[(5, One(&ANY)), (6, Many(&KEY_VALUE))]);

static RESOURCE: Shape = shape::<Resource>(&[(1, Many(&KEY_VALUE)), (3, Many(&ENTITY))]);
static ENTITY: Shape = shape::<EntityRef>(&[(3, Texts), (4, Texts)]);
static SCOPE: Shape = shape::<InstrumentationScope>(&[(3, Many(&KEY_VALUE))]);
static KEY_VALUE: Shape = shape::<KeyValue>(&[(2, One(&ANY))]);
static ANY: Shape = shape::<AnyValue>(&[(5, One(&ARRAY)), (6, One(&KEY_VALUES))]);
static ARRAY: Shape = shape::<()>(&[(1, Many(&ANY))]);
static KEY_VALUES: Shape = shape::<()>(&[(1, Many(&KEY_VALUE))]);

struct Scan {
    used: usize,
    budget: usize,
}

impl Scan {
    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.budget { Err(Fault::TooCostly) } else { Ok(()) }
    }

    fn message(&mut self, shape: &Shape, mut bytes: &[u8], levels_left: usize) -> Result<(), Fault> {
        let levels_left = levels_left.checked_sub(1).ok_or(Fault::TooDeep)?;
        let mut seen = [0_usize; MAX_FIELDS];
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let known = shape.fields.iter().position(|(number, _)| *number == tag >> 3);
            match tag & 7 {
                0 => {
                    varint(&mut bytes)?;
                    if known.is_some() {
                        self.charge(size_of::<u64>())?;
                    }
                }
                1 => drop(take(&mut bytes, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Fault::Malformed)?;
                    let payload = take(&mut bytes, length)?;
                    match known {
                        Some(index) => {
                            self.known_field(&shape.fields[index].1, payload, seen[index], levels_left)?;
                            seen[index] += 1;
                        }
                        None => self.charge(length)?,
                    }
                }
                // A group's marks have no payload; what stands between them is read as if it were ours.
                3 | 4 => {}
                5 => drop(take(&mut bytes, 4)?),
                _ => return Err(Fault::Malformed),
            }
        }
        Ok(())
    }

    fn known_field(&mut self, field: &Field, payload: &[u8], index: usize, levels_left: usize) -> Result<(), Fault> {
        match field {
            One(shape) => self.message(shape, payload, levels_left),
            Many(shape) => {
                self.element(shape.size, index)?;
                self.message(shape, payload, levels_left)
            }
            Texts => {
                self.element(size_of::<String>(), index)?;
                self.charge(payload.len())
            }
            Varints => self.charge(payload.len().saturating_mul(size_of::<u64>())),
        }
    }

    /// The first element pays for the places that are allocated with it.
    fn element(&mut self, size: usize, index: usize) -> Result<(), Fault> {
        match index {
            0 => self.charge(size * FIRST_ALLOCATION),
            1..FIRST_ALLOCATION => Ok(()),
            _ => self.charge(size),
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Fault> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Fault::Malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Fault::Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        common::v1::{ArrayValue, any_value::Value},
    };
    use prost::Message;

    use super::*;

    fn spans(count: usize, attributes: usize) -> Vec<u8> {
        let attribute = KeyValue { key: "k".repeat(10), value: None, key_strindex: 0 };
        let span = Span { attributes: vec![attribute; attributes], ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span; count], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    #[test]
    fn the_sum_is_that_of_the_structs() {
        let envelope = 4 * (size_of::<ResourceSpans>() + size_of::<ScopeSpans>());
        assert_eq!(
            estimate(&spans(100, 0), Signal::Traces, usize::MAX),
            Ok(envelope + 100 * size_of::<Span>()),
            "empty spans"
        );
        let each = size_of::<Span>() + 5 * (size_of::<KeyValue>() + 10);
        assert_eq!(estimate(&spans(100, 5), Signal::Traces, usize::MAX), Ok(envelope + 100 * each), "with attributes");
    }

    #[test]
    fn a_bomb_of_empty_spans_is_refused_at_the_budget() {
        let bomb = spans(500_000, 0);
        assert!(bomb.len() < 2 << 20);
        assert_eq!(estimate(&bomb, Signal::Traces, 64 << 20), Err(Fault::TooCostly));
    }

    #[test]
    fn packed_varints_cost_eight_bytes_each() {
        let zeros = [0_u8; 100];
        let mut scan = Scan { used: 0, budget: usize::MAX };
        scan.known_field(&Varints, &zeros, 0, 1).expect("within the budget");
        assert_eq!(scan.used, 800);
    }

    #[test]
    fn deep_nesting_is_refused_without_recursing_through_it() {
        let mut value = AnyValue::default();
        for _ in 0..40 {
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        let attribute = KeyValue { key: String::new(), value: Some(value), key_strindex: 0 };
        let resource = Resource { attributes: vec![attribute], ..Resource::default() };
        let resource_spans = vec![ResourceSpans { resource: Some(resource), ..ResourceSpans::default() }];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        assert_eq!(estimate(&bytes, Signal::Traces, usize::MAX), Err(Fault::TooDeep));
    }

    #[test]
    fn cut_bytes_are_malformed_and_unknown_fields_are_not() {
        let whole = spans(3, 2);
        assert_eq!(estimate(&whole[..whole.len() - 1], Signal::Traces, usize::MAX), Err(Fault::Malformed));
        assert_eq!(estimate(&[0xff; 11], Signal::Traces, usize::MAX), Err(Fault::Malformed));
        assert_eq!(estimate(&[0xf8, 0x01, 0x05], Signal::Traces, usize::MAX), Ok(0), "field 31, a number");
    }
}
