//! Quantiles of durations within a bucket: a log-scaled histogram with a fixed relative error.
//!
//! After Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees" (2019). The logarithm is the cubic interpolation between powers of two
//! that the authors describe for their faster variants: it needs no function of the platform's
//! mathematics library, so that the same durations fall into the same bins everywhere, at one more
//! bin in a hundred.
//!
//! Counts lie in pages of [`PAGE`] neighbouring bins, made when a value falls into them: a service's
//! durations touch a few of them, and two durations that are far apart do not cost all between.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Relative error of a quantile; [`BINS_PER_OCTAVE`] follows from it.
#[cfg(test)]
const RELATIVE_ERROR: f64 = 0.01;
/// Durations are cut to this range, in seconds: a nanosecond to eleven days.
const RANGE: (f64, f64) = (1e-9, 1e6);
/// Bins per power of two: `0.7 / ln(gamma)` with `gamma = (1 + error) / (1 - error)`, rounded up. The
/// interpolation rises by at least 10/7 of what the natural logarithm does, so that no bin is wider
/// than a factor of gamma.
const BINS_PER_OCTAVE: f64 = 35.0;
/// The interpolated logarithm's coefficients, of the third, second and first power.
const CUBIC: (f64, f64, f64) = (6.0 / 35.0, -3.0 / 5.0, 10.0 / 7.0);
/// Bins of one page.
const PAGE: usize = 32;
/// Pages: the range has 30 octaves below a second and 20 above it, 1,750 bins.
const PAGES: usize = 55;
/// Octave of the first bin: `1e-9` is a little more than `2^-30`.
const FIRST_OCTAVE: f64 = -30.0;
/// A page that is not there.
const NONE: u8 = u8::MAX;

/// A histogram of positive numbers: at most 7 KiB.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    /// Where each page of bins lies in `pages`.
    places: [u8; PAGES],
    pages: Vec<[u32; PAGE]>,
    count: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { places: [NONE; PAGES], pages: Vec::new(), count: 0 }
    }
}

/// By page, whatever the order in which pages were made: equal histograms are equal bytes.
impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let page = |(index, place): (u8, &u8)| Some((index, self.pages.get(usize::from(*place))?));
        serializer.collect_seq((0..).zip(&self.places).filter_map(page).collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut sketch = Self::default();
        for (index, counts) in Vec::<(u8, [u32; PAGE])>::deserialize(deserializer)? {
            if usize::from(index) >= PAGES {
                return Err(D::Error::custom(format!("page {index} of a sketch, expected less than {PAGES}")));
            }
            sketch.count += counts.iter().map(|count| u64::from(*count)).sum::<u64>();
            *sketch.page(index.into()) = counts;
        }
        Ok(sketch)
    }
}

impl Sketch {
    /// Adds one value; values outside the range count as its nearest end, and NaN as the least.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let bin = bin_of(value);
        let count = &mut self.page(bin / PAGE)[bin % PAGE];
        *count = count.saturating_add(1);
        self.count += 1;
    }

    /// Adds all values of `other`, as if they had been added here.
    #[cfg_attr(not(test), expect(dead_code, reason = "sums over operations and instances are asked for later"))]
    pub(crate) fn merge(&mut self, other: &Self) {
        for (index, place) in other.places.iter().enumerate() {
            let Some(added) = other.pages.get(usize::from(*place)) else { continue };
            for (count, added) in self.page(index).iter_mut().zip(added) {
                *count = count.saturating_add(*added);
            }
        }
        self.count += other.count;
    }

    #[inline]
    fn page(&mut self, index: usize) -> &mut [u32; PAGE] {
        if self.places[index] == NONE {
            self.places[index] = u8::try_from(self.pages.len()).expect("there are 55 pages");
            self.pages.push([0; PAGE]);
        }
        &mut self.pages[usize::from(self.places[index])]
    }

    /// How many values were added.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The `rank` quantile, within [`RELATIVE_ERROR`]; `None` when empty.
    pub(crate) fn quantile(&self, rank: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of one bucket are far below 2^52")]
        let position = rank * self.count.checked_sub(1)? as f64;
        let mut below = 0.0;
        for (index, place) in self.places.iter().enumerate() {
            let Some(page) = self.pages.get(usize::from(*place)) else { continue };
            for (offset, count) in page.iter().enumerate() {
                below += f64::from(*count);
                if below > position {
                    return Some(middle_of(index * PAGE + offset));
                }
            }
        }
        None
    }
}

/// The bin of a value, from its exponent and its mantissa.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range gives bins from 0 to 1,749")]
fn bin_of(value: f64) -> usize {
    let value = value.max(RANGE.0).min(RANGE.1);
    let exponent = f64::from((value.to_bits() >> 52) as u32) - 1023.0;
    let mantissa = f64::from_bits(value.to_bits() & ((1 << 52) - 1) | 1.0_f64.to_bits()) - 1.0;
    ((exponent - FIRST_OCTAVE + cubic(mantissa)) * BINS_PER_OCTAVE) as usize
}

/// Rises from 0 to 1 between a power of two and the next.
fn cubic(mantissa: f64) -> f64 {
    ((CUBIC.0 * mantissa + CUBIC.1) * mantissa + CUBIC.2) * mantissa
}

/// The value that is as far from a bin's lower end as from its upper one, relatively.
fn middle_of(bin: usize) -> f64 {
    let (low, high) = (lower_end(bin), lower_end(bin + 1));
    2.0 * low * high / (low + high)
}

fn lower_end(bin: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are 1,760 bins")]
    let octaves = bin as f64 / BINS_PER_OCTAVE;
    // The inverse of the cubic, by halving: it is asked for a few times in ten seconds.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if cubic(middle) < octaves.fract() { low = middle } else { high = middle }
    }
    #[expect(clippy::cast_possible_truncation, reason = "there are 50 octaves")]
    let exponent = (octaves.floor() + FIRST_OCTAVE) as i32;
    (1.0 + low) * 2.0_f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_bin_is_wider_than_the_error_allows_and_values_fall_between_its_ends() {
        let gamma = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
        let (first, last) = (bin_of(RANGE.0), bin_of(RANGE.1));
        assert!(last < PAGE * PAGES, "{last}");
        for bin in first..=last {
            let (low, high) = (lower_end(bin), lower_end(bin + 1));
            assert!(high / low <= gamma, "bin {bin}: {low} to {high}");
            let inner = low + (high - low) * 0.5;
            assert_eq!(bin_of(inner), bin.min(last));
        }
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_promised_error(
            mut values in prop::collection::vec((-8.9..5.9_f64).prop_map(|e| 10.0_f64.powf(e)), 1..200),
            rank in 0.0..=1.0_f64,
            split in 0..200_usize,
        ) {
            let (mut whole, mut left, mut right) = (Sketch::default(), Sketch::default(), Sketch::default());
            for (i, value) in values.iter().enumerate() {
                whole.add(*value);
                if i < split { left.add(*value) } else { right.add(*value) }
            }
            left.merge(&right);
            values.sort_unstable_by(f64::total_cmp);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let exact = values[(rank * (values.len() - 1) as f64) as usize];
            let got = whole.quantile(rank).unwrap_or(f64::NAN);
            prop_assert!((got / exact - 1.0).abs() <= RELATIVE_ERROR + 1e-9, "{got} for {exact}");
            prop_assert_eq!(left.quantile(rank).map(f64::to_bits), Some(got.to_bits()));
            prop_assert_eq!(left.count(), whole.count());
        }
    }

    #[test]
    fn extremes_are_cut_and_nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        let mut sketch = Sketch::default();
        [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, f64::INFINITY].into_iter().for_each(|v| sketch.add(v));
        assert_eq!(sketch.count(), 5);
        assert!((sketch.quantile(0.0).expect("has values") / RANGE.0 - 1.0).abs() < 0.02);
        assert!((sketch.quantile(1.0).expect("has values") / RANGE.1 - 1.0).abs() < 0.02);
        assert_eq!(sketch.pages.len(), 2, "what lies between costs nothing");
    }
}
