//! The decision core put together: points and snapshots in, decisions out.
//!
//! Stepped and pure. The caller feeds it in order, writes down what it decides, and tells it how
//! far event time has come; it never looks at a clock. The same calls give the same decisions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use query::{Options, Recall};
use serde::{Deserialize, Serialize};
use window::{Point, Registry, SeriesId, Snapshot, SpanChunk, UnixNanos};

use crate::{
    Absence, Alert, AlertTransition, Anomaly, AnomalyEvent, AttributeShare, Book, CallGraph, Correction, Decision,
    DetectorKind, Entities, EntityConfig, Feeds, Forecasts, GapConfig, Health, HealthConfig, Incidents, Level,
    LevelChange, LevelConfig, LevelMachine, Moment, Owner, Pin, SymptomConfig, attributes,
    breakers::{Breakers, Effects, MOST_DEPENDENTS},
    exemplars,
    gap::{Heard, Turnout},
    health::{Assessed, Burns, Evidence},
    peers::Peers,
    rules::{Recorded, RuleGroup},
    symptoms::{self, runbook_of},
    zscore::{Published, ZScoreConfig, ZScoreDetector},
};

/// All settings of the core.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The detector of single series.
    pub zscore: ZScoreConfig,
    /// The detector of things with many metrics.
    pub entity: EntityConfig,
    /// Missing telemetry.
    pub gap: GapConfig,
    /// Which anomalies become alerts.
    pub symptoms: SymptomConfig,
    /// Objectives and weights.
    pub health: HealthConfig,
    /// Thresholds and dwell times of the level.
    pub level: LevelConfig,
    /// Event time between assessments of symptoms, gaps, health and level. Default 5 s.
    pub assess_every: Duration,
    /// Rules.
    pub rules: Vec<RuleGroup>,
    /// Limits of PromQL.
    pub query: Options,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            zscore: ZScoreConfig::default(),
            entity: EntityConfig::default(),
            gap: GapConfig::default(),
            symptoms: SymptomConfig::default(),
            health: HealthConfig::default(),
            level: LevelConfig::default(),
            assess_every: Duration::from_secs(5),
            rules: Vec::new(),
            query: Options::default(),
        }
    }
}

/// What the core wants written and remembered, in the order in which it was decided.
#[derive(Debug, Default)]
pub struct Output {
    /// Decisions.
    pub decisions: Vec<Decision>,
    /// What to publish beside the judged series.
    pub published: Vec<Published>,
    /// Values of recording rules.
    pub recorded: Vec<Recorded>,
    /// Rules that could not be evaluated, and why.
    pub failures: Vec<(String, String)>,
}

/// What the core remembered before the process ended.
#[derive(Debug, Default)]
pub struct Memory {
    /// Alerts that were pending, firing or stale.
    pub alerts: Vec<Alert>,
    /// Anomalies that were open.
    pub anomalies: Vec<Anomaly>,
    /// Levels by service; `None` is everything.
    pub levels: Vec<(Option<Arc<str>>, Level)>,
    /// Pins by service; `None` is everything.
    pub pins: Vec<(Option<Arc<str>>, Pin)>,
    /// The greatest sequence number given to an anomaly.
    pub last_seq: u64,
}

/// The level of one scope, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelStatus {
    /// The service; `None` for everything.
    pub service: Option<Arc<str>>,
    /// The recommendation, 0 to 4.
    pub level: Level,
    /// Its name.
    pub name: &'static str,
    /// Health in [0, 1] at the last assessment that knew it.
    pub health: f64,
    /// Event time of the last change; `None` if there was none.
    pub since: Option<UnixNanos>,
    /// Whether it is frozen because no telemetry comes.
    pub frozen: bool,
    /// The pin in force.
    pub pin: Option<Pin>,
    /// Why the level is what it is.
    pub because: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Scope {
    machine: LevelMachine,
    health: Health,
    /// The level that this health argues for by itself.
    argued: Level,
    since: Option<UnixNanos>,
}

/// The core with all its state. Written down it is all but its settings and its window, which it gets
/// back from [`Engine::resume`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Engine {
    #[serde(skip)]
    config: EngineConfig,
    zscore: ZScoreDetector,
    entities: Entities,
    forecasts: Forecasts,
    feeds: Feeds,
    turnout: Turnout,
    incidents: Incidents,
    graph: CallGraph,
    book: Book,
    scopes: BTreeMap<Option<Arc<str>>, Scope>,
    last_seq: u64,
    /// Next evaluation of each rule group, in event time, in the order of the configuration.
    next_group: Vec<(GroupName, Option<UnixNanos>)>,
    next_assessment: Option<UnixNanos>,
    /// What long windows said about the budgets of objectives.
    burns: Burns,
    breakers: Breakers,
    peers: Peers,
    /// What breakers meant in the last assessment.
    #[serde(skip)]
    effects: Effects,
    /// Whether the process was away for so long that senders get time to come back once one is heard.
    settles: bool,
    #[serde(skip)]
    snapshot: Snapshot,
    /// What queries of rules and objectives found out about series.
    #[serde(skip)]
    recall: Recall,
}

/// File and name of a rule group.
type GroupName = (String, String);

fn name_of(group: &RuleGroup) -> GroupName {
    (group.file.clone(), group.name.clone())
}

fn never_evaluated(rules: &[RuleGroup]) -> Vec<(GroupName, Option<UnixNanos>)> {
    rules.iter().map(|group| (name_of(group), None)).collect()
}

/// Grid points that are evaluated late at most, when event time jumps.
const CATCH_UP: i64 = 120;
/// A process that was away for less than this goes on as if it had not been.
const SHORT_ABSENCE: Duration = Duration::from_secs(10);
/// Event time after a longer absence in which senders may come back, before anything is evaluated.
const SETTLE: Duration = Duration::from_mins(1);
/// For how long it is looked for what carries an open anomaly: at first with each assessment, then on a grid.
const LOOKS: Duration = Duration::from_mins(5);
const FIRST_LOOKS: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Anomalies that are looked at in one assessment at most, those first of which nothing is known, and alerts of a group of
/// rules that begin to fire: a look takes about 10 ms where the window holds a million spans.
const MOST_LOOKS: usize = 5;
/// How long incidents are remembered after their last anomaly.
const INCIDENT_MEMORY: Duration = Duration::from_hours(1);

impl Engine {
    /// A core that goes on from `memory`.
    #[must_use]
    pub fn new(config: EngineConfig, mut memory: Memory) -> Self {
        let mut engine = Self {
            zscore: ZScoreDetector::new(config.zscore.clone()),
            entities: Entities::new(config.entity.clone()),
            forecasts: Forecasts::default(),
            feeds: Feeds::new(config.gap.clone()),
            turnout: Turnout::default(),
            incidents: Incidents::default(),
            graph: CallGraph::default(),
            book: Book::default(),
            scopes: BTreeMap::new(),
            last_seq: 0,
            next_group: never_evaluated(&config.rules),
            next_assessment: None,
            burns: Burns::default(),
            breakers: Breakers::default(),
            peers: Peers::default(),
            effects: Effects::default(),
            settles: false,
            snapshot: Snapshot::default(),
            recall: Recall::default(),
            config,
        };
        for (service, pin) in std::mem::take(&mut memory.pins) {
            engine.scope(service).machine.set_pin(Some(pin));
        }
        engine.remember(memory);
        engine
    }

    /// A core that was written down, which goes on deciding by `config` over what is in `snapshot`. One that was not
    /// written down goes on likewise, as if it had been.
    #[must_use]
    pub fn resume(self, config: EngineConfig, snapshot: Snapshot) -> Self {
        let key_of = |id| snapshot.series(id).map(|series| series.key);
        let mut engine = Self {
            zscore: self.zscore.with_config(config.zscore.clone(), key_of),
            entities: self.entities.with_config(config.entity.clone()),
            feeds: self.feeds.with_config(config.gap.clone()),
            // Of the queries that were asked before.
            recall: Recall::default(),
            config,
            snapshot,
            ..self
        };
        let owners: BTreeSet<String> = engine.owners().map(|owner| owner.name).collect();
        let mut book = std::mem::take(&mut engine.book);
        let own = |owner: &str| owners.contains(owner).then(|| owner.to_owned());
        book.reown(|owner, alert| own(owner).unwrap_or_else(|| engine.owner_of(alert)));
        engine.book = book;
        let before: BTreeMap<GroupName, Option<UnixNanos>> = engine.next_group.into_iter().collect();
        engine.next_group = never_evaluated(&engine.config.rules);
        for ((name, next), group) in engine.next_group.iter_mut().zip(&engine.config.rules) {
            // On the grid of its interval, which may be another now.
            *next = before.get(name).copied().flatten().map(|at| at.ceil_to(group.interval));
        }
        engine.next_assessment = engine.next_assessment.map(|at| at.ceil_to(engine.config.assess_every));
        engine
    }

    /// Takes back of `memory` what is not known already: alerts, open anomalies, levels and the number of the
    /// last anomaly. Pins are set with [`Engine::pin`].
    pub fn remember(&mut self, memory: Memory) {
        self.last_seq = self.last_seq.max(memory.last_seq);
        for alert in memory.alerts {
            if !self.book.has_episode(&alert.episode) {
                let owner = self.owner_of(&alert);
                self.book.restore(&owner, alert);
            }
        }
        let open: BTreeSet<String> = self.open_anomalies().map(|anomaly| anomaly.id.clone()).collect();
        let anomalies: Vec<Anomaly> = memory.anomalies.into_iter().filter(|a| !open.contains(&a.id)).collect();
        anomalies.iter().for_each(|anomaly| self.incidents.restore(anomaly));
        let by = |kinds: &'static [DetectorKind]| move |a: &Anomaly| kinds.contains(&a.detector);
        let joint = by(&[DetectorKind::Entity, DetectorKind::Forest]);
        let (joint, others): (Vec<_>, Vec<_>) = anomalies.into_iter().partition(joint);
        let (ahead, single): (Vec<_>, Vec<_>) = others.into_iter().partition(by(&[DetectorKind::Forecast]));
        self.entities.restore(joint);
        self.forecasts.restore(ahead);
        self.zscore.restore(single);
        for (service, level) in memory.levels {
            let scope = self.scope(service);
            if scope.machine == LevelMachine::default() {
                scope.machine = LevelMachine::at(level);
            }
        }
    }

    /// Notes that the process was not there for as long as `away`. Nothing was heard meanwhile, which
    /// says nothing about those who were not heard; and not all of them come back at once.
    pub fn was_away(&mut self, away: Duration) {
        if away >= SHORT_ABSENCE {
            self.feeds.excuse(away);
            self.settles = true;
        }
    }

    /// Everybody who may raise alerts.
    fn owners(&self) -> impl Iterator<Item = Owner> {
        let rules = self.config.rules.iter().flat_map(RuleGroup::owners).cloned();
        rules.chain([symptoms::owner(&self.config.symptoms), Feeds::owner(), Turnout::owner()])
    }

    /// Under whose name an alert that was active before a restart goes on: the rule of its name, a
    /// built-in owner, or nobody, in which case it resolves with the first evaluation.
    fn owner_of(&self, alert: &Alert) -> String {
        let is_built_in = |o: &Owner| o.name.starts_with("bellwether/");
        let named = |o: &Owner| is_built_in(o) || o.name.rsplit('/').next() == Some(alert.name());
        self.owners().find(|o| o.source == alert.source && named(o)).map_or_else(String::new, |o| o.name)
    }

    fn scope(&mut self, service: Option<Arc<str>>) -> &mut Scope {
        let health = Health { service: service.clone(), health: 1.0, because: Vec::new() };
        self.scopes.entry(service).or_insert_with(|| Scope {
            machine: LevelMachine::default(),
            health,
            argued: Level::FullService,
            since: None,
        })
    }

    /// Judges points in the order received. `heard` is who sent something, up to which event time.
    pub fn observe<'a>(
        &mut self,
        points: &[Point],
        registry: &Registry,
        heard: impl Iterator<Item = (&'a Arc<str>, UnixNanos)>,
    ) -> Output {
        let mut out = Output::default();
        for (service, at) in heard {
            self.feeds.heard(service, at);
            if std::mem::take(&mut self.settles) {
                self.settle(at.plus(SETTLE));
            }
        }
        for point in points {
            let Some(series) = registry.get(point.series) else { continue };
            let observed = self.zscore.observe_strictly(point, series, self.entities.strictness(point.series));
            out.published.extend(observed.published);
            // One after the other, not chained: nearly always there is no event, and moving that takes time.
            if let Some(event) = observed.event {
                out.decisions.push(self.announce(event, point.series));
            }
            for event in self.entities.observe(point, series, self.zscore.in_force()) {
                out.decisions.push(self.announce(event, point.series));
            }
            let limit = self.zscore.limit_of(point, series.key);
            if let Some(event) = self.forecasts.observe(point, series, limit) {
                out.decisions.push(self.announce(event, point.series));
            }
        }
        out
    }

    /// Numbers a new anomaly, and adds what the detector does not know: incident, traces, runbook.
    fn announce(&mut self, mut event: AnomalyEvent, series: SeriesId) -> Decision {
        self.incidents.note(&mut event, &self.graph);
        if let AnomalyEvent::Opened(anomaly) = &mut event {
            self.last_seq += 1;
            anomaly.seq = self.last_seq;
            anomaly.runbook_url = Some(runbook_of(anomaly, &self.config.symptoms));
            anomaly.exemplars = exemplars::of(anomaly, &self.snapshot);
            match anomaly.detector {
                DetectorKind::Entity | DetectorKind::Forest => self.entities.amend(anomaly),
                DetectorKind::Forecast => self.forecasts.amend(series, anomaly),
                _ => self.zscore.amend(series, anomaly),
            }
        }
        Decision::Anomaly(event)
    }

    /// Forgets series that have expired, before their numbers are used again.
    pub fn forget(&mut self, expired: &[SeriesId]) -> Output {
        let mut out = Output::default();
        let ended = self.zscore.forget(expired).into_iter().chain(self.entities.forget(expired));
        let ended = ended.chain(self.forecasts.forget(expired));
        for mut event in ended {
            self.incidents.note(&mut event, &self.graph);
            out.decisions.push(Decision::Anomaly(event));
        }
        out
    }

    /// Event time of the next evaluation: the caller seals the window and calls
    /// [`Engine::evaluate`] once event time has reached it. `None` before the first evaluation.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixNanos> {
        self.next_group.iter().map(|(_, next)| *next).chain([self.next_assessment]).min().flatten()
    }

    /// Evaluates all that is due up to event time `now`, rules first, on grids of their intervals.
    pub fn evaluate(&mut self, snapshot: Snapshot, now: UnixNanos) -> Output {
        self.snapshot = snapshot;
        let mut out = Output::default();
        for (group, (_, planned)) in self.config.rules.iter().zip(&mut self.next_group) {
            let (due, next) = grid(*planned, group.interval, now);
            *planned = Some(next);
            for at in due {
                let (snapshot, effects, graph, peers) = (&self.snapshot, &self.effects, &self.graph, &self.peers);
                let mut looks = 0;
                let mut begins = |alert: &mut Alert| {
                    alert.dependents = effects.dependents(alert, graph, peers);
                    if let Some(service) = alert.service().filter(|_| looks < MOST_LOOKS) {
                        alert.attributes = attributes::of_service(service, snapshot, at);
                        looks += 1;
                    }
                };
                let (options, recall) = (&self.config.query, &mut self.recall);
                let mut moment = Moment { snapshot, at, options, recall };
                let evaluated = group.evaluate(&mut moment, &mut self.book, &mut begins);
                out.decisions.extend(evaluated.transitions.into_iter().map(Decision::Alert));
                out.recorded.extend(evaluated.recorded);
                out.failures.extend(evaluated.failures);
            }
        }
        let (due, next) = grid(self.next_assessment, self.config.assess_every, now);
        self.next_assessment = Some(next);
        for at in due {
            self.assess(at, &mut out);
        }
        // Until the next evaluation only spans are asked for; what else the window lets go of meanwhile is not kept.
        let Snapshot { spans, floor, .. } = std::mem::take(&mut self.snapshot);
        self.snapshot = Snapshot { spans, floor, ..Snapshot::default() };
        out
    }

    /// Lets go of spans that are no longer in `snapshot`, the window as it is, so that their memory is free before the
    /// next evaluation.
    pub fn let_go(&mut self, snapshot: &Snapshot) {
        let is_there = |chunk: &&Arc<SpanChunk>| snapshot.spans.iter().any(|other| Arc::ptr_eq(chunk, other));
        self.snapshot.spans = self.snapshot.spans.iter().filter(is_there).cloned().collect();
        self.snapshot.floor = self.snapshot.floor.max(snapshot.floor);
    }

    /// Puts everything off that was due before event time `until`.
    fn settle(&mut self, until: UnixNanos) {
        self.turnout.put_off(until);
        for (group, (_, next)) in self.config.rules.iter().zip(&mut self.next_group) {
            *next = Some(until.ceil_to(group.interval));
        }
        self.next_assessment = Some(until.ceil_to(self.config.assess_every));
    }

    /// Symptoms, gaps, health and levels at event time `at`.
    fn assess(&mut self, at: UnixNanos, out: &mut Output) {
        self.incidents.forget(at.minus(INCIDENT_MEMORY));
        self.breakers.update(&self.snapshot, at);
        self.graph.look(&self.snapshot, at);
        self.peers.look(&self.snapshot, at);
        self.effects = Effects::of(&self.breakers, &self.graph, &self.peers);
        out.recorded.extend(self.breakers.published(at));
        out.decisions.extend(self.behind_breakers(at).into_iter().map(Decision::Alert));
        self.look_for_attributes(at, out);
        if self.turnout.is_due(at) {
            let registry = &self.snapshot.registry;
            let heard = self.zscore.heard().filter_map(|(id, began, last, points)| {
                registry.get(id).map(|series| Heard { series, began, last, points })
            });
            self.turnout.count(at, heard, &self.feeds);
        }
        let transitions = self.symptoms_and_gaps(at);
        out.decisions.extend(transitions.into_iter().map(Decision::Alert));
        let (options, recall) = (&self.config.query, &mut self.recall);
        let moment = Moment { snapshot: &self.snapshot, at, options, recall };
        let evidence = Evidence { moment, caps: &self.effects.caps };
        let (alerts, known) = (self.book.active(), self.feeds.services());
        let Assessed { healths, published } = self.config.health.assess(evidence, alerts, known, &mut self.burns);
        out.recorded.extend(published);
        let all_silent = self.feeds.all_silent(at);
        self.forget_scopes(&healths);
        for health in healths {
            let silent = all_silent || health.service.as_ref().is_some_and(|s| self.feeds.is_silent(s, at));
            out.decisions.extend(self.step_level(health, at, silent).map(Decision::Level));
        }
    }

    /// Asks which attributes carry open anomalies, and says what is new: that there are any, or from twice as many calls.
    fn look_for_attributes(&mut self, at: UnixNanos, out: &mut Output) {
        let is_on_grid = at.floor_to(LOOK_EVERY) == at;
        let is_due = |(_, a): &(SeriesId, &Anomaly)| {
            let age = at.since(a.emitted_at);
            let is_early = a.attributes.is_empty() && age <= FIRST_LOOKS;
            a.emitted_at <= at && (is_early || is_on_grid && age <= LOOKS) && attributes::concern(a)
        };
        let mut due: Vec<(SeriesId, &Anomaly)> = self.zscore.open_by_series().filter(is_due).collect();
        due.sort_by_key(|(_, anomaly)| (!anomaly.attributes.is_empty(), anomaly.seq));
        due.truncate(MOST_LOOKS);
        let due: Vec<(SeriesId, Anomaly)> =
            due.into_iter().map(|(series, anomaly)| (series, anomaly.clone())).collect();
        for (series, mut anomaly) in due {
            let found = attributes::of_anomaly(&anomaly, &self.snapshot, at);
            let calls = |shares: &[AttributeShare]| shares.first().map_or(0, |share| share.total);
            if calls(&found) > 2 * calls(&anomaly.attributes) {
                attributes::attach(&mut anomaly, found);
                self.zscore.amend(series, &anomaly);
                out.decisions.push(Decision::Anomaly(AnomalyEvent::Updated(anomaly)));
            }
        }
    }

    /// Forgets services that nothing is known of any more. After a restart a service that had a level
    /// is awaited; one that was not heard for too long is not.
    fn forget_scopes(&mut self, healths: &[Health]) {
        let feeds = &self.feeds;
        // Both are in the order of services.
        let mut known = healths.iter().map(|health| &health.service).peekable();
        self.scopes.retain(|service, scope| {
            while known.next_if(|other| *other < service).is_some() {}
            let is_known = known.peek() == Some(&service);
            let is_awaited = scope.machine.level() > Level::FullService
                && !service.as_ref().is_some_and(|name| feeds.is_forgotten(name));
            is_known || is_awaited || scope.machine.pin().is_some()
        });
    }

    /// Alerts on open breakers name those who have come to be behind them.
    fn behind_breakers(&mut self, at: UnixNanos) -> Vec<AlertTransition> {
        let (effects, graph, peers) = (&self.effects, &self.graph, &self.peers);
        self.book.amend(at, |alert| {
            if alert.labels.get("breaker").is_none() {
                return false;
            }
            let mut found = effects.dependents(alert, graph, peers);
            found.retain(|service| !alert.dependents.contains(service));
            found.truncate(MOST_DEPENDENTS.saturating_sub(alert.dependents.len()));
            let has_more = !found.is_empty();
            alert.dependents.append(&mut found);
            alert.dependents.sort();
            has_more
        })
    }

    fn symptoms_and_gaps(&mut self, at: UnixNanos) -> Vec<AlertTransition> {
        let config = &self.config.symptoms;
        let owner = symptoms::owner(config);
        let book = &self.book;
        let open = self.zscore.open().filter(|a| a.starts_at <= at);
        let mut conditions = symptoms::conditions(open, book.active_of(&owner.name), config);
        // What follows from an open breaker does not begin to fire; what fires already goes on.
        conditions.retain(|condition| {
            let job = condition.labels.get("job").unwrap_or_default();
            let fires = || book.active().any(|a| a.labels == condition.labels && a.state.is_firing());
            !self.effects.holds_back(job) || fires()
        });
        // A symptom is over when the anomaly behind it has ended, which takes data. While the service
        // is silent nothing ends.
        let feeds = &self.feeds;
        let absence = |labels: &window::Labels| match labels.get("job") {
            Some(job) if feeds.is_silent(job, at) || feeds.last_heard(job).is_none() => Absence::NoData,
            _ => Absence::NotMet,
        };
        let (effects, graph, peers) = (&self.effects, &self.graph, &self.peers);
        let mut begins = |alert: &mut Alert| alert.dependents = effects.dependents(alert, graph, peers);
        let mut out = self.book.evaluate(&owner, at, conditions, absence, &mut begins);
        let gaps = self.feeds.conditions(at);
        let feeds = &self.feeds;
        out.extend(self.book.evaluate(&Feeds::owner(), at, gaps, |labels| feeds.absence(labels, at), &mut begins));
        let missed = self.turnout.conditions(feeds, at);
        let absence = |labels: &window::Labels| self.turnout.absence(labels, feeds, at);
        out.extend(self.book.evaluate(&Turnout::owner(), at, missed, absence, &mut begins));
        out.extend(self.book.retain_owners(at, |owner| !owner.is_empty()));
        out
    }

    fn step_level(&mut self, health: Health, at: UnixNanos, silent: bool) -> Option<LevelChange> {
        let config = self.config.level.clone();
        let scope = self.scope(health.service.clone());
        let before = scope.machine.level();
        let level = scope.machine.step(&config, at, (!silent).then_some(health.health));
        if !silent {
            scope.argued = config.level_of(health.health);
            scope.health = health;
        }
        if level == before {
            return None;
        }
        scope.since = Some(at);
        Some(LevelChange {
            service: scope.health.service.clone(),
            from: before,
            to: level,
            health: scope.health.health,
            at,
            because: reasons(scope),
        })
    }

    /// Sets or clears the pin of a scope at event time `at`; the change of level, if there is one.
    pub fn pin(&mut self, service: Option<Arc<str>>, pin: Option<Pin>, at: UnixNanos) -> Option<LevelChange> {
        let scope = self.scope(service.clone());
        let from = scope.machine.level();
        scope.machine.set_pin(pin);
        let to = scope.machine.level();
        if from == to {
            return None;
        }
        scope.since = Some(at);
        Some(LevelChange { service, from, to, health: scope.health.health, at, because: reasons(scope) })
    }

    /// Makes a change that somebody asked for to what is expected of a series, unless it was made already. `id` is the
    /// present number of the series, if it has one.
    pub fn correct(&mut self, correction: Correction, id: Option<SeriesId>) -> Output {
        if self.corrections().any(|known| known.id == correction.id) {
            return Output::default();
        }
        let ended = self.entities.begin_anew(&correction);
        let ended = self.zscore.correct(correction, id.unwrap_or(SeriesId(u32::MAX))).or(ended);
        let mut out = Output::default();
        if let Some(mut event) = ended {
            self.incidents.note(&mut event, &self.graph);
            out.decisions.push(Decision::Anomaly(event));
        }
        out
    }

    /// Takes a change back, by its id.
    pub fn undo_correction(&mut self, id: &str, registry: &Registry) {
        self.zscore.undo(id, |key| registry.find(key));
        self.entities.undo(id);
    }

    /// The changes that are in force.
    pub fn corrections(&self) -> impl Iterator<Item = &Correction> {
        self.zscore.corrections()
    }

    /// The level of every scope, everything first, then services by name.
    #[must_use]
    pub fn levels(&self) -> Vec<LevelStatus> {
        let status = |(service, scope): (&Option<Arc<str>>, &Scope)| LevelStatus {
            service: service.clone(),
            level: scope.machine.level(),
            name: scope.machine.level().as_str(),
            health: scope.health.health,
            since: scope.since,
            frozen: scope.machine.is_frozen(),
            pin: scope.machine.pin().cloned(),
            because: reasons(scope),
        };
        self.scopes.iter().map(status).collect()
    }

    /// Pending, firing and stale alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.book.active()
    }

    /// Open anomalies.
    pub fn open_anomalies(&self) -> impl Iterator<Item = &Anomaly> {
        self.zscore.open().chain(self.entities.open()).chain(self.forecasts.open())
    }

    /// When a service was last heard, in event time, for every service.
    pub fn services(&self) -> impl Iterator<Item = (&Arc<str>, UnixNanos)> {
        self.feeds.services().filter_map(|s| Some((s, self.feeds.last_heard(s)?)))
    }

    /// Who calls whom.
    #[must_use]
    pub fn call_graph(&self) -> &CallGraph {
        &self.graph
    }

    /// How many series have a verdict, and how many are still warming up.
    #[must_use]
    pub fn warm_and_warming(&self) -> (usize, usize) {
        self.zscore.warm_and_warming()
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &[RuleGroup] {
        &self.config.rules
    }
}

fn reasons(scope: &Scope) -> Vec<String> {
    let mut because = Vec::new();
    if let Some(pin) = scope.machine.pin() {
        because.push(format!("pinned to {} by {}: {}", pin.level, pin.author, pin.reason));
    }
    if scope.machine.is_frozen() {
        because.push("frozen: no telemetry arrives".into());
    }
    if scope.machine.pin().is_none() && scope.machine.level() > scope.argued {
        because.push("recovering: health must stay good for a while before the level falls by one".into());
    }
    because.extend(scope.health.because.iter().cloned());
    because
}

/// The points of the grid of `interval` that are due at `now`, and the next one. The first time
/// only the newest is due; after a jump only the newest [`CATCH_UP`].
fn grid(next: Option<UnixNanos>, interval: Duration, now: UnixNanos) -> (Vec<UnixNanos>, UnixNanos) {
    let step = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
    let newest = now.floor_to(interval);
    let first = next.unwrap_or(newest).max(UnixNanos(newest.0.saturating_sub(step.saturating_mul(CATCH_UP - 1))));
    let mut due = Vec::new();
    let mut at = first;
    while at <= newest {
        due.push(at);
        at = at.plus(interval);
    }
    (due, at)
}

#[cfg(test)]
#[path = "engine/tests.rs"]
mod tests;
