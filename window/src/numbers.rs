//! The table of numbers: sealed Arrow chunks sorted by (series, time).

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::{
    Point, Sample, SeriesId, UnixNanos, columns,
    runs::{Bounds, Cursor, Rising, Runs},
};

/// Bytes that one point takes in a chunk: series, time and value.
pub const BYTES_PER_POINT: usize = 4 + 8 + 8;

/// Schema of the numbers table.
#[must_use]
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(columns::SERIES, DataType::UInt32, false),
        Field::new(columns::TIME, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), false),
        Field::new(columns::VALUE, DataType::Float64, false),
    ]))
}

/// A sealed, immutable run of points, sorted by (series, time), one row a (series, time).
#[derive(Clone, Debug)]
pub struct NumberChunk {
    batch: RecordBatch,
    series: UInt32Array,
    times: TimestampNanosecondArray,
    values: Float64Array,
    runs: Runs,
    rising: Rising,
    /// Event time of the oldest and the newest row.
    pub span: (UnixNanos, UnixNanos),
}

impl NumberChunk {
    /// Sorts and seals `points`; `None` when there are none.
    ///
    /// Of several points with the same series and time the first one stays.
    #[must_use]
    pub fn seal(points: &[Point]) -> Option<Self> {
        Self::counted(points).map_or_else(
            |mut by_series| {
                for run in by_series.chunk_by_mut(|a, b| a.series == b.series) {
                    if !run.is_sorted_by_key(|p| p.time) {
                        run.sort_by_key(|p| p.time);
                    }
                }
                by_series.dedup_by_key(|p| (p.series, p.time));
                Self::from_sorted(&by_series)
            },
            Some,
        )
    }

    /// Seals `points` whose times rise within each series, as they nearly always do, without comparing them: numbers of
    /// series are dense, so that counting tells where each row belongs.
    ///
    /// # Errors
    /// All others, by series; those of one series keep their order. A few points of great numbers are not counted.
    fn counted(points: &[Point]) -> Result<Self, Vec<Point>> {
        /// How many times as many numbers as points are worth counting.
        const SPARSE: usize = 16;
        let greatest = points.iter().map(|p| p.series.0).max().unwrap_or(0);
        if greatest as usize / SPARSE > points.len() {
            let mut by_series = points.to_vec();
            by_series.sort_by_key(|p| p.series);
            return Err(by_series);
        }
        let mut places = vec![0_u32; greatest as usize + 1];
        for p in points {
            places[p.series.index()] += 1;
        }
        let (mut runs, mut series, mut begin) = (Runs::default(), Vec::with_capacity(points.len()), 0);
        for (number, place) in (0..=greatest).zip(&mut places) {
            let count = std::mem::replace(place, begin);
            if count > 0 {
                runs.push(SeriesId(number), begin);
                begin += count;
                series.resize(begin as usize, number);
            }
        }
        let (mut times, mut values) = (vec![0; points.len()], vec![0.0; points.len()]);
        for p in points {
            let place = &mut places[p.series.index()];
            times[*place as usize] = p.time.0;
            values[*place as usize] = p.value;
            *place += 1;
        }
        let Some(span) = runs.rising_span(&times) else {
            let point = |row| Point { series: SeriesId(series[row]), time: UnixNanos(times[row]), value: values[row] };
            return Err((0..points.len()).map(point).collect());
        };
        Ok(Self::new(series.into(), times.into(), values.into(), runs, span))
    }

    /// One chunk with the rows of all `parts`; where they overlap, the earlier part's row stays.
    #[must_use]
    pub fn merge(parts: &[Arc<Self>]) -> Option<Self> {
        let mut points: Vec<Point> = Vec::with_capacity(parts.iter().map(|c| c.len()).sum());
        for part in parts {
            points.extend(part.iter());
        }
        Self::seal(&points)
    }

    fn from_sorted(points: &[Point]) -> Option<Self> {
        let (runs, span) = Runs::of(points.iter().map(|p| (p.series, p.time)))?;
        let series = UInt32Array::from_iter_values(points.iter().map(|p| p.series.0));
        let times = TimestampNanosecondArray::from_iter_values(points.iter().map(|p| p.time.0));
        let values = Float64Array::from_iter_values(points.iter().map(|p| p.value));
        Some(Self::new(series, times, values, runs, span))
    }

    fn new(
        series: UInt32Array,
        times: TimestampNanosecondArray,
        values: Float64Array,
        runs: Runs,
        span: (UnixNanos, UnixNanos),
    ) -> Self {
        let times = times.with_timezone("UTC");
        let arrays: Vec<ArrayRef> = vec![Arc::new(series.clone()), Arc::new(times.clone()), Arc::new(values.clone())];
        let batch = RecordBatch::try_new(schema(), arrays).expect("the columns are built by the schema");
        let rising = Rising::of(&runs, values.values());
        Self { batch, series, times, values, runs, rising, span }
    }

    /// Seals columns that are sorted by (series, time), each pair once; `None` when they are not, or
    /// are empty or of different lengths.
    pub(crate) fn from_columns(series: Vec<u32>, times: Vec<i64>, values: Vec<f64>) -> Option<Self> {
        let sorted = series.windows(2).zip(times.windows(2)).all(|(s, t)| (s[0], t[0]) < (s[1], t[1]));
        if !sorted || series.len() != times.len() || series.len() != values.len() {
            return None;
        }
        let (runs, span) = Runs::of(series.iter().zip(&times).map(|(s, t)| (SeriesId(*s), UnixNanos(*t))))?;
        Some(Self::new(series.into(), times.into(), values.into(), runs, span))
    }

    /// The rows that are newer than `floor`; `None` when there are none.
    pub(crate) fn after(&self, floor: UnixNanos) -> Option<Self> {
        let points: Vec<Point> = self.iter().filter(|p| p.time > floor).collect();
        Self::from_sorted(&points)
    }

    /// Numbers of the series, times and values, row by row.
    pub(crate) fn columns(&self) -> (&[u32], &[i64], &[f64]) {
        (self.series.values(), self.times.values(), self.values.values())
    }

    /// The rows as Arrow, in the order of [`schema`].
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
        self.len() * BYTES_PER_POINT + self.runs.bytes() + self.rising.bytes()
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = Point> {
        (0..self.len()).map(|i| Point {
            series: SeriesId(self.series.value(i)),
            time: UnixNanos(self.times.value(i)),
            value: self.values.value(i),
        })
    }

    /// About how many samples so many series have within `bounds`.
    pub(crate) fn about(&self, series: usize, bounds: Bounds) -> usize {
        self.runs.about(series, self.len(), self.span, bounds)
    }

    /// Appends to `out` the samples of `series` within `bounds`, oldest first.
    pub(crate) fn samples_onto(&self, series: SeriesId, bounds: Bounds, cursor: &mut Cursor, out: &mut Vec<Sample>) {
        let rows = self.runs.between(self.times.values(), series, bounds, cursor);
        let rows = self.times.values()[rows.clone()].iter().zip(&self.values.values()[rows]);
        out.extend(rows.map(|(time, value)| Sample { time: UnixNanos(*time), value: *value }));
    }

    /// The oldest and the newest sample of `series` within `bounds`, and how many there are; whether none of them is less
    /// than the one before it, or NaN. `None` where there are none.
    pub(crate) fn ends(&self, series: SeriesId, bounds: Bounds, cursor: &mut Cursor) -> Option<(Climb, bool)> {
        let rows = self.runs.between(self.times.values(), series, bounds, cursor);
        let (times, values) = (self.times.values(), self.values.values());
        let sample = |row: usize| Sample { time: UnixNanos(times[row]), value: values[row] };
        let last = rows.end.checked_sub(1).filter(|last| *last >= rows.start)?;
        let climb = Climb { first: sample(rows.start), last: sample(last), count: rows.len() };
        Some((climb, self.rising.at(*cursor)))
    }

    /// The newest sample of `series` within `bounds`.
    pub(crate) fn last_sample(&self, series: SeriesId, bounds: Bounds, cursor: &mut Cursor) -> Option<Sample> {
        let row = self.runs.between(self.times.values(), series, bounds, cursor).next_back()?;
        Some(Sample { time: UnixNanos(self.times.value(row)), value: self.values.value(row) })
    }
}

/// Both ends of samples that never fall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Climb {
    /// The oldest.
    pub first: Sample,
    /// The newest; the same where there is one only.
    pub last: Sample,
    /// How many there are, both included.
    pub count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(series: u32, time: i64, value: f64) -> Point {
        Point { series: SeriesId(series), time: UnixNanos(time), value }
    }

    fn samples(c: &NumberChunk, series: u32, after: i64, until: i64) -> Vec<(i64, f64)> {
        let (mut out, bounds) = (Vec::new(), Bounds::of((UnixNanos(after), UnixNanos(until)), c.span));
        c.samples_onto(SeriesId(series), bounds, &mut Cursor::default(), &mut out);
        out.iter().map(|s| (s.time.0, s.value)).collect()
    }

    #[test]
    fn sealing_sorts_and_keeps_the_first_of_equal_times() {
        let c = NumberChunk::seal(&[p(2, 5, 1.0), p(1, 9, 2.0), p(1, 3, 3.0), p(1, 3, 4.0)]).expect("has rows");
        assert_eq!(c.len(), 3);
        assert_eq!(samples(&c, 1, 0, 100), [(3, 3.0), (9, 2.0)]);
        assert_eq!(samples(&c, 2, 0, 100), [(5, 1.0)]);
        assert_eq!(samples(&c, 3, 0, 100), []);
        assert_eq!(c.span, (UnixNanos(3), UnixNanos(9)));
    }

    #[test]
    fn a_range_is_open_at_its_start_and_closed_at_its_end() {
        let c = NumberChunk::seal(&(1..=5).map(|t| p(1, t, 0.5)).collect::<Vec<_>>()).expect("has rows");
        assert_eq!(samples(&c, 1, 2, 4), [(3, 0.5), (4, 0.5)]);
    }

    #[test]
    fn merging_keeps_every_row_once() {
        let a = Arc::new(NumberChunk::seal(&[p(1, 1, 1.0), p(1, 2, 2.0)]).expect("has rows"));
        let b = Arc::new(NumberChunk::seal(&[p(1, 2, 9.0), p(2, 1, 3.0)]).expect("has rows"));
        let c = NumberChunk::merge(&[a, b]).expect("has rows");
        assert_eq!(samples(&c, 1, 0, 9), [(1, 1.0), (2, 2.0)]);
        assert_eq!(samples(&c, 2, 0, 9), [(1, 3.0)]);
    }

    #[test]
    fn sealing_equals_sorting_for_dense_and_sparse_numbers() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for series in [1, 10, 1_000, 1_000_000] {
            let some = |v: u64| u32::try_from(v).expect("is small");
            for rises in [false, true] {
                let mut time = |i: u32| if rises { i64::from(i) - 250 } else { i64::from(some(next(50))) };
                let times: Vec<i64> = (0..500).map(&mut time).collect();
                let point = |(i, time): (u32, &i64)| p(some(next(series)), *time, f64::from(i));
                let points: Vec<Point> = (0..).zip(&times).map(point).collect();
                let mut expected = points.clone();
                expected.sort_by_key(|p| (p.series, p.time));
                expected.dedup_by_key(|p| (p.series, p.time));
                let chunk = NumberChunk::seal(&points).expect("has rows");
                assert_eq!(chunk.iter().collect::<Vec<_>>(), expected);
                let (runs, span) = Runs::of(expected.iter().map(|p| (p.series, p.time))).expect("has rows");
                assert_eq!((&chunk.runs, chunk.span), (&runs, span));
                assert!(NumberChunk::counted(&points).is_ok() == (rises && series < 1_000_000), "{series} {rises}");
            }
        }
    }

    #[test]
    fn nothing_seals_to_nothing() {
        assert!(NumberChunk::seal(&[]).is_none());
    }
}
