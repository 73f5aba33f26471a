//! The historian at work: adds points, writes buckets, merges hours, sums up days, lets go.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Filter, Open, Resolution, RollupRow, Shared,
    file::FileWriter,
    files::{Group, StoredFile},
    merge::{Merged, Source},
    name::{FileName, day_end, day_of, hour_end, partition},
    queue::Item,
};
use crate::{Rollup, Sample, Series, SeriesId, Snapshot, UnixNanos};

/// How far the watermark must be past a bucket's end before it is written: late points then cost no
/// further row.
const SLACK: Duration = Duration::from_mins(10);
/// Rows that are written even though more points wait: otherwise a replay would write many small files.
const FLUSH_ROWS: usize = 250_000;
/// Rows that are kept open at most, about 130 bytes each; then the oldest buckets are written early.
const MAX_OPEN_ROWS: usize = 2_000_000;
/// How long to wait after a write that failed.
const RETRY: Duration = Duration::from_secs(10);
/// Files that an hour may have before they are merged at any rate.
const MANY_FILES: usize = 16;
/// Complete hours that are merged in one go; others wait for the next bucket.
const HOURS_AT_ONCE: usize = 4;

const EVERYTHING: Filter<'_> = Filter { name: None, holds: &|_| true };
const ALL_TIME: (UnixNanos, UnixNanos) = (UnixNanos::MIN, UnixNanos::MAX);

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    directory: PathBuf,
    watermark: UnixNanos,
    /// Buckets up to here have been written.
    flushed_to: UnixNanos,
    /// Points of buckets up to here are not kept.
    horizon: UnixNanos,
    epoch: u32,
    next_flush: u64,
    /// The first hour that this run has built from its beginning.
    rebuilt_from: Option<i64>,
    retry_at: Option<Instant>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, directory: &Path) -> Self {
        let held = shared.held();
        let epoch = held.files.iter().map(|file| file.name.epoch).max().map_or(0, |epoch| epoch.saturating_add(1));
        let next_flush = held.files.iter().map(|file| file.name.flushes.1).max().map_or(0, |last| last + 1);
        drop(held);
        Self {
            shared,
            directory: directory.to_owned(),
            watermark: UnixNanos::MIN,
            flushed_to: UnixNanos::MIN,
            horizon: UnixNanos::MIN,
            epoch,
            next_flush,
            rebuilt_from: None,
            retry_at: None,
        }
    }

    /// Works until the queue is closed, and then writes everything down.
    pub(super) fn run(mut self) {
        while let Some(item) = self.shared.queue.next() {
            match item {
                Item::Chunk { chunk, registry, watermark } => {
                    self.watermark = self.watermark.max(watermark);
                    self.horizon = self.horizon.max(self.watermark.minus(self.shared.config.retention));
                    let mut held = self.shared.held();
                    let too_old = held.open.add_chunk(&chunk, &registry, self.horizon);
                    held.points += chunk.len() as u64 - too_old;
                    held.dropped_points += too_old;
                }
                Item::Rebuild { restored, complete_after } => self.rebuild(&restored, complete_after),
                #[cfg(test)]
                Item::Flush { due } => self.flush(due).expect("the disk has room"),
            }
            self.step();
            self.shared.queue.done();
        }
        if !self.shared.queue.is_killed()
            && let Err(error) = self.flush(UnixNanos::MAX)
        {
            tracing::error!(%error, "the newest buckets of the history could not be written");
        }
    }

    /// Does what has become due.
    fn step(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.shed();
            return;
        }
        let open_rows = self.shared.held().open.len();
        let due = self.watermark.minus(SLACK).floor_to(Resolution::FiveMinutes.width());
        let is_due = due > self.flushed_to && (self.shared.queue.is_empty() || open_rows > FLUSH_ROWS);
        if !is_due && open_rows <= MAX_OPEN_ROWS {
            return;
        }
        match self.work(due) {
            Ok(()) => {
                self.retry_at = None;
                self.flushed_to = due;
            }
            Err(error) => {
                tracing::error!(directory = %self.directory.display(), %error, "the history could not be written; will retry");
                self.shared.held().failed_writes += 1;
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
        self.shed();
    }

    fn work(&mut self, due: UnixNanos) -> io::Result<()> {
        self.flush(due)?;
        while self.shared.held().open.len() > MAX_OPEN_ROWS {
            let Some(oldest) = self.shared.held().open.oldest() else { break };
            self.flush(oldest)?;
        }
        self.merge_hours(due)?;
        self.sum_up_days(due)?;
        let config = &self.shared.config;
        let horizon = self.watermark.minus(config.retention);
        if let Some(gone) = self.shared.held().files.retain(horizon, config.max_bytes) {
            self.horizon = self.horizon.max(gone);
        }
        Ok(())
    }

    /// Lets go of the oldest buckets when they cannot be written and there are too many.
    fn shed(&self) {
        let mut held = self.shared.held();
        while held.open.len() > MAX_OPEN_ROWS {
            let Some(oldest) = held.open.oldest() else { return };
            held.dropped_points += held.open.take(oldest).iter().map(|row| row.rollup.count).sum::<u64>();
        }
    }

    /// Writes the buckets that end at or before `due`: one file for each hour.
    fn flush(&mut self, due: UnixNanos) -> io::Result<()> {
        let rows = {
            let mut held = self.shared.held();
            held.flushing = (Arc::new(held.open.take(due)), 0);
            Arc::clone(&held.flushing.0)
        };
        let hour = |row: &RollupRow| partition(Resolution::FiveMinutes, row.end);
        let mut result = Ok(());
        let mut written = 0;
        for rows in rows.chunk_by(|a, b| hour(a) == hour(b)) {
            result = self.write_hour(hour(&rows[0]), rows, &mut written);
            if result.is_err() {
                break;
            }
        }
        let mut held = self.shared.held();
        held.flushing = Default::default();
        rows[written..].iter().for_each(|row| held.open.add(row));
        result
    }

    /// Writes rows of one hour, which readers find in the file instead of in memory from then on.
    fn write_hour(&mut self, hour: i64, rows: &[RollupRow], written: &mut usize) -> io::Result<()> {
        let mut writer = FileWriter::create(&self.directory)?;
        for row in rows {
            writer.push(row.clone())?;
        }
        let flush = self.next_flush;
        let replaces = self.rebuilt_from.is_some_and(|from| hour >= from);
        let name = self.name(Resolution::FiveMinutes, replaces, (flush, flush));
        let Some((name, bytes)) = writer.finish(name)? else { return Ok(()) };
        self.next_flush += 1;
        *written += rows.len();
        let mut held = self.shared.held();
        held.flushing.1 = *written;
        held.files.add(&self.directory, name, bytes);
        Ok(())
    }

    /// A name but for what the writer knows.
    fn name(&self, resolution: Resolution, replaces: bool, flushes: (u64, u64)) -> FileName {
        let nothing = UnixNanos::MIN;
        FileName { resolution, from: nothing, to: nothing, epoch: self.epoch, replaces, flushes, rows: 0, hash: 0 }
    }

    /// Makes one file of the files of each complete hour.
    fn merge_hours(&self, due: UnixNanos) -> io::Result<()> {
        let hours = self.shared.held().files.hours();
        let mut merged = 0;
        for (hour, files) in hours.into_iter().rev() {
            let is_wanted = files > 1 && hour_end(hour) <= due && merged < HOURS_AT_ONCE;
            if !is_wanted && files < MANY_FILES {
                continue;
            }
            merged += 1;
            let parts = self.shared.held().files.of(Resolution::FiveMinutes, hour);
            self.merge_hour(&parts)?;
        }
        Ok(())
    }

    /// An hour with a damaged file stays as it is: what is left of that file would go.
    fn merge_hour(&self, parts: &Group) -> io::Result<()> {
        let Some(rows) = all_rows(parts) else { return Ok(()) };
        let mut writer = FileWriter::create(&self.directory)?;
        for row in rows {
            writer.push(row)?;
        }
        // It stands for all that is meant of its hour, whoever wrote it.
        let mut name = self.name(Resolution::FiveMinutes, true, flushes_of(parts));
        name.epoch = parts.iter().map(|file| file.name.epoch).max().unwrap_or(self.epoch);
        if parts.iter().any(|file| file.is_damaged()) {
            return Ok(());
        }
        if let Some((name, bytes)) = writer.finish(name)? {
            self.shared.held().files.add(&self.directory, name, bytes);
        }
        Ok(())
    }

    /// Sums up one complete day whose file of 1 h is missing, or older than its files of 5 min.
    fn sum_up_days(&self, due: UnixNanos) -> io::Result<()> {
        let (files, days) = {
            let held = self.shared.held();
            (held.files.clone(), held.files.days())
        };
        let hours = files.hours();
        let is_wanted = |day: i64| day_end(day) <= due && hours.keys().any(|hour| day_of(*hour) == day);
        let Some(day) = days.iter().rev().find(|(day, current)| current.is_none() && is_wanted(**day)) else {
            return Ok(());
        };
        let day = *day.0;
        let fine: Group = hours
            .keys()
            .filter(|hour| day_of(**hour) == day)
            .flat_map(|hour| files.of(Resolution::FiveMinutes, *hour))
            .collect();
        let first = fine.iter().map(|file| partition(Resolution::FiveMinutes, file.name.to)).min();
        // Hours whose files of 5 min are gone already stay as they are.
        let before = first.map_or(UnixNanos::MIN, |hour| hour_end(hour - 1));
        let old = files.of(Resolution::Hour, day);
        let sources = fine.iter().filter_map(|file| file.rows(EVERYTHING, ALL_TIME));
        let sources = sources.chain(old.iter().filter_map(|file| file.rows(EVERYTHING, (UnixNanos::MIN, before))));
        let mut writer = FileWriter::create(&self.directory)?;
        for row in by_hour(Merged::new(sources)) {
            writer.push(row)?;
        }
        let name = self.name(Resolution::Hour, true, flushes_of(&fine));
        if let Some((name, bytes)) = writer.finish(name)? {
            self.shared.held().files.add(&self.directory, name, bytes);
        }
        Ok(())
    }

    /// Takes up what an earlier run had not written. The windows hold the points later than `complete_after`,
    /// and the hours from there on are built anew, to replace what is in files.
    fn rebuild(&mut self, restored: &Snapshot, complete_after: UnixNanos) {
        let oldest = restored.numbers.iter().map(|chunk| chunk.span.0).min();
        let (Some(oldest), Some(watermark)) = (oldest, restored.watermark) else { return };
        self.watermark = self.watermark.max(watermark);
        let complete_after = complete_after.max(UnixNanos(oldest.0.saturating_sub(1)));
        let edge = Resolution::FiveMinutes.bucket_end(UnixNanos(complete_after.0.saturating_add(1)));
        let hour = partition(Resolution::FiveMinutes, edge);
        let mut held = self.shared.held();
        let super::Held { open, files, points, .. } = &mut *held;
        let hours = files.hours();
        let filed: Group = hours.range(hour..).flat_map(|(hour, _)| files.of(Resolution::FiveMinutes, *hour)).collect();
        let filed = Merged::new(filed.iter().filter_map(|file| file.rows(EVERYTHING, ALL_TIME)));
        *points += take_up(open, filed, restored, edge);
        self.rebuilt_from = Some(hour);
        // Whatever is built anew must not be read twice until it has been written.
        files.leave_out(|name| match name.resolution {
            Resolution::FiveMinutes => {
                let of = name.partition();
                of < hour || !open.has(|end| partition(Resolution::FiveMinutes, end) == of)
            }
            Resolution::Hour => name.partition() < day_of(hour),
        });
    }
}

/// Adds `filed`, the sorted rows of files, and the points of a restored window, from the bucket that ends at `edge` on.
/// Of a series and bucket that are in both, what stands for more points: a window may begin in the middle of its oldest
/// bucket, know nothing of what a damaged file held, or know points that came after the file had been written. How many
/// points of the window those were.
fn take_up(open: &mut Open, filed: Merged<'_>, restored: &Snapshot, edge: UnixNanos) -> u64 {
    let from = edge.minus(Resolution::FiveMinutes.width());
    let mut known: Vec<(SeriesId, &Arc<Series>)> = restored.registry.iter().collect();
    known.sort_unstable_by_key(|(_, series)| (&*series.name, series.key.0));
    let (mut filed, mut samples, mut points) = (filed.peekable(), Vec::new(), 0);
    for (id, series) in known {
        restored.samples_into(id, from, UnixNanos::MAX, &mut samples);
        for (end, mut rollup) in by_bucket(&samples) {
            let place = (&*series.name, series.key.0, end);
            while let Some(row) = filed.next_if(|row| row.place() < place) {
                open.add(&row);
            }
            match filed.next_if(|row| row.place() == place) {
                Some(row) if row.rollup.count > rollup.count => {
                    let ended = rollup.ended.max(row.rollup.ended);
                    rollup = row.rollup;
                    rollup.ended = ended;
                }
                _ => points += rollup.count,
            }
            open.add(&RollupRow { series: Arc::clone(series), end, rollup });
        }
    }
    filed.for_each(|row| open.add(&row));
    points
}

/// The rollups of the sorted samples of one series. The last bucket of all time has no end, and is left out.
fn by_bucket(samples: &[Sample]) -> impl Iterator<Item = (UnixNanos, Rollup)> {
    let end = |sample: &Sample| Resolution::FiveMinutes.bucket_end(sample.time);
    let buckets = samples.chunk_by(move |a, b| end(a) == end(b)).map(move |samples| {
        let mut rollup = Rollup::of(samples[0]);
        samples[1..].iter().for_each(|sample| rollup.add(&Rollup::of(*sample)));
        (end(&samples[0]), rollup)
    });
    buckets.filter(|(end, _)| *end < UnixNanos::MAX)
}

/// The rows of all files; `None` when one of them is damaged.
fn all_rows(parts: &[Arc<StoredFile>]) -> Option<Merged<'static>> {
    let sources: Vec<Source<'static>> = parts.iter().filter_map(|file| file.rows(EVERYTHING, ALL_TIME)).collect();
    (sources.len() == parts.len()).then(|| Merged::new(sources))
}

fn flushes_of(parts: &[Arc<StoredFile>]) -> (u64, u64) {
    let first = parts.iter().map(|file| file.name.flushes.0).min().unwrap_or_default();
    (first, parts.iter().map(|file| file.name.flushes.1).max().unwrap_or_default())
}

/// Adds up the rows of one series that are in the same hour.
fn by_hour(rows: impl Iterator<Item = RollupRow>) -> impl Iterator<Item = RollupRow> {
    let mut rows = rows.map(|row| RollupRow { end: Resolution::Hour.bucket_end(row.end), ..row }).peekable();
    std::iter::from_fn(move || {
        let mut row = rows.next()?;
        while let Some(next) = rows.next_if(|next| next.place() == row.place()) {
            row.rollup.add(&next.rollup);
        }
        Some(row)
    })
}
