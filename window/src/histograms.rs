//! The tables of histograms: sealed Arrow chunks sorted by (series, time), one table a shape.
//!
//! A histogram stays one row with its counts in a list. A series per bucket, as Prometheus has it,
//! would cost a registry entry and a time a bucket, and could not say that counts belong together.
//! Explicit and exponential rows have different columns, so each shape has a table of its own.
//! Summaries are not here: they are series of numbers.

mod build;
mod chunk;
mod row;

use std::{collections::VecDeque, sync::Arc};

pub use chunk::HistogramChunk;
pub use row::{Buckets, BucketsView, ExpBuckets, ExpBucketsView, HistogramRow, HistogramView};

use crate::UnixNanos;
use row::Shape;

/// How many neighbouring chunks of like size become one.
const FAN_IN: usize = 8;
/// Chunks are not merged beyond this many bytes, so that eviction stays fine-grained and a merge
/// copies little at a time.
const MERGE_BYTES: usize = 16 << 20;
/// List values of one kind in one chunk: far below what Arrow's 32-bit list offsets can tell.
const CHUNK_VALUES: usize = 1 << 24;
/// This many list values weigh as much as one row of numbers when the head's length is told.
const VALUES_PER_ROW: usize = 16;

/// The head and the sealed chunks of every shape.
#[derive(Debug, Default)]
pub(crate) struct HistogramTables {
    head: Vec<HistogramRow>,
    head_weight: usize,
    chunks: [VecDeque<Arc<HistogramChunk>>; Shape::COUNT],
}

impl HistogramTables {
    pub(crate) fn push(&mut self, row: HistogramRow) {
        self.head_weight += 1 + row.view().values() / VALUES_PER_ROW;
        self.head.push(row);
    }

    /// Rows in the head, where a row with many buckets counts for several.
    pub(crate) fn head_weight(&self) -> usize {
        self.head_weight
    }

    /// Tables with these chunks, in this order.
    pub(crate) fn restored(all: Vec<Arc<HistogramChunk>>) -> Self {
        let mut tables = Self::default();
        for chunk in all {
            tables.chunks[chunk.shape() as usize].push_back(chunk);
        }
        tables
    }

    /// Turns the head into chunks, merges small neighbours, and returns the new chunks as they were
    /// before they were merged.
    pub(crate) fn seal(&mut self) -> Vec<Arc<HistogramChunk>> {
        let mut fresh = Vec::new();
        self.head_weight = 0;
        let rows = std::mem::take(&mut self.head);
        for (shape, chunks) in Shape::ALL.into_iter().zip(&mut self.chunks) {
            let views: Vec<HistogramView<'_>> = rows.iter().map(HistogramRow::view).collect();
            let mut left = views.iter().filter(|v| v.shape() == shape).copied().peekable();
            while left.peek().is_some() {
                let mut values = 0;
                let mut part = Vec::new();
                while values < CHUNK_VALUES
                    && let Some(view) = left.next()
                {
                    values += view.values();
                    part.push(view);
                }
                let chunk = HistogramChunk::seal_shape(shape, part).map(Arc::new);
                fresh.extend(chunk.clone());
                chunks.extend(chunk);
            }
            merge(chunks);
        }
        fresh
    }

    /// All chunks, shape by shape, oldest seal first.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Arc<HistogramChunk>> {
        self.chunks.iter().flatten()
    }

    /// Lets go of chunks without a row after `floor`, and returns how many.
    pub(crate) fn evict_until(&mut self, floor: UnixNanos) -> usize {
        let before = self.chunks().count();
        self.chunks.iter_mut().for_each(|chunks| chunks.retain(|c| c.span.1 > floor));
        before - self.chunks().count()
    }

    /// Cuts the rows off that are not after `floor`.
    pub(crate) fn cut(&mut self, floor: UnixNanos) {
        for chunk in self.chunks.iter_mut().flatten().filter(|c| c.span.0 <= floor) {
            if let Some(left) = chunk.after(floor) {
                *chunk = Arc::new(left);
            }
        }
    }

    /// Event time of the newest row of the chunk that [`Self::pop_oldest`] would let go.
    pub(crate) fn oldest(&self) -> Option<UnixNanos> {
        self.chunks.iter().filter_map(|chunks| chunks.front()).map(|c| c.span.1).min()
    }

    /// Lets go of the oldest chunk and returns its bytes.
    pub(crate) fn pop_oldest(&mut self) -> Option<usize> {
        let with_front = self.chunks.iter_mut().filter(|chunks| !chunks.is_empty());
        let oldest = with_front.min_by_key(|chunks| chunks.front().map(|c| c.span.1))?;
        oldest.pop_front().map(|c| c.bytes())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chunks().map(|c| c.bytes()).sum()
    }

    /// Rows in sealed chunks and in the head.
    pub(crate) fn rows(&self) -> usize {
        self.chunks().map(|c| c.len()).sum::<usize>() + self.head.len()
    }
}

/// Merges runs of [`FAN_IN`] newest chunks of the same size class, as the table of numbers does.
fn merge(chunks: &mut VecDeque<Arc<HistogramChunk>>) {
    let class = |c: &HistogramChunk| c.len().max(1).ilog(FAN_IN);
    while let Some(first) = chunks.len().checked_sub(FAN_IN) {
        let run: Vec<Arc<HistogramChunk>> = chunks.range(first..).cloned().collect();
        let bytes: usize = run.iter().map(|c| c.bytes()).sum();
        let newest = class(&run[FAN_IN - 1]);
        if bytes > MERGE_BYTES || run.iter().any(|c| class(c) > newest) {
            return;
        }
        chunks.truncate(first);
        chunks.extend(HistogramChunk::merge(&run).map(Arc::new));
    }
}

#[cfg(test)]
#[path = "histograms/tests.rs"]
mod tests;
