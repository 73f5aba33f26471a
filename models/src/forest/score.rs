//! Scores: rows go down the trees side by side, tree by tree.

use super::{Forest, Node, Rows, Table, grow::along, key, precise, usual_lengths};

/// Rows that go through one tree before the next: rows and tree stay in the nearest cache.
const TILE: usize = 256;
/// Levels at the top in which every node is compared with all rows, because that vectorises.
const TOP: u32 = 3;
/// Rows from which on that pays.
const MANY: usize = 64;
/// Levels below the top of a tree of 256 rows, the usual number.
const LEVELS_OF_256: u32 = 5;

impl Forest {
    /// The scores of rows, each in (0, 1): towards 1 for a row that is easily set apart, below 0.5 for one of many.
    #[must_use]
    pub fn scores(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut scores = vec![0.0; rows.rows()];
        self.score_into(&rows, scores.iter_mut());
        scores
    }

    /// The score of one row. Features that it lacks are missing values.
    #[must_use]
    pub fn score(&self, row: &[f32]) -> f64 {
        let mut score = [0.0];
        let row = self.completed(row);
        self.score_into(&Rows::new(&row, self.width), score.iter_mut());
        score[0]
    }

    /// Path length that is usual in a tree of the sample's size.
    pub(super) fn usual_length(&self) -> f64 {
        usual_lengths(self.sample)[self.sample]
    }

    /// Writes the score of each row of a table, in order, as far as there are places.
    pub(super) fn score_into<'s>(&self, table: &impl Table, mut scores: impl Iterator<Item = &'s mut f64>) {
        let usual = self.usual_length();
        let mut values = vec![0.0; table.rows().min(TILE) * self.width];
        let mut sums = [0.0; TILE];
        for first in (0..table.rows()).step_by(TILE) {
            let rows = (table.rows() - first).min(TILE);
            let values = &mut values[..rows * self.width];
            for (row, values) in values.chunks_exact_mut(self.width).enumerate() {
                for (feature, value) in values.iter_mut().enumerate() {
                    *value = self.stands_for(table.at(first + row, feature), feature);
                }
            }
            let sums = &mut sums[..rows];
            sums.fill(0.0);
            if self.planes.is_empty() {
                self.descend(values, sums)
            } else {
                self.descend_planes(values, sums)
            }
            for (sum, score) in sums.iter().zip(&mut scores) {
                *score = (-*sum / precise(self.trees()) / usual).exp2();
            }
        }
    }

    /// Adds the path lengths of at most [`TILE`] rows.
    fn descend(&self, values: &[f32], sums: &mut [f64]) {
        let keys: Vec<i32> = values.iter().map(|value| key(*value)).collect();
        let columns = if sums.len() >= MANY { self.columns(&keys) } else { Vec::new() };
        let mut places = [1; TILE];
        let size = 1_usize << self.depth;
        for (nodes, leaves) in self.nodes.chunks_exact(size).zip(self.leaves.chunks_exact(size)) {
            let mut levels = self.depth;
            if let Some(first) = nodes.first_chunk().filter(|_| !columns.is_empty()) {
                top(first, &columns, &mut places);
                levels -= TOP;
            } else {
                places.fill(1);
            }
            let rows = keys.chunks_exact(self.width).zip(&places).zip(&mut *sums);
            match (<&[Node; 256]>::try_from(nodes), levels) {
                (Ok(nodes), LEVELS_OF_256) => rows.for_each(|((row, place), sum)| {
                    let bottom = lower::<256, LEVELS_OF_256>(nodes, row, *place as usize);
                    *sum += f64::from(leaves[bottom - size]);
                }),
                _ => rows.for_each(|((row, place), sum)| {
                    let bottom = (0..levels).fold(*place as usize, |place, _| step(nodes[place], row, place));
                    *sum += f64::from(leaves[bottom - size]);
                }),
            }
        }
    }

    /// Rows feature by feature.
    fn columns(&self, keys: &[i32]) -> Vec<[i32; TILE]> {
        let column = |feature: usize| {
            let mut column = [0; TILE];
            column.iter_mut().zip(keys.chunks_exact(self.width)).for_each(|(place, row)| *place = row[feature]);
            column
        };
        (0..self.width).map(column).collect()
    }

    /// The same where cuts are planes.
    fn descend_planes(&self, values: &[f32], sums: &mut [f64]) {
        let size = 1_usize << self.depth;
        let trees = self.nodes.chunks_exact(size).zip(self.leaves.chunks_exact(size));
        for ((nodes, leaves), planes) in trees.zip(self.planes.chunks_exact(size * self.terms)) {
            for (row, sum) in values.chunks_exact(self.width).zip(&mut *sums) {
                let mut place = 1;
                while place < size {
                    let terms = &planes[place * self.terms..][..self.terms];
                    let value = along(terms, |feature| row[usize::from(feature)]);
                    place = 2 * place + usize::from(key(value) > nodes[place].threshold);
                }
                *sum += f64::from(leaves[place - size]);
            }
        }
    }
}

/// Where a row goes from `place`.
#[inline]
fn step(node: Node, row: &[i32], place: usize) -> usize {
    2 * place + usize::from(node.threshold < row[usize::from(node.feature)])
}

/// Where a row is `LEVELS` below `place`. That both are known when this is compiled makes it half as long.
#[inline]
fn lower<const SIZE: usize, const LEVELS: u32>(nodes: &[Node; SIZE], row: &[i32], mut place: usize) -> usize {
    for _ in 0..LEVELS {
        place = step(nodes[place % SIZE], row, place);
    }
    place
}

/// Where rows are after the first [`TOP`] levels.
fn top(nodes: &[Node; 8], columns: &[[i32; TILE]], places: &mut [u32; TILE]) {
    let column = |node: usize| &columns[usize::from(nodes[node].feature)];
    let limit = |node: usize| nodes[node].threshold;
    // All bits set where a row goes to the right.
    let right = |value: i32, limit: i32| -i32::from(value > limit);
    let either = |is_right: i32, right: i32, left: i32| (right & is_right) | (left & !is_right);
    let (c1, c2, c3, c4, c5, c6, c7) = (column(1), column(2), column(3), column(4), column(5), column(6), column(7));
    let (t1, t2, t3, t4, t5, t6, t7) = (limit(1), limit(2), limit(3), limit(4), limit(5), limit(6), limit(7));
    for (row, place) in places.iter_mut().enumerate() {
        let first = right(c1[row], t1);
        let second = either(first, right(c3[row], t3), right(c2[row], t2));
        let low = either(second, right(c5[row], t5), right(c4[row], t4));
        let high = either(second, right(c7[row], t7), right(c6[row], t6));
        *place = (8 - 4 * first - 2 * second - either(first, high, low)).cast_unsigned();
    }
}
