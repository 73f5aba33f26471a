//! What an open breaker means for those around it: its service, those who call its service, and those who call what
//! it stands before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{BreakerState, Breakers};
use crate::{CallGraph, peers::Peers};

/// The most that health is while a breaker refuses calls: level 1.
const OPEN: f64 = 0.85;
/// The most that health is while a breaker tries: no level by itself.
const HALF_OPEN: f64 = 0.95;

/// The most that the health of a service is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// The service.
    pub service: Arc<str>,
    /// In [0, 1].
    pub health: f64,
    /// In words.
    pub because: String,
}

/// What breakers do to services.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Limits of health.
    pub caps: Vec<Cap>,
    /// Whose symptoms follow from an open breaker.
    held_back: BTreeSet<Arc<str>>,
}

impl Effects {
    /// Of those of `breakers` that are open or half-open, where `graph` and `peers` say who calls whom.
    pub(crate) fn of(breakers: &Breakers, graph: &CallGraph, peers: &Peers) -> Self {
        let mut effects = Self::default();
        let calls = || graph.calls().chain(peers.calls());
        for breaker in breakers.iter() {
            let holder = &breaker.service;
            let name = &breaker.name;
            let (health, state) = match breaker.state {
                BreakerState::Open => (OPEN, "open"),
                BreakerState::HalfOpen => (HALF_OPEN, "half-open"),
                BreakerState::Closed | BreakerState::Unknown => continue,
            };
            let because = format!("circuit breaker {name} of {holder} is {state}; target: closed");
            effects.caps.push(Cap { service: Arc::clone(holder), health, because });
            if breaker.state != BreakerState::Open {
                continue;
            }
            effects.held_back.insert(Arc::clone(holder));
            let dependency = breaker.dependency.as_ref().unwrap_or(name);
            let mut callers: BTreeMap<&Arc<str>, String> = BTreeMap::new();
            for (caller, _) in calls().filter(|(_, callee)| is_same(callee, dependency)) {
                callers.insert(caller, format!("{dependency}, which it calls, is cut off: breaker {name} of {holder}"));
            }
            for (caller, _) in calls().filter(|(_, callee)| *callee == holder) {
                callers.insert(caller, format!("{holder}, which it calls, has opened its circuit breaker {name}"));
            }
            callers.remove(holder);
            for (caller, because) in callers {
                let because = format!("{because}; its own symptoms raise no alerts meanwhile");
                effects.caps.push(Cap { service: Arc::clone(caller), health: OPEN, because });
                effects.held_back.insert(Arc::clone(caller));
            }
        }
        effects
    }

    /// Whether symptoms of `service` follow from an open breaker, and raise no alerts of their own.
    #[must_use]
    pub fn holds_back(&self, service: &str) -> bool {
        self.held_back.contains(service)
    }
}

/// Whether two names are of the same thing: whole, or by what stands behind the last slash, whatever the case and
/// the dashes.
fn is_same(callee: &str, dependency: &str) -> bool {
    let plain = |name: &str| -> String {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    plain(callee) == plain(dependency)
}
