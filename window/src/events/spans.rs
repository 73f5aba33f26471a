//! The table of spans: columns that are appended to, and the sealed chunk that they become.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, TimestampNanosecondArray, UInt8Array, UInt32Array,
};

use super::{
    BatchFull, Binaries, Blocks, MAX_BATCH_BYTES, OriginsOf, Texts, Times, batch_of, bytes::BytesColumn, bytes::Coded,
    bytes::Dictionary, bytes::keep, bytes::scalars, column, id, ids, is_like, origins::Origins, span_of, times,
};
use crate::{SpanKind, SpanRow, SpanStatus, UnixNanos, columns};

/// Spans, column by column, in the order pushed.
#[derive(Clone, Debug, Default)]
pub struct SpanColumns {
    range: Times,
    ends: Vec<i64>,
    starts: Vec<i64>,
    origins: Origins,
    names: Coded,
    kinds: Vec<u8>,
    statuses: Vec<u8>,
    trace_ids: Vec<[u8; 16]>,
    span_ids: Vec<[u8; 8]>,
    parent_span_ids: Vec<[u8; 8]>,
    flags: Vec<u32>,
    attributes: BytesColumn,
    rest: BytesColumn,
}

impl SpanColumns {
    /// How many spans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes allocated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fixed = 8 * (self.ends.capacity() + self.starts.capacity())
            + 8 * (self.span_ids.capacity() + self.parent_span_ids.capacity())
            + 16 * self.trace_ids.capacity()
            + 4 * self.flags.capacity()
            + self.kinds.capacity()
            + self.statuses.capacity();
        fixed + self.origins.bytes() + self.names.bytes() + self.attributes.bytes() + self.rest.bytes()
    }

    /// Makes room for `rows` with `attributes` bytes of attributes together.
    pub fn reserve(&mut self, rows: usize, attributes: usize) {
        self.reserve_rows(rows);
        self.attributes.reserve(rows, attributes);
    }

    /// Makes room for all of `rows` but their attributes.
    fn reserve_rows(&mut self, rows: usize) {
        self.ends.reserve(rows);
        self.starts.reserve(rows);
        self.origins.reserve(rows);
        self.names.codes.reserve(rows);
        self.kinds.reserve(rows);
        self.statuses.reserve(rows);
        self.trace_ids.reserve(rows);
        self.span_ids.reserve(rows);
        self.parent_span_ids.reserve(rows);
        self.flags.reserve(rows);
        self.rest.reserve(rows, 0);
    }

    /// Empty columns with room for as much as there is here: the next head will be like this one.
    pub(crate) fn like(&self, blocks: &Blocks) -> Self {
        let mut next = Self::default();
        if !self.is_empty() {
            next.reserve_rows(self.len());
            next.attributes.reserve_like(&self.attributes, blocks);
        }
        next
    }

    /// Says where the spans come from that are pushed from now on: the service, the resource as an
    /// encoded `Resource` message and the scope as an encoded `InstrumentationScope`.
    pub fn set_origin(&mut self, service: &str, resource: &[u8], scope: &[u8]) {
        self.origins.set(service, resource, scope);
    }

    /// Appends one span.
    ///
    /// # Errors
    /// [`BatchFull`] when it would hold more than a gibibyte of texts and bytes.
    #[inline]
    pub fn push(&mut self, row: &SpanRow<'_>) -> Result<(), BatchFull> {
        if self.content() + row.attributes.len() + row.rest.len() + row.name.len() > MAX_BATCH_BYTES {
            return Err(BatchFull);
        }
        self.range.note(row.end.0);
        self.ends.push(row.end.0);
        self.starts.push(row.start.0);
        self.origins.push();
        self.names.push(row.name.as_bytes());
        self.kinds.push(row.kind as u8);
        self.statuses.push(row.status as u8);
        self.trace_ids.push(row.trace_id);
        self.span_ids.push(row.span_id);
        self.parent_span_ids.push(row.parent_span_id);
        self.flags.push(row.flags);
        self.attributes.push(row.attributes);
        self.rest.push(row.rest);
        Ok(())
    }

    /// The attributes of the span that was pushed last, to be written over; empty when there is none.
    pub fn last_attributes_mut(&mut self) -> &mut [u8] {
        self.attributes.last_mut()
    }

    /// Bytes of variable length.
    pub(crate) fn content(&self) -> usize {
        self.attributes.content() + self.rest.content() + self.names.values.content() + self.origins.content()
    }

    /// Appends all spans of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        self.range.join(other.range);
        self.ends.extend_from_slice(&other.ends);
        self.starts.extend_from_slice(&other.starts);
        self.origins.append(&other.origins);
        self.names.append(&other.names);
        self.kinds.extend_from_slice(&other.kinds);
        self.statuses.extend_from_slice(&other.statuses);
        self.trace_ids.extend_from_slice(&other.trace_ids);
        self.span_ids.extend_from_slice(&other.span_ids);
        self.parent_span_ids.extend_from_slice(&other.parent_span_ids);
        self.flags.extend_from_slice(&other.flags);
        self.attributes.append(&other.attributes);
        self.rest.append(&other.rest);
    }

    /// Appends all spans of a sealed chunk.
    ///
    /// # Errors
    /// [`BatchFull`] when it would hold more than a gibibyte of texts and bytes; some rows are in then.
    pub(crate) fn push_chunk(&mut self, chunk: &SpanChunk) -> Result<(), BatchFull> {
        let batch = &chunk.batch;
        let from = OriginsOf {
            service: Texts::of(batch, 2),
            resource: Binaries::of(batch, 12),
            scope: Binaries::of(batch, 13),
        };
        let (attributes, rest): (&BinaryArray, &BinaryArray) = (column(batch, 10), column(batch, 11));
        let (span_ids, parents): (&FixedSizeBinaryArray, &FixedSizeBinaryArray) = (column(batch, 7), column(batch, 8));
        let (traces, flags): (&FixedSizeBinaryArray, &UInt32Array) = (column(batch, 6), column(batch, 9));
        let statuses: &UInt8Array = column(batch, 5);
        for (row, view) in chunk.iter().enumerate() {
            self.set_origin(from.service.value(row), from.resource.value(row), from.scope.value(row));
            self.push(&SpanRow {
                start: view.start,
                end: view.end,
                name: view.name,
                kind: view.kind,
                status: SpanStatus::from_wire(i32::from(statuses.value(row))),
                trace_id: id(traces, row),
                span_id: id(span_ids, row),
                parent_span_id: id(parents, row),
                flags: flags.value(row),
                attributes: attributes.value(row),
                rest: rest.value(row),
            })?;
        }
        Ok(())
    }

    /// Drops the spans that end after `limit` and returns how many they were.
    pub fn refuse_after(&mut self, limit: UnixNanos) -> usize {
        if self.newest().is_none_or(|newest| newest <= limit) {
            return 0;
        }
        let before = self.len();
        let mask: Vec<bool> = self.ends.iter().map(|end| *end <= limit.0).collect();
        keep(&mut self.ends, &mask);
        keep(&mut self.starts, &mask);
        self.origins.keep(&mask);
        keep(&mut self.names.codes, &mask);
        keep(&mut self.kinds, &mask);
        keep(&mut self.statuses, &mask);
        keep(&mut self.trace_ids, &mask);
        keep(&mut self.span_ids, &mask);
        keep(&mut self.parent_span_ids, &mask);
        keep(&mut self.flags, &mask);
        self.attributes.keep(&mask);
        self.rest.keep(&mask);
        self.range = Times::default();
        self.ends.iter().for_each(|end| self.range.note(*end));
        before - self.len()
    }

    /// The latest end; `None` when there are no spans.
    #[must_use]
    pub fn newest(&self) -> Option<UnixNanos> {
        self.range.get().map(|(_, newest)| newest)
    }

    /// Nanoseconds at which each span began.
    #[must_use]
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// Nanoseconds at which each span ended.
    #[must_use]
    pub fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// Each span's service by number, and the services.
    #[must_use]
    pub fn services(&self) -> (&[i32], &Dictionary) {
        (&self.origins.services.codes, &self.origins.services.values)
    }

    /// Each span's name by number, and the names.
    #[must_use]
    pub fn names(&self) -> (&[i32], &Dictionary) {
        (&self.names.codes, &self.names.values)
    }

    /// Each span's [`SpanKind`] as its number.
    #[must_use]
    pub fn kinds(&self) -> &[u8] {
        &self.kinds
    }

    /// Each span's [`SpanStatus`] as its number.
    #[must_use]
    pub fn statuses(&self) -> &[u8] {
        &self.statuses
    }

    /// Each span's trace id.
    #[must_use]
    pub fn trace_ids(&self) -> &[[u8; 16]] {
        &self.trace_ids
    }

    /// The span at `row`; `None` behind the last one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<SpanRow<'_>> {
        Some(SpanRow {
            start: UnixNanos(*self.starts.get(row)?),
            end: UnixNanos(*self.ends.get(row)?),
            // What was pushed as text is text.
            name: std::str::from_utf8(self.names.get(row)).unwrap_or_default(),
            kind: SpanKind::from_wire(i32::from(*self.kinds.get(row)?)),
            status: SpanStatus::from_wire(i32::from(*self.statuses.get(row)?)),
            trace_id: *self.trace_ids.get(row)?,
            span_id: *self.span_ids.get(row)?,
            parent_span_id: *self.parent_span_ids.get(row)?,
            flags: *self.flags.get(row)?,
            attributes: self.attributes.get(row),
            rest: self.rest.get(row),
        })
    }

    /// Service, resource and scope of the span at `row`; empty behind the last one.
    #[must_use]
    pub fn origin(&self, row: usize) -> [&[u8]; 3] {
        [self.origins.services.get(row), self.origins.resources.get(row), self.origins.scopes.get(row)]
    }
}

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
    /// Span id, 8 bytes.
    pub span_id: &'a [u8],
    /// The parent's span id, 8 bytes; all zero for a root.
    pub parent_span_id: &'a [u8],
    /// Attributes as an encoded `common.v1.KeyValueList`.
    pub attributes: &'a [u8],
}

/// A span of a chunk without its texts and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanOutline {
    /// Its place in the chunk.
    pub row: usize,
    /// When it began.
    pub start: UnixNanos,
    /// When it ended: its event time.
    pub end: UnixNanos,
    /// Span kind.
    pub kind: SpanKind,
    /// Whether its status is Error.
    pub failed: bool,
}

impl SpanChunk {
    /// Seals `spans`; `None` when there are none. The columns become Arrow's without being copied.
    #[must_use]
    pub fn seal(spans: SpanColumns) -> Option<Self> {
        Self::seal_in(spans, &Blocks::default())
    }

    /// The same for a head that was made by [`SpanColumns::like`] with these `blocks`.
    pub(crate) fn seal_in(spans: SpanColumns, blocks: &Blocks) -> Option<Self> {
        let span = spans.range.get()?;
        let Origins { services, resources, scopes, .. } = spans.origins;
        let columns: [(&str, ArrayRef); 14] = [
            (columns::TIME, times(spans.ends)),
            (columns::START, times(spans.starts)),
            (columns::SERVICE, services.into_texts()),
            (columns::NAME, spans.names.into_texts()),
            (columns::KIND, Arc::new(UInt8Array::new(scalars(spans.kinds), None))),
            (columns::STATUS, Arc::new(UInt8Array::new(scalars(spans.statuses), None))),
            (columns::TRACE_ID, ids(spans.trace_ids)),
            (columns::SPAN_ID, ids(spans.span_ids)),
            (columns::PARENT_SPAN_ID, ids(spans.parent_span_ids)),
            (columns::FLAGS, Arc::new(UInt32Array::new(scalars(spans.flags), None))),
            (columns::ATTRIBUTES, spans.attributes.into_binary_in(blocks)),
            (columns::REST, spans.rest.into_binary()),
            (columns::RESOURCE, resources.into_binaries()),
            (columns::SCOPE, scopes.into_binaries()),
        ];
        Some(Self { batch: batch_of(columns), span })
    }

    /// A chunk of columns that were read; `None` when they are not those of this table, or empty.
    pub(crate) fn from_batch(batch: RecordBatch) -> Option<Self> {
        let mut expected = SpanColumns::default();
        expected.push(&SpanRow::default()).ok()?;
        if !is_like(&batch, Self::seal(expected)?.batch()) {
            return None;
        }
        let span = span_of(&batch)?;
        Some(Self { batch, span })
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

    /// The rows of `service` that ended within `from..=until`, the last to arrive first, without what is costly to read:
    /// of all operations or of the one with this `name`. The flag says whether it is a row that is wanted: others are
    /// there to be counted.
    pub fn outlines_of(
        &self,
        service: &str,
        name: Option<&str>,
        (from, until): (UnixNanos, UnixNanos),
    ) -> impl Iterator<Item = (SpanOutline, bool)> {
        let ends: &TimestampNanosecondArray = column(&self.batch, 0);
        let starts: &TimestampNanosecondArray = column(&self.batch, 1);
        let (services, names) = (Texts::of(&self.batch, 2), Texts::of(&self.batch, 3));
        let (service, wanted) = (services.key_of(service), name.map(|name| names.key_of(name)));
        let (services, names) = (services.keys.keys().values(), names.keys.keys().values());
        let kinds: &UInt8Array = column(&self.batch, 4);
        let statuses: &UInt8Array = column(&self.batch, 5);
        let (ends, starts, kinds, statuses) = (ends.values(), starts.values(), kinds.values(), statuses.values());
        let within = move |row: &usize| (from.0..=until.0).contains(&ends[*row]);
        (0..self.batch.num_rows()).rev().filter(within).map(move |row| {
            let is_wanted = Some(services[row]) == service && wanted.is_none_or(|name| Some(names[row]) == name);
            let outline = SpanOutline {
                row,
                start: UnixNanos(starts[row]),
                end: UnixNanos(ends[row]),
                kind: SpanKind::from_wire(i32::from(kinds[row])),
                failed: statuses[row] == SpanStatus::Error as u8,
            };
            (outline, is_wanted)
        })
    }

    /// Name, attributes (an encoded `KeyValueList`) and resource (an encoded `Resource`) of the span at `row`, which is
    /// one that [`SpanChunk::outlines_of`] gave.
    #[must_use]
    pub fn details(&self, row: usize) -> (&str, &[u8], &[u8]) {
        let attributes: &BinaryArray = column(&self.batch, 10);
        (Texts::of(&self.batch, 3).value(row), attributes.value(row), Binaries::of(&self.batch, 12).value(row))
    }

    /// The rows, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = SpanView<'_>> {
        let ends: &TimestampNanosecondArray = column(&self.batch, 0);
        let starts: &TimestampNanosecondArray = column(&self.batch, 1);
        let services = Texts::of(&self.batch, 2);
        let names = Texts::of(&self.batch, 3);
        let kinds: &UInt8Array = column(&self.batch, 4);
        let statuses: &UInt8Array = column(&self.batch, 5);
        let traces: &FixedSizeBinaryArray = column(&self.batch, 6);
        let ids: &FixedSizeBinaryArray = column(&self.batch, 7);
        let parents: &FixedSizeBinaryArray = column(&self.batch, 8);
        let attributes: &BinaryArray = column(&self.batch, 10);
        (0..self.batch.num_rows()).map(move |i| SpanView {
            start: UnixNanos(starts.value(i)),
            end: UnixNanos(ends.value(i)),
            service: services.value(i),
            name: names.value(i),
            kind: SpanKind::from_wire(i32::from(kinds.value(i))),
            failed: statuses.value(i) == SpanStatus::Error as u8,
            trace_id: traces.value(i),
            span_id: ids.value(i),
            parent_span_id: parents.value(i),
            attributes: attributes.value(i),
        })
    }
}
