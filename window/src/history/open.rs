//! Buckets that are not written yet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Filter, Resolution, RollupRow};
use crate::{NumberChunk, RegistryView, Rollup, Sample, Series, SeriesId, SeriesKey, UnixNanos};

/// No row of this number.
const NONE: u32 = u32::MAX;

/// The rollups of one end.
#[derive(Debug, Default)]
struct Bucket {
    rows: Vec<(Arc<Series>, Rollup)>,
    places: HashMap<SeriesKey, u32, foldhash::fast::RandomState>,
    /// Where the row of a series is by its number, if that has not passed to another series since. Chunks are
    /// sorted by number, so that this and the rows are read from front to back, where a look into the map
    /// for each series is a cache miss.
    near: Vec<u32>,
}

impl Bucket {
    fn add(&mut self, id: Option<SeriesId>, series: &Arc<Series>, rollup: &Rollup) {
        let near = id.and_then(|id| self.near.get(id.index())).and_then(|place| self.rows.get_mut(*place as usize));
        if let Some((_, kept)) = near.filter(|(kept, _)| Arc::ptr_eq(kept, series)) {
            kept.add(rollup);
            return;
        }
        let next = u32::try_from(self.rows.len()).unwrap_or(NONE);
        let place = *self.places.entry(series.key).or_insert(next);
        match self.rows.get_mut(place as usize) {
            Some((_, kept)) => kept.add(rollup),
            None => self.rows.push((Arc::clone(series), *rollup)),
        }
        if let Some(id) = id {
            if self.near.len() <= id.index() {
                self.near.resize(id.index() + 1, NONE);
            }
            self.near[id.index()] = place;
        }
    }
}

/// Rollups of 5 min by the end of their bucket.
#[derive(Debug, Default)]
pub(super) struct Open {
    buckets: BTreeMap<UnixNanos, Bucket>,
    rows: usize,
}

impl Open {
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn add(&mut self, row: &RollupRow) {
        self.add_of(None, row);
    }

    fn add_of(&mut self, id: Option<SeriesId>, row: &RollupRow) {
        let bucket = self.buckets.entry(row.end).or_default();
        let before = bucket.rows.len();
        bucket.add(id, &row.series, &row.rollup);
        self.rows += bucket.rows.len() - before;
    }

    /// Adds the points of a chunk that are later than `horizon`; returns how many were not.
    pub(super) fn add_chunk(&mut self, chunk: &NumberChunk, registry: &RegistryView, horizon: UnixNanos) -> u64 {
        let mut too_old = 0;
        let mut part: Option<(SeriesId, RollupRow)> = None;
        for point in chunk.iter() {
            let end = Resolution::FiveMinutes.bucket_end(point.time);
            // The last bucket of all time has no end.
            if end <= horizon || end == UnixNanos::MAX {
                too_old += 1;
                continue;
            }
            let rollup = Rollup::of(Sample { time: point.time, value: point.value });
            match &mut part {
                Some((series, row)) if *series == point.series && row.end == end => row.rollup.add(&rollup),
                _ => {
                    let Some(series) = registry.get(point.series) else { continue };
                    let next = (point.series, RollupRow { series: Arc::clone(series), end, rollup });
                    if let Some((id, row)) = part.replace(next) {
                        self.add_of(Some(id), &row);
                    }
                }
            }
        }
        if let Some((id, row)) = part {
            self.add_of(Some(id), &row);
        }
        too_old
    }

    /// Takes out the buckets that end at or before `due`, hour by hour, sorted as files are.
    pub(super) fn take(&mut self, due: UnixNanos) -> Vec<RollupRow> {
        let later = self.buckets.split_off(&UnixNanos(due.0.saturating_add(1)));
        let due = std::mem::replace(&mut self.buckets, later);
        let mut rows: Vec<RollupRow> = Vec::with_capacity(due.values().map(|bucket| bucket.rows.len()).sum());
        for (end, bucket) in due {
            self.rows -= bucket.rows.len();
            rows.extend(bucket.rows.into_iter().map(|(series, rollup)| RollupRow { series, end, rollup }));
        }
        let hour = |row: &RollupRow| super::name::partition(Resolution::FiveMinutes, row.end);
        rows.sort_unstable_by(|a, b| (hour(a), a.place()).cmp(&(hour(b), b.place())));
        rows
    }

    /// The end of the oldest bucket.
    pub(super) fn oldest(&self) -> Option<UnixNanos> {
        self.buckets.keys().next().copied()
    }

    /// Whether a bucket has an end for which `is_wanted` holds.
    pub(super) fn has(&self, is_wanted: impl Fn(UnixNanos) -> bool) -> bool {
        self.buckets.keys().any(|end| is_wanted(*end))
    }

    /// Copies of the rows with `span.0 < end <= span.1` that `filter` lets through.
    pub(super) fn read(&self, filter: Filter<'_>, span: (UnixNanos, UnixNanos), out: &mut Vec<RollupRow>) {
        let buckets = self.buckets.iter().filter(|(end, _)| **end > span.0 && **end <= span.1);
        for (end, bucket) in buckets {
            for (series, rollup) in bucket.rows.iter().filter(|(series, _)| filter.lets(series)) {
                out.push(RollupRow { series: Arc::clone(series), end: *end, rollup: *rollup });
            }
        }
    }
}

impl Filter<'_> {
    /// Whether it lets a series through.
    pub(super) fn lets(&self, series: &Series) -> bool {
        self.name.is_none_or(|name| *series.name == *name) && (self.holds)(series)
    }
}
