//! What a series has done before, in a bounded number of representatives.
//!
//! "How far is this from anything ever seen?" needs all of history; but it is only asked down to a
//! resolution, so a value close to a kept one need not be kept. When there are too many, the spacing
//! doubles and neighbours merge: the memory never forgets a region that the series has visited, it only
//! sees it less sharply. (This is the leader clustering of Hartigan, "Clustering Algorithms", 1975,
//! chapter 3, with a radius that grows.) Windowed methods forget and flag the same thing again.

use serde::{Deserialize, Serialize};

/// Values seen, as sorted representatives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Values {
    kept: Vec<f32>,
    spacing: f32,
}

impl Values {
    /// Representatives kept at most: 256 bytes.
    pub(crate) const MOST: usize = 64;

    /// Distance from `x` to the nearest value seen, within the spacing; infinite if nothing was seen.
    #[must_use]
    pub(crate) fn distance(&self, x: f32) -> f32 {
        self.nearest(x).map_or(f32::INFINITY, |near| (x - near).abs())
    }

    /// The nearest value seen; `None` if nothing was seen.
    #[must_use]
    pub(crate) fn nearest(&self, x: f32) -> Option<f32> {
        let least = least(&self.kept, |v| (x - v).abs());
        self.kept.iter().copied().find(|v| (x - v).abs() <= least)
    }

    /// Whether something at this distance is worth keeping, where values closer than `resolution` are
    /// the same.
    #[must_use]
    pub(crate) fn is_news(&self, distance: f32, resolution: f32) -> bool {
        distance > self.spacing.max(resolution)
    }

    /// Takes a finite value, unless one closer than `resolution` is kept already.
    pub(crate) fn add(&mut self, x: f32, resolution: f32) {
        while self.kept.len() >= Self::MOST {
            self.spacing = (self.spacing * 2.0).max(resolution).max(f32::MIN_POSITIVE);
            self.thin();
        }
        if self.is_news(self.distance(x), resolution) {
            let at = self.kept.partition_point(|v| *v < x);
            self.kept.insert(at, x);
        }
    }

    /// Merges neighbours closer than the spacing; the greatest value stays, it is an edge.
    fn thin(&mut self) {
        let greatest = self.kept.last().copied();
        let (spacing, mut before) = (self.spacing, f32::NEG_INFINITY);
        self.kept.retain(|v| {
            let keep = *v - before > spacing;
            if keep {
                before = *v;
            }
            keep
        });
        if let (Some(last), Some(edge)) = (self.kept.last_mut(), greatest) {
            *last = edge;
        }
    }
}

/// The least of `distance` over `values`; infinite if there are none. All of them are looked at, several at a time: that
/// takes less time than the few of a binary search, each of which has to be waited for.
fn least(values: &[f32], distance: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [f32::INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            let d = distance(*v);
            *lane = if d < *lane { d } else { *lane };
        }
    }
    rest.iter().map(|v| distance(*v)).chain(lanes).fold(f32::INFINITY, f32::min)
}

const LANES: usize = 8;

/// Pairs of consecutive values seen, as representatives sorted by their first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pairs {
    first: Vec<f32>,
    second: Vec<f32>,
    spacing: f32,
}

impl Pairs {
    /// Representatives kept at most: one kilobyte.
    pub(crate) const MOST: usize = 128;

    /// Greatest of the two differences to the nearest pair seen; infinite if nothing was seen.
    #[must_use]
    pub(crate) fn distance(&self, x: (f32, f32)) -> f32 {
        let mut lanes = [f32::INFINITY; LANES];
        let ((firsts, rest), (seconds, others)) = (self.first.as_chunks::<LANES>(), self.second.as_chunks::<LANES>());
        for (first, second) in firsts.iter().zip(seconds) {
            for ((lane, a), b) in lanes.iter_mut().zip(first).zip(second) {
                let d = greater((a - x.0).abs(), (b - x.1).abs());
                *lane = if d < *lane { d } else { *lane };
            }
        }
        let rest = rest.iter().zip(others).map(|(a, b)| greater((a - x.0).abs(), (b - x.1).abs()));
        rest.chain(lanes).fold(f32::INFINITY, f32::min)
    }

    /// Whether something at this distance is worth keeping, where pairs closer than `resolution` are
    /// the same.
    #[must_use]
    pub(crate) fn is_news(&self, distance: f32, resolution: f32) -> bool {
        distance > self.spacing.max(resolution)
    }

    /// Takes a finite pair, unless one closer than `resolution` is kept already.
    pub(crate) fn add(&mut self, x: (f32, f32), resolution: f32) {
        while self.first.len() >= Self::MOST {
            self.spacing = (self.spacing * 1.5).max(resolution).max(f32::MIN_POSITIVE);
            self.thin();
        }
        if self.is_news(self.distance(x), resolution) {
            let at = self.first.partition_point(|first| *first < x.0);
            self.first.insert(at, x.0);
            self.second.insert(at, x.1);
        }
    }

    /// Leaves out pairs closer than the spacing to one before them.
    fn thin(&mut self) {
        let (first, second) = (std::mem::take(&mut self.first), std::mem::take(&mut self.second));
        for pair in first.into_iter().zip(second) {
            if self.distance(pair) > self.spacing {
                self.first.push(pair.0);
                self.second.push(pair.1);
            }
        }
    }
}

fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_everything_is_found_while_all_fits() {
        let seen = [3.0, -1.0, 7.5, 100.0, 7.0];
        let mut values = Values::default();
        seen.iter().for_each(|v| values.add(*v, 0.01));
        for x in [-5.0, 0.0, 3.1, 7.2, 60.0, 1e4] {
            let naive = seen.iter().map(|v| (x - v).abs()).fold(f32::INFINITY, f32::min);
            assert!((values.distance(x) - naive).abs() < 1e-5, "{x}");
        }
        assert!(Values::default().distance(1.0).is_infinite());
    }

    #[test]
    fn when_full_it_sees_less_sharply_but_forgets_no_region() {
        let mut values = Values::default();
        let seen: Vec<f32> = (0..10_000_u16).map(|i| f32::from(i.wrapping_mul(7_919) % 10_007)).collect();
        seen.iter().for_each(|v| values.add(*v, 0.0));
        assert!(values.kept.len() <= Values::MOST);
        let farthest = seen.iter().map(|v| values.distance(*v)).fold(0.0, f32::max);
        assert!(farthest <= 2.0 * values.spacing && values.spacing < 10_007.0 / 16.0, "{farthest} {}", values.spacing);
        assert!(values.distance(20_000.0) > 9_000.0);
    }

    #[test]
    fn the_nearest_pair_is_found_as_by_looking_at_all() {
        let seen: Vec<(f32, f32)> = (0..100_u16).map(|i| (f32::from(i % 10), f32::from(i / 10 * 3))).collect();
        let mut pairs = Pairs::default();
        seen.iter().for_each(|p| pairs.add(*p, 0.01));
        for x in [(0.2, 0.4), (5.0, 100.0), (-3.0, 8.0), (4.4, 13.6)] {
            let naive = seen.iter().map(|p| (p.0 - x.0).abs().max((p.1 - x.1).abs())).fold(f32::INFINITY, f32::min);
            assert!((pairs.distance(x) - naive).abs() < 1e-5, "{x:?}");
        }
    }

    #[test]
    fn pairs_are_bounded() {
        let mut pairs = Pairs::default();
        for i in 0..5_000_u16 {
            pairs.add((f32::from(i.wrapping_mul(7_919) % 997), f32::from(i.wrapping_mul(31) % 991)), 0.0);
        }
        assert!(pairs.first.len() <= Pairs::MOST && pairs.first.capacity() <= Pairs::MOST);
        assert!(pairs.first.is_sorted() && pairs.second.len() == pairs.first.len());
    }
}
