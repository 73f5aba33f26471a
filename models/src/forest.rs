//! Isolation forest: how few random cuts set this point apart from a sample of the others?
//!
//! After Liu, Ting and Zhou, "Isolation Forest" (2008) and "Isolation-Based Anomaly Detection" (2012); with
//! [`ForestParams::extension`] the cuts are planes through several features, as in Hariri, Kind and Brunner, "Extended
//! Isolation Forest" (2019), which sees points that are unusual only in how their features go together.
//!
//! Written here because linfa has none and because it has to be fast: every tree is an implicit heap of eight bytes a
//! node, all of the same depth. A leaf above the bottom is filled up with cuts that let everything pass to the left,
//! so that a descent is a fixed number of steps without branches, and several rows go down side by side. Everything
//! random comes from the seed: the same rows and parameters give the same forest, and a forest that was written
//! down goes on as it would have.
//!
//! Numbers are compared in single precision, as in scikit-learn: take a large offset away first. A missing value
//! (NaN) counts as the median of its feature, so that a lack is never what sets a row apart; infinities are the
//! greatest finite numbers.

use serde::{Deserialize, Serialize};

pub use self::params::{ForestError, ForestParams, ValidForestParams};
pub(crate) use self::random::Random;
use self::{grow::Grower, written::Written};

mod dataset;
mod explain;
mod grow;
mod params;
mod random;
mod score;
mod written;

/// Rows from which medians are taken at most.
const MEDIAN_ROWS: usize = 1_024;

/// Rows of numbers, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f32],
    width: usize,
}

impl<'a> Rows<'a> {
    /// `values` holds rows of `width` features each; what is left over at its end is ignored.
    #[must_use]
    pub fn new(values: &'a [f32], width: usize) -> Self {
        Self { values, width }
    }
}

/// Where rows come from.
trait Table {
    fn rows(&self) -> usize;
    fn width(&self) -> usize;
    /// NaN where there is nothing.
    fn at(&self, row: usize, feature: usize) -> f32;
}

impl Table for Rows<'_> {
    fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.width
    }

    fn at(&self, row: usize, feature: usize) -> f32 {
        let value = (feature < self.width).then(|| self.values.get(row * self.width + feature)).flatten();
        value.copied().unwrap_or(f32::NAN)
    }
}

/// One cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// What is at most this goes to the left, as a [`key`]. The greatest below a leaf.
    threshold: i32,
    /// The feature that is compared; of a plane, nothing.
    feature: u16,
    /// Rows of the sample that came here; 0 below a leaf.
    count: u16,
}

const PASS: Node = Node { threshold: i32::MAX, feature: 0, count: 0 };

/// A fitted forest. See the module's text for what it does with missing values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Forest {
    /// Features of a row.
    width: usize,
    /// Steps from the root to the bottom of every tree.
    depth: u32,
    /// Rows that each tree was grown from.
    sample: usize,
    /// Features of a cut.
    terms: usize,
    random: Random,
    /// The tree that is replaced next: the oldest.
    oldest: usize,
    medians: Vec<f32>,
    /// Trees one after the other, each a heap of `2^depth` whose root is at 1.
    nodes: Vec<Node>,
    /// Path lengths at the bottom of each tree, `2^depth` a tree.
    leaves: Vec<f32>,
    /// Features and weights of planes, `terms` for each node; empty if a cut looks at one feature.
    planes: Vec<(u16, f32)>,
}

impl ValidForestParams {
    /// Grows a forest from rows in single precision.
    ///
    /// # Errors
    ///
    /// Fewer than two rows, no or too many features, or an extension that needs more features than there are.
    pub fn grow(&self, rows: Rows<'_>) -> Result<Forest, ForestError> {
        self.grow_from(&rows)
    }

    fn grow_from(&self, table: &impl Table) -> Result<Forest, ForestError> {
        self.check_table(table)?;
        let sample = self.sample_size().min(table.rows());
        let mut forest = Forest {
            width: table.width(),
            depth: sample.next_power_of_two().trailing_zeros(),
            sample,
            terms: self.extension() + 1,
            random: Random::new(self.seed()),
            oldest: 0,
            medians: Vec::new(),
            nodes: Vec::new(),
            leaves: Vec::new(),
            planes: Vec::new(),
        };
        let places = self.trees() << forest.depth;
        forest.nodes.resize(places, PASS);
        forest.leaves.resize(places, 0.0);
        if forest.terms > 1 {
            forest.planes.resize(places * forest.terms, (0, 0.0));
        }
        forest.replant(table, self.trees());
        Ok(forest)
    }
}

impl Forest {
    /// Features of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Trees.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.nodes.len() >> self.depth
    }

    /// Bytes of memory that it takes, without those of the struct itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&self.medians[..])
            + size_of_val(&self.nodes[..])
            + size_of_val(&self.leaves[..])
            + size_of_val(&self.planes[..])
    }

    /// Replaces the `count` oldest trees by trees grown from `rows`: a sliding window over them, or a sample.
    /// After as many as there are trees nothing is left of the past.
    ///
    /// # Errors
    ///
    /// Rows of another width, or fewer of them than each tree was grown from.
    pub fn refresh(&mut self, rows: Rows<'_>, count: usize) -> Result<(), ForestError> {
        if rows.width != self.width {
            return Err(ForestError::Width { expected: self.width, actual: rows.width });
        }
        if rows.rows() < self.sample {
            return Err(ForestError::Rows { expected: self.sample, actual: rows.rows() });
        }
        self.replant(&rows, count.min(self.trees()));
        Ok(())
    }

    /// Grows `count` trees from a table that was checked, in place of the oldest.
    fn replant(&mut self, table: &impl Table, count: usize) {
        self.medians = medians(table);
        let mut grower = Grower::new(table, self.sample, self.terms);
        for _ in 0..count {
            grower.grow(table, self, self.oldest);
            self.oldest = (self.oldest + 1) % self.trees();
        }
    }

    /// The features of one row, finite; what it lacks is missing.
    fn completed(&self, row: &[f32]) -> Vec<f32> {
        let value = |feature| row.get(feature).copied().unwrap_or(f32::NAN);
        (0..self.width).map(|feature| self.stands_for(value(feature), feature)).collect()
    }

    /// The value that stands for `value` of `feature`: finite.
    fn stands_for(&self, value: f32, feature: usize) -> f32 {
        finite(value, self.medians[feature])
    }
}

fn finite(value: f32, median: f32) -> f32 {
    if value.is_nan() { median } else { value.clamp(f32::MIN, f32::MAX) }
}

/// An integer for each number, in the same order: integers are compared in fewer steps, and many at once.
fn key(value: f32) -> i32 {
    // There is one zero.
    let bits = (value + 0.0).to_bits().cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

/// Medians of the features over rows that are evenly spread; 0 of a feature without values.
fn medians(table: &impl Table) -> Vec<f32> {
    let step = table.rows().div_ceil(MEDIAN_ROWS).max(1);
    let mut column = Vec::with_capacity(MEDIAN_ROWS);
    let median = |feature| {
        column.clear();
        column.extend((0..table.rows()).step_by(step).map(|row| table.at(row, feature)).filter(|v| !v.is_nan()));
        let middle = column.len() / 2;
        if column.is_empty() { 0.0 } else { finite(*column.select_nth_unstable_by(middle, f32::total_cmp).1, 0.0) }
    };
    (0..table.width()).map(median).collect()
}

/// Mean path length of an unsuccessful search in a binary tree of `n` values, for every `n` up to `most`: the
/// length expected below a leaf that holds `n` rows. Harmonic numbers are summed up, not approximated.
fn usual_lengths(most: usize) -> Vec<f64> {
    let mut lengths = vec![0.0; most + 1];
    let mut harmonic = 0.0;
    for (n, length) in lengths.iter_mut().enumerate().skip(2) {
        let below = precise(n - 1);
        harmonic += 1.0 / below;
        *length = 2.0 * harmonic - 2.0 * below / precise(n);
    }
    lengths
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows and trees are far below 2^52")]
fn precise(n: usize) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, reason = "numbers are compared in single precision")]
fn rough(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
#[path = "forest/tests.rs"]
mod tests;
