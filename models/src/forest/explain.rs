//! Which features set a row apart.
//!
//! At each cut the path that is still expected becomes shorter or longer, by how many rows of the sample go the same
//! way. These changes are given to the features of the cuts; over a path they sum up to its length less the usual
//! one, and so does their mean over the trees: nothing of the score is left unexplained. (Saabas, "Interpreting random
//! forests", 2014, does this with the predictions of a regression; the prediction here is the length of the path.)

use super::{Forest, grow::along, key, precise, usual_lengths};

impl Forest {
    /// By how much each feature shortens the mean path of a row. They sum up to the usual path length less the
    /// row's; negative is a feature that makes it look usual.
    #[must_use]
    pub fn shortenings(&self, row: &[f32]) -> Vec<f64> {
        let x = self.completed(row);
        let lengths = usual_lengths(self.sample);
        let mut shorter = vec![0.0; self.width];
        for tree in 0..self.trees() {
            self.explain_tree(tree, &x, &lengths, &mut shorter);
        }
        shorter.iter_mut().for_each(|s| *s /= precise(self.trees()));
        shorter
    }

    /// Shares of the features in what sets a row apart, none negative, which sum up to 1. The same for all if
    /// nothing does.
    #[must_use]
    pub fn contributions(&self, row: &[f32]) -> Vec<f64> {
        let mut shares = self.shortenings(row);
        shares.iter_mut().for_each(|s| *s = s.max(0.0));
        let total: f64 = shares.iter().sum();
        let even = 1.0 / precise(self.width);
        shares.iter_mut().for_each(|s| *s = if total > 0.0 { *s / total } else { even });
        shares
    }

    fn explain_tree(&self, tree: usize, x: &[f32], lengths: &[f64], shorter: &mut [f64]) {
        let size = 1_usize << self.depth;
        let base = tree * size;
        let (mut place, mut expected) = (1, lengths[self.sample]);
        for level in 1..=self.depth {
            let node = self.nodes[base + place];
            if node.count == 0 {
                return;
            }
            let terms = self.planes.get((base + place) * self.terms..).and_then(|p| p.get(..self.terms));
            let value = terms.map_or_else(|| x[usize::from(node.feature)], |terms| along(terms, |f| x[usize::from(f)]));
            place = 2 * place + usize::from(key(value) > node.threshold);
            let below = self.nodes[base..base + size].get(place).map_or(0, |n| usize::from(n.count));
            let now = if below > 0 {
                f64::from(level) + lengths.get(below).copied().unwrap_or(0.0)
            } else {
                f64::from(self.leaves[base + (place << (self.depth - level)) - size])
            };
            match terms {
                None => shorter[usize::from(node.feature)] += expected - now,
                Some(terms) => self.share_out(terms, x, expected - now, shorter),
            }
            expected = now;
        }
    }

    /// Shares the change at a plane out by how far each feature moves the row across it, from its median.
    fn share_out(&self, terms: &[(u16, f32)], x: &[f32], change: f64, shorter: &mut [f64]) {
        let moved = |(feature, weight): &(u16, f32)| {
            let feature = usize::from(*feature);
            f64::from(*weight).abs() * (f64::from(x[feature]) - f64::from(self.medians[feature])).abs()
        };
        let total: f64 = terms.iter().map(moved).sum();
        let first = terms.first().map_or(0, |term| usize::from(term.0));
        if total > 0.0 {
            terms.iter().for_each(|term| shorter[usize::from(term.0)] += change * moved(term) / total);
        } else {
            shorter[first] += change;
        }
    }
}
