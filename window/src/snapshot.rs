//! What readers hold: a consistent picture of the window that nobody can change.

use std::sync::Arc;

use crate::{
    Exemplar, HistogramChunk, HistogramView, LogChunk, NumberChunk, Past, RegistryView, Sample, Series, SeriesId,
    SpanChunk, SpanView, UnixNanos,
    runs::{Bounds, Cursor},
    store::MAX_EXEMPLARS,
};

/// A picture of the window after one seal. Cheap to clone; holds no lock.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The series known at that moment.
    pub registry: RegistryView,
    /// Number chunks, oldest seal first.
    pub numbers: Arc<[Arc<NumberChunk>]>,
    /// Histogram chunks, shape by shape, oldest seal first.
    pub histograms: Arc<[Arc<HistogramChunk>]>,
    /// Span chunks, oldest seal first.
    pub spans: Arc<[Arc<SpanChunk>]>,
    /// Log chunks, oldest seal first.
    pub logs: Arc<[Arc<LogChunk>]>,
    /// Exemplars, oldest seal first.
    pub exemplars: Arc<[Arc<[Exemplar]>]>,
    /// The greatest event time received; `None` before the first point.
    pub watermark: Option<UnixNanos>,
    /// Rows at or before this time are not part of the picture, although a chunk may still have some:
    /// where chunks begin and end must not show.
    pub floor: UnixNanos,
    /// What there was before; `None` where no history is kept.
    pub past: Option<Past>,
}

impl Snapshot {
    /// The series with this number.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Option<&Arc<Series>> {
        self.registry.get(id)
    }

    /// Replaces `out` by the samples of `series` with `after < time <= until`, oldest first, one
    /// per time (the first received). Staleness markers are among them.
    pub fn samples_into(&self, series: SeriesId, after: UnixNanos, until: UnixNanos, out: &mut Vec<Sample>) {
        out.clear();
        self.between(after, until).samples_onto(series, out);
    }

    /// What there is with `after < time <= until`, to read many series.
    #[must_use]
    pub fn between(&self, after: UnixNanos, until: UnixNanos) -> Between<'_> {
        let after = after.max(self.floor);
        let near = |chunk: &&NumberChunk| chunk.span.1 > after && chunk.span.0 <= until;
        let near = self.numbers.iter().map(|chunk| &**chunk).filter(near);
        let part = |chunk: &'_ NumberChunk| (Bounds::of((after, until), chunk.span), Cursor::default());
        Between { chunks: near.map(|chunk| (chunk, part(chunk))).collect() }
    }

    /// The histograms of `series` with `after < time <= until`, oldest first, one per time (the
    /// first received). The ends of the series are among them.
    #[must_use]
    pub fn histograms_of(&self, series: SeriesId, after: UnixNanos, until: UnixNanos) -> Vec<HistogramView<'_>> {
        let mut out: Vec<HistogramView<'_>> = Vec::new();
        let after = after.max(self.floor);
        for chunk in self.histograms.iter() {
            out.extend(chunk.rows_of(series, after, until));
        }
        if !out.is_sorted_by(|a, b| a.time < b.time) {
            out.sort_by_key(|h| h.time);
            out.dedup_by_key(|h| h.time);
        }
        out
    }

    /// The newest sample of `series` with `after < time <= until`, a staleness marker included.
    #[must_use]
    pub fn last_sample(&self, series: SeriesId, after: UnixNanos, until: UnixNanos) -> Option<Sample> {
        self.between(after, until).last_sample(series)
    }

    /// The spans that ended within `from..=until`, both included, in order of arrival.
    pub fn spans_between(&self, from: UnixNanos, until: UnixNanos) -> impl Iterator<Item = SpanView<'_>> {
        let near = self.spans.iter().filter(move |chunk| chunk.span.1 >= from && chunk.span.0 <= until);
        let kept = move |span: &SpanView<'_>| span.end > self.floor && span.end >= from && span.end <= until;
        near.flat_map(|chunk| chunk.iter()).filter(kept)
    }

    /// The newest exemplars, newest arrival first: at most as many as the window keeps, and of them
    /// those after the floor.
    pub fn exemplars_kept(&self) -> impl Iterator<Item = &Exemplar> {
        let newest_first = self.exemplars.iter().rev().flat_map(|rows| rows.iter().rev());
        newest_first.take(MAX_EXEMPLARS).filter(|row| row.time > self.floor)
    }
}

/// The samples of a [`Snapshot`] within bounds of time. Reading series in the order of their numbers is cheapest.
#[derive(Debug)]
pub struct Between<'s> {
    /// Those with a row within the bounds, oldest seal first, and where in them the last series was found.
    chunks: Vec<(&'s NumberChunk, (Bounds, Cursor))>,
}

impl Between<'_> {
    /// About how many samples so many series have together; never more than there are rows.
    #[must_use]
    pub fn about(&self, series: usize) -> usize {
        self.chunks.iter().map(|(chunk, (bounds, _))| chunk.about(series, *bounds)).sum()
    }

    /// Appends to `out` the samples of `series`, oldest first, one per time (the first received). Staleness markers
    /// are among them.
    pub fn samples_onto(&mut self, series: SeriesId, out: &mut Vec<Sample>) {
        let begin = out.len();
        for (chunk, (bounds, cursor)) in &mut self.chunks {
            chunk.samples_onto(series, *bounds, cursor, out);
        }
        if !out[begin..].is_sorted_by(|a, b| a.time < b.time) {
            let mut samples = out.split_off(begin);
            samples.sort_by_key(|s| s.time);
            samples.dedup_by_key(|s| s.time);
            out.append(&mut samples);
        }
    }

    /// The newest sample of `series`, a staleness marker included.
    #[must_use]
    pub fn last_sample(&mut self, series: SeriesId) -> Option<Sample> {
        let mut newest: Option<Sample> = None;
        for (chunk, (bounds, cursor)) in self.chunks.iter_mut().rev() {
            if newest.is_some_and(|n| chunk.span.1 < n.time) {
                continue;
            }
            // Of equal times the first received stays: the one in the oldest chunk.
            if let Some(found) = chunk.last_sample(series, *bounds, cursor)
                && newest.is_none_or(|n| found.time >= n.time)
            {
                newest = Some(found);
            }
        }
        newest
    }
}
