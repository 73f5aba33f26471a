//! Circuit breakers, whatever library tells of them: one state for each, see `docs/breakers.md`.
//!
//! Unknown is not closed: a breaker that nothing is heard of, or that has not said what it is, takes part in nothing.

mod effects;
mod sources;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::{Labels, Sample, Series, SeriesId, SeriesKey, Snapshot, UnixNanos};

pub(crate) use self::effects::MOST_DEPENDENTS;
use self::sources::{Reading, Told};
pub use self::{
    effects::{Cap, Effects},
    sources::METRICS,
};
use crate::rules::Recorded;

/// Breakers that are followed at most; further ones are not.
const MOST: usize = 1_000;
/// A breaker that was not heard for so long is unknown.
const FRESH: Duration = Duration::from_mins(5);
/// One that was not heard for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Published: 0 closed, 1 open, 2 half-open.
const STATE: &str = "bellwether_breaker_state";

/// Service and name of a breaker.
type Key = (Arc<str>, Arc<str>);
/// A series, and what it tells.
type Telling<'a> = (SeriesId, &'a Arc<Series>, Reading);

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BreakerState {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It lets them through.
    Closed,
    /// It lets some through, to see whether they succeed.
    HalfOpen,
    /// It refuses them.
    Open,
}

/// A breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// Who has it: the `job` of its metrics.
    pub service: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
    /// What it stands before, if its metrics say so; else its name may be that.
    pub dependency: Option<Arc<str>>,
    /// Which library tells of it.
    pub library: Arc<str>,
    /// What it does.
    pub state: BreakerState,
    /// Since when, in event time.
    pub since: UnixNanos,
    last_heard: UnixNanos,
    /// When one of its counters began, the first of them.
    began: UnixNanos,
    /// The newest event that a counter told of.
    event: Option<(UnixNanos, BreakerState)>,
}

/// All breakers that were heard of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breakers {
    by_name: BTreeMap<Key, Breaker>,
    /// The last sample of each counter.
    counters: BTreeMap<u128, (UnixNanos, f64)>,
}

impl Breakers {
    /// Reads what was told of breakers up to event time `at`.
    pub fn update(&mut self, snapshot: &Snapshot, at: UnixNanos) {
        let mut told: BTreeMap<Key, Vec<Telling<'_>>> = BTreeMap::new();
        for name in snapshot.registry.names().filter(|name| sources::may_tell(name)) {
            for id in snapshot.registry.named(name) {
                let Some(series) = snapshot.registry.get(*id) else { continue };
                if let Some(reading) = sources::reading(series) {
                    let key = (Arc::clone(&series.service), Arc::clone(&reading.breaker));
                    told.entry(key).or_default().push((*id, series, reading));
                }
            }
        }
        for (key, readings) in told {
            if self.by_name.contains_key(&key) || self.by_name.len() < MOST {
                self.read(key, &readings, snapshot, at);
            }
        }
        self.by_name.retain(|_, breaker| at.since(breaker.last_heard) < FORGET_AFTER);
        for breaker in self.by_name.values_mut().filter(|breaker| at.since(breaker.last_heard) >= FRESH) {
            breaker.become_at(BreakerState::Unknown, at);
        }
        self.counters.retain(|_, (heard, _)| at.since(*heard) < FORGET_AFTER);
    }

    fn read(&mut self, key: Key, readings: &[Telling<'_>], snapshot: &Snapshot, at: UnixNanos) {
        let fresh = |id: SeriesId| snapshot.last_sample(id, at.minus(FRESH), at).filter(|s| s.value.is_finite());
        let samples: Vec<Option<Sample>> = readings.iter().map(|(id, ..)| fresh(*id)).collect();
        let Some(newest) = samples.iter().flatten().map(|sample| sample.time).max() else { return };
        let first = &readings[0].2;
        let breaker = self.by_name.entry(key.clone()).or_insert_with(|| Breaker {
            service: key.0,
            name: key.1,
            dependency: first.dependency.clone(),
            library: first.library.into(),
            state: BreakerState::Unknown,
            since: at,
            last_heard: newest,
            began: newest,
            event: None,
        });
        breaker.last_heard = newest;
        let mut now = BreakerState::Unknown;
        let mut events: Vec<(UnixNanos, f64, BreakerState)> = Vec::new();
        let mut began = breaker.began;
        for ((id, series, reading), sample) in readings.iter().zip(&samples) {
            let growth = match reading.told {
                Told::Grows(_) | Told::Lives => grown(&mut self.counters, series.key, *id, snapshot, at),
                _ => Growth::default(),
            };
            began = growth.first.map_or(began, |first| began.min(first.time));
            let Some(sample) = sample else { continue };
            match reading.told {
                Told::Number => now = now.max(sources::numbered(sample.value)),
                Told::Is(state) if sample.value > 0.0 => now = now.max(state),
                Told::AtLimit if sample.value > 0.0 => now = BreakerState::Open,
                Told::AtLimit => now = now.max(BreakerState::Closed),
                Told::Is(_) | Told::Lives => {}
                Told::Grows(state) => {
                    events.extend(growth.last.map(|(time, by)| (time, by, state)));
                    events.extend(growth.first.filter(|s| s.value > 0.0).map(|s| (s.time, s.value, state)));
                }
            }
        }
        breaker.began = began;
        // What a counter began with may have happened at any time, unless the breaker was heard before.
        events.retain(|(time, ..)| *time > began);
        let newest = events.into_iter().max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        if let Some((time, _, state)) = newest.filter(|(time, ..)| breaker.event.is_none_or(|(last, _)| *time >= last))
        {
            breaker.event = Some((time, state));
        }
        let counted = breaker.event.map_or(BreakerState::Unknown, |(_, state)| state);
        breaker.become_at(now.max(counted), at);
    }

    /// Its breakers, by service and name.
    pub fn iter(&self) -> impl Iterator<Item = &Breaker> {
        self.by_name.values()
    }

    /// Those whose state is known, as series.
    #[must_use]
    pub fn published(&self, at: UnixNanos) -> Vec<Recorded> {
        let known = self.iter().filter_map(|breaker| {
            let value = match breaker.state {
                BreakerState::Unknown => return None,
                BreakerState::Closed => 0.0,
                BreakerState::Open => 1.0,
                BreakerState::HalfOpen => 2.0,
            };
            let dependency = breaker.dependency.as_ref().map(|name| ("dependency", &**name));
            let named = [("job", &*breaker.service), ("breaker", &*breaker.name), ("library", &*breaker.library)];
            let labels = Labels::from_pairs(named.into_iter().chain(dependency));
            Some(Recorded { name: STATE.into(), labels, time: at, value })
        });
        known.collect()
    }
}

impl Breaker {
    fn become_at(&mut self, state: BreakerState, at: UnixNanos) {
        if self.state != state {
            (self.state, self.since) = (state, at);
        }
    }
}

/// What a counter did since it was read last.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    /// The sample that it begins with, the first time.
    first: Option<Sample>,
    /// When it grew last, and by how much.
    last: Option<(UnixNanos, f64)>,
}

fn grown(
    counters: &mut BTreeMap<u128, (UnixNanos, f64)>,
    key: SeriesKey,
    id: SeriesId,
    snapshot: &Snapshot,
    at: UnixNanos,
) -> Growth {
    let known = counters.get(&key.0).copied();
    let mut samples = Vec::new();
    snapshot.samples_into(id, known.map_or(UnixNanos::MIN, |(time, _)| time), at, &mut samples);
    let mut growth = Growth::default();
    let mut before = known;
    for sample in samples.into_iter().filter(|sample| sample.value.is_finite()) {
        match before {
            None => growth.first = Some(sample),
            Some((_, value)) if sample.value > value => growth.last = Some((sample.time, sample.value - value)),
            // It began anew, and counted up to this since.
            Some((_, value)) if sample.value < value && sample.value > 0.0 => {
                growth.last = Some((sample.time, sample.value));
            }
            Some(_) => {}
        }
        before = Some((sample.time, sample.value));
    }
    if let Some(last) = before {
        counters.insert(key.0, last);
    }
    growth
}

#[cfg(test)]
#[path = "breakers/tests.rs"]
mod tests;
