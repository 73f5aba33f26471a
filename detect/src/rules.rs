//! Rules in Prometheus's format: read, checked, and evaluated over snapshots.

mod file;
mod template;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use query::{Query, QueryError, Value};
use window::{Labels, UnixNanos};

pub use self::file::read;
use self::template::Template;
use crate::{Absence, Alert, AlertTransition, Book, Condition, Level, Moment, Owner, Severity};

/// A group: rules that are evaluated together, in order.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    /// Name, unique within its file.
    pub name: String,
    /// File that it was read from.
    pub file: String,
    /// Event time between evaluations.
    pub interval: Duration,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Raises alerts.
    Alert(AlertRule),
    /// Writes a series.
    Record(RecordRule),
}

/// An alerting rule.
#[derive(Clone, Debug)]
pub struct AlertRule {
    /// The `alertname`.
    pub name: String,
    /// The condition.
    pub query: Query,
    /// Who owns its alerts, with `for` and `keep_firing_for`.
    pub owner: Owner,
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
}

/// A recording rule.
#[derive(Clone, Debug)]
pub struct RecordRule {
    /// Name of the series that it writes.
    pub name: Arc<str>,
    /// What it writes.
    pub query: Query,
    labels: Vec<(String, String)>,
}

/// A value that a recording rule computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Name of the series.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Event time of the evaluation.
    pub time: UnixNanos,
    /// The value.
    pub value: f64,
}

/// What evaluating a group gave.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// What changed about alerts.
    pub transitions: Vec<AlertTransition>,
    /// What recording rules wrote.
    pub recorded: Vec<Recorded>,
    /// Rules that could not be evaluated, and why.
    pub failures: Vec<(String, String)>,
}

impl RuleGroup {
    /// Names of the owners of this group's alerts.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Alert(alert) => Some(&alert.owner),
            Rule::Record(_) => None,
        })
    }

    /// What its rules evaluate.
    pub fn queries(&self) -> impl Iterator<Item = &Query> {
        self.rules.iter().map(|rule| match rule {
            Rule::Alert(alert) => &alert.query,
            Rule::Record(record) => &record.query,
        })
    }

    /// Evaluates every rule at `moment`. A rule that fails leaves its alerts as they are. `begins` is as in
    /// [`Book::evaluate`].
    pub fn evaluate(&self, moment: &mut Moment<'_>, book: &mut Book, begins: &mut impl FnMut(&mut Alert)) -> Evaluated {
        let mut out = Evaluated::default();
        for rule in &self.rules {
            let (name, result) = match rule {
                Rule::Alert(alert) => {
                    let transitions = alert.evaluate(moment, book, begins);
                    (alert.name.as_str(), transitions.map(|transitions| out.transitions.extend(transitions)))
                }
                Rule::Record(record) => (&*record.name, record.evaluate(moment, &mut out)),
            };
            if let Err(error) = result {
                out.failures.push((name.to_owned(), error.to_string()));
            }
        }
        out
    }
}

impl AlertRule {
    /// Labels that it adds, with their templates as written.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, template)| (name.as_str(), template.text()))
    }

    /// Annotations that it adds, with their templates as written.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations.iter().map(|(name, template)| (name.as_str(), template.text()))
    }

    fn evaluate(
        &self,
        moment: &mut Moment<'_>,
        book: &mut Book,
        begins: &mut impl FnMut(&mut Alert),
    ) -> Result<Vec<AlertTransition>, QueryError> {
        let samples = samples(moment.value(&self.query)?);
        let conditions: Vec<Condition> =
            samples.into_iter().map(|(labels, value)| self.condition(&labels, value)).collect();
        // Whether there was data matters only for alerts that are active and not met now.
        let observed = if book.has(&self.owner.name) {
            let had_data = moment.observed(&self.query)?;
            had_data.map(|sets| sets.iter().map(|l| self.labels_for(l, f64::NAN)).collect::<BTreeSet<_>>())
        } else {
            Some(BTreeSet::new())
        };
        let absence = |labels: &Labels| match &observed {
            Some(sets) if sets.contains(labels) => Absence::NotMet,
            _ => Absence::NoData,
        };
        Ok(book.evaluate(&self.owner, moment.at, conditions, absence, begins))
    }

    fn condition(&self, labels: &Labels, value: f64) -> Condition {
        let alert_labels = self.labels_for(labels, value);
        let annotations = self.annotations.iter().map(|(n, t)| (n.as_str(), t.render(labels, value)));
        let severity = alert_labels.get("severity").and_then(Severity::from_label).unwrap_or(Severity::Warning);
        Condition {
            annotations: Labels::from_pairs(annotations),
            labels: alert_labels,
            value,
            since: None,
            anomalies: Vec::new(),
            argued_level: argued_level(severity),
        }
    }

    /// Labels of the alert for a result with `labels`: the rule's own win.
    fn labels_for(&self, labels: &Labels, value: f64) -> Labels {
        let own = self.labels.iter().map(|(name, template)| (name.clone(), template.render(labels, value)));
        let own = own.chain([("alertname".to_owned(), self.name.clone())]);
        let from_result = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
        Labels::from_pairs(own.chain(from_result))
    }
}

impl RecordRule {
    /// Labels that it adds.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn evaluate(&self, moment: &mut Moment<'_>, out: &mut Evaluated) -> Result<(), QueryError> {
        for (labels, value) in samples(moment.value(&self.query)?) {
            let own = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let labels = Labels::from_pairs(own.chain(labels.iter()));
            out.recorded.push(Recorded { name: Arc::clone(&self.name), labels, time: moment.at, value });
        }
        Ok(())
    }
}

/// The level that one alert of this severity argues for by itself.
#[must_use]
pub fn argued_level(severity: Severity) -> Level {
    match severity {
        Severity::Info => Level::FullService,
        Severity::Warning => Level::NonCriticalOff,
        Severity::Critical => Level::CacheOnly,
    }
}

fn samples(value: Value) -> Vec<(Labels, f64)> {
    match value {
        Value::Scalar(value) => vec![(Labels::default(), value)],
        Value::Vector(samples) => samples.into_iter().map(|s| (s.labels, s.value)).collect(),
        Value::String(_) | Value::Matrix(_) => Vec::new(),
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
