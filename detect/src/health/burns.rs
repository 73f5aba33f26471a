//! What long windows say about budgets. A window is looked at sixty times while it passes, and not more often than
//! every 15 s, not at each assessment: three days of a counter are much to read, and say the same a minute later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::UnixNanos;

use super::{
    Answers,
    objective::{Burn, Objective, Pair},
};

/// How often a window is looked at while it passes.
const LOOKS: u32 = 60;
/// Values of objectives are published once in this time.
const PUBLISH_EVERY: Duration = Duration::from_secs(15);

/// Shares that were bad, by objective, window in milliseconds, and job (empty where there is none).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Burns {
    looks: BTreeMap<(Arc<str>, u64), Look>,
    /// When values were published last.
    told_at: Option<UnixNanos>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Look {
    at: Option<UnixNanos>,
    shares: BTreeMap<Arc<str>, f64>,
}

fn key(objective: &Objective, burn: &Burn) -> (Arc<str>, u64) {
    (Arc::clone(&objective.name), millis(burn))
}

fn millis(burn: &Burn) -> u64 {
    u64::try_from(burn.window.as_millis()).unwrap_or(u64::MAX)
}

impl Burns {
    /// Looks at the windows of `objectives` whose time has come, and forgets those of others.
    pub(super) fn update(&mut self, objectives: &[Objective], answers: &mut Answers<'_>) {
        let at = answers.moment.at;
        if self.told_at.is_none_or(|told| told.floor_to(PUBLISH_EVERY) != at.floor_to(PUBLISH_EVERY)) {
            self.told_at = Some(at);
        }
        let mut before = std::mem::take(&mut self.looks);
        for objective in objectives {
            let pairs = objective.budget.iter().flat_map(|budget| &budget.pairs);
            for burn in pairs.flat_map(|pair| [&pair.long, &pair.short]) {
                let key = key(objective, burn);
                // Two pairs may have a window in common.
                if self.looks.contains_key(&key) {
                    continue;
                }
                let (step, phase) = grid(burn);
                let slot = |time: UnixNanos| time.plus(phase).floor_to(step);
                let is_current = |look: &Look| look.at.is_some_and(|last| slot(last) == slot(at));
                let known = before.remove(&key).filter(is_current);
                self.looks.insert(key, known.unwrap_or_else(|| look(objective, burn, answers)));
            }
        }
    }

    /// Whether values are published in the assessment at `at`.
    pub(super) fn is_told_at(&self, at: UnixNanos) -> bool {
        self.told_at == Some(at)
    }

    /// What the windows of `objective` said.
    pub(super) fn of(&self, objective: &Objective) -> Shares<'_> {
        let windows = (Arc::clone(&objective.name), 0)..=(Arc::clone(&objective.name), u64::MAX);
        Shares(self.looks.range(windows).map(|((_, window), look)| (*window, &look.shares)).collect())
    }
}

/// Shares that were bad for one objective: by window in milliseconds, and by job.
#[derive(Debug)]
pub(super) struct Shares<'a>(Vec<(u64, &'a BTreeMap<Arc<str>, f64>)>);

impl<'a> Shares<'a> {
    /// The share that was bad in the window of `burn`, of the samples of `job`.
    pub(super) fn share(&self, burn: &Burn, job: Option<&str>) -> Option<f64> {
        self.by_job(burn)?.get(job.unwrap_or_default()).copied()
    }

    fn by_job(&self, burn: &Burn) -> Option<&'a BTreeMap<Arc<str>, f64>> {
        let wanted = millis(burn);
        self.0.iter().find(|(window, _)| *window == wanted).map(|(_, shares)| *shares)
    }

    /// The jobs for which the budget of `objective` burns, mostly few, and the pair with the greatest factor of those
    /// whose windows both burn faster than it.
    pub(super) fn burning<'o>(&self, objective: &'o Objective) -> BTreeMap<&'a str, &'o Pair> {
        let mut burning = BTreeMap::new();
        let Some(budget) = &objective.budget else { return burning };
        for pair in &budget.pairs {
            let limit = pair.factor * budget.share;
            for (job, _) in self.by_job(&pair.long).into_iter().flatten().filter(|(_, share)| **share > limit) {
                if self.share(&pair.short, Some(job)).is_some_and(|share| share > limit) {
                    burning.entry(&**job).or_insert(pair);
                }
            }
        }
        burning
    }
}

/// How often a window is looked at, and how far ahead of the full step: so that not all windows of all objectives are
/// looked at in the same assessment, but those that ask the same are.
fn grid(burn: &Burn) -> (Duration, Duration) {
    let step = (burn.window / LOOKS).max(PUBLISH_EVERY);
    let phase = xxhash_rust::xxh3::xxh3_64(burn.query.text().as_bytes()) % step.as_secs().max(1);
    (step, Duration::from_secs(phase))
}

fn look(objective: &Objective, burn: &Burn, answers: &mut Answers<'_>) -> Look {
    let samples = answers.to(&burn.query);
    let of_jobs = samples.iter().map(|sample| (sample.labels.get_shared("job"), sample.value));
    let about = of_jobs.filter(|(job, _)| job.is_none_or(|job| objective.is_about(job)));
    let shares = about.map(|(job, value)| (job.map(Arc::clone).unwrap_or_default(), value)).collect();
    Look { at: Some(answers.moment.at), shares }
}
