//! The life of alerts: inactive, pending, firing, stale, resolved.
//!
//! Everything that can raise an alert (rules, anomalies of golden signals, missing telemetry) says
//! which conditions hold at an event time; the book turns that into transitions. Names and meaning
//! are Prometheus's, with one addition: a firing alert whose input has gone silent becomes stale
//! instead of resolved.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{Labels, UnixNanos};

use crate::{Alert, AlertState, AlertTransition, Level};

/// A condition that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Labels of the alert, with `alertname` and `severity`.
    pub labels: Labels,
    /// Annotations as they read now.
    pub annotations: Labels,
    /// Value of the expression.
    pub value: f64,
    /// Event time since which it has held, where that is longer than under these labels.
    pub since: Option<UnixNanos>,
    /// Ids of the anomalies behind it.
    pub anomalies: Vec<String>,
    /// The level that it argues for.
    pub argued_level: Level,
}

/// Who raises alerts, and how long they are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Unique name of the rule: alerts of different owners never meet.
    pub name: String,
    /// What to look at: the rule's expression or the detector's name.
    pub source: String,
    /// How long a condition must hold before it fires.
    pub hold: Duration,
    /// How long an alert goes on firing after its condition has ended.
    pub keep_firing: Duration,
}

/// What is known about a label set whose condition does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There was data, and it did not meet the condition.
    NotMet,
    /// There was no data.
    NoData,
}

/// Alerts that are pending, firing or stale, by owner and fingerprint.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    alerts: BTreeMap<(String, u64), Alert>,
}

impl Book {
    /// Takes back alerts that were active when the process ended, under the owner that raised them.
    pub fn restore(&mut self, owner: &str, alert: Alert) {
        self.alerts.insert((owner.to_owned(), alert.labels.fingerprint()), alert);
    }

    /// Gives every alert to the owner that `owner_of` says, by the name of the one that it had. Alerts of nobody, whose
    /// name is empty, resolve with the next evaluation.
    pub fn reown(&mut self, owner_of: impl Fn(&str, &Alert) -> String) {
        let alerts = std::mem::take(&mut self.alerts).into_iter();
        self.alerts = alerts.map(|((owner, print), alert)| ((owner_of(&owner, &alert), print), alert)).collect();
    }

    /// Whether the alert with this episode is active.
    #[must_use]
    pub fn has_episode(&self, episode: &str) -> bool {
        self.alerts.values().any(|alert| alert.episode == episode)
    }

    /// Active alerts, by owner and fingerprint.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Alerts of `owner` that are active.
    pub(crate) fn active_of(&self, owner: &str) -> impl Iterator<Item = &Alert> {
        self.of(owner).map(|(_, alert)| alert)
    }

    /// Lets `amend` add to the alerts that fire, and says of which it did: their states stay as they are.
    pub(crate) fn amend(&mut self, at: UnixNanos, mut amend: impl FnMut(&mut Alert) -> bool) -> Vec<AlertTransition> {
        let firing = self.alerts.values_mut().filter(|alert| alert.state.is_firing());
        let amended = firing.filter_map(|alert| amend(alert).then(|| alert.clone()));
        amended.map(|alert| AlertTransition { from: Some(alert.state), alert, at }).collect()
    }

    /// Whether `owner` has an active alert.
    #[must_use]
    pub fn has(&self, owner: &str) -> bool {
        self.of(owner).next().is_some()
    }

    fn of(&self, owner: &str) -> impl Iterator<Item = (&(String, u64), &Alert)> {
        let first = (owner.to_owned(), u64::MIN);
        self.alerts.range(first..).take_while(move |((name, _), _)| name == owner)
    }

    /// Takes what holds at event time `at`. `absence` is asked about active label sets that are not
    /// among `conditions`. Of conditions with equal labels the first counts. `begins` may add to alerts that begin to
    /// fire what is found out about them.
    pub fn evaluate(
        &mut self,
        owner: &Owner,
        at: UnixNanos,
        conditions: Vec<Condition>,
        absence: impl Fn(&Labels) -> Absence,
        begins: &mut impl FnMut(&mut Alert),
    ) -> Vec<AlertTransition> {
        let mut out = Vec::new();
        let mut met: HashSet<u64> = HashSet::with_capacity(conditions.len());
        for condition in conditions {
            let fingerprint = condition.labels.fingerprint();
            if met.insert(fingerprint) {
                out.extend(self.holds(owner, fingerprint, at, condition, begins));
            }
        }
        let missing: Vec<(String, u64)> =
            self.of(&owner.name).map(|(key, _)| key.clone()).filter(|(_, f)| !met.contains(f)).collect();
        for key in missing {
            self.ceases(owner, &key, at, &absence, &mut out);
        }
        out
    }

    /// Ends all alerts of owners for which `exists` does not hold: their rules were removed.
    pub fn retain_owners(&mut self, at: UnixNanos, exists: impl Fn(&str) -> bool) -> Vec<AlertTransition> {
        let gone: Vec<_> = self.alerts.keys().filter(|(owner, _)| !exists(owner)).cloned().collect();
        gone.iter().filter_map(|key| Some(resolve(self.alerts.remove(key)?, at))).collect()
    }

    fn holds(
        &mut self,
        owner: &Owner,
        fingerprint: u64,
        at: UnixNanos,
        condition: Condition,
        begins: &mut impl FnMut(&mut Alert),
    ) -> Option<AlertTransition> {
        let Condition { labels, annotations, value, since, anomalies, argued_level } = condition;
        let active_at = since.map_or(at, |since| since.min(at));
        let key = (owner.name.clone(), fingerprint);
        let from = self.alerts.get(&key).map(|a| a.state);
        let alert = self.alerts.entry(key).or_insert_with(|| Alert {
            episode: episode(owner, fingerprint, active_at),
            fingerprint: format!("{fingerprint:016x}"),
            labels,
            annotations: Labels::default(),
            state: AlertState::Pending,
            active_at,
            fired_at: None,
            last_true_at: at,
            resolved_at: None,
            value,
            source: owner.source.clone(),
            anomalies: Vec::new(),
            attributes: Vec::new(),
            dependents: Vec::new(),
            argued_level,
        });
        alert.last_true_at = at;
        alert.value = value;
        alert.annotations = annotations;
        for id in anomalies {
            if !alert.anomalies.contains(&id) {
                alert.anomalies.push(id);
            }
        }
        if alert.state == AlertState::Pending && at.since(alert.active_at) >= owner.hold {
            alert.state = AlertState::Firing;
            alert.fired_at = Some(at);
            begins(alert);
        } else if alert.state == AlertState::Stale {
            alert.state = AlertState::Firing;
        }
        (from != Some(alert.state)).then(|| AlertTransition { from, alert: alert.clone(), at })
    }

    fn ceases(
        &mut self,
        owner: &Owner,
        key: &(String, u64),
        at: UnixNanos,
        absence: &impl Fn(&Labels) -> Absence,
        out: &mut Vec<AlertTransition>,
    ) {
        let Some(alert) = self.alerts.get_mut(key) else { return };
        let from = alert.state;
        let silent = from != AlertState::Pending && absence(&alert.labels) == Absence::NoData;
        if silent {
            if from != AlertState::Stale {
                alert.state = AlertState::Stale;
                out.push(AlertTransition { from: Some(from), alert: alert.clone(), at });
            }
            return;
        }
        let over = from == AlertState::Pending || at.since(alert.last_true_at) >= owner.keep_firing;
        if over {
            out.extend(self.alerts.remove(key).map(|alert| resolve(alert, at)));
        } else if from == AlertState::Stale {
            alert.state = AlertState::Firing;
            out.push(AlertTransition { from: Some(from), alert: alert.clone(), at });
        }
    }
}

/// Id of an episode: alerts of two rules may have equal labels, so the owner is part of it.
fn episode(owner: &Owner, fingerprint: u64, at: UnixNanos) -> String {
    let owner = xxhash_rust::xxh3::xxh3_64(owner.name.as_bytes());
    format!("{:016x}-{}", fingerprint ^ owner.rotate_left(1), at.0 / 1_000_000)
}

fn resolve(mut alert: Alert, at: UnixNanos) -> AlertTransition {
    let from = Some(alert.state);
    alert.state = AlertState::Resolved;
    alert.resolved_at = Some(at);
    AlertTransition { from, alert, at }
}

#[cfg(test)]
#[path = "book/tests.rs"]
mod tests;
