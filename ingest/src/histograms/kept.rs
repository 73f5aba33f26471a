//! The buckets of the last point of a series, and what has been added to them since.

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use window::{Buckets, BucketsView, ExpBuckets, ExpBucketsView};

use super::quantile::log2_bound;

/// The buckets of the newest point of a cumulative series. Lists keep their room from point to point.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Kept {
    Nothing,
    Explicit(Explicit),
    Exponential(Exponential),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Explicit {
    bounds: Arc<[f64]>,
    counts: Vec<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Exponential {
    scale: i32,
    zero_count: u64,
    zero_threshold: f64,
    positive: Run,
    negative: Run,
}

/// Buckets side by side, as in [`ExpBuckets`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Run {
    offset: i32,
    counts: Vec<u64>,
}

/// Bounds as a key: the same bits are the same bounds.
#[derive(Debug)]
pub(super) struct Bounds(Arc<[f64]>);

impl Bounds {
    fn bits(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|bound| bound.to_bits())
    }
}

impl PartialEq for Bounds {
    fn eq(&self, other: &Self) -> bool {
        self.bits().eq(other.bits())
    }
}

impl Eq for Bounds {}

impl Hash for Bounds {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().for_each(|bits| bits.hash(state));
    }
}

/// Where differences are computed.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    counts: Vec<u64>,
    exponential: Exponential,
}

/// What lies between two points.
#[derive(Debug)]
pub(super) enum Difference<'a> {
    /// A bucket has fewer observations than before: the count began anew.
    Fell,
    /// The two cannot be compared, because the bounds have changed or nothing is known.
    Unknown,
    Known(BucketsView<'a>),
}

impl Kept {
    /// Shares the bounds among series that have the same ones; `seen` holds those of the others.
    pub(super) fn share(&mut self, seen: &mut HashSet<Bounds>) {
        let Self::Explicit(kept) = self else { return };
        let bounds = Bounds(Arc::clone(&kept.bounds));
        match seen.get(&bounds) {
            Some(shared) => kept.bounds = Arc::clone(&shared.0),
            None => drop(seen.insert(bounds)),
        }
    }

    pub(super) fn set(&mut self, buckets: &Buckets) {
        match buckets {
            Buckets::Explicit { bounds, counts } => {
                if !matches!(self, Self::Explicit(_)) {
                    *self = Self::Explicit(Explicit::default());
                }
                let Self::Explicit(kept) = self else { return };
                kept.counts.clear();
                kept.counts.extend_from_slice(counts);
                // Senders repeat their bounds, and the first copy of them is as good as the next.
                if kept.bounds != *bounds {
                    kept.bounds = Arc::clone(bounds);
                }
            }
            Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
                if !matches!(self, Self::Exponential(_)) {
                    *self = Self::Exponential(Exponential::default());
                }
                let Self::Exponential(kept) = self else { return };
                (kept.scale, kept.zero_count, kept.zero_threshold) = (*scale, *zero_count, *zero_threshold);
                kept.positive.set(positive, 0);
                kept.negative.set(negative, 0);
            }
            Buckets::Ended => *self = Self::Nothing,
        }
    }
}

impl Scratch {
    /// `now` less `before`.
    pub(super) fn subtract<'a>(&'a mut self, before: &Kept, now: &'a Buckets) -> Difference<'a> {
        match (before, now) {
            (Kept::Explicit(before), Buckets::Explicit { bounds, counts }) => {
                if counts.is_empty() || before.counts.len() != counts.len() || before.bounds != *bounds {
                    return Difference::Unknown;
                }
                self.counts.clear();
                for (now, before) in counts.iter().zip(&before.counts) {
                    let Some(more) = now.checked_sub(*before) else { return Difference::Fell };
                    self.counts.push(more);
                }
                Difference::Known(BucketsView::Explicit { bounds, counts: &self.counts })
            }
            (Kept::Exponential(before), Buckets::Exponential { .. }) => {
                if !self.exponential.set_difference(before, now) {
                    return Difference::Fell;
                }
                Difference::Known(self.exponential.view())
            }
            _ => Difference::Unknown,
        }
    }
}

impl Exponential {
    /// Becomes `now` less `before`, at the coarser of their scales and the wider of their zero
    /// buckets; false when a bucket has fallen. Merging buckets is exact, so nothing is lost but
    /// resolution.
    fn set_difference(&mut self, before: &Self, now: &Buckets) -> bool {
        let Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative } = now else { return false };
        self.scale = (*scale).min(before.scale);
        self.zero_threshold = zero_threshold.max(before.zero_threshold);
        let widened = zero_threshold.to_bits() != before.zero_threshold.to_bits();
        let zero = widened.then(|| Zero { scale: self.scale, log2: self.zero_threshold.log2() });
        self.positive.set(positive, shift(*scale, self.scale));
        self.negative.set(negative, shift(*scale, self.scale));
        let folded = self.positive.fold(zero).saturating_add(self.negative.fold(zero));
        let shift = shift(before.scale, self.scale);
        let (Some(folded_positive), Some(folded_negative)) = (
            self.positive.subtract(&before.positive, shift, zero),
            self.negative.subtract(&before.negative, shift, zero),
        ) else {
            return false;
        };
        let zeros_before = before.zero_count.saturating_add(folded_positive).saturating_add(folded_negative);
        let Some(zeros) = zero_count.saturating_add(folded).checked_sub(zeros_before) else { return false };
        self.zero_count = zeros;
        true
    }

    fn view(&self) -> BucketsView<'_> {
        let Self { scale, zero_count, zero_threshold, .. } = *self;
        let (positive, negative) = (self.positive.view(), self.negative.view());
        BucketsView::Exponential { scale, zero_count, zero_threshold, positive, negative }
    }
}

/// A zero bucket that has grown, and swallows the buckets that begin within it.
#[derive(Clone, Copy, Debug)]
struct Zero {
    scale: i32,
    log2: f64,
}

impl Zero {
    fn swallows(self, index: i64) -> bool {
        log2_bound(self.scale, index) < self.log2
    }
}

/// How many times the number of buckets is halved between two scales.
fn shift(from: i32, to: i32) -> u32 {
    u32::try_from(i64::from(from) - i64::from(to)).unwrap_or(0).min(31)
}

impl Run {
    /// Becomes `from`, with `2^shift` buckets merged into one.
    fn set(&mut self, from: &ExpBuckets, shift: u32) {
        self.counts.clear();
        self.offset = from.offset >> shift;
        if shift == 0 {
            self.counts.extend_from_slice(&from.counts);
            return;
        }
        let mut index = from.offset;
        for count in &from.counts {
            let place = usize::try_from(i64::from(index >> shift) - i64::from(self.offset)).unwrap_or(0);
            if self.counts.len() <= place {
                self.counts.resize(place + 1, 0);
            }
            self.counts[place] = self.counts[place].saturating_add(*count);
            index = index.saturating_add(1);
        }
    }

    /// Takes out what a wider zero bucket swallows, and returns how much that was.
    fn fold(&mut self, zero: Option<Zero>) -> u64 {
        let Some(zero) = zero else { return 0 };
        let mut folded: u64 = 0;
        for (i, count) in self.counts.iter_mut().enumerate() {
            if !zero.swallows(index(self.offset, i)) {
                break;
            }
            folded = folded.saturating_add(std::mem::take(count));
        }
        folded
    }

    /// Takes `before` off, merged by `shift`. Returns what of it `zero` swallows; `None` when there
    /// was more than there is.
    fn subtract(&mut self, before: &Self, shift: u32, zero: Option<Zero>) -> Option<u64> {
        let mut folded: u64 = 0;
        for (i, count) in before.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let index = index(before.offset, i) >> shift;
            if zero.is_some_and(|zero| zero.swallows(index)) {
                folded = folded.saturating_add(*count);
                continue;
            }
            let place = usize::try_from(index.checked_sub(i64::from(self.offset))?).ok()?;
            let now = self.counts.get_mut(place)?;
            *now = now.checked_sub(*count)?;
        }
        Some(folded)
    }

    fn view(&self) -> ExpBucketsView<'_> {
        ExpBucketsView { offset: self.offset, counts: &self.counts }
    }
}

fn index(offset: i32, place: usize) -> i64 {
    i64::from(offset).saturating_add(i64::try_from(place).unwrap_or(i64::MAX))
}
