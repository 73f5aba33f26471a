//! What an open breaker means for those around it: its service, those who call its service, and those who call what
//! it stands before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{BreakerState, Breakers};
use crate::{Alert, CallGraph, peers::Peers};

/// The most that health is while a breaker refuses calls: level 1.
const OPEN: f64 = 0.85;
/// The most that health is while a breaker tries: no level by itself.
const HALF_OPEN: f64 = 0.95;
/// Services that an alert names as dependents at most.
pub(crate) const MOST_DEPENDENTS: usize = 1_000;

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
    behind: Vec<Behind>,
}

/// Whose trouble follows from an open breaker.
#[derive(Clone, Debug, PartialEq)]
struct Behind {
    /// The service that has the breaker.
    holder: Arc<str>,
    /// Its name there.
    breaker: Arc<str>,
    services: BTreeSet<Arc<str>>,
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
            let dependency = breaker.dependency.as_ref().unwrap_or(name);
            let mut callers: BTreeMap<&Arc<str>, String> = BTreeMap::new();
            for (caller, _) in calls().filter(|(_, callee)| is_same(callee, dependency)) {
                callers.insert(caller, format!("{dependency}, which it calls, is cut off: breaker {name} of {holder}"));
            }
            for (caller, _) in calls().filter(|(_, callee)| *callee == holder) {
                callers.insert(caller, format!("{holder}, which it calls, has opened its circuit breaker {name}"));
            }
            callers.remove(holder);
            let mut services = BTreeSet::from([Arc::clone(holder)]);
            for (caller, because) in callers {
                let because = format!("{because}; its own symptoms raise no alerts meanwhile");
                effects.caps.push(Cap { service: Arc::clone(caller), health: OPEN, because });
                services.insert(Arc::clone(caller));
            }
            effects.behind.push(Behind { holder: Arc::clone(holder), breaker: Arc::clone(name), services });
        }
        effects
    }

    /// Whether symptoms of `service` follow from an open breaker, and raise no alerts of their own.
    #[must_use]
    pub fn holds_back(&self, service: &str) -> bool {
        self.behind.iter().any(|behind| behind.services.contains(service))
    }

    /// Whose trouble may follow from what `alert` is about, where `graph` and `peers` say who calls whom: as
    /// [`Alert::dependents`] says.
    pub(crate) fn dependents(&self, alert: &Alert, graph: &CallGraph, peers: &Peers) -> Vec<Arc<str>> {
        let Some(service) = alert.service() else { return Vec::new() };
        let found: BTreeSet<Arc<str>> = match alert.labels.get("breaker") {
            Some(breaker) => {
                let its = self.behind.iter().filter(|b| *b.holder == *service && *b.breaker == *breaker);
                its.flat_map(|behind| behind.services.iter().cloned()).collect()
            }
            None => {
                let calls = graph.calls().chain(peers.calls());
                calls.filter(|(_, callee)| &***callee == service).map(|(caller, _)| Arc::clone(caller)).collect()
            }
        };
        found.into_iter().take(MOST_DEPENDENTS).collect()
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
