//! The table of log records: columns that are appended to, and the sealed chunk that they become.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampNanosecondArray, UInt8Array,
    UInt32Array,
};

use super::{
    BatchFull, Binaries, MAX_BATCH_BYTES, OriginsOf, Texts, Times, batch_of, bytes::BytesColumn, bytes::Coded,
    bytes::Dictionary, bytes::keep, bytes::scalars, column, id, ids, is_like, origins::Origins, span_of, times,
};
use crate::{LogRow, UnixNanos, columns};

/// Log records, column by column, in the order pushed.
#[derive(Clone, Debug, Default)]
pub struct LogColumns {
    range: Times,
    times: Vec<i64>,
    observed: Vec<i64>,
    origins: Origins,
    severities: Vec<u8>,
    severity_texts: Coded,
    event_names: Coded,
    bodies: BytesColumn,
    trace_ids: Vec<[u8; 16]>,
    span_ids: Vec<[u8; 8]>,
    flags: Vec<u32>,
    attributes: BytesColumn,
    dropped_attributes: Vec<u32>,
}

impl LogColumns {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Bytes allocated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fixed = 8 * (self.times.capacity() + self.observed.capacity() + self.span_ids.capacity())
            + 16 * self.trace_ids.capacity()
            + 4 * (self.flags.capacity() + self.dropped_attributes.capacity())
            + self.severities.capacity();
        let texts = self.severity_texts.bytes() + self.event_names.bytes() + self.bodies.bytes();
        fixed + texts + self.origins.bytes() + self.attributes.bytes()
    }

    /// Makes room for `rows` with `bodies` bytes of bodies and `attributes` bytes of attributes.
    pub fn reserve(&mut self, rows: usize, bodies: usize, attributes: usize) {
        self.times.reserve(rows);
        self.observed.reserve(rows);
        self.origins.reserve(rows);
        self.severities.reserve(rows);
        self.severity_texts.codes.reserve(rows);
        self.event_names.codes.reserve(rows);
        self.bodies.reserve(rows, bodies);
        self.trace_ids.reserve(rows);
        self.span_ids.reserve(rows);
        self.flags.reserve(rows);
        self.attributes.reserve(rows, attributes);
        self.dropped_attributes.reserve(rows);
    }

    /// Empty columns with room for as much as there is here: the next head will be like this one.
    pub(crate) fn like(&self) -> Self {
        let mut next = Self::default();
        if !self.is_empty() {
            next.reserve(self.len(), self.bodies.content(), self.attributes.content());
        }
        next
    }

    /// Says where the records come from that are pushed from now on: the service, the resource as an
    /// encoded `Resource` message and the scope as an encoded `InstrumentationScope`.
    pub fn set_origin(&mut self, service: &str, resource: &[u8], scope: &[u8]) {
        self.origins.set(service, resource, scope);
    }

    /// Appends one record.
    ///
    /// # Errors
    /// [`BatchFull`] when it would hold more than a gibibyte of texts and bytes.
    #[inline]
    pub fn push(&mut self, row: &LogRow<'_>) -> Result<(), BatchFull> {
        let added = row.attributes.len() + row.body.len() + row.severity_text.len() + row.event_name.len();
        if self.content() + added > MAX_BATCH_BYTES {
            return Err(BatchFull);
        }
        self.range.note(row.time.0);
        self.times.push(row.time.0);
        self.observed.push(row.observed.0);
        self.origins.push();
        self.severities.push(row.severity);
        self.severity_texts.push(row.severity_text.as_bytes());
        self.event_names.push(row.event_name.as_bytes());
        self.bodies.push(row.body.as_bytes());
        self.trace_ids.push(row.trace_id);
        self.span_ids.push(row.span_id);
        self.flags.push(row.flags);
        self.attributes.push(row.attributes);
        self.dropped_attributes.push(row.dropped_attributes);
        Ok(())
    }

    /// The attributes of the record that was pushed last, to be written over; empty when there is none.
    pub fn last_attributes_mut(&mut self) -> &mut [u8] {
        self.attributes.last_mut()
    }

    /// Bytes of variable length.
    pub(crate) fn content(&self) -> usize {
        let texts = self.severity_texts.values.content() + self.event_names.values.content() + self.bodies.content();
        texts + self.attributes.content() + self.origins.content()
    }

    /// Appends all records of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        self.range.join(other.range);
        self.times.extend_from_slice(&other.times);
        self.observed.extend_from_slice(&other.observed);
        self.origins.append(&other.origins);
        self.severities.extend_from_slice(&other.severities);
        self.severity_texts.append(&other.severity_texts);
        self.event_names.append(&other.event_names);
        self.bodies.append(&other.bodies);
        self.trace_ids.extend_from_slice(&other.trace_ids);
        self.span_ids.extend_from_slice(&other.span_ids);
        self.flags.extend_from_slice(&other.flags);
        self.attributes.append(&other.attributes);
        self.dropped_attributes.extend_from_slice(&other.dropped_attributes);
    }

    /// Appends all records of a sealed chunk.
    ///
    /// # Errors
    /// [`BatchFull`] when it would hold more than a gibibyte of texts and bytes; some rows are in then.
    pub(crate) fn push_chunk(&mut self, chunk: &LogChunk) -> Result<(), BatchFull> {
        let batch = &chunk.batch;
        let from = OriginsOf {
            service: Texts::of(batch, 2),
            resource: Binaries::of(batch, 12),
            scope: Binaries::of(batch, 13),
        };
        let (times, observed): (&TimestampNanosecondArray, &TimestampNanosecondArray) =
            (column(batch, 0), column(batch, 1));
        let severities: &UInt8Array = column(batch, 3);
        let (severity_texts, event_names) = (Texts::of(batch, 4), Texts::of(batch, 5));
        let (bodies, attributes): (&StringArray, &BinaryArray) = (column(batch, 6), column(batch, 10));
        let (traces, spans): (&FixedSizeBinaryArray, &FixedSizeBinaryArray) = (column(batch, 7), column(batch, 8));
        let (flags, dropped): (&UInt32Array, &UInt32Array) = (column(batch, 9), column(batch, 11));
        for row in 0..batch.num_rows() {
            self.set_origin(from.service.value(row), from.resource.value(row), from.scope.value(row));
            self.push(&LogRow {
                time: UnixNanos(times.value(row)),
                observed: UnixNanos(observed.value(row)),
                severity: severities.value(row),
                severity_text: severity_texts.value(row),
                event_name: event_names.value(row),
                body: bodies.value(row),
                trace_id: id(traces, row),
                span_id: id(spans, row),
                flags: flags.value(row),
                attributes: attributes.value(row),
                dropped_attributes: dropped.value(row),
            })?;
        }
        Ok(())
    }

    /// Drops the records whose time is after `limit` and returns how many they were.
    pub fn refuse_after(&mut self, limit: UnixNanos) -> usize {
        if self.newest().is_none_or(|newest| newest <= limit) {
            return 0;
        }
        let before = self.len();
        let mask: Vec<bool> = self.times.iter().map(|time| *time <= limit.0).collect();
        keep(&mut self.times, &mask);
        keep(&mut self.observed, &mask);
        self.origins.keep(&mask);
        keep(&mut self.severities, &mask);
        keep(&mut self.severity_texts.codes, &mask);
        keep(&mut self.event_names.codes, &mask);
        self.bodies.keep(&mask);
        keep(&mut self.trace_ids, &mask);
        keep(&mut self.span_ids, &mask);
        keep(&mut self.flags, &mask);
        self.attributes.keep(&mask);
        keep(&mut self.dropped_attributes, &mask);
        self.range = Times::default();
        self.times.iter().for_each(|time| self.range.note(*time));
        before - self.len()
    }

    /// The latest time; `None` when there are no records.
    #[must_use]
    pub fn newest(&self) -> Option<UnixNanos> {
        self.range.get().map(|(_, newest)| newest)
    }

    /// Nanoseconds of each record's event time.
    #[must_use]
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// OpenTelemetry's severity number of each record, 0 to 24.
    #[must_use]
    pub fn severities(&self) -> &[u8] {
        &self.severities
    }

    /// Each record's service by number, and the services.
    #[must_use]
    pub fn services(&self) -> (&[i32], &Dictionary) {
        (&self.origins.services.codes, &self.origins.services.values)
    }

    /// The record at `row`; `None` behind the last one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<LogRow<'_>> {
        // What was pushed as text is text.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        Some(LogRow {
            time: UnixNanos(*self.times.get(row)?),
            observed: UnixNanos(*self.observed.get(row)?),
            severity: *self.severities.get(row)?,
            severity_text: text(self.severity_texts.get(row)),
            event_name: text(self.event_names.get(row)),
            body: text(self.bodies.get(row)),
            trace_id: *self.trace_ids.get(row)?,
            span_id: *self.span_ids.get(row)?,
            flags: *self.flags.get(row)?,
            attributes: self.attributes.get(row),
            dropped_attributes: *self.dropped_attributes.get(row)?,
        })
    }

    /// Service, resource and scope of the record at `row`; empty behind the last one.
    #[must_use]
    pub fn origin(&self, row: usize) -> [&[u8]; 3] {
        [self.origins.services.get(row), self.origins.resources.get(row), self.origins.scopes.get(row)]
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
    /// Seals `logs`; `None` when there are none. The columns become Arrow's without being copied.
    #[must_use]
    pub fn seal(logs: LogColumns) -> Option<Self> {
        let span = logs.range.get()?;
        let Origins { services, resources, scopes, .. } = logs.origins;
        let columns: [(&str, ArrayRef); 14] = [
            (columns::TIME, times(logs.times)),
            (columns::OBSERVED, times(logs.observed)),
            (columns::SERVICE, services.into_texts()),
            (columns::SEVERITY, Arc::new(UInt8Array::new(scalars(logs.severities), None))),
            (columns::SEVERITY_TEXT, logs.severity_texts.into_texts()),
            (columns::EVENT_NAME, logs.event_names.into_texts()),
            (columns::BODY, logs.bodies.into_text()),
            (columns::TRACE_ID, ids(logs.trace_ids)),
            (columns::SPAN_ID, ids(logs.span_ids)),
            (columns::FLAGS, Arc::new(UInt32Array::new(scalars(logs.flags), None))),
            (columns::ATTRIBUTES, logs.attributes.into_binary()),
            (columns::DROPPED_ATTRIBUTES, Arc::new(UInt32Array::new(scalars(logs.dropped_attributes), None))),
            (columns::RESOURCE, resources.into_binaries()),
            (columns::SCOPE, scopes.into_binaries()),
        ];
        Some(Self { batch: batch_of(columns), span })
    }

    /// A chunk of columns that were read; `None` when they are not those of this table, or empty.
    pub(crate) fn from_batch(batch: RecordBatch) -> Option<Self> {
        let mut expected = LogColumns::default();
        expected.push(&LogRow::default()).ok()?;
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
}
