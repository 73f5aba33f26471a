//! Sealed chunks of every table: what goes to the disk and comes back.

use std::sync::Arc;

use crate::{Exemplar, HistogramChunk, LogChunk, NumberChunk, SpanChunk, UnixNanos};

/// Sealed chunks by table, in the order in which they were sealed. Cloning copies pointers.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Numbers.
    pub numbers: Vec<Arc<NumberChunk>>,
    /// Explicit and exponential histograms.
    pub histograms: Vec<Arc<HistogramChunk>>,
    /// Spans.
    pub spans: Vec<Arc<SpanChunk>>,
    /// Log records.
    pub logs: Vec<Arc<LogChunk>>,
    /// Exemplars.
    pub exemplars: Vec<Arc<[Exemplar]>>,
}

impl Tables {
    /// Whether there is no chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
            && self.histograms.is_empty()
            && self.spans.is_empty()
            && self.logs.is_empty()
            && self.exemplars.is_empty()
    }

    /// Bytes held by all chunks.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.numbers.iter().map(|c| c.bytes()).sum::<usize>()
            + self.histograms.iter().map(|c| c.bytes()).sum::<usize>()
            + self.spans.iter().map(|c| c.bytes()).sum::<usize>()
            + self.logs.iter().map(|c| c.bytes()).sum::<usize>()
            + self.exemplars.iter().map(|rows| size_of_val::<[Exemplar]>(rows)).sum::<usize>()
    }

    /// Appends what was sealed later: for a checkpoint that has to be taken again.
    pub fn extend(&mut self, later: Self) {
        self.numbers.extend(later.numbers);
        self.histograms.extend(later.histograms);
        self.spans.extend(later.spans);
        self.logs.extend(later.logs);
        self.exemplars.extend(later.exemplars);
    }

    /// Lets go of chunks without a row after `floor`. Exemplars are let go from the front only, since
    /// they are counted from the back.
    pub fn forget_until(&mut self, floor: UnixNanos) {
        self.numbers.retain(|c| c.span.1 > floor);
        self.histograms.retain(|c| c.span.1 > floor);
        self.spans.retain(|c| c.span.1 > floor);
        self.logs.retain(|c| c.span.1 > floor);
        let dead = self.exemplars.iter().take_while(|rows| rows.iter().all(|row| row.time <= floor)).count();
        self.exemplars.drain(..dead);
    }

    /// Puts `by`, which holds the same rows or those of them that are left, in the place of `parts`, if they are
    /// here: so that rows are not in memory twice.
    pub(crate) fn replace_numbers(&mut self, parts: &[Arc<NumberChunk>], by: &Arc<NumberChunk>) {
        let is_first = |c: &Arc<NumberChunk>| parts.first().is_some_and(|first| Arc::ptr_eq(c, first));
        let Some(begin) = self.numbers.iter().rposition(is_first) else { return };
        let end = begin + parts.len();
        let found = self.numbers.get(begin..end);
        if found.is_some_and(|found| found.iter().zip(parts).all(|(a, b)| Arc::ptr_eq(a, b))) {
            self.numbers.splice(begin..end, [Arc::clone(by)]);
        }
    }

    /// Cuts rows off that are not after `floor`, where that is cheap: not from spans, logs and exemplars.
    pub(crate) fn cut(&mut self, floor: UnixNanos) {
        self.numbers = self.numbers.iter().filter_map(|c| cut_off(c, c.span, floor, || c.after(floor))).collect();
        self.histograms = self.histograms.iter().filter_map(|c| cut_off(c, c.span, floor, || c.after(floor))).collect();
    }
}

/// What is left of a chunk with rows of these times after `floor`.
fn cut_off<C>(
    chunk: &Arc<C>,
    span: (UnixNanos, UnixNanos),
    floor: UnixNanos,
    after: impl FnOnce() -> Option<C>,
) -> Option<Arc<C>> {
    if span.0 > floor { Some(Arc::clone(chunk)) } else { after().map(Arc::new) }
}
