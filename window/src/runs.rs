//! Where the rows of each series stand in a chunk that is sorted by (series, time).

use std::ops::Range;

use crate::{SeriesId, UnixNanos};

/// First row of each series, by series; the next entry (or the end) is one past its last row.
#[derive(Clone, Debug)]
pub(crate) struct Runs(Vec<(SeriesId, u32)>);

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

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * size_of::<(SeriesId, u32)>()
    }

    /// The place of the run of `series`. Numbers grow by at least one from run to run, so the first and the last of
    /// them say where it can stand: in a chunk with rows of every series, at one place only.
    fn place_of(&self, series: SeriesId) -> Option<usize> {
        let (first, last) = (self.0.first()?.0, self.0.last()?.0);
        let behind_first = series.0.checked_sub(first.0)? as usize;
        let before_last = last.0.checked_sub(series.0)? as usize;
        let greatest = self.0.len() - 1;
        let least = greatest.saturating_sub(before_last);
        let found = self.0[least..=greatest.min(behind_first)].binary_search_by_key(&series, |(s, _)| *s).ok()?;
        Some(least + found)
    }

    /// The rows of `series` with `after < time <= until`, in a chunk with these `times`.
    pub(crate) fn between(&self, times: &[i64], series: SeriesId, after: UnixNanos, until: UnixNanos) -> Range<usize> {
        let Some(i) = self.place_of(series) else { return 0..0 };
        let first = self.0[i].1 as usize;
        let end = self.0.get(i + 1).map_or(times.len(), |(_, row)| *row as usize);
        let times = &times[first..end];
        let from = times.partition_point(|t| *t <= after.0);
        // A range that ends before it starts holds nothing.
        first + from..first + times.partition_point(|t| *t <= until.0).max(from)
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
        let between = |s, after, until| runs.between(&times, SeriesId(s), UnixNanos(after), UnixNanos(until));
        assert_eq!(span, (UnixNanos(2), UnixNanos(9)));
        assert_eq!((between(4, 2, 7), between(1, 0, 8), between(2, 0, 9)), (3..5, 0..1, 0..0));
        assert!(between(4, 7, 2).is_empty(), "a range that ends before it starts");
        assert!(Runs::of([]).is_none());
    }

    #[test]
    fn every_series_of_a_chunk_is_found_and_no_other() {
        for numbers in [&[5_u32, 6, 7][..], &[5], &[0, 3, 4, 5, 90], &[1, 2, 50, 51, 52, 53]] {
            let rows = numbers.iter().map(|number| (SeriesId(*number), UnixNanos(1)));
            let (runs, _) = Runs::of(rows).expect("has rows");
            for series in 0..100 {
                let place = numbers.iter().position(|number| *number == series);
                assert_eq!(runs.place_of(SeriesId(series)), place, "{series} of {numbers:?}");
            }
        }
    }
}
