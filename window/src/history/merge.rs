//! Sorted rows of several files and of memory as one sorted stream; parts of one bucket added up.

use super::{file::FileRows, files::StoredFile, rollup::RollupRow};
use std::sync::Arc;

/// Where rows come from.
pub(super) enum Source<'f> {
    File(Arc<StoredFile>, Box<FileRows<'f>>),
    Memory(std::vec::IntoIter<RollupRow>),
}

impl Source<'_> {
    /// The next row. A file that cannot be read further is reported and has ended.
    fn next(&mut self) -> Option<RollupRow> {
        match self {
            Self::Memory(rows) => rows.next(),
            Self::File(file, rows) => match rows.next() {
                Ok(row) => row,
                Err(error) => {
                    file.report(&error);
                    None
                }
            },
        }
    }
}

/// The rows of all sources in order, each (series, bucket) once.
pub(super) struct Merged<'f> {
    sources: Vec<(RollupRow, Source<'f>)>,
}

impl<'f> Merged<'f> {
    pub(super) fn new(sources: impl IntoIterator<Item = Source<'f>>) -> Self {
        let first = |mut source: Source<'f>| source.next().map(|row| (row, source));
        Self { sources: sources.into_iter().filter_map(first).collect() }
    }

    /// Takes the row of the source at `i` and moves that source on.
    fn take(&mut self, i: usize) -> RollupRow {
        let (row, source) = &mut self.sources[i];
        match source.next() {
            Some(next) => std::mem::replace(row, next),
            None => self.sources.swap_remove(i).0,
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = RollupRow;

    fn next(&mut self) -> Option<RollupRow> {
        let least = |this: &Self| {
            let places = this.sources.iter().enumerate().min_by(|(_, a), (_, b)| a.0.place().cmp(&b.0.place()));
            places.map(|(i, _)| i)
        };
        let first = least(self)?;
        let mut row = self.take(first);
        while let Some(next) = least(self).filter(|i| self.sources[*i].0.place() == row.place()) {
            let part = self.take(next);
            row.rollup.add(&part.rollup);
        }
        Some(row)
    }
}
