//! The tables of spans and of log records: sealed Arrow chunks in order of arrival.
//!
//! Services and names repeat, so they are dictionary-encoded; ids are fixed-size binary.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt8Array,
    builder::{
        FixedSizeBinaryBuilder, MapBuilder, MapFieldNames, StringBuilder, StringDictionaryBuilder,
        TimestampNanosecondBuilder,
    },
    types::Int32Type,
};
use arrow_schema::{Field, Schema};

use crate::{LogRow, SpanKind, SpanRow, UnixNanos, columns};

/// A sealed, immutable run of spans in order of arrival.
#[derive(Clone, Debug)]
pub struct SpanChunk {
    batch: RecordBatch,
    /// Event time (span end) of the oldest and the newest row.
    pub span: (UnixNanos, UnixNanos),
}

/// One span of a chunk, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanView<'a> {
    /// When it began.
    pub start: UnixNanos,
    /// When it ended: its event time.
    pub end: UnixNanos,
    /// `service.namespace/service.name`.
    pub service: &'a str,
    /// Span name.
    pub name: &'a str,
    /// Span kind.
    pub kind: SpanKind,
    /// Whether its status is Error.
    pub failed: bool,
    /// Trace id, 16 bytes.
    pub trace_id: &'a [u8],
}

impl SpanChunk {
    /// Seals `rows`; `None` when there are none.
    #[must_use]
    pub fn seal(rows: &[SpanRow]) -> Option<Self> {
        let span = span_of(rows.iter().map(|r| r.end))?;
        let columns = [
            (columns::TIME, times(rows.iter().map(|r| r.end))),
            (columns::START, times(rows.iter().map(|r| r.start))),
            (columns::SERVICE, texts(rows.iter().map(|r| &*r.service))),
            (columns::NAME, texts(rows.iter().map(|r| &*r.name))),
            (columns::KIND, Arc::new(UInt8Array::from_iter_values(rows.iter().map(|r| r.kind as u8))) as ArrayRef),
            (columns::FAILED, Arc::new(BooleanArray::from_iter(rows.iter().map(|r| Some(r.failed))))),
            (columns::TRACE_ID, ids(rows.iter().map(|r| r.trace_id))),
            (columns::SPAN_ID, ids(rows.iter().map(|r| r.span_id))),
            (columns::PARENT_SPAN_ID, ids(rows.iter().map(|r| r.parent_span_id))),
            (columns::ATTRIBUTES, attributes(rows)),
        ];
        Some(Self { batch: batch_of(columns), span })
    }

    /// The rows as Arrow.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.get_array_memory_size()
    }

    /// The rows, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = SpanView<'_>> {
        let ends: &TimestampNanosecondArray = column(&self.batch, 0);
        let starts: &TimestampNanosecondArray = column(&self.batch, 1);
        let services = Texts::of(&self.batch, 2);
        let names = Texts::of(&self.batch, 3);
        let kinds: &UInt8Array = column(&self.batch, 4);
        let failed: &BooleanArray = column(&self.batch, 5);
        let traces: &FixedSizeBinaryArray = column(&self.batch, 6);
        (0..self.batch.num_rows()).map(move |i| SpanView {
            start: UnixNanos(starts.value(i)),
            end: UnixNanos(ends.value(i)),
            service: services.value(i),
            name: names.value(i),
            kind: SpanKind::from_wire(i32::from(kinds.value(i))),
            failed: failed.value(i),
            trace_id: traces.value(i),
        })
    }
}

/// A sealed, immutable run of log records in order of arrival.
#[derive(Clone, Debug)]
pub struct LogChunk {
    batch: RecordBatch,
    /// Event time of the oldest and the newest row.
    pub span: (UnixNanos, UnixNanos),
}

impl LogChunk {
    /// Seals `rows`; `None` when there are none.
    #[must_use]
    pub fn seal(rows: &[LogRow]) -> Option<Self> {
        let span = span_of(rows.iter().map(|r| r.time))?;
        let mut bodies = StringBuilder::new();
        rows.iter().for_each(|r| bodies.append_value(&r.body));
        let columns = [
            (columns::TIME, times(rows.iter().map(|r| r.time))),
            (columns::SERVICE, texts(rows.iter().map(|r| &*r.service))),
            (columns::SEVERITY, Arc::new(UInt8Array::from_iter_values(rows.iter().map(|r| r.severity))) as ArrayRef),
            (columns::BODY, Arc::new(bodies.finish())),
            (columns::TRACE_ID, ids(rows.iter().map(|r| r.trace_id))),
            (columns::SPAN_ID, ids(rows.iter().map(|r| r.span_id))),
        ];
        Some(Self { batch: batch_of(columns), span })
    }

    /// The rows as Arrow.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.get_array_memory_size()
    }
}

fn span_of(times: impl Iterator<Item = UnixNanos>) -> Option<(UnixNanos, UnixNanos)> {
    times.fold(None, |span, t| {
        let (from, until) = span.unwrap_or((t, t));
        Some((t.min(from), t.max(until)))
    })
}

/// Columns are never null here, so the schema follows from the arrays. Builders make room for a
/// thousand rows, and a second may bring ten, so what is not used is given back.
fn batch_of<const N: usize>(mut columns: [(&str, ArrayRef); N]) -> RecordBatch {
    for (_, array) in &mut columns {
        if let Some(array) = Arc::get_mut(array) {
            array.shrink_to_fit();
        }
    }
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), false)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("every column has a value for each row")
}

fn times(rows: impl Iterator<Item = UnixNanos>) -> ArrayRef {
    let mut builder = TimestampNanosecondBuilder::new();
    rows.for_each(|t| builder.append_value(t.0));
    Arc::new(builder.finish().with_timezone("UTC"))
}

fn texts<'a>(rows: impl Iterator<Item = &'a str>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    rows.for_each(|t| builder.append_value(t));
    Arc::new(builder.finish())
}

fn ids<const N: usize>(rows: impl Iterator<Item = [u8; N]>) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(i32::try_from(N).expect("ids are 8 or 16 bytes"));
    rows.for_each(|id| builder.append_value(id).expect("the width is the array's"));
    Arc::new(builder.finish())
}

fn attributes(rows: &[SpanRow]) -> ArrayRef {
    let fields = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(fields), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in &row.attributes {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true).expect("keys and values are appended in pairs");
    }
    Arc::new(builder.finish())
}

fn column<A: Array + 'static>(batch: &RecordBatch, index: usize) -> &A {
    batch.column(index).as_any().downcast_ref().expect("the chunk was sealed with this column type")
}

struct Texts<'a> {
    keys: &'a DictionaryArray<Int32Type>,
    values: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn of(batch: &'a RecordBatch, index: usize) -> Self {
        let keys: &DictionaryArray<Int32Type> = column(batch, index);
        let values = keys.values().as_any().downcast_ref().expect("dictionary values are text");
        Self { keys, values }
    }

    fn value(&self, row: usize) -> &'a str {
        self.keys.key(row).map_or("", |key| self.values.value(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(service: &str, end: i64, failed: bool) -> SpanRow {
        SpanRow {
            start: UnixNanos(end - 5),
            end: UnixNanos(end),
            service: service.into(),
            name: "GET /".into(),
            kind: SpanKind::Server,
            failed,
            trace_id: [7; 16],
            span_id: [1; 8],
            parent_span_id: [0; 8],
            attributes: vec![("http.route".into(), "/".into())],
        }
    }

    #[test]
    fn spans_come_back_as_they_went_in() {
        let chunk = SpanChunk::seal(&[span("a", 10, false), span("b", 7, true)]).expect("has rows");
        let rows: Vec<_> = chunk.iter().map(|s| (s.service, s.name, s.end.0, s.start.0, s.failed, s.kind)).collect();
        assert_eq!(rows[0], ("a", "GET /", 10, 5, false, SpanKind::Server));
        assert_eq!(rows[1], ("b", "GET /", 7, 2, true, SpanKind::Server));
        assert_eq!(chunk.span, (UnixNanos(7), UnixNanos(10)));
        assert_eq!(chunk.iter().next().map(|s| s.trace_id), Some([7; 16].as_slice()));
    }

    #[test]
    fn a_small_chunk_is_small() {
        let rows: Vec<SpanRow> = (0..10).map(|i| span("shop/api", i, false)).collect();
        let chunk = SpanChunk::seal(&rows).expect("has rows");
        assert!(chunk.bytes() < 8_000, "{} bytes for ten spans", chunk.bytes());
    }

    #[test]
    fn logs_have_one_row_a_record() {
        let row = LogRow {
            time: UnixNanos(3),
            service: "a".into(),
            severity: 17,
            body: "boom".into(),
            trace_id: [0; 16],
            span_id: [0; 8],
        };
        let chunk = LogChunk::seal(&[row]).expect("has rows");
        assert_eq!(chunk.batch().num_rows(), 1);
        assert!(LogChunk::seal(&[]).is_none());
    }
}
