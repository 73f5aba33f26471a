//! Slices of time of an objective that compares a value with a threshold: how much of each one missed it.
//!
//! Slices roll: one ends whenever values are published, and is judged by the values that were published in it. A time
//! without a value ends no slice and is in none, so it is neither good nor bad.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use query::Query;

use super::{Answers, Objective, objective};

/// How slices of time are judged.
#[derive(Clone, Debug)]
pub struct Slices {
    /// The share of a slice's values that have to meet the target for it to be good. `None` where a slice counts by
    /// the share itself.
    pub target: Option<f64>,
    /// How many values missed the target in the slice before now, by `job`.
    missed: Query,
    /// How many values there were in it.
    all: Query,
}

impl Slices {
    /// Slices of `length` of the published values of `objective`.
    pub(super) fn new(objective: &Objective, length: Duration, target: Option<f64>) -> Result<Self, String> {
        let over = |function: &str| {
            let values = objective.published(objective::MISSED, length);
            objective::parse(&format!("sum by (job) ({function}({values}))"))
        };
        Ok(Self { target, missed: over("sum_over_time")?, all: over("count_over_time")? })
    }

    /// Everything that they ask.
    pub(super) fn queries(&self) -> [&Query; 2] {
        [&self.missed, &self.all]
    }

    /// What there was in the slices that end now, before the values of now.
    pub(super) fn before(&self, answers: &mut Answers<'_>) -> Before {
        let mut counts = |query: &Query| {
            let samples = answers.to(query);
            let of_jobs = samples.iter().map(|s| (s.labels.get_shared("job").map(Arc::clone), s.value));
            of_jobs.collect::<BTreeMap<_, _>>()
        };
        Before { target: self.target, missed: counts(&self.missed), all: counts(&self.all) }
    }
}

/// Values of the slices that end now without the newest, by `job`.
#[derive(Debug)]
pub(super) struct Before {
    target: Option<f64>,
    missed: BTreeMap<Option<Arc<str>>, f64>,
    all: BTreeMap<Option<Arc<str>>, f64>,
}

impl Before {
    /// How much of the slice of `job` counts as missed, in [0, 1], where its newest value misses the target or not.
    pub(super) fn with(&self, job: Option<&Arc<str>>, is_missed: bool) -> f64 {
        let job = job.map(Arc::clone);
        let of = |counts: &BTreeMap<_, f64>| counts.get(&job).copied().unwrap_or_default();
        let (missed, all) = (of(&self.missed) + f64::from(u8::from(is_missed)), of(&self.all) + 1.0);
        match self.target {
            // Shares of whole numbers: nine of ten are 0.9, not a little less.
            Some(target) => f64::from(u8::from((all - missed) / all < target)),
            None => missed / all,
        }
    }
}

#[cfg(test)]
#[path = "slices/tests.rs"]
mod tests;
