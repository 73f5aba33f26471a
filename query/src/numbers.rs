//! Arithmetic as Prometheus does it, down to the order of operations: sums are compensated, and
//! the corner cases are those of Go's mathematics.

/// Neumaier's compensated sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompensatedSum {
    sum: f64,
    error: f64,
}

impl CompensatedSum {
    pub(crate) fn starting_with(first: f64) -> Self {
        Self { sum: first, error: 0.0 }
    }

    #[must_use]
    pub(crate) fn plus(self, x: f64) -> Self {
        let total = self.sum + x;
        let error = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= x.abs() {
            self.error + ((self.sum - total) + x)
        } else {
            self.error + ((x - total) + self.sum)
        };
        Self { sum: total, error }
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.error }
    }
}

/// A mean by the direct sum for as long as that does not overflow, incrementally from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    /// The sum, or the mean once `incremental`.
    state: CompensatedSum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn starting_with(first: f64) -> Self {
        Self { state: CompensatedSum::starting_with(first), count: 1.0, incremental: false }
    }

    pub(crate) fn push(&mut self, x: f64) {
        self.count += 1.0;
        if !self.incremental {
            let next = self.state.plus(x);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            let before = self.count - 1.0;
            self.incremental = true;
            self.state = CompensatedSum { sum: self.state.sum / before, error: self.state.error / before };
        }
        let kept = (self.count - 1.0) / self.count;
        let scaled = CompensatedSum { sum: kept * self.state.sum, error: kept * self.state.error };
        self.state = scaled.plus(x / self.count);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.state.sum + self.state.error
        } else {
            self.state.sum / self.count + self.state.error / self.count
        }
    }
}

/// The greater of two; NaN wins over all but positive infinity, and 0 is above -0.
pub(crate) fn max(x: f64, y: f64) -> f64 {
    let infinite = |v: f64| v.is_infinite() && v.is_sign_positive();
    if infinite(x) || infinite(y) {
        f64::INFINITY
    } else if x.is_nan() || y.is_nan() {
        f64::NAN
    } else if x.total_cmp(&y).is_gt() {
        x
    } else {
        y
    }
}

/// The lesser of two; NaN wins over all but negative infinity, and -0 is below 0.
pub(crate) fn min(x: f64, y: f64) -> f64 {
    -max(-x, -y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        values.iter().fold(CompensatedSum::starting_with(0.0), |s, v| s.plus(*v)).total()
    }

    fn mean(values: &[f64]) -> f64 {
        let (first, others) = values.split_first().expect("has values");
        let mut mean = Mean::starting_with(*first);
        others.iter().for_each(|v| mean.push(*v));
        mean.value()
    }

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn small_terms_survive_large_ones() {
        assert!(same(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0));
        assert!(same(sum(&[0.1; 10]), 1.0));
        assert!(same(sum(&[f64::INFINITY, 1.0]), f64::INFINITY));
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn a_mean_goes_on_where_its_sum_overflows() {
        assert!(same(mean(&[1e308, 1e308, 1e308, 1e308]), 1e308));
        assert!(same(mean(&[1.0, 2.0, 4.0]), 7.0 / 3.0));
        assert!(same(mean(&[5.0]), 5.0));
    }

    #[test]
    fn extremes_follow_go() {
        assert!(same(max(f64::NAN, f64::INFINITY), f64::INFINITY) && same(max(1.0, f64::NAN), f64::NAN));
        assert!(same(min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY) && same(min(f64::NAN, 1.0), f64::NAN));
        assert!(same(max(-0.0, 0.0), 0.0) && same(min(0.0, -0.0), -0.0));
        assert!(same(max(2.0, 3.0), 3.0) && same(min(2.0, 3.0), 2.0));
    }
}
