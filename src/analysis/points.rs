//! Points of numbers as PromQL sees them: each series and time once, without what marks the end of a series.

use std::collections::HashSet;

use arrow_array::{
    Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
    cast::AsArray,
    types::{Float64Type, TimestampNanosecondType, UInt32Type},
};
use polars::prelude::{
    BooleanChunked, DataFrame, Float64Type as Float64, NewChunkedArray, PolarsResult, UInt32Type as UInt32,
};

use super::{frames, protocol::Span};

/// A series at a time.
type Place = (u32, i64);

/// Reads chunks one after the other, in the order in which they were sealed: of several rows with the same series
/// and time the first one is meant.
#[derive(Debug)]
pub(super) struct Points {
    span: Span,
    /// Places that may be in several chunks: those that came when their series had been further on already.
    late: HashSet<Place>,
    /// Those of them that have been read.
    seen: HashSet<Place>,
}

/// The columns of a chunk of numbers.
struct Columns<'a> {
    series: &'a UInt32Array,
    times: &'a TimestampNanosecondArray,
    values: &'a Float64Array,
}

impl<'a> Columns<'a> {
    /// `None` when it is no chunk of numbers.
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let [series, times, values] = batch.columns() else { return None };
        Some(Self {
            series: series.as_primitive_opt::<UInt32Type>()?,
            times: times.as_primitive_opt::<TimestampNanosecondType>()?,
            values: values.as_primitive_opt::<Float64Type>()?,
        })
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.series.values().iter().copied().zip(self.times.values().iter().copied())
    }
}

impl Points {
    /// A reader of `chunks`, in their order.
    pub(super) fn of<'a>(chunks: impl Iterator<Item = &'a RecordBatch>, span: Span) -> Self {
        let mut newest: Vec<i64> = Vec::new();
        let mut late = HashSet::new();
        for columns in chunks.filter_map(Columns::of) {
            for (series, time) in columns.places() {
                let index = series as usize;
                if newest.len() <= index {
                    newest.resize(index + 1, i64::MIN);
                }
                if time > newest[index] {
                    newest[index] = time;
                } else {
                    late.insert((series, time));
                }
            }
        }
        Self { span, late, seen: HashSet::new() }
    }

    /// The rows of the next chunk that are meant, as `series_id`, `time` and `value`. The columns are those of the
    /// chunk, and not copied, where all rows are.
    pub(super) fn frame(&mut self, chunk: &RecordBatch) -> PolarsResult<DataFrame> {
        let empty = || DataFrame::empty_with_schema(&frames::points_schema());
        let Some(columns) = Columns::of(chunk) else { return Ok(empty()) };
        let mut kept: Vec<bool> = Vec::with_capacity(chunk.num_rows());
        for (place, value) in columns.places().zip(columns.values.values()) {
            let is_meant = !self.late.contains(&place) || self.seen.insert(place);
            let is_seen = place.1 > self.span.floor && place.1 >= self.span.from && place.1 <= self.span.to;
            kept.push(is_meant && is_seen && !window::is_stale(*value));
        }
        let frame = DataFrame::new(
            chunk.num_rows(),
            vec![
                frames::numbers::<UInt32>("series_id", columns.series.values().clone()),
                frames::times("time", columns.times.values().clone()),
                frames::numbers::<Float64>("value", columns.values.values().clone()),
            ],
        )?;
        if kept.iter().all(|kept| *kept) {
            return Ok(frame);
        }
        frame.filter(&BooleanChunked::from_slice("kept".into(), &kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(rows: &[(u32, i64, f64)]) -> RecordBatch {
        let points = rows.iter().map(|(series, time, value)| window::Point {
            series: window::SeriesId(*series),
            time: window::UnixNanos(*time),
            value: *value,
        });
        window::NumberChunk::seal(&points.collect::<Vec<_>>()).expect("has rows").batch().clone()
    }

    fn read(chunks: &[RecordBatch], span: Span) -> Vec<(u32, i64, f64)> {
        let mut points = Points::of(chunks.iter(), span);
        let mut rows = Vec::new();
        for chunk in chunks {
            let frame = points.frame(chunk).expect("is a chunk");
            let series = frame.column("series_id").and_then(|c| c.u32().cloned()).expect("is there");
            let times = frame.column("time").and_then(|c| c.datetime().cloned()).expect("is there");
            let values = frame.column("value").and_then(|c| c.f64().cloned()).expect("is there");
            let times = times.physical();
            rows.extend(
                series
                    .into_no_null_iter()
                    .zip(times.into_no_null_iter())
                    .zip(values.into_no_null_iter())
                    .map(|((s, t), v)| (s, t, v)),
            );
        }
        rows
    }

    const ALL: Span = Span { floor: i64::MIN, from: i64::MIN, to: i64::MAX };

    #[test]
    fn of_equal_places_the_first_sealed_is_meant_and_markers_are_no_points() {
        let stale = f64::from_bits(window::STALE_NAN_BITS);
        let chunks = [
            chunk(&[(1, 10, 1.0), (1, 20, 2.0), (2, 10, f64::NAN)]),
            chunk(&[(1, 20, 9.0), (1, 30, 3.0), (2, 5, 5.0), (2, 40, stale)]),
            chunk(&[(1, 15, 1.5), (1, 30, 9.0), (2, 5, 9.0)]),
        ];
        let rows = read(&chunks, ALL);
        let places: Vec<Place> = rows.iter().map(|(series, time, _)| (*series, *time)).collect();
        assert_eq!(places, [(1, 10), (1, 20), (2, 10), (1, 30), (2, 5), (1, 15)]);
        assert!(rows.iter().all(|(_, _, value)| *value < 9.0 || value.is_nan()), "{rows:?}");
    }

    #[test]
    fn rows_are_those_after_the_floor_and_within_the_span() {
        let chunks = [chunk(&[(1, 10, 1.0), (1, 20, 2.0), (1, 30, 3.0), (1, 40, 4.0)])];
        let times = |span| read(&chunks, span).iter().map(|(_, time, _)| *time).collect::<Vec<_>>();
        assert_eq!(times(Span { floor: 10, ..ALL }), [20, 30, 40]);
        assert_eq!(times(Span { from: 20, to: 30, ..ALL }), [20, 30]);
        assert_eq!(times(Span { from: 41, ..ALL }), [0_i64; 0]);
    }

    #[test]
    fn a_chunk_of_which_all_rows_are_meant_is_not_copied() {
        let chunk = chunk(&[(1, 10, 1.0), (1, 20, 2.0)]);
        let frame = Points::of(std::iter::once(&chunk), ALL).frame(&chunk).expect("is a chunk");
        let theirs =
            frame.column("value").expect("is there").f64().expect("is one").cont_slice().expect("is whole").as_ptr();
        let ours = chunk.column(2).as_primitive::<Float64Type>().values().as_ptr();
        assert_eq!(theirs, ours);
    }
}
