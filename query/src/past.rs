//! The part of a selection that is older than the windows, from rollups.
//!
//! Each instant has one source: up to the seam, which is the end of a bucket, the history; after it the
//! windows. A bucket's newest value stands at its own time, as one sample for all that was in the bucket.
//! Functions that ask for it (`avg_over_time` and the like) get the bucket's count, sum, least and
//! greatest value instead, which is exact for ranges of whole buckets. All others see only the newest
//! values, so that what happened within a bucket (a counter that was reset and has grown beyond its
//! old value) is not seen.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use window::{Ask, Filter, Labels, Past, Resolution, Rollup, Sample, Series, SeriesKey, UnixNanos};

use crate::{
    QueryError,
    plan::{Reads, Selector},
    select::{METRIC_NAME, Steps, Test},
};

/// Ranges of at least this are read in buckets of 1 h.
const LONG_RANGE: Duration = Duration::from_hours(48);
/// Newest values at large steps are read in buckets of 1 h when this much of the past is asked for.
const LONG_SPAN: Duration = Duration::from_hours(48);

/// Where a selection's past ends, and how it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seam {
    /// Samples up to here are from rollups.
    pub(crate) at: UnixNanos,
    resolution: Resolution,
}

impl Seam {
    /// `None` when the windows hold all that is asked for, or no history is kept.
    pub(crate) fn of(
        selector: &Selector,
        past: Option<&Past>,
        steps: Steps,
        (after, until): (UnixNanos, UnixNanos),
    ) -> Option<Self> {
        let past = past.filter(|past| after < past.raw_after)?;
        let hour = Resolution::Hour;
        let is_whole = |nanos: i64| UnixNanos(nanos).floor_to(hour.width()) == UnixNanos(nanos);
        let is_whole_duration = |d: Duration| i64::try_from(d.as_nanos()).is_ok_and(is_whole);
        let is_exact = selector.reads() == Reads::Statistics
            && is_whole(steps.first.0)
            && is_whole_duration(steps.step)
            && is_whole(selector.offset)
            && selector.range.is_some_and(is_whole_duration);
        let is_long = match selector.range {
            Some(range) => range >= LONG_RANGE,
            None => steps.step >= hour.width() && until.min(past.raw_after).since(after) >= LONG_SPAN,
        };
        let resolution = if is_exact || is_long { hour } else { Resolution::FiveMinutes };
        Some(Self { at: past.seam(resolution), resolution })
    }

    /// From when on samples are needed for a window that begins at `after`: in the past one bucket
    /// further back, since a bucket's sample stands at its newest value's time.
    pub(crate) fn reach(self, after: UnixNanos) -> UnixNanos {
        if after < self.at { after.minus(self.resolution.width()) } else { after }
    }

    /// Whether the newest value at `until` is known: no bucket goes on beyond it.
    pub(crate) fn is_bucket_end(self, until: UnixNanos) -> bool {
        until > self.at || self.resolution.bucket_end(until) == until
    }

    /// Calls `visit` with the rollups of the series that `selector` means in `after < time <= until`, and
    /// one bucket more before it, in the order of time for each series.
    pub(crate) fn read(
        self,
        selector: &Selector,
        past: &Past,
        (after, until): (UnixNanos, UnixNanos),
        mut visit: impl FnMut(&Arc<Series>, Rollup) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let matchers = &selector.matchers;
        let name = matchers.iter().find_map(|m| match &m.test {
            Test::Is(name) if m.label == METRIC_NAME => Some(name.as_str()),
            Test::Is(_) | Test::IsNot(_) | Test::Matches(_) | Test::MatchesNot(_) => None,
        });
        let holds = |series: &Series| {
            matchers.iter().all(|m| {
                let value = match m.label.as_str() {
                    METRIC_NAME => &series.name,
                    label => series.labels.get(label).unwrap_or_default(),
                };
                m.test.holds(value)
            })
        };
        let ask = Ask {
            filter: Filter { name, holds: &holds },
            after: after.minus(self.resolution.width()),
            until: self.resolution.bucket_end(until).min(self.at),
            resolution: self.resolution,
        };
        past.read(&ask, &mut |row| visit(&row.series, row.rollup)).map_err(QueryError::History)
    }
}

/// What was read of one series.
#[derive(Debug)]
pub(crate) struct PastSeries {
    pub(crate) series: Arc<Series>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) rollups: Vec<Rollup>,
}

/// The series of a selection that have a past.
#[derive(Debug, Default)]
pub(crate) struct PastSelection {
    list: Vec<PastSeries>,
    places: HashMap<SeriesKey, usize, foldhash::fast::RandomState>,
}

/// How many samples a rollup takes the place of, in memory.
const WEIGHT: usize = size_of::<Rollup>().div_ceil(size_of::<Sample>());

impl PastSelection {
    /// Reads what steps will need; `budget` is lowered by it, `None` when that does not suffice.
    pub(crate) fn read(
        seam: Seam,
        selector: &Selector,
        past: &Past,
        bounds: (UnixNanos, UnixNanos),
        newest_only: bool,
        budget: &mut usize,
    ) -> Result<Option<Self>, QueryError> {
        let mut this = Self::default();
        let mut suffices = true;
        seam.read(selector, past, bounds, |series, rollup| {
            let cost = this.add(selector, series, rollup, bounds.1, newest_only);
            match budget.checked_sub(cost) {
                Some(left) => {
                    *budget = left;
                    ControlFlow::Continue(())
                }
                None => {
                    suffices = false;
                    ControlFlow::Break(())
                }
            }
        })?;
        this.list.iter_mut().for_each(PastSeries::sort);
        Ok(suffices.then_some(this))
    }

    /// Adds a rollup; returns its cost.
    fn add(
        &mut self,
        selector: &Selector,
        series: &Arc<Series>,
        rollup: Rollup,
        until: UnixNanos,
        newest_only: bool,
    ) -> usize {
        let place = *self.places.entry(series.key).or_insert(self.list.len());
        if place == self.list.len() {
            let series = Arc::clone(series);
            self.list.push(PastSeries { series, samples: Vec::new(), rollups: Vec::new() });
        }
        let kept = &mut self.list[place];
        // Labels may have been told apart from others' in another way before: the newest are meant.
        kept.series = Arc::clone(series);
        if selector.reads() == Reads::Statistics {
            let counts = usize::from(rollup.count > 0);
            kept.rollups.extend((counts > 0).then_some(rollup));
            return counts * WEIGHT;
        }
        let last = (rollup.count > 0).then_some(Sample { time: rollup.last_time, value: rollup.last });
        let end = rollup.end().filter(|_| selector.range.is_none());
        let end = end.map(|time| Sample { time, value: f64::from_bits(window::STALE_NAN_BITS) });
        let before = kept.samples.len();
        for sample in [last, end].into_iter().flatten().filter(|sample| sample.time <= until) {
            match kept.samples.last_mut().filter(|_| newest_only) {
                Some(newest) if newest.time < sample.time => *newest = sample,
                Some(_) => {}
                None => kept.samples.push(sample),
            }
        }
        kept.samples.len() - before
    }

    /// Takes out what was read of the series with this identity.
    pub(crate) fn take(&mut self, key: SeriesKey) -> Option<(Vec<Sample>, Vec<Rollup>)> {
        let kept = &mut self.list[self.places.remove(&key)?];
        Some((std::mem::take(&mut kept.samples), std::mem::take(&mut kept.rollups)))
    }

    /// The series that nobody has taken.
    pub(crate) fn rest(self) -> impl Iterator<Item = (Arc<str>, Labels, Vec<Sample>, Vec<Rollup>)> {
        let all = self.list.into_iter().filter(|s| !s.samples.is_empty() || !s.rollups.is_empty());
        all.map(|s| (Arc::clone(&s.series.name), s.series.labels.clone(), s.samples, s.rollups))
    }
}

impl PastSeries {
    /// Points that came late may stand in a bucket of their own beside others.
    fn sort(&mut self) {
        if !self.samples.is_sorted_by_key(|s| s.time) {
            self.samples.sort_by_key(|s| s.time);
        }
        if !self.rollups.is_sorted_by_key(|r| r.last_time) {
            self.rollups.sort_by_key(|r| r.last_time);
        }
    }
}
