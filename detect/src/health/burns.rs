//! What long windows say about budgets. A window is looked at sixty times while it passes, not at each assessment:
//! three days of a counter are much to read, and say the same a minute later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use query::Value;
use serde::{Deserialize, Serialize};
use window::UnixNanos;

use super::{
    Evidence,
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
    (Arc::clone(&objective.name), u64::try_from(burn.window.as_millis()).unwrap_or(u64::MAX))
}

impl Burns {
    /// Looks at the windows of `objectives` whose time has come, and forgets those of others.
    pub(super) fn update(&mut self, objectives: &[Objective], evidence: &Evidence<'_>) {
        if self.told_at.is_none_or(|told| told.floor_to(PUBLISH_EVERY) != evidence.at.floor_to(PUBLISH_EVERY)) {
            self.told_at = Some(evidence.at);
        }
        let before = std::mem::take(&mut self.looks);
        for objective in objectives {
            let pairs = objective.budget.iter().flat_map(|budget| &budget.pairs);
            for burn in pairs.flat_map(|pair| [&pair.long, &pair.short]) {
                let key = key(objective, burn);
                let known = before.get(&key).cloned().unwrap_or_default();
                let step = burn.window / LOOKS;
                let is_known = known.at.is_some_and(|at| at.floor_to(step) == evidence.at.floor_to(step));
                self.looks.insert(key, if is_known { known } else { look(burn, evidence) });
            }
        }
    }

    /// Whether values are published in the assessment at `at`.
    pub(super) fn is_told_at(&self, at: UnixNanos) -> bool {
        self.told_at == Some(at)
    }

    /// The share that was bad in the window of `burn`, of the samples of `job`.
    pub(super) fn share(&self, objective: &Objective, burn: &Burn, job: Option<&str>) -> Option<f64> {
        self.looks.get(&key(objective, burn))?.shares.get(job.unwrap_or_default()).copied()
    }
}

fn look(burn: &Burn, evidence: &Evidence<'_>) -> Look {
    let answer = burn.query.instant(evidence.snapshot, evidence.at, evidence.options);
    let samples = if let Ok(Value::Vector(samples)) = answer { samples } else { Vec::new() };
    let share = |sample: query::InstantSample| (sample.labels.get("job").unwrap_or_default().into(), sample.value);
    Look { at: Some(evidence.at), shares: samples.into_iter().map(share).collect() }
}
