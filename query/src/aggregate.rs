//! Many series into one per group.

use std::collections::HashMap;

use crate::{
    InstantSample,
    functions::{count, greater, lesser},
    labels::{Group, Projector},
    numbers::{CompensatedSum, Mean},
    plan::Aggregation,
};

/// What is known of a group so far.
#[derive(Clone, Copy, Debug)]
enum State {
    Sum(CompensatedSum),
    Avg(Mean),
    Min(f64),
    Max(f64),
    Count(usize),
    Group,
}

impl State {
    fn starting_with(op: Aggregation, first: f64) -> Self {
        match op {
            Aggregation::Sum => Self::Sum(CompensatedSum::starting_with(first)),
            Aggregation::Avg => Self::Avg(Mean::starting_with(first)),
            Aggregation::Min => Self::Min(first),
            Aggregation::Max => Self::Max(first),
            Aggregation::Count => Self::Count(1),
            Aggregation::Group => Self::Group,
        }
    }

    fn push(&mut self, x: f64) {
        match self {
            Self::Sum(sum) => *sum = sum.plus(x),
            Self::Avg(mean) => mean.push(x),
            Self::Min(best) => *best = lesser(*best, x),
            Self::Max(best) => *best = greater(*best, x),
            Self::Count(n) => *n += 1,
            Self::Group => {}
        }
    }

    fn value(self) -> f64 {
        match self {
            Self::Sum(sum) => sum.total(),
            Self::Avg(mean) => mean.value(),
            Self::Min(best) | Self::Max(best) => best,
            Self::Count(n) => count(n),
            Self::Group => 1.0,
        }
    }
}

/// One element per group, in the order in which the groups appear; nothing of nothing.
pub(crate) fn aggregate(op: Aggregation, vector: &[InstantSample], by: &mut Projector<'_>) -> Vec<InstantSample> {
    let mut places: HashMap<Group, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut states: Vec<State> = Vec::new();
    let mut before: Option<(&InstantSample, usize)> = None;
    for sample in vector {
        // Elements mostly come sorted, so that those of a group mostly follow each other.
        let place = match before {
            Some((other, place)) if by.are_together(other, sample) => place,
            _ => *places.entry(by.group(sample)).or_insert(states.len()),
        };
        before = Some((sample, place));
        match states.get_mut(place) {
            Some(state) => state.push(sample.value),
            None => states.push(State::starting_with(op, sample.value)),
        }
    }
    let mut groups: Vec<(Group, usize)> = places.into_iter().collect();
    groups.sort_unstable_by_key(|(_, place)| *place);
    let value = |(group, place): (Group, usize)| InstantSample {
        name: group.name,
        labels: group.labels,
        value: states[place].value(),
    };
    groups.into_iter().map(value).collect()
}
