//! Health in [0, 1] per service and overall: the lowest of what objectives and alerts say.
//!
//! An objective maps a measured value to [0, 1] linearly between a good and a bad end, see [`Objective`]. Alerts take
//! their share by severity, each on what the others left. The lowest counts, not a mean: a service
//! that fails half its calls is not healthy because it fails them quickly.

mod burns;
mod objective;
pub mod openslo;
mod slices;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use query::{InstantSample, Query, Value};
use serde::{Deserialize, Serialize};
use window::{Labels, UnixNanos};

use self::slices::Before;
pub use self::{
    burns::Burns,
    objective::{Budget, Burn, Objective, Pair, Source},
    slices::Slices,
};
use crate::{Alert, Moment, Severity, breakers::Cap, rules::Recorded};

/// How health is made.
#[derive(Clone, Debug)]
pub struct HealthConfig {
    /// Objectives, for every service that has data for them.
    pub objectives: Vec<Objective>,
    /// What a firing warning takes from health. Default 0.15.
    pub warning_share: f64,
    /// What a firing critical alert takes from health. Default 0.35.
    pub critical_share: f64,
    /// How much a service counts in the overall health: 1 fully, 0 not at all. Default 1 for all.
    pub weights: BTreeMap<String, f64>,
}

impl Default for HealthConfig {
    /// [`HealthConfig::from_spans`] over the last minute.
    fn default() -> Self {
        Self::from_spans(Duration::from_mins(1))
    }
}

impl HealthConfig {
    /// Error ratio (over `range`, at least a millisecond) and latency from spans, so that an
    /// unconfigured instance gives a useful level.
    ///
    /// # Panics
    /// Never: the objectives are valid PromQL for every range.
    #[must_use]
    pub fn from_spans(range: Duration) -> Self {
        let p95 = "traces_span_metrics_duration_seconds:p95";
        let latency = Source::Expression(format!("max by (job) ({p95} / {p95}:expected)"));
        let objective = |name: &str, source: &Source, good, bad| {
            Objective::new(name, source, range, good, bad).expect("the default objectives are valid PromQL")
        };
        Self {
            objectives: vec![
                objective("error ratio", &Source::Calls(String::new()), 0.01, 0.5),
                objective("p95 latency over its expectation", &latency, 1.5, 10.0),
            ],
            warning_share: 0.15,
            critical_share: 0.35,
            weights: BTreeMap::new(),
        }
    }

    /// Everything that its objectives ask.
    pub fn queries(&self) -> impl Iterator<Item = &Query> {
        self.objectives.iter().flat_map(Objective::queries)
    }
}

/// Health of one scope, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The service; `None` for everything.
    pub service: Option<Arc<str>>,
    /// In [0, 1].
    pub health: f64,
    /// What lowers it, worst first; empty at full health.
    pub because: Vec<String>,
}

#[derive(Debug, Default)]
struct Tally {
    lowest: f64,
    after_alerts: f64,
    causes: Vec<(f64, String)>,
}

impl Tally {
    fn full() -> Self {
        Self { lowest: 1.0, after_alerts: 1.0, causes: Vec::new() }
    }

    fn lower(&mut self, health: f64, cause: impl FnOnce() -> String) {
        if health < 1.0 {
            self.lowest = self.lowest.min(health);
            self.causes.push((health, cause()));
        }
    }

    fn finish(mut self, service: Option<Arc<str>>) -> Health {
        self.causes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let because = self.causes.into_iter().map(|(_, cause)| cause).collect();
        Health { service, health: self.lowest.min(self.after_alerts).clamp(0.0, 1.0), because }
    }
}

/// What there is to assess health from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The window, and event time.
    pub moment: Moment<'a>,
    /// What circuit breakers limit health to.
    pub caps: &'a [Cap],
}

/// Answers to the questions of one assessment. Objectives often ask the same: the value over 5 min is also the short
/// window of its budget, and objectives of one indicator differ by their targets only.
#[derive(Debug)]
struct Answers<'a> {
    moment: Moment<'a>,
    by_text: HashMap<Arc<str>, Arc<[InstantSample]>>,
}

impl<'a> Answers<'a> {
    fn at(moment: Moment<'a>) -> Self {
        Self { moment, by_text: HashMap::new() }
    }

    /// What `query` says; nothing where it fails or is no vector.
    fn to(&mut self, query: &Query) -> Arc<[InstantSample]> {
        if let Some(known) = self.by_text.get(query.text()) {
            return Arc::clone(known);
        }
        let samples = match self.moment.value(query) {
            Ok(Value::Vector(samples)) => samples.into(),
            _ => Arc::default(),
        };
        self.by_text.insert(query.text().into(), Arc::clone(&samples));
        samples
    }
}

/// Health of everything first, then of each service by name; and what is published of the objectives.
#[derive(Debug, Default)]
pub struct Assessed {
    /// Health.
    pub healths: Vec<Health>,
    /// Values of objectives.
    pub published: Vec<Recorded>,
}

/// Services by name, and everything.
#[derive(Debug)]
struct Tallies {
    services: Vec<(Arc<str>, Tally)>,
    overall: Tally,
    /// Where a service was found last.
    last: usize,
}

impl Tallies {
    fn full<'a>(known: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let mut names: Vec<&Arc<str>> = known.collect();
        names.sort_unstable();
        names.dedup();
        let services = names.into_iter().map(|name| (Arc::clone(name), Tally::full())).collect();
        Self { services, overall: Tally::full(), last: 0 }
    }

    /// The place of `service`, or the one where it belongs. Objectives tell of services in their order, so it mostly is
    /// the next one.
    fn place(&mut self, service: &str) -> Result<usize, usize> {
        let next = [self.last + 1, self.last].into_iter();
        let mut next = next.filter(|place| self.services.get(*place).is_some_and(|(name, _)| **name == *service));
        let place =
            next.next().ok_or(()).or_else(|()| self.services.binary_search_by(|(name, _)| (**name).cmp(service)));
        self.last = place.unwrap_or_else(|before| before.saturating_sub(1));
        place
    }

    fn of(&mut self, service: Option<&str>) -> &mut Tally {
        let Some(name) = service else { return &mut self.overall };
        let place = self.place(name).unwrap_or_else(|place| {
            self.services.insert(place, (name.into(), Tally::full()));
            place
        });
        &mut self.services[place].1
    }

    /// Which service a sample is of; `None` for everything.
    fn whose(&self, objective: &Objective, sample: &InstantSample) -> Option<Arc<str>> {
        if let Some(job) = sample.labels.get_shared("job") {
            return Some(Arc::clone(job));
        }
        let named = objective.service.as_ref()?;
        let known = self.services.iter().find(|(known, _)| objective::is_named(known, named));
        Some(Arc::clone(known.map_or(named, |(known, _)| known)))
    }
}

impl HealthConfig {
    /// Health of a moment: everything first, then each service with data, an alert, or a name
    /// among `known`, by name. `burns` remembers what long windows said.
    #[must_use]
    pub fn assess<'a>(
        &self,
        evidence: Evidence<'_>,
        alerts: impl Iterator<Item = &'a Alert>,
        known: impl Iterator<Item = &'a Arc<str>>,
        burns: &mut Burns,
    ) -> Assessed {
        let Evidence { moment, caps } = evidence;
        let mut tallies = Tallies::full(known);
        let mut published = Vec::new();
        let mut answers = Answers::at(moment);
        burns.update(&self.objectives, &mut answers);
        for objective in &self.objectives {
            tally(objective, &mut answers, burns, &mut tallies, &mut published);
        }
        for cap in caps {
            tallies.of(Some(&cap.service)).lower(cap.health, || cap.because.clone());
        }
        for alert in alerts.filter(|a| a.state.is_firing() && a.argued_level.number() > 0) {
            let share = self.share(alert.severity());
            let tally = tallies.of(alert.service());
            tally.after_alerts *= 1.0 - share;
            let after = tally.after_alerts;
            tally.causes.push((after, explain_alert(alert)));
        }
        Assessed { healths: self.finish(tallies), published }
    }

    fn finish(&self, tallies: Tallies) -> Vec<Health> {
        let Tallies { services, mut overall, .. } = tallies;
        let services: Vec<Health> = services.into_iter().map(|(name, tally)| tally.finish(Some(name))).collect();
        for health in &services {
            let name = health.service.as_deref().unwrap_or_default();
            let weight = self.weights.get(name).copied().unwrap_or(1.0);
            let left = 1.0 - weight * (1.0 - health.health);
            if let Some(cause) = health.because.first() {
                overall.lower(left, || cause.clone());
            }
        }
        let mut out = vec![overall.finish(None)];
        out.extend(services);
        out
    }

    fn share(&self, severity: Severity) -> f64 {
        match severity {
            Severity::Info => 0.0,
            Severity::Warning => self.warning_share,
            Severity::Critical => self.critical_share,
        }
    }
}

/// Lowers health by what `objective` says, and adds its values to `published` when it is time.
fn tally(
    objective: &Objective,
    answers: &mut Answers<'_>,
    burns: &Burns,
    tallies: &mut Tallies,
    published: &mut Vec<Recorded>,
) {
    let at = answers.moment.at;
    let told = (objective.is_published && burns.is_told_at(at)).then(|| Told::of(objective, answers));
    let shares_of = burns.of(objective);
    let burning = shares_of.burning(objective);
    for sample in answers.to(&objective.query).iter() {
        let job = sample.labels.get_shared("job");
        if job.is_some_and(|job| !objective.is_about(job)) || sample.value.is_nan() {
            continue;
        }
        let name = job.map(|job| &**job);
        let pair = burning.get(name.unwrap_or_default()).copied();
        let health = 1.0 - objective.weight * (1.0 - objective.health(sample.value, pair));
        if health < 1.0 || name.is_none_or(|name| tallies.place(name).is_err()) {
            let whose = tallies.whose(objective, sample);
            let shares = |burn: &Burn| shares_of.share(burn, name);
            let explain = || objective.explain(whose.as_deref(), sample.value, pair, shares);
            tallies.of(whose.as_deref()).lower(health, explain);
        }
        published.extend(told.iter().flat_map(|told| told.values(job, at, sample.value)));
    }
}

/// How the values of an objective are published: under names and labels that they have in common.
#[derive(Debug)]
struct Told<'a> {
    objective: &'a Objective,
    names: [Arc<str>; 2],
    labels: [Arc<str>; 2],
    /// The slices that end now, and the name for what they are.
    slices: Option<(Before, Arc<str>)>,
}

impl<'a> Told<'a> {
    fn of(objective: &'a Objective, answers: &mut Answers<'_>) -> Self {
        let names = [objective::VALUE, objective::MISSED].map(Arc::from);
        let slices = objective.slices.as_ref().map(|s| (s.before(answers), objective::SLICE_MISSED.into()));
        Self { objective, names, labels: ["objective", "job"].map(Arc::from), slices }
    }

    /// The value as a series, whether it missed its target, and how much of the slice that ends with it did.
    fn values(&self, job: Option<&Arc<str>>, at: UnixNanos, value: f64) -> impl Iterator<Item = Recorded> + use<> {
        let Self { objective, names: [name, missed], labels: [of, by], slices } = self;
        let labels = [(of, &objective.name)].into_iter().chain(job.map(|job| (by, job)));
        let labels = Labels::from_pairs(labels.map(|(name, value)| (Arc::clone(name), Arc::clone(value))));
        let is_missed = objective.is_missed(value);
        let series = |name, value| Recorded { name: Arc::clone(name), labels: labels.clone(), time: at, value };
        let slice = slices.as_ref().map(|(before, name)| series(name, before.with(job, is_missed)));
        [series(name, value), series(missed, f64::from(u8::from(is_missed)))].into_iter().chain(slice)
    }
}

fn explain_alert(alert: &Alert) -> String {
    let of = alert.service().map(|s| format!(" of {s}")).unwrap_or_default();
    let state = alert.state.as_str();
    format!("alert {}{of} is {state} ({})", alert.name(), alert.severity())
}

#[cfg(test)]
#[path = "health/tests.rs"]
mod tests;
