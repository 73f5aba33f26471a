//! Growing one tree from a sample of the rows.

use super::{Forest, Node, PASS, Table, finite, key, precise, random::Random, rough, usual_lengths};

/// What growing a tree needs, kept from one tree to the next.
pub(super) struct Grower {
    width: usize,
    sample: usize,
    terms: usize,
    lengths: Vec<f64>,
    /// All rows in some order: the next sample is drawn to the front.
    order: Vec<u32>,
    /// The sample, feature by feature.
    columns: Vec<f32>,
    /// Rows of the sample in the order in which the tree holds them.
    rows: Vec<u16>,
    right: Vec<u16>,
    /// Standard deviations of the features in the sample; only for planes.
    deviations: Vec<f64>,
    features: Vec<u16>,
    waiting: Vec<Part>,
}

/// Rows of the sample that come to one place of the tree.
#[derive(Clone, Copy)]
struct Part {
    place: usize,
    level: u32,
    first: usize,
    end: usize,
}

impl Grower {
    pub(super) fn new(table: &impl Table, sample: usize, terms: usize) -> Self {
        let width = table.width();
        let rows = u32::try_from(table.rows()).unwrap_or(u32::MAX);
        Self {
            width,
            sample,
            terms,
            lengths: usual_lengths(sample),
            order: (0..rows).collect(),
            columns: vec![0.0; width * sample],
            rows: Vec::with_capacity(sample),
            right: Vec::with_capacity(sample),
            deviations: Vec::new(),
            features: (0..width).filter_map(|f| u16::try_from(f).ok()).collect(),
            waiting: Vec::new(),
        }
    }

    /// Grows the tree number `tree` of `forest` anew.
    pub(super) fn grow(&mut self, table: &impl Table, forest: &mut Forest, tree: usize) {
        self.draw(table, &mut forest.random, &forest.medians);
        let size = 1_usize << forest.depth;
        let base = tree * size;
        forest.nodes[base..base + size].fill(PASS);
        self.waiting.push(Part { place: 1, level: 0, first: 0, end: self.sample });
        while let Some(part) = self.waiting.pop() {
            let count = part.end - part.first;
            let cut = (count > 1 && part.level < forest.depth).then(|| self.cut(forest, base, part)).flatten();
            let Some((node, middle)) = cut else {
                let bottom = (part.place << (forest.depth - part.level)) - size;
                forest.leaves[base + bottom] = rough(f64::from(part.level) + self.lengths[count]);
                continue;
            };
            forest.nodes[base + part.place] = node;
            let (place, level) = (2 * part.place, part.level + 1);
            self.waiting.push(Part { place: place + 1, level, first: middle, end: part.end });
            self.waiting.push(Part { place, level, first: part.first, end: middle });
        }
    }

    /// Draws a sample without putting back, and lays it out feature by feature.
    fn draw(&mut self, table: &impl Table, random: &mut Random, medians: &[f32]) {
        for i in 0..self.sample {
            let j = i + random.below(self.order.len() - i);
            self.order.swap(i, j);
        }
        for (feature, column) in self.columns.chunks_exact_mut(self.sample).enumerate() {
            for (value, row) in column.iter_mut().zip(&self.order) {
                *value = finite(table.at(*row as usize, feature), medians[feature]);
            }
        }
        self.rows.clear();
        self.rows.extend((0..self.sample).filter_map(|row| u16::try_from(row).ok()));
        if self.terms > 1 {
            self.deviations = self.columns.chunks_exact(self.sample).map(deviation).collect();
        }
    }

    /// A random cut through a part and where it divides its rows; `None` if all of them are the same.
    fn cut(&mut self, forest: &mut Forest, base: usize, part: Part) -> Option<(Node, usize)> {
        let count = u16::try_from(part.end - part.first).unwrap_or(u16::MAX);
        if self.terms > 1 {
            return self.cut_by_plane(forest, base, part, count);
        }
        let (feature, low, high) = self.varied(&mut forest.random, part, 0)?;
        let threshold = rough(low + forest.random.uniform() * (high - low));
        // Rounded up to the greatest value, nothing would be on the right.
        let threshold = if f64::from(threshold) < high { threshold } else { rough(low) };
        let column = &self.columns[usize::from(feature) * self.sample..][..self.sample];
        let middle =
            divide(&mut self.rows[part.first..part.end], &mut self.right, |row| column[usize::from(row)] <= threshold);
        Some((Node { threshold: key(threshold), feature, count }, part.first + middle))
    }

    /// A plane through a random point of the box around the part, at a random angle.
    fn cut_by_plane(&mut self, forest: &mut Forest, base: usize, part: Part, count: u16) -> Option<(Node, usize)> {
        let plane = (base + part.place) * self.terms;
        let mut offset = 0.0;
        for term in 0..self.terms {
            let Some((feature, low, high)) = self.varied(&mut forest.random, part, term) else {
                if term == 0 {
                    return None;
                }
                forest.planes[plane + term] = (0, 0.0);
                continue;
            };
            let weight = forest.random.normal() / self.deviations[usize::from(feature)];
            let weight = rough(weight).clamp(f32::MIN, f32::MAX);
            offset += f64::from(weight) * (low + forest.random.uniform() * (high - low));
            forest.planes[plane + term] = (feature, weight);
        }
        let threshold = rough(offset).clamp(f32::MIN, f32::MAX);
        let (columns, sample) = (&self.columns, self.sample);
        let terms = &forest.planes[plane..plane + self.terms];
        let is_left =
            |row| along(terms, |feature| columns[usize::from(feature) * sample + usize::from(row)]) <= threshold;
        let middle = divide(&mut self.rows[part.first..part.end], &mut self.right, is_left);
        Some((Node { threshold: key(threshold), feature: 0, count }, part.first + middle))
    }

    /// A random feature that is not the same in all rows of the part, with its range. The first `taken` of the
    /// features were drawn before; what was found to be the same everywhere is not asked again.
    fn varied(&mut self, random: &mut Random, part: Part, taken: usize) -> Option<(u16, f64, f64)> {
        let rows = &self.rows[part.first..part.end];
        let mut end = self.width;
        while end > taken {
            let drawn = taken + random.below(end - taken);
            let feature = self.features[drawn];
            let column = &self.columns[usize::from(feature) * self.sample..][..self.sample];
            let (low, high) = range(rows, column);
            if high > low {
                self.features.swap(taken, drawn);
                return Some((feature, f64::from(low), f64::from(high)));
            }
            end -= 1;
            self.features.swap(drawn, end);
        }
        None
    }
}

/// Where a row lies across a plane.
pub(super) fn along(terms: &[(u16, f32)], at: impl Fn(u16) -> f32) -> f32 {
    // The greatest finite numbers times a weight may be infinite, and two such sums no number at all.
    let sum: f64 = terms.iter().map(|(feature, weight)| f64::from(*weight) * f64::from(at(*feature))).sum();
    rough(sum).clamp(f32::MIN, f32::MAX)
}

fn range(rows: &[u16], column: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for row in rows {
        let value = column[usize::from(*row)];
        low = if value < low { value } else { low };
        high = if value > high { value } else { high };
    }
    (low, high)
}

/// Moves rows that go to the left to the front, in their order, and says how many they are.
fn divide(rows: &mut [u16], right: &mut Vec<u16>, is_left: impl Fn(u16) -> bool) -> usize {
    right.clear();
    right.resize(rows.len(), 0);
    let (mut left, mut others) = (0, 0);
    // Both sides are written each time and one of them moves on: no branch to be guessed wrong.
    for i in 0..rows.len() {
        let row = rows[i];
        let goes_left = is_left(row);
        rows[left] = row;
        right[others] = row;
        left += usize::from(goes_left);
        others += usize::from(!goes_left);
    }
    rows[left..].copy_from_slice(&right[..others]);
    left
}

fn deviation(column: &[f32]) -> f64 {
    let n = precise(column.len());
    let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let squares: f64 = column.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
    (squares / n).sqrt().max(f64::MIN_POSITIVE)
}
