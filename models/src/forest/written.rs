//! A forest as it was written down, which is believed only if it holds together: a place that a damaged file
//! points to may not be there.

use serde::Deserialize;

use super::{Forest, Node, random::Random};

#[derive(Deserialize)]
pub(super) struct Written {
    width: usize,
    depth: u32,
    sample: usize,
    terms: usize,
    random: Random,
    oldest: usize,
    medians: Vec<f32>,
    nodes: Vec<Node>,
    leaves: Vec<f32>,
    planes: Vec<(u16, f32)>,
}

impl Written {
    fn holds_together(&self) -> bool {
        let is_feature = |feature: u16| usize::from(feature) < self.width;
        let planes = if self.terms > 1 { self.nodes.len().checked_mul(self.terms) } else { Some(0) };
        (2..=4_096).contains(&self.sample)
            && self.depth == self.sample.next_power_of_two().trailing_zeros()
            && (1..=16).contains(&self.terms)
            && self.medians.len() == self.width
            && self.nodes.len() == self.leaves.len()
            && self.nodes.len().is_multiple_of(1 << self.depth)
            && self.oldest < self.nodes.len() >> self.depth
            && planes == Some(self.planes.len())
            && self.nodes.iter().all(|node| is_feature(node.feature))
            && self.planes.iter().all(|term| is_feature(term.0))
    }
}

impl TryFrom<Written> for Forest {
    type Error = &'static str;

    fn try_from(w: Written) -> Result<Self, Self::Error> {
        if !w.holds_together() {
            return Err("a forest whose parts do not fit together");
        }
        let Written { width, depth, sample, terms, random, oldest, medians, nodes, leaves, planes } = w;
        Ok(Self { width, depth, sample, terms, random, oldest, medians, nodes, leaves, planes })
    }
}
