//! Histograms as Prometheus's classic buckets: a series `<name>_bucket` per bound, labelled `le`.
//!
//! Histograms are kept as rows, so these series exist only while a query looks at them. Totals of
//! delta histograms run from the oldest row of the window. Exponential buckets are shown at one
//! scale for all rows that a selector reads: the coarsest of them, and coarser still where their
//! range would take too many bounds. Merging buckets is exact.

use std::{cmp::Ordering, collections::BTreeMap};

use window::{
    BucketsView, ExpBucketsView, HistogramView, STALE_NAN_BITS, Sample, SeriesId, SeriesKind, Snapshot, Temporality,
    UnixNanos,
};

/// What a bucket series has behind the name of its histogram.
pub(crate) const SUFFIX: &str = "_bucket";
/// The label with the bound.
pub(crate) const LE: &str = "le";

/// Exponential buckets are merged until the populated ones of each sign span at most this many.
const MAX_SPAN: i64 = 320;
/// At this scale there is one bucket for all that is above 1, and one for all below.
const COARSEST: i32 = -10;

/// An upper bound, ordered; infinite for the bucket of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(f64);

impl Bound {
    /// As Prometheus writes the bounds of OTLP histograms: the shortest decimal, no exponent.
    pub(crate) fn text(self) -> String {
        if self.0 == f64::INFINITY { "+Inf".to_owned() } else { (self.0 + 0.0).to_string() }
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One bucket series under construction.
#[derive(Debug)]
struct Column {
    total: u64,
    /// `None` where the query does not ask for this bound.
    samples: Option<Vec<Sample>>,
}

/// The bucket series of histogram `series` with their samples in `after < time <= until`, by bound.
/// Only bounds for which `wanted` holds are read. `budget` is lowered by the samples; `None` when it
/// does not suffice.
pub(crate) fn read(
    snapshot: &Snapshot,
    series: SeriesId,
    (after, until): (UnixNanos, UnixNanos),
    wanted: impl Fn(Bound) -> bool,
    budget: &mut usize,
) -> Option<Vec<(Bound, Vec<Sample>)>> {
    let Some(SeriesKind::Histogram { temporality }) = snapshot.series(series).map(|s| s.kind) else {
        return Some(Vec::new());
    };
    let is_delta = temporality == Temporality::Delta;
    let rows = snapshot.histograms_of(series, if is_delta { UnixNanos::MIN } else { after }, until);
    let layout = Layout::of(&rows);
    let mut columns: BTreeMap<Bound, Column> = BTreeMap::new();
    for row in &rows {
        let counts = layout.running_counts(row);
        let is_read = row.time > after;
        let mut push = |samples: &mut Vec<Sample>, value: f64| -> Option<()> {
            if is_read {
                *budget = budget.checked_sub(1)?;
                samples.push(Sample { time: row.time, value });
            }
            Some(())
        };
        // Bounds that the row does not have any more have ended.
        let mut gone = counts.iter().peekable();
        for (bound, column) in &mut columns {
            while gone.next_if(|(b, _)| b < bound).is_some() {}
            if gone.peek().is_none_or(|(b, _)| b != bound)
                && let Some(samples) = column.samples.as_mut().filter(|s| s.last().is_some_and(|l| !is_end(l)))
            {
                push(samples, f64::from_bits(STALE_NAN_BITS))?;
            }
        }
        for (bound, count) in counts {
            let column =
                columns.entry(bound).or_insert_with(|| Column { total: 0, samples: wanted(bound).then(Vec::new) });
            column.total = if is_delta { column.total.saturating_add(count) } else { count };
            if let Some(samples) = &mut column.samples {
                push(samples, float(column.total))?;
            }
        }
    }
    let read = columns.into_iter().filter_map(|(bound, column)| Some((bound, column.samples?)));
    Some(read.filter(|(_, samples)| !samples.is_empty()).collect())
}

fn is_end(sample: &Sample) -> bool {
    window::is_stale(sample.value)
}

/// The bounds at which exponential rows are shown.
#[derive(Debug)]
struct Layout {
    scale: i32,
    /// Half width of the zero bucket: the widest of all rows.
    zero: f64,
    bounds: Vec<Bound>,
}

impl Layout {
    fn of(rows: &[HistogramView<'_>]) -> Self {
        let mut layout = Self { scale: 20, zero: 0.0, bounds: Vec::new() };
        let mut spans: [Option<(i64, i64)>; 2] = [None, None];
        for row in rows {
            let BucketsView::Exponential { scale, zero_threshold, positive, negative, .. } = row.buckets else {
                continue;
            };
            let coarser = layout.scale.min(scale.max(COARSEST));
            let halvings = shift(layout.scale, coarser);
            spans = spans.map(|span| span.map(|(first, last)| (first >> halvings, last >> halvings)));
            layout.scale = coarser;
            layout.zero = layout.zero.max(zero_threshold);
            for (span, side) in spans.iter_mut().zip([positive, negative]) {
                for (index, _) in populated(side, shift(scale, coarser)) {
                    let (first, last) = span.unwrap_or((index, index));
                    *span = Some((first.min(index), last.max(index)));
                }
            }
        }
        while spans.iter().flatten().any(|(first, last)| last - first >= MAX_SPAN) && layout.scale > COARSEST {
            layout.scale -= 1;
            spans = spans.map(|span| span.map(|(first, last)| (first >> 1, last >> 1)));
        }
        layout.bounds = layout.populated_bounds(rows);
        layout
    }

    /// Both edges of each populated bucket, so that a reader who interpolates knows where it begins.
    fn populated_bounds(&self, rows: &[HistogramView<'_>]) -> Vec<Bound> {
        let mut bounds = Vec::new();
        for row in rows {
            self.each_bucket(row, |lower, upper, _| {
                // Below the first negative bucket lies nothing, and `le` of its lower edge says so.
                bounds.extend([lower, upper].map(Bound));
            });
            // Sides of many rows repeat the same edges.
            bounds.sort_unstable();
            bounds.dedup();
        }
        bounds
    }

    /// Calls `visit` with the edges and the count of each populated bucket, in no order. What begins
    /// within the zero bucket belongs to it.
    fn each_bucket(&self, row: &HistogramView<'_>, mut visit: impl FnMut(f64, f64, u64)) {
        let BucketsView::Exponential { scale, zero_count, positive, negative, .. } = row.buckets else { return };
        let shift = shift(scale, self.scale);
        let mut zeros = zero_count;
        for (side, sign) in [(positive, 1.0), (negative, -1.0)] {
            for (index, count) in populated(side, shift) {
                let (near, far) = (edge(self.scale, index), edge(self.scale, index.saturating_add(1)));
                if near < self.zero {
                    zeros = zeros.saturating_add(count);
                } else if sign > 0.0 {
                    visit(near, far, count);
                } else {
                    visit(-far, -near, count);
                }
            }
        }
        if zeros > 0 {
            let has_negative = negative.counts.iter().any(|c| *c > 0);
            // Zero has one text, whatever its sign.
            visit(if has_negative { 0.0 - self.zero } else { 0.0 }, self.zero, zeros);
        }
    }

    /// Observations at or below each bound, by bound; the last is for everything.
    fn running_counts(&self, row: &HistogramView<'_>) -> Vec<(Bound, u64)> {
        let mut below: u64 = 0;
        let mut out: Vec<(Bound, u64)> = Vec::new();
        match row.buckets {
            BucketsView::Explicit { bounds, counts } => {
                for (bound, count) in bounds.iter().zip(counts).filter(|(bound, _)| bound.is_finite()) {
                    below = below.saturating_add(*count);
                    // Zero has one text, whatever its sign.
                    out.push((Bound(*bound + 0.0), below));
                }
            }
            BucketsView::Exponential { .. } => {
                let mut at: BTreeMap<Bound, u64> = self.bounds.iter().map(|b| (*b, 0)).collect();
                self.each_bucket(row, |_, upper, count| *at.entry(Bound(upper)).or_default() += count);
                for (bound, count) in at {
                    below = below.saturating_add(count);
                    out.push((bound, below));
                }
            }
            BucketsView::Ended => return out,
        }
        out.push((Bound(f64::INFINITY), row.count));
        out
    }
}

/// Index and count of each bucket that holds something, `2^shift` merged into one (and then perhaps
/// said more than once).
fn populated(side: ExpBucketsView<'_>, shift: u32) -> impl Iterator<Item = (i64, u64)> {
    let index = move |i: usize| i64::from(side.offset).saturating_add(i64::try_from(i).unwrap_or(i64::MAX)) >> shift;
    side.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(i, count)| (index(i), *count))
}

/// How many times the number of buckets is halved between two scales.
fn shift(from: i32, to: i32) -> u32 {
    u32::try_from(from.saturating_sub(to)).unwrap_or(0).min(63)
}

/// `2^(index * 2^-scale)`, within the finite numbers above zero.
#[expect(clippy::cast_precision_loss, reason = "indices have 33 bits")]
fn edge(scale: i32, index: i64) -> f64 {
    let log2 = index as f64 * f64::from(-scale).exp2();
    log2.clamp(-1_074.0, 1_024.0).exp2().min(f64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "PromQL's numbers are floats, exact below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
