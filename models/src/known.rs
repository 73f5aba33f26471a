//! What a series has done before, in a bounded number of representatives.
//!
//! "How far is this from anything ever seen?" needs all of history; but it is only asked down to a
//! resolution, so a value close to a kept one need not be kept. When there are too many, the spacing
//! doubles and neighbours merge: the memory never forgets a region that the series has visited, it only
//! sees it less sharply. (This is the leader clustering of Hartigan, "Clustering Algorithms", 1975,
//! chapter 3, with a radius that grows.) Windowed methods forget and flag the same thing again.

use serde::{Deserialize, Serialize};

/// What a series has done, in three sets of values and one of pairs of consecutive values, in one piece of memory: at most
/// 4 * (3 * [`VALUES`] + 2 * [`PAIRS`]) = 1,792 bytes. A piece for each set would take 150 bytes more in addresses, lengths
/// and what the allocator adds, and five places to fetch from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The columns one after the other: the representatives of each [`Set`] of values, sorted; of pairs, sorted by their
    /// firsts, first these and then the seconds.
    kept: Vec<f32>,
    /// Where each column ends.
    ends: [u16; COLUMNS],
    /// Of each set, how far from each other its representatives are, at least.
    spacings: [f32; SETS],
}

/// What is remembered apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// Values of the series.
    Values,
    /// What was left of them after the usual value of the hour.
    Hourly,
    /// Short averages.
    Averages,
    /// Pairs of consecutive values.
    Pairs,
}

const SETS: usize = 4;
const COLUMNS: usize = 5;
const FIRSTS: usize = Set::Pairs as usize;
const SECONDS: usize = FIRSTS + 1;
/// Representatives kept at most: of a set of values, and of pairs.
pub(crate) const VALUES: usize = 64;
pub(crate) const PAIRS: usize = 128;
const MOST: usize = 3 * VALUES + 2 * PAIRS;
/// Room for so many is made at once; all further room is as much as is there.
const ROOM: usize = 56;

impl Known {
    fn column(&self, column: usize) -> &[f32] {
        &self.kept[self.begin(column)..usize::from(self.ends[column])]
    }

    fn begin(&self, column: usize) -> usize {
        column.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]))
    }

    /// Distance from `x` to the nearest in a set of values, within the spacing; infinite if nothing was seen.
    #[must_use]
    pub(crate) fn distance(&self, set: Set, x: f32) -> f32 {
        distance(self.column(set as usize), x)
    }

    /// The nearest in a set of values; `None` if nothing was seen. Of several at the same distance, the least.
    #[must_use]
    pub(crate) fn nearest(&self, set: Set, x: f32) -> Option<f32> {
        let sorted = self.column(set as usize);
        let place = rank(sorted, x);
        let least = distance_from(sorted, place, x);
        let below = sorted[..place].iter().rev().take_while(|v| x - **v <= least).last();
        below.or(sorted.get(place)).copied()
    }

    /// Greatest of the two differences to the nearest pair seen; infinite if nothing was seen.
    #[must_use]
    pub(crate) fn distance_of_pair(&self, x: (f32, f32)) -> f32 {
        distance_of_pair(self.column(FIRSTS), self.column(SECONDS), x)
    }

    /// Whether something at this distance is worth keeping, where what is closer than `resolution` is the same.
    #[must_use]
    pub(crate) fn is_news(&self, set: Set, distance: f32, resolution: f32) -> bool {
        distance > self.spacings[set as usize].max(resolution)
    }

    /// Takes a finite value into a set of values, unless one closer than `resolution` is kept already.
    pub(crate) fn add(&mut self, set: Set, x: f32, resolution: f32) {
        while self.column(set as usize).len() >= VALUES {
            self.widen(set, 2.0, resolution);
            self.thin(set);
        }
        if self.is_news(set, self.distance(set, x), resolution) {
            self.insert(set as usize, rank(self.column(set as usize), x), x);
        }
    }

    /// Takes a finite pair, unless one closer than `resolution` is kept already.
    pub(crate) fn add_pair(&mut self, x: (f32, f32), resolution: f32) {
        while self.column(FIRSTS).len() >= PAIRS {
            self.widen(Set::Pairs, 1.5, resolution);
            self.thin_pairs();
        }
        if self.is_news(Set::Pairs, self.distance_of_pair(x), resolution) {
            let place = rank(self.column(FIRSTS), x.0);
            self.insert(FIRSTS, place, x.0);
            self.insert(SECONDS, place, x.1);
        }
    }

    fn widen(&mut self, set: Set, factor: f32, resolution: f32) {
        let spacing = &mut self.spacings[set as usize];
        *spacing = (*spacing * factor).max(resolution).max(f32::MIN_POSITIVE);
    }

    fn insert(&mut self, column: usize, place: usize, x: f32) {
        if self.kept.len() == self.kept.capacity() {
            let room = self.kept.len().max(ROOM).min(MOST.saturating_sub(self.kept.len()));
            self.kept.reserve_exact(room);
        }
        self.kept.insert(self.begin(column) + place, x);
        self.ends[column..].iter_mut().for_each(|end| *end += 1);
    }

    /// Leaves the first `length` of a column.
    fn truncate(&mut self, column: usize, length: usize) {
        let (from, to) = (self.begin(column) + length, usize::from(self.ends[column]));
        self.kept.drain(from..to);
        let gone = u16::try_from(to - from).unwrap_or_default();
        self.ends[column..].iter_mut().for_each(|end| *end -= gone);
    }

    /// Merges neighbours closer than the spacing; the greatest value stays, it is an edge.
    fn thin(&mut self, set: Set) {
        let (column, spacing) = (set as usize, self.spacings[set as usize]);
        let range = self.begin(column)..usize::from(self.ends[column]);
        let sorted = &mut self.kept[range];
        let (mut length, mut before) = (0, f32::NEG_INFINITY);
        for i in 0..sorted.len() {
            if sorted[i] - before > spacing {
                before = sorted[i];
                sorted[length] = before;
                length += 1;
            }
        }
        if let (Some(last), Some(greatest)) = (length.checked_sub(1), sorted.last().copied()) {
            sorted[last] = greatest;
        }
        self.truncate(column, length);
    }

    /// Leaves out pairs closer than the spacing to one before them.
    fn thin_pairs(&mut self) {
        let spacing = self.spacings[Set::Pairs as usize];
        let (begin, middle, end) = (self.begin(FIRSTS), self.begin(SECONDS), usize::from(self.ends[SECONDS]));
        let (firsts, seconds) = self.kept[begin..end].split_at_mut(middle - begin);
        let mut length = 0;
        for i in 0..firsts.len() {
            let pair = (firsts[i], seconds[i]);
            if distance_of_pair(&firsts[..length], &seconds[..length], pair) > spacing {
                (firsts[length], seconds[length]) = pair;
                length += 1;
            }
        }
        self.truncate(SECONDS, length);
        self.truncate(FIRSTS, length);
    }
}

/// How many of `sorted` are less than `x`. All of them are looked at, several at a time: that takes less time than the few
/// of a binary search, each of which has to be waited for.
fn rank(sorted: &[f32], x: f32) -> usize {
    sorted.iter().map(|v| u32::from(*v < x)).sum::<u32>() as usize
}

fn distance(sorted: &[f32], x: f32) -> f32 {
    distance_from(sorted, rank(sorted, x), x)
}

/// Distance from `x`, whose rank is `place`, to the nearest.
fn distance_from(sorted: &[f32], place: usize, x: f32) -> f32 {
    let below = place.checked_sub(1).map_or(f32::INFINITY, |before| x - sorted[before]);
    sorted.get(place).map_or(f32::INFINITY, |above| above - x).min(below)
}

/// Greatest of the two differences to the nearest pair, which is looked for on both sides of where `x` would be among the
/// firsts, until these alone are too far.
fn distance_of_pair(firsts: &[f32], seconds: &[f32], x: (f32, f32)) -> f32 {
    let place = rank(firsts, x.0);
    let mut least = f32::INFINITY;
    let (mut from, mut to) = (place, place);
    while firsts.get(to).is_some_and(|first| first - x.0 < least) {
        let end = (to + LANES).min(firsts.len());
        least = nearest_of(&firsts[to..end], &seconds[to..end], x, least);
        to = end;
    }
    while from.checked_sub(1).is_some_and(|before| x.0 - firsts[before] < least) {
        let begin = from.saturating_sub(LANES);
        least = nearest_of(&firsts[begin..from], &seconds[begin..from], x, least);
        from = begin;
    }
    least
}

/// The lesser of `least` and the distances to these pairs.
fn nearest_of(firsts: &[f32], seconds: &[f32], x: (f32, f32), least: f32) -> f32 {
    let distances = firsts.iter().zip(seconds).map(|(a, b)| greater((a - x.0).abs(), (b - x.1).abs()));
    distances.fold(least, |least, d| if d < least { d } else { least })
}

const LANES: usize = 8;

fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS_OF_VALUES: [Set; 3] = [Set::Values, Set::Hourly, Set::Averages];

    #[test]
    fn the_nearest_of_everything_is_found_while_all_fits() {
        let seen = [3.0, -1.0, 7.5, 100.0, 7.0];
        let mut known = Known::default();
        for set in SETS_OF_VALUES {
            seen.iter().for_each(|v| known.add(set, *v, 0.01));
        }
        known.add_pair((5.0, 5.0), 0.01);
        for (set, x) in SETS_OF_VALUES.into_iter().flat_map(|set| [-5.0, 0.0, 3.1, 7.2, 60.0, 1e4].map(|x| (set, x))) {
            let naive = seen.iter().map(|v| (x - v).abs()).fold(f32::INFINITY, f32::min);
            assert!((known.distance(set, x) - naive).abs() < 1e-5, "{x}");
            assert!(known.nearest(set, x).is_some_and(|near| ((x - near).abs() - naive).abs() < 1e-5), "{x}");
        }
        assert!(Known::default().distance(Set::Values, 1.0).is_infinite());
        assert_eq!(Known::default().nearest(Set::Values, 1.0), None);
    }

    #[test]
    fn of_several_at_the_same_distance_the_least_is_the_nearest() {
        let mut known = Known::default();
        [1.0, 2.0, 4.0].iter().for_each(|v| known.add(Set::Values, *v, 0.01));
        assert_eq!(known.nearest(Set::Values, 3.0), Some(2.0));
        assert_eq!(known.nearest(Set::Values, 1e30), Some(1.0), "seven digits do not tell them apart");
    }

    #[test]
    fn when_full_it_sees_less_sharply_but_forgets_no_region() {
        let mut known = Known::default();
        let seen: Vec<f32> = (0..10_000_u16).map(|i| f32::from(i.wrapping_mul(7_919) % 10_007)).collect();
        seen.iter().for_each(|v| known.add(Set::Hourly, *v, 0.0));
        assert!(known.column(Set::Hourly as usize).len() <= VALUES);
        let spacing = known.spacings[Set::Hourly as usize];
        let farthest = seen.iter().map(|v| known.distance(Set::Hourly, *v)).fold(0.0, f32::max);
        assert!(farthest <= 2.0 * spacing && spacing < 10_007.0 / 16.0, "{farthest} {spacing}");
        assert!(known.distance(Set::Hourly, 20_000.0) > 9_000.0);
    }

    #[test]
    fn the_nearest_pair_is_found_as_by_looking_at_all() {
        let seen: Vec<(f32, f32)> = (0..100_u16).map(|i| (f32::from(i % 10), f32::from(i / 10 * 3))).collect();
        let mut known = Known::default();
        seen.iter().for_each(|p| known.add_pair(*p, 0.01));
        known.add(Set::Averages, 1.0, 0.01);
        for x in
            (0..40_u16).flat_map(|i| (0..40_u16).map(move |j| (f32::from(i) * 0.4 - 3.0, f32::from(j) * 1.1 - 8.0)))
        {
            let naive = seen.iter().map(|p| (p.0 - x.0).abs().max((p.1 - x.1).abs())).fold(f32::INFINITY, f32::min);
            assert!((known.distance_of_pair(x) - naive).abs() < 1e-5, "{x:?}");
        }
    }

    #[test]
    fn all_sets_together_are_bounded_and_stay_sorted() {
        let mut known = Known::default();
        for i in 0..5_000_u16 {
            let (a, b) = (f32::from(i.wrapping_mul(7_919) % 997), f32::from(i.wrapping_mul(31) % 991));
            known.add_pair((a, b), 0.0);
            SETS_OF_VALUES.into_iter().zip([a, b, a - b]).for_each(|(set, x)| known.add(set, x, 0.0));
        }
        assert!(known.kept.len() > MOST / 3 && known.kept.capacity() <= MOST, "{}", known.kept.len());
        assert_eq!(known.column(FIRSTS).len(), known.column(SECONDS).len());
        for column in 0..=FIRSTS {
            assert!(known.column(column).is_sorted(), "{column}");
        }
    }
}
