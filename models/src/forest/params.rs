//! Parameters as they were asked for, and as they were found to be valid.

use linfa::ParamGuard;

use super::{Forest, Rows, Table};

/// Trees at most.
const MOST_TREES: usize = 1_000;
/// Rows that a tree is grown from, at most.
const MOST_ROWS: usize = 4_096;
/// Features at most.
const MOST_FEATURES: usize = 4_096;
/// Further features of a cut, at most.
const MOST_EXTENSION: usize = 15;

/// What to grow, not checked yet: [`ParamGuard::check`] does that, and so does fitting.
///
/// ```
/// use bellwether_models::forest::{ForestParams, Rows};
///
/// let rows: Vec<f32> = (0..2_000_u32).map(|i| f32::from((i * 7_919 % 101) as u16)).collect();
/// let forest = ForestParams::default().trees(50).seed(7).grow(Rows::new(&rows, 2))?;
/// assert!(forest.score(&[900.0, -300.0]) > forest.score(&[50.0, 50.0]));
/// # Ok::<(), bellwether_models::forest::ForestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForestParams(ValidForestParams);

/// Parameters that are within their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidForestParams {
    trees: usize,
    sample_size: usize,
    extension: usize,
    seed: u64,
}

/// What cannot be grown or scored, and the limit that stands against it.
#[derive(Debug, thiserror::Error)]
pub enum ForestError {
    /// Too few or too many trees.
    #[error("trees: expected 1 to {MOST_TREES}, got {0}")]
    Trees(usize),
    /// Too few or too many rows for each tree.
    #[error("sample_size: expected 2 to {MOST_ROWS}, got {0}")]
    SampleSize(usize),
    /// A cut cannot look at so many features.
    #[error("extension: expected less than the number of features and at most {most}, got {actual}")]
    Extension {
        /// The limit.
        most: usize,
        /// What was asked for.
        actual: usize,
    },
    /// No features, or too many.
    #[error("features: expected 1 to {MOST_FEATURES}, got {0}")]
    Features(usize),
    /// Too few rows.
    #[error("rows: expected at least {expected}, got {actual}")]
    Rows {
        /// The least.
        expected: usize,
        /// What was there.
        actual: usize,
    },
    /// Rows of another width than those that the forest knows.
    #[error("features: expected {expected} as when the forest was fitted, got {actual}")]
    Width {
        /// Features of the forest.
        expected: usize,
        /// Features of the rows.
        actual: usize,
    },
    /// What linfa says.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

impl Default for ForestParams {
    fn default() -> Self {
        Self(ValidForestParams { trees: 100, sample_size: 256, extension: 0, seed: 0 })
    }
}

impl ForestParams {
    /// Trees, 1 to 1,000. Default 100.
    #[must_use]
    pub fn trees(mut self, trees: usize) -> Self {
        self.0.trees = trees;
        self
    }

    /// Rows that each tree is grown from, 2 to 4,096; all of them where there are fewer. Default 256.
    #[must_use]
    pub fn sample_size(mut self, rows: usize) -> Self {
        self.0.sample_size = rows;
        self
    }

    /// Further features that each cut looks at, less than there are features and at most 15. Default 0, the cuts of
    /// Liu et al. With more, each cut is a plane at a random angle, features being counted in their standard
    /// deviations.
    #[must_use]
    pub fn extension(mut self, features: usize) -> Self {
        self.0.extension = features;
        self
    }

    /// Where randomness begins. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Checks the parameters and grows a forest, see [`ValidForestParams::grow`].
    ///
    /// # Errors
    ///
    /// Parameters beyond their limits, and what cannot be grown from these rows.
    pub fn grow(&self, rows: Rows<'_>) -> Result<Forest, ForestError> {
        self.check_ref()?.grow(rows)
    }
}

impl ParamGuard for ForestParams {
    type Checked = ValidForestParams;
    type Error = ForestError;

    fn check_ref(&self) -> Result<&ValidForestParams, ForestError> {
        let params = &self.0;
        if !(1..=MOST_TREES).contains(&params.trees) {
            return Err(ForestError::Trees(params.trees));
        }
        if !(2..=MOST_ROWS).contains(&params.sample_size) {
            return Err(ForestError::SampleSize(params.sample_size));
        }
        if params.extension > MOST_EXTENSION {
            return Err(ForestError::Extension { most: MOST_EXTENSION, actual: params.extension });
        }
        Ok(params)
    }

    fn check(self) -> Result<ValidForestParams, ForestError> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl ValidForestParams {
    /// See [`ForestParams::trees`].
    #[must_use]
    pub fn trees(&self) -> usize {
        self.trees
    }

    /// See [`ForestParams::sample_size`].
    #[must_use]
    pub fn sample_size(&self) -> usize {
        self.sample_size
    }

    /// See [`ForestParams::extension`].
    #[must_use]
    pub fn extension(&self) -> usize {
        self.extension
    }

    /// See [`ForestParams::seed`].
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether a forest can be grown from it.
    pub(super) fn check_table(&self, table: &impl Table) -> Result<(), ForestError> {
        let (rows, width) = (table.rows(), table.width());
        if !(1..=MOST_FEATURES).contains(&width) {
            return Err(ForestError::Features(width));
        }
        if rows < 2 {
            return Err(ForestError::Rows { expected: 2, actual: rows });
        }
        if self.extension >= width {
            return Err(ForestError::Extension { most: width - 1, actual: self.extension });
        }
        Ok(())
    }
}
