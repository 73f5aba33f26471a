//! Rows into Arrow columns.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, RecordBatch,
    builder::{
        Float64Builder, Int32Builder, ListBuilder, PrimitiveBuilder, TimestampNanosecondBuilder, UInt32Builder,
        UInt64Builder,
    },
    types::{ArrowPrimitiveType, Float64Type, Int32Type, UInt64Type},
};
use arrow_schema::{Field, Schema};

use super::row::{BucketsView, ExpBucketsView, HistogramView, Shape};
use crate::columns;

type Lists<T> = ListBuilder<PrimitiveBuilder<T>>;

/// The columns of `rows`, all of one shape, in their order; the schema is in `window/README.md`.
pub(super) fn batch(shape: Shape, rows: &[HistogramView<'_>]) -> RecordBatch {
    let mut columns = common(rows);
    match shape {
        Shape::Explicit => columns.extend(explicit(rows)),
        Shape::Exponential => columns.extend(exponential(rows)),
    }
    let field = |c: &Column| Field::new(c.name, c.array.data_type().clone(), c.nullable);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    // Builders make room ahead; what is not used is given back.
    let shrunk = |mut array: ArrayRef| {
        if let Some(array) = Arc::get_mut(&mut array) {
            array.shrink_to_fit();
        }
        array
    };
    let arrays = columns.into_iter().map(|c| shrunk(c.array)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("every column has a place for each row")
}

struct Column {
    name: &'static str,
    array: ArrayRef,
    nullable: bool,
}

fn filled(name: &'static str, array: ArrayRef) -> Column {
    Column { name, array, nullable: false }
}

fn optional(name: &'static str, array: ArrayRef) -> Column {
    Column { name, array, nullable: true }
}

fn common(rows: &[HistogramView<'_>]) -> Vec<Column> {
    let n = rows.len();
    let mut series = UInt32Builder::with_capacity(n);
    let mut times = TimestampNanosecondBuilder::with_capacity(n);
    let mut starts = TimestampNanosecondBuilder::with_capacity(n);
    let mut counts = UInt64Builder::with_capacity(n);
    for row in rows {
        series.append_value(row.series.0);
        times.append_value(row.time.0);
        starts.append_option(row.start.map(|s| s.0));
        counts.append_option((row.buckets != BucketsView::Ended).then_some(row.count));
    }
    vec![
        filled(columns::SERIES, Arc::new(series.finish())),
        filled(columns::TIME, Arc::new(times.finish().with_timezone("UTC"))),
        optional(columns::START, Arc::new(starts.finish().with_timezone("UTC"))),
        optional(columns::COUNT, Arc::new(counts.finish())),
        optional(columns::SUM, floats(rows.iter().map(|r| r.sum))),
        optional(columns::MIN, floats(rows.iter().map(|r| r.min))),
        optional(columns::MAX, floats(rows.iter().map(|r| r.max))),
    ]
}

fn floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let mut builder = Float64Builder::new();
    values.for_each(|v| builder.append_option(v));
    Arc::new(builder.finish())
}

fn explicit(rows: &[HistogramView<'_>]) -> Vec<Column> {
    let mut bounds_of = BoundsDictionary::default();
    let mut counts_of: Lists<UInt64Type> = lists();
    for row in rows {
        let (bounds, counts) = match row.buckets {
            BucketsView::Explicit { bounds, counts } => (bounds, counts),
            BucketsView::Exponential { .. } | BucketsView::Ended => (&[][..], &[][..]),
        };
        bounds_of.append(bounds);
        append(&mut counts_of, counts);
    }
    vec![filled(columns::BOUNDS, bounds_of.finish()), filled(columns::COUNTS, Arc::new(counts_of.finish()))]
}

fn exponential(rows: &[HistogramView<'_>]) -> Vec<Column> {
    let (mut scales, mut zero_counts, mut thresholds) =
        (Int32Builder::new(), UInt64Builder::new(), Float64Builder::new());
    let mut offsets = [Int32Builder::new(), Int32Builder::new()];
    let mut counts: [Lists<UInt64Type>; 2] = [lists(), lists()];
    for row in rows {
        let none = ExpBucketsView::default();
        let (scale, zero_count, threshold, sides) = match row.buckets {
            BucketsView::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
                (scale, zero_count, zero_threshold, [positive, negative])
            }
            BucketsView::Explicit { .. } | BucketsView::Ended => (0, 0, 0.0, [none, none]),
        };
        scales.append_value(scale);
        zero_counts.append_value(zero_count);
        thresholds.append_value(threshold);
        for ((offset, counts), side) in offsets.iter_mut().zip(&mut counts).zip(sides) {
            offset.append_value(side.offset);
            append(counts, side.counts);
        }
    }
    let [mut positive_offsets, mut negative_offsets] = offsets;
    let [mut positive, mut negative] = counts;
    vec![
        filled(columns::SCALE, Arc::new(scales.finish())),
        filled(columns::ZERO_COUNT, Arc::new(zero_counts.finish())),
        filled(columns::ZERO_THRESHOLD, Arc::new(thresholds.finish())),
        filled(columns::POSITIVE_OFFSET, Arc::new(positive_offsets.finish())),
        filled(columns::POSITIVE_COUNTS, Arc::new(positive.finish())),
        filled(columns::NEGATIVE_OFFSET, Arc::new(negative_offsets.finish())),
        filled(columns::NEGATIVE_COUNTS, Arc::new(negative.finish())),
    ]
}

fn lists<T: ArrowPrimitiveType>() -> Lists<T> {
    ListBuilder::new(PrimitiveBuilder::new()).with_field(Field::new_list_field(T::DATA_TYPE, false))
}

fn append<T: ArrowPrimitiveType>(lists: &mut Lists<T>, values: &[T::Native]) {
    lists.values().append_slice(values);
    lists.append(true);
}

/// The bounds of all rows, each different list once: most histograms of a service share theirs.
struct BoundsDictionary {
    keys: Vec<i32>,
    lists: Lists<Float64Type>,
    known: HashMap<Box<[u64]>, i32, foldhash::fast::RandomState>,
    last: (Vec<f64>, i32),
}

impl Default for BoundsDictionary {
    fn default() -> Self {
        Self { keys: Vec::new(), lists: lists(), known: HashMap::default(), last: (Vec::new(), -1) }
    }
}

impl BoundsDictionary {
    fn append(&mut self, bounds: &[f64]) {
        if self.last.1 < 0 || self.last.0 != bounds {
            let bits: Box<[u64]> = bounds.iter().map(|b| b.to_bits()).collect();
            let next = i32::try_from(self.known.len()).expect("a chunk has fewer rows than i32::MAX");
            let key = *self.known.entry(bits).or_insert_with(|| {
                append(&mut self.lists, bounds);
                next
            });
            self.last = (bounds.to_vec(), key);
        }
        self.keys.push(self.last.1);
    }

    fn finish(mut self) -> ArrayRef {
        let keys = Int32Array::from(self.keys);
        let dictionary = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(self.lists.finish()));
        Arc::new(dictionary.expect("every key was given to a list"))
    }
}
