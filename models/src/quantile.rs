//! Streaming quantiles by stochastic approximation.
//!
//! A quantile in eight bytes: each value moves the estimate up or down by a step that shrinks like
//! 1/n to a floor, so the estimate settles first and follows slow drift later (Robbins and Monro,
//! "A stochastic approximation method", 1951; Tierney, "A space-efficient recursive procedure for
//! estimating a quantile of an unknown distribution", 1983). A digest would be more exact and a
//! hundred times larger, and there is one of these for every series.

use serde::{Deserialize, Serialize};

/// Estimate of one quantile of a stream of finite values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    estimate: f64,
}

impl Quantile {
    /// Starts at `estimate`, usually the quantile of the first values, computed exactly.
    #[must_use]
    pub fn starting_at(estimate: f64) -> Self {
        Self { estimate }
    }

    /// The estimate.
    #[must_use]
    pub fn get(self) -> f64 {
        self.estimate
    }

    /// Takes one finite value of the stream.
    ///
    /// `rank` in (0, 1) says which quantile; `step` is the distance that the estimate moves for a
    /// rank of 0.5, in the unit of the values: spread of the values times the learning rate.
    pub fn update(&mut self, value: f64, rank: f64, step: f64) {
        if value > self.estimate {
            self.estimate += 2.0 * step * rank;
        } else if value < self.estimate {
            self.estimate -= 2.0 * step * (1.0 - rank);
        }
    }
}

/// The `rank` quantile of `values` by linear interpolation (type 7 of Hyndman and Fan, 1996); sorts
/// them. 0 for an empty slice. Values must not be NaN.
#[must_use]
pub fn exact_quantile(values: &mut [f64], rank: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "a slice is far shorter than 2^52")]
    let position = rank.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform in [0, 1), from a fixed linear congruential generator.
    fn uniform(n: usize) -> impl Iterator<Item = f64> {
        let mut x: u64 = 7;
        (0..n).map(move |_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 11) as f64 / (1_u64 << 53) as f64
        })
    }

    #[test]
    fn exact_quantiles_interpolate() {
        let close = |rank, want: f64| (exact_quantile(&mut [4.0, 1.0, 3.0, 2.0], rank) - want).abs() < 1e-12;
        assert!(close(0.5, 2.5) && close(0.0, 1.0) && close(1.0, 4.0) && close(0.25, 1.75));
        assert!(exact_quantile(&mut [], 0.5).abs() < 1e-12);
    }

    #[test]
    fn finds_the_quantile_of_a_stream_from_a_wrong_start() {
        for rank in [0.1, 0.5, 0.9] {
            let mut q = Quantile::starting_at(3.0);
            for (i, x) in uniform(20_000).enumerate() {
                q.update(x, rank, (1.0 / (1.0 + i as f64)).max(0.002));
            }
            assert!((q.get() - rank).abs() < 0.03, "rank {rank}: {}", q.get());
        }
    }
}
