//! Columns against a naive model of rows, before and after they are sealed.

use arrow_array::{BinaryArray, UInt8Array, UInt32Array};
use arrow_schema::DataType;
use proptest::prelude::*;

use super::*;
use crate::{LogRow, SpanKind, SpanRow, SpanStatus, columns};

/// A span with its origin, by value.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    origin: [String; 3],
    name: String,
    numbers: (i64, i64, u8, u8, u32),
    ids: ([u8; 16], [u8; 8], [u8; 8]),
    bytes: [Vec<u8>; 2],
}

impl Span {
    fn row(&self) -> SpanRow<'_> {
        let (end, start, kind, status, flags) = self.numbers;
        SpanRow {
            start: UnixNanos(start),
            end: UnixNanos(end),
            name: &self.name,
            kind: SpanKind::from_wire(kind.into()),
            status: SpanStatus::from_wire(status.into()),
            trace_id: self.ids.0,
            span_id: self.ids.1,
            parent_span_id: self.ids.2,
            flags,
            attributes: &self.bytes[0],
            rest: &self.bytes[1],
        }
    }
}

fn span() -> impl Strategy<Value = Span> {
    let origin = prop::array::uniform3("[ab]{0,1}");
    let numbers = (-50..50_i64, -50..50_i64, 0..6_u8, 0..3_u8, any::<u32>());
    let bytes = prop::array::uniform2(prop::collection::vec(any::<u8>(), 0..5));
    (origin, "[x-z\u{e4}]{0,2}", numbers, any::<([u8; 16], [u8; 8], [u8; 8])>(), bytes)
        .prop_map(|(origin, name, numbers, ids, bytes)| Span { origin, name, numbers, ids, bytes })
}

fn columns_of(spans: &[Span]) -> SpanColumns {
    let mut columns = SpanColumns::default();
    for span in spans {
        let [service, resource, scope] = &span.origin;
        columns.set_origin(service, resource.as_bytes(), scope.as_bytes());
        columns.push(&span.row()).expect("has room");
    }
    columns
}

/// The text or the bytes of a dictionary column.
fn coded<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> &'a [u8] {
    let array = batch.column_by_name(name).expect("has the column");
    let array: &DictionaryArray<Int32Type> = array.as_any().downcast_ref().expect("is a dictionary");
    let key = array.key(row).expect("is not null");
    match array.values().data_type() {
        DataType::Utf8 => array.values().as_any().downcast_ref::<StringArray>().expect("is text").value(key).as_bytes(),
        _ => array.values().as_any().downcast_ref::<BinaryArray>().expect("is binary").value(key),
    }
}

fn typed<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    batch.column_by_name(name).expect("has the column").as_any().downcast_ref().expect("is of that type")
}

/// The span at `row`, read by the names and types that `window/README.md` tells.
fn read(batch: &RecordBatch, row: usize) -> Span {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("is text");
    let time = |name| typed::<TimestampNanosecondArray>(batch, name).value(row);
    let small = |name| typed::<UInt8Array>(batch, name).value(row);
    let id = |name| typed::<FixedSizeBinaryArray>(batch, name).value(row);
    let eight = |name| id(name).try_into().expect("is eight bytes");
    let bytes = |name| typed::<BinaryArray>(batch, name).value(row).to_vec();
    Span {
        origin: [columns::SERVICE, columns::RESOURCE, columns::SCOPE].map(|name| text(coded(batch, name, row))),
        name: text(coded(batch, columns::NAME, row)),
        numbers: (
            time(columns::TIME),
            time(columns::START),
            small(columns::KIND),
            small(columns::STATUS),
            typed::<UInt32Array>(batch, columns::FLAGS).value(row),
        ),
        ids: (
            id(columns::TRACE_ID).try_into().expect("is sixteen bytes"),
            eight(columns::SPAN_ID),
            eight(columns::PARENT_SPAN_ID),
        ),
        bytes: [bytes(columns::ATTRIBUTES), bytes(columns::REST)],
    }
}

proptest! {
    #[test]
    fn appended_refused_and_sealed_columns_are_the_rows_that_went_in(
        batches in prop::collection::vec(prop::collection::vec(span(), 0..6), 0..5),
        limit in -60..60_i64,
    ) {
        let mut head = SpanColumns::default();
        let mut model = Vec::new();
        for batch in &batches {
            let mut columns = columns_of(batch);
            let refused = columns.refuse_after(UnixNanos(limit));
            let kept: Vec<Span> = batch.iter().filter(|s| s.numbers.0 <= limit).cloned().collect();
            prop_assert_eq!((refused, columns.len()), (batch.len() - kept.len(), kept.len()));
            prop_assert_eq!(columns.newest().map(|t| t.0), kept.iter().map(|s| s.numbers.0).max());
            for (i, span) in kept.iter().enumerate() {
                prop_assert_eq!(columns.get(i), Some(span.row()));
                let origin = span.origin.each_ref().map(|part| part.as_bytes());
                prop_assert_eq!(columns.origin(i), origin);
            }
            head.append(&columns);
            model.extend(kept);
        }
        let chunk = SpanChunk::seal(head);
        prop_assert_eq!(chunk.is_some(), !model.is_empty());
        let Some(chunk) = chunk else { return Ok(()) };
        let sealed: Vec<Span> = (0..chunk.batch().num_rows()).map(|row| read(chunk.batch(), row)).collect();
        let views: Vec<_> = chunk.iter().map(|v| (v.end.0, v.start.0, v.kind as u8, v.failed, v.trace_id.to_vec())).collect();
        let expected: Vec<_> = model
            .iter()
            .map(|s| (s.numbers.0, s.numbers.1, s.numbers.2, s.numbers.3 == 2, s.ids.0.to_vec()))
            .collect();
        prop_assert_eq!(views, expected);
        let times = || model.iter().map(|s| s.numbers.0);
        prop_assert_eq!((chunk.span.0.0, chunk.span.1.0), (times().min().unwrap_or(0), times().max().unwrap_or(0)));
        prop_assert_eq!(sealed, model);
    }

    #[test]
    fn logs_come_back_as_they_went_in(
        batches in prop::collection::vec(
            prop::collection::vec((-50..50_i64, 0..25_u8, "[ab]{0,1}", "[x\u{e4}]{0,3}", any::<u32>()), 0..6),
            0..5,
        ),
        limit in -60..60_i64,
    ) {
        let mut head = LogColumns::default();
        let mut model = Vec::new();
        for batch in &batches {
            let mut columns = LogColumns::default();
            let rows = batch.iter().map(|(time, severity, word, body, number)| LogRow {
                time: UnixNanos(*time),
                observed: UnixNanos(time + 1),
                severity: *severity,
                severity_text: word,
                event_name: body,
                body,
                trace_id: [*severity; 16],
                span_id: [*severity; 8],
                flags: *number,
                attributes: word.as_bytes(),
                dropped_attributes: !number,
            });
            for row in rows.clone() {
                columns.set_origin(row.severity_text, row.body.as_bytes(), b"scope");
                columns.push(&row).expect("has room");
            }
            columns.refuse_after(UnixNanos(limit));
            head.append(&columns);
            model.extend(rows.filter(|row| row.time.0 <= limit));
        }
        for (i, row) in model.iter().enumerate() {
            prop_assert_eq!(head.get(i), Some(*row));
            prop_assert_eq!(head.origin(i), [row.severity_text.as_bytes(), row.body.as_bytes(), b"scope"]);
        }
        let chunk = LogChunk::seal(head);
        prop_assert_eq!(chunk.is_some(), !model.is_empty());
        let Some(chunk) = chunk else { return Ok(()) };
        prop_assert_eq!(chunk.batch().num_rows(), model.len());
        let (bodies, observed) = (columns::BODY, columns::OBSERVED);
        for (i, row) in model.iter().enumerate() {
            prop_assert_eq!(typed::<StringArray>(chunk.batch(), bodies).value(i), row.body);
            prop_assert_eq!(typed::<TimestampNanosecondArray>(chunk.batch(), observed).value(i), row.observed.0);
            prop_assert_eq!(typed::<UInt32Array>(chunk.batch(), columns::DROPPED_ATTRIBUTES).value(i), row.dropped_attributes);
            prop_assert_eq!(coded(chunk.batch(), columns::EVENT_NAME, i), row.event_name.as_bytes());
        }
    }
}

#[test]
fn a_small_chunk_is_small() {
    let mut spans = SpanColumns::default();
    spans.reserve(1_000, 100_000);
    for end in 0..10 {
        spans.push(&SpanRow { end: UnixNanos(end), name: "GET /", ..SpanRow::default() }).expect("has room");
    }
    let chunk = SpanChunk::seal(spans).expect("has rows");
    assert!(chunk.bytes() < 8_000, "{} bytes for ten spans", chunk.bytes());
    assert!(LogChunk::seal(LogColumns::default()).is_none());
}
