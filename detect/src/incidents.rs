//! Incidents: anomalies that have a common cause, as far as can be seen, and where it probably is.
//!
//! An anomaly belongs to the incident of its own service that is under way; or of a service that calls
//! its own or is called by it; or of one on the same host. Trouble goes from a service to its callers, so the origin
//! is the service that calls no other that is in trouble too, and of several the one that was first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::UnixNanos;

use crate::{Anomaly, AnomalyEvent, CallGraph, Origin};

/// An anomaly that opens this soon after the last one began or ended belongs to the same incident.
const JOIN_WITHIN: Duration = Duration::from_mins(2);
/// An incident with an open anomaly takes further ones for so long after the last one began.
const OPEN_WITHIN: Duration = Duration::from_hours(1);
/// Labels that name what services share.
const SHARED: [&str; 2] = ["host_name", "k8s_node_name"];
/// Services of one incident at most; anomalies of further ones belong to it all the same.
const SERVICES: usize = 1_000;

/// The incidents that are under way, or were lately.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Incidents(BTreeMap<String, Incident>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Incident {
    /// The first anomaly of each service.
    services: BTreeMap<Arc<str>, First>,
    hosts: BTreeSet<Arc<str>>,
    open: usize,
    /// When the last anomaly began.
    begun: UnixNanos,
    /// When the last anomaly began or ended.
    last: UnixNanos,
}

/// The first anomaly of a service in an incident.
#[derive(Debug, Serialize, Deserialize)]
struct First {
    id: String,
    metric: Arc<str>,
    at: UnixNanos,
}

impl Incidents {
    /// Takes back the incident of an anomaly that was open when the process ended.
    pub fn restore(&mut self, anomaly: &Anomaly) {
        if let Some(id) = &anomaly.incident_id {
            self.0.entry(id.clone()).or_default().take(anomaly);
        }
    }

    /// Gives the anomaly of `event` its incident and what is probably its origin, and notes that it opened or ended.
    pub fn note(&mut self, event: &mut AnomalyEvent, graph: &CallGraph) {
        match event {
            AnomalyEvent::Opened(a) => {
                let id = self.of(a, graph).unwrap_or_else(|| format!("inc-{}", a.id));
                let incident = self.0.entry(id.clone()).or_default();
                incident.take(a);
                a.incident_id = Some(id);
                a.origin = incident.origin(graph).map(Box::new);
            }
            AnomalyEvent::Updated(_) => {}
            AnomalyEvent::Ended(a) => {
                let incident = a.incident_id.as_ref().and_then(|id| self.0.get_mut(id));
                if let Some(incident) = incident {
                    incident.open = incident.open.saturating_sub(1);
                    incident.last = incident.last.max(a.ends_at.unwrap_or(a.starts_at));
                }
            }
        }
    }

    /// The incident under way to which `a` belongs, the one that began first.
    fn of(&self, a: &Anomaly, graph: &CallGraph) -> Option<String> {
        let under_way = || self.0.iter().filter(|(_, incident)| incident.is_under_way(a.starts_at));
        let first = |belongs: &dyn Fn(&Incident) -> bool| {
            let found = under_way().filter(|(_, incident)| belongs(incident));
            found.min_by_key(|(_, incident)| incident.began()).map(|(id, _)| id.clone())
        };
        first(&|incident| incident.services.contains_key(&a.service))
            .or_else(|| {
                let is_near = |service: &Arc<str>| graph.are_neighbours(service, &a.service);
                first(&|incident| incident.services.keys().any(is_near))
            })
            .or_else(|| first(&|incident| hosts(a).any(|host| incident.hosts.contains(host))))
    }

    /// Forgets incidents whose last anomaly ended before `horizon`.
    pub fn forget(&mut self, horizon: UnixNanos) {
        self.0.retain(|_, incident| incident.open > 0 || incident.last >= horizon);
    }
}

fn hosts(a: &Anomaly) -> impl Iterator<Item = &str> {
    SHARED.iter().filter_map(|name| a.labels.get(name))
}

impl Incident {
    fn take(&mut self, a: &Anomaly) {
        self.open += 1;
        self.begun = self.begun.max(a.starts_at);
        self.last = self.last.max(a.starts_at);
        if self.services.len() < SERVICES || self.services.contains_key(&a.service) {
            let first = || First { id: a.id.clone(), metric: Arc::clone(&a.metric), at: a.starts_at };
            let known = self.services.entry(Arc::clone(&a.service)).or_insert_with(first);
            if a.starts_at < known.at {
                *known = first();
            }
        }
        if self.hosts.len() < SERVICES {
            self.hosts.extend(hosts(a).map(Arc::from));
        }
    }

    fn is_under_way(&self, at: UnixNanos) -> bool {
        at.since(self.last) <= JOIN_WITHIN || (self.open > 0 && at.since(self.begun) <= OPEN_WITHIN)
    }

    fn began(&self) -> Option<UnixNanos> {
        self.services.values().map(|first| first.at).min()
    }

    /// Where it probably began.
    fn origin(&self, graph: &CallGraph) -> Option<Origin> {
        let calls_another = |service: &str| {
            graph.callees(service).any(|callee| &**callee != service && self.services.contains_key(callee))
        };
        let (mut candidates, mut others): (Vec<_>, Vec<_>) =
            self.services.iter().partition(|(service, _)| !calls_another(service));
        if candidates.is_empty() {
            // They call each other in a circle.
            std::mem::swap(&mut candidates, &mut others);
        }
        let (service, first) = candidates.into_iter().min_by_key(|(service, first)| (first.at, Arc::clone(service)))?;
        let callers = others.iter().filter(|(caller, _)| graph.callees(caller).any(|callee| callee == service));
        let callers: Vec<&str> = callers.map(|(caller, _)| &***caller).take(5).collect();
        let because = match (self.services.len(), callers.is_empty()) {
            (1, _) => "it is the only service in trouble".to_owned(),
            (_, true) => "it was the first in trouble, and calls no other that is".to_owned(),
            (_, false) => format!("it calls no other service in trouble, and is called by {}", callers.join(", ")),
        };
        Some(Origin {
            service: Arc::clone(service),
            metric: Arc::clone(&first.metric),
            anomaly_id: first.id.clone(),
            because,
        })
    }
}

#[cfg(test)]
#[path = "incidents/tests.rs"]
mod tests;
