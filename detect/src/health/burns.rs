//! What long windows say about budgets. A window is looked at sixty times while it passes, and not more often than
//! every 15 s, not at each assessment: three days of a counter are much to read, and say the same a minute later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::UnixNanos;

use super::{
    Answers,
    objective::{Burn, Objective},
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
    /// Looks at the windows of `objectives` whose time has come at `at`, and forgets those of others.
    pub(super) fn update(&mut self, objectives: &[Objective], at: UnixNanos, answers: &mut Answers<'_>) {
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
                let (step, phase) = grid(&key);
                let slot = |time: UnixNanos| time.plus(phase).floor_to(step);
                let is_current = |look: &Look| look.at.is_some_and(|last| slot(last) == slot(at));
                let known = before.remove(&key).filter(is_current);
                self.looks.insert(key, known.unwrap_or_else(|| look(objective, burn, at, answers)));
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

impl Shares<'_> {
    /// The share that was bad in the window of `burn`, of the samples of `job`.
    pub(super) fn share(&self, burn: &Burn, job: Option<&str>) -> Option<f64> {
        let wanted = millis(burn);
        let (_, shares) = self.0.iter().find(|(window, _)| *window == wanted)?;
        shares.get(job.unwrap_or_default()).copied()
    }
}

/// How often a window is looked at, and how far ahead of the full step: so that not all windows of all objectives are
/// looked at in the same assessment.
fn grid((name, window): &(Arc<str>, u64)) -> (Duration, Duration) {
    let step = Duration::from_millis(window / u64::from(LOOKS)).max(PUBLISH_EVERY);
    let seconds = step.as_secs().max(1);
    (step, Duration::from_secs(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), *window) % seconds))
}

fn look(objective: &Objective, burn: &Burn, at: UnixNanos, answers: &mut Answers<'_>) -> Look {
    let mut shares = BTreeMap::new();
    for sample in answers.to(&burn.query).iter() {
        let job = sample.labels.get("job");
        if job.is_none_or(|job| objective.is_about(job)) {
            shares.insert(job.unwrap_or_default().into(), sample.value);
        }
    }
    Look { at: Some(at), shares }
}
