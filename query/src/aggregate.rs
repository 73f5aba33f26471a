//! Many series into one per group.

use crate::{
    directory::{Directory, Element, Grouping, Who},
    functions::{count, greater, lesser},
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
pub(crate) fn aggregate(op: Aggregation, vector: &[Element], by: Grouping, directory: &mut Directory) -> Vec<Element> {
    let mut groups: Vec<(Who, State)> = Vec::new();
    directory.clear_places();
    for Element { who, value } in vector {
        let group = directory.group(by, *who);
        match directory.place(group) {
            Some(place) => groups[place].1.push(*value),
            None => {
                directory.set_place(group, groups.len());
                groups.push((group, State::starting_with(op, *value)));
            }
        }
    }
    groups.into_iter().map(|(who, state)| Element { who, value: state.value() }).collect()
}
