//! Reading the past.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{
    Filter, History, Resolution, RollupRow, file,
    files::Group,
    merge::{Merged, Source},
    name::{day_end, hour_end, partition},
};
use crate::UnixNanos;

/// Bytes of files that one question may open.
const MAX_READ_BYTES: u64 = 1 << 30;
/// How long a reader waits for points that were taken in before it asked.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Rows of a record batch.
const BATCH_ROWS: usize = 8_192;

/// Why the past cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Too much of it would have to be opened.
    #[error("the query would open {actual} bytes of history, the limit is {limit}: use a shorter range")]
    TooMuch {
        /// Bytes of the files.
        actual: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Points that were taken in before the question have not been added yet.
    #[error("the history is being written and is behind; try again")]
    Behind,
}

/// A question to the past.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'f> {
    /// Which series.
    pub filter: Filter<'f>,
    /// Buckets that end after this.
    pub after: UnixNanos,
    /// And at or before this.
    pub until: UnixNanos,
    /// The width of the buckets. Days that are not summed up yet come in buckets of 5 min all the same,
    /// and days of which nothing else is left in buckets of 1 h.
    pub resolution: Resolution,
}

/// What a snapshot knows of the past: the history as it was when the snapshot was made, or later.
#[derive(Clone, Debug)]
pub struct Past {
    history: History,
    /// The windows hold all points later than this.
    pub raw_after: UnixNanos,
    mark: u64,
}

impl Past {
    pub(super) fn new(history: History, raw_after: UnixNanos, mark: u64) -> Self {
        Self { history, raw_after, mark }
    }

    /// The history itself.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Where the past ends and the windows begin: the end of the last bucket that is read from the
    /// history. Points later than this are all in the windows.
    #[must_use]
    pub fn seam(&self, resolution: Resolution) -> UnixNanos {
        resolution.bucket_end(self.raw_after)
    }

    /// Calls `visit` with each row asked for, those of one series in the order of time, until it breaks.
    /// All points that were handed over before the snapshot was made are in it.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn read(&self, ask: &Ask<'_>, visit: &mut dyn FnMut(RollupRow) -> ControlFlow<()>) -> Result<(), HistoryError> {
        if !self.history.0.queue.wait_for(self.mark, LONGEST_WAIT) {
            return Err(HistoryError::Behind);
        }
        for rows in self.history.groups(ask)? {
            for row in Merged::new(rows.sources(ask)) {
                if visit(row).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Rows that must be merged with each other.
#[derive(Debug, Default)]
struct Rows {
    files: Group,
    memory: Vec<RollupRow>,
}

impl Rows {
    fn sources<'f>(self, ask: &Ask<'f>) -> Vec<Source<'f>> {
        let span = (ask.after, ask.until);
        let files = self.files.iter().filter_map(|file| file.rows(ask.filter, span));
        let mut sources: Vec<Source<'f>> = files.collect();
        let mut memory = self.memory;
        memory.sort_by(|a, b| a.place().cmp(&b.place()));
        sources.push(Source::Memory(memory.into_iter()));
        sources
    }
}

impl History {
    /// What must be read, in the order of time: the files and the rows in memory at one moment.
    fn groups(&self, ask: &Ask<'_>) -> Result<impl Iterator<Item = Rows> + use<>, HistoryError> {
        let span = (ask.after, ask.until);
        let mut memory = Vec::new();
        let (files, flushing) = {
            let held = self.0.held();
            held.open.read(ask.filter, span, &mut memory);
            (held.files.clone(), held.flushing.clone())
        };
        let is_wanted = |row: &&RollupRow| row.end > span.0 && row.end <= span.1 && ask.filter.lets(&row.series);
        memory.extend(flushing.0[flushing.1..].iter().filter(is_wanted).cloned());
        let plan = files.plan(span, ask.resolution);
        let bytes: u64 = plan.values().flatten().map(|file| file.bytes).sum();
        if bytes > MAX_READ_BYTES {
            return Err(HistoryError::TooMuch { actual: bytes, limit: MAX_READ_BYTES });
        }
        let mut groups: BTreeMap<UnixNanos, Rows> = BTreeMap::new();
        for (end, files) in plan {
            groups.entry(end).or_default().files = files;
        }
        for row in memory {
            let day = day_end(partition(Resolution::Hour, row.end));
            let reads_day = groups.get(&day).is_some_and(Rows::are_of_a_day);
            let hour = hour_end(partition(Resolution::FiveMinutes, row.end));
            groups.entry(if reads_day { day } else { hour }).or_default().memory.push(row);
        }
        Ok(groups.into_values())
    }

    /// The rows asked for as Arrow, in the schema of the files, in batches of some thousand rows. All
    /// points that were handed over before are in them.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn batches<'f>(&self, ask: Ask<'f>) -> Result<impl Iterator<Item = RecordBatch> + use<'f>, HistoryError> {
        if !self.0.queue.wait_for(self.0.queue.offered(), LONGEST_WAIT) {
            return Err(HistoryError::Behind);
        }
        let groups = self.groups(&ask)?;
        let mut rows = groups.flat_map(move |rows| Merged::new(rows.sources(&ask)));
        Ok(std::iter::from_fn(move || {
            let next: Vec<RollupRow> = rows.by_ref().take(BATCH_ROWS).collect();
            (!next.is_empty()).then(|| file::batch(&next))
        }))
    }

    /// The schema of [`Self::batches`].
    #[must_use]
    pub fn schema() -> SchemaRef {
        file::schema()
    }
}

impl Rows {
    /// Whether a whole day is read from a file of 1 h.
    fn are_of_a_day(&self) -> bool {
        self.files.first().is_some_and(|file| file.name.resolution == Resolution::Hour)
    }
}
