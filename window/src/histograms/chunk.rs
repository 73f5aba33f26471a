//! A sealed run of histograms, read in place.

use std::{ops::Range, sync::Arc};

use arrow_array::{
    Array, DictionaryArray, Float64Array, Int32Array, ListArray, PrimitiveArray, RecordBatch, TimestampNanosecondArray,
    UInt32Array, UInt64Array,
    types::{ArrowPrimitiveType, Float64Type, Int32Type, UInt64Type},
};

use super::{
    build,
    row::{BucketsView, ExpBucketsView, HistogramView, Shape},
};
use crate::{
    SeriesId, UnixNanos, columns,
    runs::{Bounds, Cursor, Runs},
};

/// A sealed, immutable run of histograms of one shape, sorted by (series, time), one row a
/// (series, time).
#[derive(Debug)]
pub struct HistogramChunk {
    batch: RecordBatch,
    series: UInt32Array,
    times: TimestampNanosecondArray,
    starts: TimestampNanosecondArray,
    counts: UInt64Array,
    sums: Float64Array,
    mins: Float64Array,
    maxs: Float64Array,
    shaped: Shaped,
    runs: Runs,
    bytes: usize,
    /// Event time of the oldest and the newest row.
    pub span: (UnixNanos, UnixNanos),
}

/// The columns that one shape has and the other has not.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a chunk, and chunks are few")]
enum Shaped {
    Explicit { bound_keys: Int32Array, bounds: Lists<Float64Type>, counts: Lists<UInt64Type> },
    Exponential { scales: Int32Array, zeros: (UInt64Array, Float64Array), sides: [Side; 2] },
}

#[derive(Debug)]
struct Side {
    offsets: Int32Array,
    counts: Lists<UInt64Type>,
}

/// A list column of which single lists are read without an allocation.
#[derive(Debug)]
struct Lists<T: ArrowPrimitiveType> {
    lists: ListArray,
    values: PrimitiveArray<T>,
}

impl<T: ArrowPrimitiveType> Lists<T> {
    fn new(array: &dyn Array) -> Self {
        let lists: ListArray = typed(array);
        let values = typed(lists.values().as_ref());
        Self { lists, values }
    }

    fn get(&self, row: usize) -> &[T::Native] {
        let offsets = self.lists.value_offsets();
        let place = |i: usize| usize::try_from(offsets[i]).expect("Arrow's offsets are not negative");
        &self.values.values()[place(row)..place(row + 1)]
    }
}

impl Side {
    fn get(&self, row: usize) -> ExpBucketsView<'_> {
        ExpBucketsView { offset: self.offsets.value(row), counts: self.counts.get(row) }
    }
}

impl HistogramChunk {
    /// Sorts and seals rows of one shape; `None` when there are none. Of several rows with the same
    /// series and time the first one stays.
    pub(super) fn seal_shape(shape: Shape, mut rows: Vec<HistogramView<'_>>) -> Option<Self> {
        rows.sort_by_key(|r| (r.series, r.time));
        rows.dedup_by_key(|r| (r.series, r.time));
        let (runs, span) = Runs::of(rows.iter().map(|row| (row.series, row.time)))?;
        Some(Self::new(shape, build::batch(shape, &rows), runs, span))
    }

    /// A chunk of the shape that `batch` has; `None` when it has neither's schema, no rows, or rows
    /// that are not sorted by (series, time), each pair once.
    pub(crate) fn from_batch(batch: RecordBatch) -> Option<Self> {
        let shape = Shape::ALL.into_iter().find(|s| build::batch(*s, &[]).schema() == batch.schema())?;
        let series: UInt32Array = column(&batch, columns::SERIES);
        let times: TimestampNanosecondArray = column(&batch, columns::TIME);
        let rows = || series.values().iter().zip(times.values());
        if !rows().is_sorted_by(|a, b| a < b) {
            return None;
        }
        let (runs, span) = Runs::of(rows().map(|(s, t)| (SeriesId(*s), UnixNanos(*t))))?;
        Some(Self::new(shape, batch, runs, span))
    }

    /// The rows that are newer than `floor`; `None` when there are none.
    pub(crate) fn after(&self, floor: UnixNanos) -> Option<Self> {
        Self::seal_shape(self.shape(), self.iter().filter(|row| row.time > floor).collect())
    }

    fn new(shape: Shape, batch: RecordBatch, runs: Runs, span: (UnixNanos, UnixNanos)) -> Self {
        let bytes = batch.get_array_memory_size() + runs.bytes();
        Self {
            series: column(&batch, columns::SERIES),
            times: column(&batch, columns::TIME),
            starts: column(&batch, columns::START),
            counts: column(&batch, columns::COUNT),
            sums: column(&batch, columns::SUM),
            mins: column(&batch, columns::MIN),
            maxs: column(&batch, columns::MAX),
            shaped: Shaped::of(shape, &batch),
            batch,
            runs,
            bytes,
            span,
        }
    }

    /// One chunk with the rows of all `parts`, which must be of one shape; where they overlap, the
    /// earlier part's row stays.
    pub(crate) fn merge(parts: &[Arc<Self>]) -> Option<Self> {
        let shape = parts.first()?.shape();
        Self::seal_shape(shape, parts.iter().flat_map(|c| c.iter()).collect())
    }

    pub(super) fn shape(&self) -> Shape {
        match self.shaped {
            Shaped::Explicit { .. } => Shape::Explicit,
            Shaped::Exponential { .. } => Shape::Exponential,
        }
    }

    /// Whether the rows are exponential histograms.
    pub(crate) fn is_exponential(&self) -> bool {
        self.shape() == Shape::Exponential
    }

    /// The rows as Arrow; `window/README.md` has the schema of each shape.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Number of rows; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Bytes held, with the offsets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All rows, by series and time.
    pub fn iter(&self) -> impl Iterator<Item = HistogramView<'_>> {
        (0..self.len()).map(|row| self.row(row))
    }

    /// The rows of `series` with `after < time <= until`, oldest first.
    #[must_use]
    pub fn rows_of(
        &self,
        series: SeriesId,
        after: UnixNanos,
        until: UnixNanos,
    ) -> impl DoubleEndedIterator<Item = HistogramView<'_>> {
        self.rows_between(series, after, until).map(|row| self.row(row))
    }

    fn row(&self, row: usize) -> HistogramView<'_> {
        let ended = self.counts.is_null(row);
        let buckets = match &self.shaped {
            Shaped::Explicit { .. } if ended => BucketsView::Ended,
            Shaped::Explicit { bound_keys, bounds, counts } => {
                let key = usize::try_from(bound_keys.value(row)).expect("keys are not negative");
                BucketsView::Explicit { bounds: bounds.get(key), counts: counts.get(row) }
            }
            Shaped::Exponential { scales, zeros, sides: [positive, negative] } => BucketsView::Exponential {
                scale: scales.value(row),
                zero_count: zeros.0.value(row),
                zero_threshold: zeros.1.value(row),
                positive: positive.get(row),
                negative: negative.get(row),
            },
        };
        HistogramView {
            series: SeriesId(self.series.value(row)),
            time: UnixNanos(self.times.value(row)),
            start: self.starts.is_valid(row).then(|| UnixNanos(self.starts.value(row))),
            count: if ended { 0 } else { self.counts.value(row) },
            sum: optional(&self.sums, row),
            min: optional(&self.mins, row),
            max: optional(&self.maxs, row),
            buckets,
        }
    }

    fn rows_between(&self, series: SeriesId, after: UnixNanos, until: UnixNanos) -> Range<usize> {
        if self.span.1 <= after || self.span.0 > until {
            return 0..0;
        }
        let bounds = Bounds::of((after, until), self.span);
        self.runs.between(self.times.values(), series, bounds, &mut Cursor::default())
    }
}

impl Shaped {
    fn of(shape: Shape, batch: &RecordBatch) -> Self {
        let side = |offsets, counts| Side { offsets: column(batch, offsets), counts: lists(batch, counts) };
        match shape {
            Shape::Explicit => {
                let bounds: DictionaryArray<Int32Type> = column(batch, columns::BOUNDS);
                Self::Explicit {
                    bound_keys: bounds.keys().clone(),
                    bounds: Lists::new(bounds.values().as_ref()),
                    counts: lists(batch, columns::COUNTS),
                }
            }
            Shape::Exponential => Self::Exponential {
                scales: column(batch, columns::SCALE),
                zeros: (column(batch, columns::ZERO_COUNT), column(batch, columns::ZERO_THRESHOLD)),
                sides: [
                    side(columns::POSITIVE_OFFSET, columns::POSITIVE_COUNTS),
                    side(columns::NEGATIVE_OFFSET, columns::NEGATIVE_COUNTS),
                ],
            },
        }
    }
}

fn optional(values: &Float64Array, row: usize) -> Option<f64> {
    values.is_valid(row).then(|| values.value(row))
}

fn lists<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str) -> Lists<T> {
    Lists::new(batch.column_by_name(name).expect("the shape has this column").as_ref())
}

fn column<A: Array + Clone + 'static>(batch: &RecordBatch, name: &str) -> A {
    typed(batch.column_by_name(name).expect("the shape has this column").as_ref())
}

fn typed<A: Array + Clone + 'static>(array: &dyn Array) -> A {
    array.as_any().downcast_ref::<A>().expect("the chunk was sealed with this column type").clone()
}
