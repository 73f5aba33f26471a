//! Histograms made comparable: a stream of points into the observations of each interval.
//!
//! Rules of the OpenTelemetry metrics data model, the same as for sums: a cumulative point less the
//! one before it is an interval; a count or a bucket that falls, or a start after the last point, is
//! a restart, and then the point stands alone; a first point, or one whose start nobody knows, says
//! nothing about an interval; a delta is an interval by itself. Quantiles come from the differences
//! of buckets and never from totals since the start, which hardly move.

mod check;
mod interval;
mod kept;
mod quantile;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use window::{Buckets, BucketsView, HistogramRow, SeriesId, Temporality, UnixNanos};

pub use check::{HistogramFault, MAX_BUCKETS, check_histogram};
pub use interval::{Derived, Interval};
use kept::{Difference, Kept, Scratch};

/// What is remembered of a series: for a cumulative one its newest point.
#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    time: UnixNanos,
    count: u64,
    sum: Option<f64>,
    kept: Kept,
}

/// The histograms of all series, by number.
///
/// A series takes 8 bytes, once it has been seen about 200 bytes more, and if it is cumulative
/// another 8 bytes per bucket: 330 bytes for 16 buckets, 1.5 KB for 160. The length of a list in a
/// row is the caller's to bound, with [`check_histogram`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Histograms {
    streams: Vec<Option<Box<Stream>>>,
    /// Where differences are computed; as large as the largest histogram so far.
    #[serde(skip)]
    scratch: Scratch,
}

impl Histograms {
    /// Takes the next point of a series, and returns the interval that it ends, if it ends one whose
    /// length and observations are known.
    ///
    /// [`Buckets::Ended`] ends the series: the next point is a first one. A point that is not later
    /// than the newest of its series says nothing and changes nothing. Nothing is allocated for a
    /// series that is known, unless it has more buckets than before. The row must have passed
    /// [`check_histogram`]; one that has not gives a wrong interval, but no panic.
    pub fn advance<'a>(&'a mut self, row: &'a HistogramRow, temporality: Temporality) -> Option<Interval<'a>> {
        let place = row.series.index();
        if self.streams.len() <= place {
            self.streams.resize_with(place + 1, || None);
        }
        let stream = &mut self.streams[place];
        if row.buckets == Buckets::Ended {
            *stream = None;
            return None;
        }
        if stream.as_ref().is_some_and(|s| s.time >= row.time) {
            return None;
        }
        let before = stream.as_deref();
        let interval = match temporality {
            Temporality::Cumulative => before.and_then(|before| cumulative(before, row, &mut self.scratch)),
            Temporality::Delta => delta(before.map(|b| b.time), row),
        };
        let keeps = temporality == Temporality::Cumulative;
        let stream = stream.get_or_insert_with(|| Box::new(Stream::new(row.time)));
        stream.remember(row, keeps);
        interval
    }

    /// After reading from disk: bounds that many series share are held once.
    pub(crate) fn share_bounds(&mut self) {
        let mut seen = HashSet::new();
        self.streams.iter_mut().flatten().for_each(|stream| stream.kept.share(&mut seen));
    }

    /// Forgets `series`, whose number may come back as another series.
    pub fn forget(&mut self, series: SeriesId) {
        if let Some(stream) = self.streams.get_mut(series.index()) {
            *stream = None;
        }
    }
}

impl Stream {
    fn new(time: UnixNanos) -> Self {
        Self { time, count: 0, sum: None, kept: Kept::Nothing }
    }

    fn remember(&mut self, row: &HistogramRow, keeps_buckets: bool) {
        self.time = row.time;
        self.count = row.count;
        self.sum = row.sum;
        if keeps_buckets {
            self.kept.set(&row.buckets);
        }
    }
}

fn cumulative<'a>(before: &Stream, row: &'a HistogramRow, scratch: &'a mut Scratch) -> Option<Interval<'a>> {
    let begins_anew = row.start.is_some_and(|start| start > before.time);
    let Some(count) = row.count.checked_sub(before.count).filter(|_| !begins_anew) else {
        return restart(before.time, row);
    };
    let buckets = match scratch.subtract(&before.kept, &row.buckets) {
        Difference::Fell => return restart(before.time, row),
        Difference::Unknown => BucketsView::Ended,
        Difference::Known(buckets) => buckets,
    };
    let sum = before.sum.zip(row.sum).map(|(before, now)| now - before);
    Some(Interval { seconds: seconds(before.time, row.time)?, count, sum, min: None, max: None, buckets })
}

/// The observations of a point that stands alone, over the time since the restart.
fn restart(before: UnixNanos, row: &HistogramRow) -> Option<Interval<'_>> {
    let from = match row.start {
        // A start equal to the point's own time means that nobody knows when the count began.
        Some(start) if start == row.time => return None,
        Some(start) if start > before && start < row.time => start,
        _ => before,
    };
    whole(from, row)
}

fn delta(before: Option<UnixNanos>, row: &HistogramRow) -> Option<Interval<'_>> {
    let from = row.start.filter(|start| *start < row.time).or(before)?;
    whole(from, row)
}

/// All that the point counts, over the time since `from`. Its least and greatest observation belong
/// to exactly these observations.
fn whole(from: UnixNanos, row: &HistogramRow) -> Option<Interval<'_>> {
    let view = row.view();
    let (count, sum, min, max) = (row.count, row.sum, row.min, row.max);
    Some(Interval { seconds: seconds(from, row.time)?, count, sum, min, max, buckets: view.buckets })
}

fn seconds(from: UnixNanos, until: UnixNanos) -> Option<f64> {
    let seconds = until.since(from).as_secs_f64();
    (seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
#[path = "histograms/tests.rs"]
mod tests;
