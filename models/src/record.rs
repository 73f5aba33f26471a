//! How far has a statistic ever gone by itself? What it has done before is no news.

use serde::{Deserialize, Serialize};

/// What an excursion may teach, in limits.
const LESSON: f64 = 1.5;

/// From where on a statistic is out, whatever it has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    /// The limit, at least.
    pub(crate) least: f64,
    /// How much further than ever before it has to go.
    pub(crate) beyond: f64,
}

/// The farthest that a statistic has been, and is now that it is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    farthest: f64,
    peak: f64,
}

impl Record {
    /// What the statistic has to exceed.
    pub(crate) fn limit(self, bounds: Bounds) -> f64 {
        bounds.least.max(bounds.beyond * self.farthest)
    }

    /// Takes the statistic, 0 or above. An excursion counts as seen when it is over, below half of the least limit: it is
    /// not excused by its own beginning. While there is none the farthest is forgotten by the factor `fade`.
    pub(crate) fn take(&mut self, x: f64, bounds: Bounds, fade: f64) {
        if x > bounds.least / 2.0 {
            self.peak = self.peak.max(x.min(LESSON * self.limit(bounds)));
        } else {
            self.farthest = (self.farthest * fade).max(std::mem::take(&mut self.peak));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { least: 4.0, beyond: 1.25 };

    #[test]
    fn an_excursion_raises_the_limit_when_it_is_over() {
        let mut record = Record::default();
        for x in [1.0, 3.0, 5.0, 3.0] {
            record.take(x, BOUNDS, 1.0);
            assert!((record.limit(BOUNDS) - 4.0).abs() < 1e-12, "at {x}");
        }
        record.take(1.0, BOUNDS, 1.0);
        assert!((record.limit(BOUNDS) - 6.25).abs() < 1e-12);
    }

    #[test]
    fn a_disaster_teaches_little_and_is_forgotten() {
        let mut record = Record::default();
        record.take(1e9, BOUNDS, 0.5);
        record.take(0.0, BOUNDS, 0.5);
        assert!((record.limit(BOUNDS) - 7.5).abs() < 1e-12, "one and a half limits, and a quarter");
        record.take(0.0, BOUNDS, 0.5);
        assert!((record.limit(BOUNDS) - 4.0).abs() < 1e-12);
    }
}
