//! Numbers as they are written: small integers, split into bytes.
//!
//! A double and a time take 16 bytes, of which a general compressor saves little: the digits of a
//! measurement are noise to it. But most measurements are decimals of few digits, 0.058339 is 58339
//! with six of them, and the difference to the value before is smaller still; and times go on as they
//! did in the series before. So a row is written as three integers (the step to its series, the
//! error of a guess at its time, and its value in one of the [`Mode`]s), each split over columns by
//! the weight of its bytes. Bytes of one weight are alike and compress well, and a column that is all
//! zero is not written. Every value comes back bit by bit, or else is written as it is. Of few rows the
//! same integers are packed into one column, see `packed`.

mod decimal;
mod packed;

use std::{collections::HashMap, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, UInt8Array};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema};

use self::decimal::Values;
use crate::NumberChunk;

/// Time of the first row, and the step to the second: where guessing begins.
const BASE: &str = "base";
const STEP: &str = "step";
const MODE: &str = "mode";
const SERIES: &str = "series";
const TIME: &str = "time";
const VALUE: &str = "value";
const PACKED: &str = "packed";

/// Signed integers near zero become unsigned ones near zero.
fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

/// Rows as the integers that are written, each list with one for each row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Integers {
    /// Time of the first row, and the step to the second.
    base: i64,
    step: i64,
    modes: Vec<u8>,
    /// Number of the series less that of the row before.
    series: Vec<u64>,
    /// Errors of the guesses, zigzag.
    times: Vec<u64>,
    values: Vec<u64>,
}

/// The rows as the columns that are written.
pub(super) fn encode(chunk: &NumberChunk) -> RecordBatch {
    let Integers { base, step, modes, series, times, values } = Integers::of(chunk);
    let mut columns: Vec<(String, ArrayRef)> = vec![(MODE.to_owned(), bytes(modes))];
    split(SERIES, &series, &mut columns);
    split(TIME, &times, &mut columns);
    split(VALUE, &values, &mut columns);
    let metadata = HashMap::from([(BASE.to_owned(), base.to_string()), (STEP.to_owned(), step.to_string())]);
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(name, DataType::UInt8, false)).collect();
    let schema = Schema::new(fields).with_metadata(metadata);
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(schema), arrays).expect("every column has a byte for each row")
}

/// The rows as one column, whose length is not theirs, for files that would be mostly what each column takes by itself.
/// `None` where there are too many rows.
pub(super) fn pack(chunk: &NumberChunk) -> Option<RecordBatch> {
    let packed = packed::pack(&Integers::of(chunk))?;
    let schema = Schema::new(vec![Field::new(PACKED, DataType::UInt8, false)]);
    Some(RecordBatch::try_new(Arc::new(schema), vec![bytes(packed)]).expect("there is one column"))
}

/// The chunk that `batch` was made of; `None` when it was made neither by [`encode`] nor by [`pack`].
pub(super) fn decode(batch: &RecordBatch) -> Option<NumberChunk> {
    if let Some(packed) = batch.column_by_name(PACKED) {
        let packed: &UInt8Array = packed.as_any().downcast_ref()?;
        return packed::unpack(packed.values())?.chunk();
    }
    let number = |key| -> Option<i64> { batch.schema().metadata().get(key)?.parse().ok() };
    let modes: &UInt8Array = batch.column_by_name(MODE)?.as_any().downcast_ref()?;
    let integers = Integers {
        base: number(BASE)?,
        step: number(STEP)?,
        modes: modes.values().to_vec(),
        series: joined(SERIES, batch)?,
        times: joined(TIME, batch)?,
        values: joined(VALUE, batch)?,
    };
    integers.chunk()
}

impl Integers {
    fn of(chunk: &NumberChunk) -> Self {
        let (series, times, values) = chunk.columns();
        let mut steps = Vec::with_capacity(series.len());
        let mut last = 0;
        for id in series {
            steps.push(u64::from(id - last));
            last = *id;
        }
        let base = times.first().copied().unwrap_or(0);
        let step = times.get(1).map_or(0, |t| t.wrapping_sub(base));
        let mut guess = Guess::new(base, step);
        let errors: Vec<u64> = (0..times.len())
            .map(|row| {
                let guessed = guess.next(row > 0 && steps[row] == 0, times);
                zigzag(times[row].wrapping_sub(guessed))
            })
            .collect();
        let Values { modes, numbers } = Values::of(series, values);
        Self { base, step, modes, series: steps, times: errors, values: numbers }
    }

    /// The rows again; `None` when there is no chunk of which these are the integers.
    fn chunk(self) -> Option<NumberChunk> {
        let mut series: Vec<u32> = Vec::with_capacity(self.series.len());
        let mut last = 0_u32;
        for step in &self.series {
            last = last.checked_add(u32::try_from(*step).ok()?)?;
            series.push(last);
        }
        let mut guess = Guess::new(self.base, self.step);
        let mut times: Vec<i64> = Vec::with_capacity(self.times.len());
        for (row, (error, step)) in self.times.iter().zip(&self.series).enumerate() {
            let guessed = guess.next(row > 0 && *step == 0, &times);
            times.push(guessed.wrapping_add(unzigzag(*error)));
        }
        let values = Values { modes: self.modes, numbers: self.values }.floats(&series)?;
        NumberChunk::from_columns(series, times, values)
    }
}

/// Guesses the next time: one step after the one before, as long as the step at the same place of
/// the series before. Series that are sent together have their times in common.
struct Guess {
    /// First row of this series and of the one before it.
    first: usize,
    before: std::ops::Range<usize>,
    row: usize,
    base: i64,
    step: i64,
}

impl Guess {
    fn new(base: i64, step: i64) -> Self {
        Self { first: 0, before: 0..0, row: 0, base, step }
    }

    /// The guess for the next row, which is of the same series as the row before or not. `times` has
    /// the rows before it.
    fn next(&mut self, same: bool, times: &[i64]) -> i64 {
        let row = self.row;
        self.row += 1;
        if row == 0 {
            return self.base;
        }
        if !same {
            self.before = self.first..row;
            self.first = row;
            return times[self.before.start];
        }
        let alike = self.before.start + (row - self.first);
        if self.before.contains(&alike) {
            return times[row - 1].wrapping_add(times[alike].wrapping_sub(times[alike - 1]));
        }
        if row - self.first >= 2 {
            self.step = times[row - 1].wrapping_sub(times[row - 2]);
        }
        times[row - 1].wrapping_add(self.step)
    }
}

fn bytes(values: Vec<u8>) -> ArrayRef {
    Arc::new(UInt8Array::new(Buffer::from_vec(values).into(), None))
}

/// Appends the bytes of `numbers` to `columns`, those of one weight as one column, lowest first.
fn split(name: &str, numbers: &[u64], columns: &mut Vec<(String, ArrayRef)>) {
    let any = numbers.iter().fold(0, |all, n| all | n);
    for weight in 0..8 {
        let shift = 8 * weight;
        if any >> shift & 0xff != 0 {
            let plane = numbers.iter().map(|n| n.to_le_bytes()[weight]).collect();
            columns.push((format!("{name}_{weight}"), bytes(plane)));
        }
    }
}

/// The numbers that [`split`] took apart.
fn joined(name: &str, batch: &RecordBatch) -> Option<Vec<u64>> {
    let mut numbers = vec![0_u64; batch.num_rows()];
    for weight in 0..8 {
        if let Some(column) = batch.column_by_name(&format!("{name}_{weight}")) {
            let plane: &UInt8Array = column.as_any().downcast_ref()?;
            numbers.iter_mut().zip(plane.values()).for_each(|(n, byte)| *n |= u64::from(*byte) << (8 * weight));
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Point, STALE_NAN_BITS, SeriesId, UnixNanos};

    fn check(points: &[Point]) {
        let chunk = NumberChunk::seal(points).expect("has rows");
        let rows = |c: &NumberChunk| c.iter().map(|p| (p.series, p.time, p.value.to_bits())).collect::<Vec<_>>();
        for batch in [encode(&chunk), pack(&chunk).expect("has few rows")] {
            let again = decode(&batch).expect("was encoded");
            assert_eq!(rows(&again), rows(&chunk));
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        let special = prop::sample::select(vec![
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::from_bits(STALE_NAN_BITS),
            f64::from_bits(0xfff8_0000_0000_0001),
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            9_007_199_254_740_992.0,
            -1e19,
            1e22,
            0.1,
        ]);
        let decimal = (any::<i32>(), 0..12_i32).prop_map(|(n, e)| f64::from(n) / 10_f64.powi(e));
        prop_oneof![special, decimal, any::<u64>().prop_map(f64::from_bits), (0..100_u32).prop_map(f64::from)]
    }

    proptest! {
        #[test]
        fn every_value_and_time_comes_back_bit_by_bit(
            rows in prop::collection::vec((0..4_u32, prop_oneof![0..50_i64, any::<i64>()], value()), 1..80),
        ) {
            let point = |(s, t, value)| Point { series: SeriesId(s * 7), time: UnixNanos(t), value };
            check(&rows.into_iter().map(point).collect::<Vec<_>>());
        }

        #[test]
        fn packed_bytes_that_nobody_packed_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let column: Vec<(String, ArrayRef)> = vec![(PACKED.to_owned(), super::bytes(bytes))];
            let batch = RecordBatch::try_from_iter(column).expect("is one column");
            let _ = decode(&batch);
        }
    }

    #[test]
    fn regular_decimals_take_few_columns() {
        let points = (0..4_000).map(|i: i32| Point {
            series: SeriesId(i.cast_unsigned() / 1_000),
            time: UnixNanos(i64::from(i % 1_000) * 10_000_000_000 + i64::from(i % 7)),
            value: f64::from(1_000 + i * 37 % 101) / 100.0,
        });
        let batch = encode(&NumberChunk::seal(&points.collect::<Vec<_>>()).expect("has rows"));
        let names: Vec<String> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
        assert!(names.len() <= 7, "{names:?}");
    }

    #[test]
    fn foreign_columns_are_not_numbers() {
        let chunk = NumberChunk::seal(&[Point { series: SeriesId(1), time: UnixNanos(2), value: 3.0 }]);
        let chunk = chunk.expect("has rows");
        assert!(decode(chunk.batch()).is_none());
        let batch = encode(&chunk);
        assert!(decode(&batch.project(&[1]).expect("has a column")).is_none(), "without modes");
    }
}
