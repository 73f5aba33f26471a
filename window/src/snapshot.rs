//! What readers hold: a consistent picture of the window that nobody can change.

use std::sync::Arc;

use crate::{
    Exemplar, HistogramChunk, HistogramView, LogChunk, NumberChunk, Past, RegistryView, Sample, Series, SeriesId,
    SpanChunk, SpanView, UnixNanos,
    numbers::Climb,
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

/// What [`Between::climbs`] has found of a series so far.
#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing,
    Climb(Climb),
    /// Something that falls, or is not in order.
    Other,
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

    /// Both ends of the samples of each of `series`, which are in the order of their numbers, where none of its samples is
    /// less than the one before it, or NaN: of a counter that was not reset nothing else is asked. `None` where there are
    /// no samples, or one has to look at each. Reads one chunk after the other, so that memory is read in order.
    pub fn climbs(&self, series: &(impl ExactSizeIterator<Item = SeriesId> + Clone)) -> Vec<Option<Climb>> {
        let mut all = vec![Found::Nothing; series.len()];
        for (chunk, (bounds, _)) in &self.chunks {
            let mut cursor = Cursor::default();
            for (found, series) in all.iter_mut().zip(series.clone()) {
                let Some((next, rises)) = chunk.ends(series, *bounds, &mut cursor) else { continue };
                *found = match *found {
                    _ if !rises => Found::Other,
                    Found::Nothing => Found::Climb(next),
                    Found::Climb(Climb { first, last, count })
                        if last.time < next.first.time && last.value <= next.first.value =>
                    {
                        Found::Climb(Climb { first, last: next.last, count: count + next.count })
                    }
                    Found::Climb(_) | Found::Other => Found::Other,
                };
            }
        }
        let climb = |found| if let Found::Climb(climb) = found { Some(climb) } else { None };
        all.into_iter().map(climb).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Point, STALE_NAN_BITS, SeriesKey, SeriesKind, Window};

    /// A random number below `end`, the same for the same `seed`.
    fn random(seed: (u64, u64, u64), end: u64) -> u64 {
        let bytes = [seed.0, seed.1, seed.2].map(u64::to_le_bytes).concat();
        xxhash_rust::xxh3::xxh3_64(&bytes) % end
    }

    fn add(window: &mut Window, number: u64) -> SeriesId {
        let key = SeriesKey(u128::from(number));
        let describe = || Series {
            key,
            name: "m".into(),
            source_name: "m".into(),
            unit: "".into(),
            kind: SeriesKind::Gauge,
            labels: crate::Labels::default(),
            service: "".into(),
        };
        window.registry_mut().find_or_add(key, describe).expect("far below the limit")
    }

    /// The ends of samples, by looking at each.
    fn plain(samples: &[Sample]) -> Option<Climb> {
        let rises = samples.windows(2).all(|pair| pair[0].value <= pair[1].value);
        let is_number = samples.iter().all(|sample| !sample.value.is_nan());
        let (first, last) = (*samples.first()?, *samples.last()?);
        (rises && is_number).then_some(Climb { first, last, count: samples.len() })
    }

    #[test]
    fn climbs_are_those_of_samples_that_never_fall() {
        let (mut found, mut refused) = (0, 0);
        for seed in 0..60 {
            let mut window = Window::new(Config::default());
            let all: Vec<SeriesId> = (0..6).map(|number| add(&mut window, number)).collect();
            for step in 0..40 {
                for (i, series) in (0..).zip(&all) {
                    let dice = random((seed, step, i), 100);
                    // Some are left out, some are late, and some fall or are no numbers; the more, the higher the number.
                    let time = if dice < 4 * i { step.saturating_sub(3) } else { step };
                    let value = match dice {
                        95.. => continue,
                        94 if i > 2 => f64::from_bits(STALE_NAN_BITS),
                        92..94 if i > 1 => 0.0,
                        _ => (step / 2) as f64,
                    };
                    window.push_point(Point { series: *series, time: UnixNanos(time.cast_signed() * 10), value });
                }
                if random((seed, step, 99), 3) == 0 {
                    window.seal();
                }
            }
            let snapshot = window.seal();
            for (after, until) in [(-1, 1_000), (55, 305), (60, 300), (200, 210), (300, 200)] {
                let (after, until) = (UnixNanos(after), UnixNanos(until));
                let climbs = snapshot.between(after, until).climbs(&all.iter().copied());
                let mut samples = Vec::new();
                for (series, climb) in all.iter().zip(climbs) {
                    snapshot.samples_into(*series, after, until, &mut samples);
                    let want = plain(&samples);
                    // Of chunks that overlap in time it may not know.
                    assert!(climb.is_none() || climb == want, "seed {seed}: {climb:?}, expected {want:?}");
                    assert!(climb.is_some() || want.is_none() || *series != all[0], "seed {seed}: nothing late in it");
                    found += usize::from(climb.is_some());
                    refused += usize::from(climb.is_none() && !samples.is_empty());
                }
            }
        }
        assert!(found > 300 && refused > 100, "{found} found, {refused} not");
    }
}
