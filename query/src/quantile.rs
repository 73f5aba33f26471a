//! `histogram_quantile` over classic buckets.

use crate::{
    buckets::LE,
    directory::{Directory, Element, Grouping, Who},
};

/// Buckets that differ by less than this share are taken to be equal: sums of rates of equal
/// counts are not equal to the last bit.
const SMALL_DELTA: f64 = 1e-12;

/// Upper bound and the number of observations at or below it.
type Bucket = (f64, f64);

/// The `q` quantile of each group of buckets that differ only in `le`, in the order in which the
/// groups appear. Elements without a bound in `le` are passed over.
pub(crate) fn histogram_quantile(q: f64, vector: &[Element], directory: &mut Directory) -> Vec<Element> {
    let mut groups: Vec<(Who, Vec<Bucket>)> = Vec::new();
    directory.clear_places();
    for Element { who, value } in vector {
        let bound = directory.labels(*who).get(LE).and_then(|le| le.parse::<f64>().ok());
        let Some(bound) = bound.filter(|bound| !bound.is_nan()) else { continue };
        let group = directory.group(Grouping::HISTOGRAM, *who);
        match directory.place(group) {
            Some(place) => groups[place].1.push((bound, *value)),
            None => {
                directory.set_place(group, groups.len());
                groups.push((group, vec![(bound, *value)]));
            }
        }
    }
    groups.into_iter().map(|(who, buckets)| Element { who, value: bucket_quantile(q, buckets) }).collect()
}

/// NaN for `q` that is NaN, for buckets without one at positive infinity, for fewer than two, and
/// for no observations; infinite for `q` outside of 0 to 1.
#[expect(clippy::float_cmp, reason = "bounds are the same when they are equal")]
fn bucket_quantile(q: f64, mut buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return f64::NAN;
    }
    buckets.dedup_by(|later, first| {
        let is_same = later.0 == first.0;
        if is_same {
            first.1 += later.1;
        }
        is_same
    });
    make_monotonic(&mut buckets);
    let [finite @ .., (_, observations)] = buckets.as_slice() else { return f64::NAN };
    let Some((greatest, _)) = finite.last() else { return f64::NAN };
    if *observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let b = first_place(finite, |(_, count)| *count >= rank);
    let Some((end, count)) = finite.get(b) else { return *greatest };
    match b.checked_sub(1).and_then(|b| finite.get(b)) {
        None if *end <= 0.0 => *end,
        None => end * (rank / count),
        Some((start, below)) => start + (end - start) * ((rank - below) / (count - below)),
    }
}

/// The first place for which `holds`, by halving: where NaN breaks the order, this ends where
/// Prometheus's search ends.
fn first_place(buckets: &[Bucket], holds: impl Fn(&Bucket) -> bool) -> usize {
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = low.midpoint(high);
        if buckets.get(middle).is_some_and(&holds) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Scrapes of different moments and rounding can make a wider bucket hold less; it then holds as
/// much as the one before.
#[expect(clippy::float_cmp, reason = "what is not exactly equal is asked for next")]
fn make_monotonic(buckets: &mut [Bucket]) {
    let Some((_, mut before)) = buckets.first().copied() else { return };
    for (_, count) in buckets.iter_mut().skip(1) {
        if *count == before {
            continue;
        }
        if almost_equal(before, *count) || *count < before {
            *count = before;
        } else {
            before = *count;
        }
    }
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}
