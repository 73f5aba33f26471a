//! Where the rows of each series stand in a chunk that is sorted by (series, time).

use std::{ops::Range, time::Duration};

use crate::{SeriesId, UnixNanos};

/// Runs in which no value is less than the one before it, and none is NaN: a bit for each, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rising(Vec<u64>);

impl Rising {
    /// Which of `runs` rise, of these `values`.
    pub(crate) fn of(runs: &Runs, values: &[f64]) -> Self {
        let mut bits = vec![0; runs.0.len().div_ceil(64)];
        for (place, run) in runs.of_column(values).enumerate() {
            let rises = run.windows(2).all(|pair| pair[0] <= pair[1]) && !run.iter().any(|value| value.is_nan());
            bits[place / 64] |= u64::from(rises) << (place % 64);
        }
        Self(bits)
    }

    /// Whether the run at `cursor` rises.
    pub(crate) fn at(&self, cursor: Cursor) -> bool {
        cursor.0.is_some_and(|place| self.0.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }
}

/// First row of each series, by series; the next entry (or the end) is one past its last row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<(SeriesId, u32)>);

/// Bounds of time: `after < time <= until`. `None` where all rows of a chunk are within, so that none has to be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    after: Option<UnixNanos>,
    until: Option<UnixNanos>,
}

impl Bounds {
    /// For a chunk with times of this `span`.
    pub(crate) fn of((after, until): (UnixNanos, UnixNanos), span: (UnixNanos, UnixNanos)) -> Self {
        Self { after: Some(after).filter(|after| span.0 <= *after), until: Some(until).filter(|until| span.1 > *until) }
    }
}

/// Where the run of a series was found, or would be; nowhere at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor(Option<usize>);

impl Runs {
    /// The runs of sorted rows, and the oldest and newest time among them; `None` without rows.
    pub(crate) fn of(rows: impl IntoIterator<Item = (SeriesId, UnixNanos)>) -> Option<(Self, (UnixNanos, UnixNanos))> {
        let mut runs: Vec<(SeriesId, u32)> = Vec::new();
        let mut span: Option<(UnixNanos, UnixNanos)> = None;
        for (row, (series, time)) in rows.into_iter().enumerate() {
            if runs.last().is_none_or(|(last, _)| *last != series) {
                runs.push((series, u32::try_from(row).expect("a chunk has fewer than 2^32 rows")));
            }
            let (oldest, newest) = span.unwrap_or((time, time));
            span = Some((oldest.min(time), newest.max(time)));
        }
        runs.shrink_to_fit();
        Some((Self(runs), span?))
    }

    /// Begins the run of `series`, which is greater than all before, at `row`.
    pub(crate) fn push(&mut self, series: SeriesId, row: u32) {
        self.0.push((series, row));
    }

    /// The rows of each run, of a column of all rows.
    fn of_column<'c, T>(&self, column: &'c [T]) -> impl Iterator<Item = &'c [T]> {
        let ends = self.0.iter().skip(1).map(|(_, row)| *row as usize).chain([column.len()]);
        self.0.iter().zip(ends).map(|((_, begin), end)| &column[*begin as usize..end])
    }

    /// The oldest and the newest of the `times` of all rows, if within each run every one is later than the one before it;
    /// `None` where that is not so, and without rows.
    pub(crate) fn rising_span(&self, times: &[i64]) -> Option<(UnixNanos, UnixNanos)> {
        let mut span: Option<(i64, i64)> = None;
        for run in self.of_column(times) {
            let (oldest, newest) = (*run.first()?, *run.last()?);
            if !run.windows(2).all(|pair| pair[0] < pair[1]) {
                return None;
            }
            let (first, last) = span.unwrap_or((oldest, newest));
            span = Some((first.min(oldest), last.max(newest)));
        }
        span.map(|(oldest, newest)| (UnixNanos(oldest), UnixNanos(newest)))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * size_of::<(SeriesId, u32)>()
    }

    /// The place of the run of `series`, or the one where it would be. Numbers grow by at least one from run to run, so
    /// the first and the last of them say where it can stand: in a chunk with rows of every series, at one place only.
    fn place_of(&self, series: SeriesId) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.0.first(), self.0.last()) else { return Err(0) };
        let Some(behind_first) = series.0.checked_sub(first.0) else { return Err(0) };
        let Some(before_last) = last.0.checked_sub(series.0) else { return Err(self.0.len()) };
        let greatest = self.0.len() - 1;
        let least = greatest.saturating_sub(before_last as usize);
        self.place_within(series, least..greatest.min(behind_first as usize) + 1)
    }

    fn place_within(&self, series: SeriesId, places: Range<usize>) -> Result<usize, usize> {
        let found = self.0[places.clone()].binary_search_by_key(&series, |(s, _)| *s);
        found.map(|place| places.start + place).map_err(|place| places.start + place)
    }

    /// The same for those who ask for one series after the other: looked for near where the last one was found, if that
    /// is before `series`.
    fn place_after(&self, series: SeriesId, last: Cursor) -> Result<usize, usize> {
        let is_before = |place: usize| self.0.get(place).is_some_and(|(other, _)| *other < series);
        let Some(begin) = last.0.filter(|place| *place == 0 || is_before(*place - 1)) else {
            return self.place_of(series);
        };
        let (mut first, mut end, mut step) = (begin, begin, 1);
        while is_before(end) {
            first = end + 1;
            end += step;
            step *= 2;
        }
        let end = self.0.len().min(end + 1);
        self.place_within(series, first.min(end)..end)
    }

    /// The rows of `series` within `bounds`, in a chunk with these `times`. Moves `cursor` there.
    pub(crate) fn between(
        &self,
        times: &[i64],
        series: SeriesId,
        Bounds { after, until }: Bounds,
        cursor: &mut Cursor,
    ) -> Range<usize> {
        let found = self.place_after(series, *cursor);
        *cursor = Cursor(Some(found.unwrap_or_else(|before| before)));
        let Ok(i) = found else { return 0..0 };
        let first = self.0[i].1 as usize;
        let end = self.0.get(i + 1).map_or(times.len(), |(_, row)| *row as usize);
        let times = &times[first..end];
        let from = after.map_or(0, |after| times.partition_point(|t| *t <= after.0));
        // A range that ends before it starts holds nothing.
        let to = until.map_or(times.len(), |until| times.partition_point(|t| *t <= until.0)).max(from);
        first + from..first + to
    }

    /// About how many rows so many of the series have within `bounds`, in a chunk with `rows` of times of this `span`.
    pub(crate) fn about(&self, series: usize, rows: usize, span: (UnixNanos, UnixNanos), bounds: Bounds) -> usize {
        let share = |time: Duration| time.as_nanos().max(1);
        let from = bounds.after.unwrap_or(span.0).max(span.0);
        let within = share(bounds.until.unwrap_or(span.1).min(span.1).since(from));
        let of_series = (rows as u128 * series.min(self.0.len()) as u128).div_ceil(self.0.len().max(1) as u128);
        usize::try_from((of_series * within).div_ceil(share(span.1.since(span.0))))
            .map_or(rows, |about| about.min(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_series_and_time() {
        let rows = [(1, 3), (1, 9), (4, 2), (4, 5), (4, 7)];
        let (runs, span) = Runs::of(rows.map(|(s, t)| (SeriesId(s), UnixNanos(t)))).expect("has rows");
        let times = rows.map(|(_, t)| t);
        assert_eq!(span, (UnixNanos(2), UnixNanos(9)));
        let bounds = |after, until| Bounds::of((UnixNanos(after), UnixNanos(until)), span);
        let between = |s, after, until| runs.between(&times, SeriesId(s), bounds(after, until), &mut Cursor::default());
        assert_eq!((between(4, 2, 7), between(1, 0, 8), between(2, 0, 9)), (3..5, 0..1, 0..0));
        assert!(between(4, 7, 2).is_empty(), "a range that ends before it starts");
        assert!(Runs::of([]).is_none());
        let about = |series, after, until| runs.about(series, times.len(), span, bounds(after, until));
        assert_eq!([about(2, 0, 9), about(1, 0, 9), about(7, 0, 9), about(2, 2, 4), about(2, 8, 99)], [5, 3, 5, 2, 1]);
    }

    #[test]
    fn every_series_of_a_chunk_is_found_and_no_other() {
        for numbers in [&[5_u32, 6, 7][..], &[5], &[0, 3, 4, 5, 90], &[1, 2, 50, 51, 52, 53]] {
            let rows = numbers.iter().map(|number| (SeriesId(*number), UnixNanos(1)));
            let (runs, _) = Runs::of(rows).expect("has rows");
            let expected = |series: u32| numbers.binary_search(&series);
            for series in 0..100 {
                assert_eq!(runs.place_of(SeriesId(series)), expected(series), "{series} of {numbers:?}");
            }
            for last in 0..=numbers.len() {
                for series in 0..100 {
                    let found = runs.place_after(SeriesId(series), Cursor(Some(last)));
                    assert_eq!(found, expected(series), "{series} of {numbers:?} after {last}");
                }
            }
        }
    }
}
