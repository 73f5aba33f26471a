//! The tables of spans and of log records: columns that a decoder fills, and sealed Arrow chunks in
//! order of arrival.
//!
//! A decoder fills plain vectors on its own thread; the window appends them to its head, vector by
//! vector, and a seal turns the head's vectors into Arrow arrays without copying them. Services,
//! names, resources and scopes repeat, so they are dictionary-encoded; attributes are kept as the
//! protobuf bytes in which they came, which costs a copy and loses nothing.

mod blocks;
mod bytes;
mod logs;
mod origins;
mod spans;

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, RecordBatch, StringArray,
    TimestampNanosecondArray, types::Int32Type,
};
use arrow_buffer::Buffer;
use arrow_schema::{Field, Schema};

use crate::UnixNanos;

pub(crate) use self::blocks::{BLOCK_BYTES, Blocks, HEAD_BYTES};
pub use self::{
    bytes::Dictionary,
    logs::{LogChunk, LogColumns},
    spans::{SpanChunk, SpanColumns, SpanOutline, SpanView},
};

/// Bytes of variable length that one batch may hold, so that a head and a batch stay below the
/// 2 GiB at which Arrow's offsets end.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// A batch holds as many bytes as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one request holds more than {MAX_BATCH_BYTES} bytes of texts and attributes")]
pub struct BatchFull;

/// Oldest and newest event time.
#[derive(Clone, Copy, Debug)]
struct Times {
    oldest: i64,
    newest: i64,
}

impl Default for Times {
    fn default() -> Self {
        Self { oldest: i64::MAX, newest: i64::MIN }
    }
}

impl Times {
    #[inline]
    fn note(&mut self, time: i64) {
        self.oldest = self.oldest.min(time);
        self.newest = self.newest.max(time);
    }

    fn join(&mut self, other: Self) {
        self.oldest = self.oldest.min(other.oldest);
        self.newest = self.newest.max(other.newest);
    }

    /// `None` when nothing was noted.
    fn get(self) -> Option<(UnixNanos, UnixNanos)> {
        (self.oldest <= self.newest).then_some((UnixNanos(self.oldest), UnixNanos(self.newest)))
    }
}

/// Columns are never null here, so the schema follows from the arrays.
fn batch_of<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), false)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("every column has a value for each row")
}

fn times(nanos: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::new(bytes::scalars(nanos), None).with_timezone("UTC"))
}

fn ids<const N: usize>(mut ids: Vec<[u8; N]>) -> ArrayRef {
    bytes::shrink(&mut ids);
    let width = i32::try_from(N).expect("ids are 8 or 16 bytes");
    let values = Buffer::from_vec(ids.into_flattened());
    Arc::new(FixedSizeBinaryArray::try_new(width, values, None).expect("each id is as wide as the array says"))
}

/// A batch that was read: whether its columns are those of `expected`, without a null.
fn is_like(batch: &RecordBatch, expected: &RecordBatch) -> bool {
    batch.schema().fields() == expected.schema().fields() && batch.columns().iter().all(|c| c.null_count() == 0)
}

/// Oldest and newest of the times in the first column; `None` without rows.
fn span_of(batch: &RecordBatch) -> Option<(UnixNanos, UnixNanos)> {
    let mut range = Times::default();
    let times: &TimestampNanosecondArray = column(batch, 0);
    times.values().iter().for_each(|time| range.note(*time));
    range.get()
}

/// The service, resource and scope columns of a chunk.
struct OriginsOf<'a> {
    service: Texts<'a>,
    resource: Binaries<'a>,
    scope: Binaries<'a>,
}

/// An id column's value as an array.
fn id<const N: usize>(ids: &FixedSizeBinaryArray, row: usize) -> [u8; N] {
    ids.value(row).try_into().unwrap_or([0; N])
}

struct Binaries<'a> {
    keys: &'a DictionaryArray<Int32Type>,
    values: &'a BinaryArray,
}

impl<'a> Binaries<'a> {
    fn of(batch: &'a RecordBatch, index: usize) -> Self {
        let keys: &DictionaryArray<Int32Type> = column(batch, index);
        let values = keys.values().as_any().downcast_ref().expect("dictionary values are binary");
        Self { keys, values }
    }

    fn value(&self, row: usize) -> &'a [u8] {
        self.keys.key(row).map_or(&[], |key| self.values.value(key))
    }
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

    /// The number that stands for `text` in this column; `None` when no row has it.
    fn key_of(&self, text: &str) -> Option<i32> {
        let place = self.values.iter().position(|value| value == Some(text))?;
        i32::try_from(place).ok()
    }
}

#[cfg(test)]
#[path = "events/tests.rs"]
mod tests;
