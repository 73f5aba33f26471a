//! Many metrics of one thing, taken together.
//!
//! A machine with dozens of metrics is rarely broken in only one of them, and each metric by itself has
//! its own chances of a false alarm. So series with exactly the same labels (the metrics of one machine,
//! pod or instance of a service) are judged as one: at each instant the evidence of an entity is the mean
//! of `ln(1 + z)` over its five most unusual metrics, where z is the distance from the last day's mean in
//! standard deviations. The logarithm keeps one absurd metric from speaking for all.
//!
//! How the metrics go together is another question, see [`together`].
//!
//! From [`EntityConfig::min_metrics`] on a thing is an entity, and its metrics by themselves have to be
//! much further out to be said separately.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use models::Rolling;
use serde::{Deserialize, Serialize};
use window::{Point, Series, SeriesId, SeriesKey, UnixNanos};

use crate::{
    Anomaly, AnomalyEvent, Change, Contributor, Correction, DetectorKind, Direction, Pattern, Severity,
    corrections::{Corrections, subject_of},
    zscore::{number, span},
};

mod together;

use self::together::Together;

/// How entities are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityConfig {
    /// Metrics with the same labels that make an entity. Default 8.
    pub min_metrics: usize,
    /// Evidence from which on an entity is anomalous, at one point a minute. Default 2.4.
    pub limit: f64,
    /// Added to the limit when points come e times as often. Default 0.1.
    pub per_rate: f64,
    /// Scores below this are calm. Default 0.6.
    pub calm_score: f64,
    /// Calm instants in a row that end an anomaly. Default 5.
    pub calm_points: u32,
    /// Instants before the first verdict. Default 120.
    pub min_samples: u64,
    /// Time constant of what is usual. Default one day.
    pub memory: Duration,
    /// How much further out than a lone series one of a hundred metrics has to be by itself. Default 10.
    pub strictness: f64,
    /// Scores from here on are critical. Default 1.4.
    pub critical_score: f64,
}

impl Default for EntityConfig {
    fn default() -> Self {
        Self {
            min_metrics: 8,
            limit: 2.4,
            per_rate: 0.1,
            calm_score: 0.6,
            calm_points: 5,
            min_samples: 120,
            memory: Duration::from_hours(24),
            strictness: 10.0,
            critical_score: 1.4,
        }
    }
}

/// Metrics whose evidence counts.
const TOP: usize = 5;
/// An update is said again when the score, which is logarithmic, has grown by this factor.
const WORSE: f64 = 1.08;
/// Instants that an entity waits for its slowest metric. Requests may carry this many at once; a metric that
/// stopped delays judgement once by so many.
const PENDING: usize = 256;
/// Sampling interval for which [`EntityConfig::limit`] holds.
const REFERENCE_INTERVAL: f64 = 60.0;

/// Things whose metrics are judged by how they go together, at most: each takes up to 100 kB.
const MOST_TOGETHER: usize = 1_000;
/// Baselines that are kept to be taken back.
const UNDOABLE: usize = 20;

/// All entities, and which series belongs to which.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Entities {
    #[serde(skip)]
    config: EntityConfig,
    metrics: Vec<Metric>,
    entities: Vec<Entity>,
    /// By the fingerprint of the labels.
    known: BTreeMap<u64, Who>,
    /// Places whose entity is gone.
    free: Vec<u32>,
    /// Entities that are judged by how their metrics go together.
    together: usize,
    /// What was known before a baseline began anew, by the id of the correction; the newest [`UNDOABLE`].
    before: Vec<(String, Before)>,
}

/// What was known of the thing with these labels.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    labels: u64,
    /// What was usual for its metrics, and since when that was known ...
    usual: Vec<(SeriesId, Rolling, UnixNanos)>,
    /// ... or how they went together.
    together: Option<Box<Together>>,
}

/// Whose labels they are. Most series are the only one with theirs: they need no entity.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Who {
    Lone(SeriesId),
    /// The place in `entities`.
    Entity(u32),
}

/// What is usual for one metric. It is nobody's, or gone, as long as no point was taken.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Metric {
    rolling: Rolling,
    began: UnixNanos,
    last: UnixNanos,
    /// Fingerprint of the labels, and where the entity with these is, unless it is lone.
    labels: u64,
    place: u32,
    /// Whether the others wait for it no longer.
    is_stalled: bool,
    /// Whether what is usual begins anew with its next point.
    begins_anew: bool,
    /// Whether it is the only one of its entity, of which nothing is pending or open: then the entity need not
    /// be looked at, and learns where it stands when another metric joins.
    is_lone: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entity {
    members: Vec<SeriesId>,
    /// See [`Entities::strictness`].
    strictness: f64,
    stalled: usize,
    judged: Option<UnixNanos>,
    /// Instants that are not complete, oldest first; at most [`PENDING`].
    pending: VecDeque<Moment>,
    open: Option<Box<Open>>,
    together: Option<Box<Together>>,
}

/// What is known of one instant. All of it follows from the points, in whatever order the metrics come.
#[derive(Debug, Serialize, Deserialize)]
struct Moment {
    at: UnixNanos,
    /// Metrics that have a point here or later: they have nothing to add.
    passed: usize,
    /// Metrics that have a point here.
    reported: usize,
    /// The longest history among them, in points and since when.
    samples: u64,
    began: UnixNanos,
    /// The longest time since their points before, in seconds.
    elapsed: f64,
    /// The most unusual metrics, most unusual first.
    top: Vec<Reading>,
    /// All metrics, where it is wanted how they go together; sorted by name when it is complete.
    row: Vec<Reading>,
}

/// One metric at one instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    /// Name of the metric.
    name: Arc<str>,
    z: f64,
    value: f64,
    mean: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    anomaly: Anomaly,
    calm: u32,
    calm_since: Option<UnixNanos>,
    said: f64,
}

/// When an open anomaly ends, and when it is said again.
struct Ends {
    /// Scores below this are calm.
    calm: f64,
    /// So many calm instants in a row end it.
    calm_points: u32,
    /// It is said again when the score has grown by this factor.
    worse: f64,
}

impl Entities {
    /// Entities that nothing is known of.
    #[must_use]
    pub fn new(config: EntityConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The same, deciding by `config` from now on.
    #[must_use]
    pub(crate) fn with_config(mut self, config: EntityConfig) -> Self {
        self.entities.iter_mut().for_each(|entity| entity.set_strictness(&config));
        Self { config, ..self }
    }

    /// How much further out the series has to be than a lone one, to be said by itself: 1 for a lone one.
    #[must_use]
    pub fn strictness(&self, series: SeriesId) -> f64 {
        let metric = self.metrics.get(series.index()).filter(|m| m.is_known() && !m.is_lone);
        metric.and_then(|m| self.entities.get(m.place as usize)).map_or(1.0, |entity| entity.strictness)
    }

    /// Where the entity with these labels is, which is there from now on.
    fn place_of(&mut self, labels: u64) -> u32 {
        let before = self.known.get(&labels).copied();
        if let Some(Who::Entity(place)) = before {
            return place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.entities.push(Entity::default());
            u32::try_from(self.entities.len() - 1).expect("there are no more than series, whose numbers have 32 bits")
        });
        self.known.insert(labels, Who::Entity(place));
        if let Some(Who::Lone(id)) = before {
            self.entities[place as usize].members.push(id);
            self.metrics[id.index()].place = place;
        }
        place
    }

    /// Takes the next point of a series, judged by `corrections`. An instant is judged when all metrics have come that
    /// far: requests carry many instants of one metric before those of the next.
    pub(crate) fn observe(
        &mut self,
        point: &Point,
        series: &Arc<Series>,
        corrections: &Corrections,
    ) -> Vec<AnomalyEvent> {
        let index = point.series.index();
        if self.metrics.len() <= index {
            self.metrics.resize_with(index + 1, Metric::default);
        }
        let is_new = !self.metrics[index].is_known();
        if is_new {
            let labels = series.labels.fingerprint();
            let is_lone = !self.known.contains_key(&labels);
            let place = if is_lone { 0 } else { self.place_of(labels) };
            if is_lone {
                self.known.insert(labels, Who::Lone(point.series));
            }
            self.metrics[index] = Metric { labels, place, is_lone, began: point.time, ..Metric::default() };
        }
        let metric = &mut self.metrics[index];
        let last = std::mem::replace(&mut metric.last, point.time);
        let before = (!is_new).then_some(last);
        let elapsed = before.map_or(0.0, |last| point.time.since(last).as_secs_f64());
        if std::mem::take(&mut metric.begins_anew) {
            (metric.rolling, metric.began) = (Rolling::default(), point.time);
        }
        let (z, mean) = (metric.rolling.z(point.value), metric.rolling.mean());
        metric.rolling.learn(point.value, elapsed, self.config.memory.as_secs_f64());
        if metric.is_lone {
            return Vec::new();
        }
        let reading = Reading { name: Arc::clone(&series.name), z, value: point.value, mean };
        let (began, samples) = (metric.began, u64::from(metric.rolling.count()) - 1);
        let metric_labels = metric.labels;
        let was_stalled = std::mem::take(&mut metric.is_stalled);
        let Some(entity) = self.entities.get_mut(metric.place as usize) else { return Vec::new() };
        if is_new {
            join(entity, &mut self.metrics, point.series);
            entity.set_strictness(&self.config);
        }
        if was_stalled {
            entity.stalled = entity.stalled.saturating_sub(1);
        }
        let judged_together = entity.together.as_ref();
        let is_wanted = Together::suits(entity.members.len())
            && judged_together.map_or(self.together < MOST_TOGETHER, |t| t.wants(&self.config, point.time));
        if let Some(instant) = entity.reach(before, point.time) {
            instant.samples = instant.samples.max(samples);
            instant.began = instant.began.min(began);
            instant.elapsed = instant.elapsed.max(elapsed);
            if is_wanted {
                instant.row.push(reading.clone());
            }
            instant.take(reading);
        }
        let mut events = Vec::new();
        loop {
            if let Some(instant) = entity.complete() {
                let emitted_at =
                    if instant.reported < entity.active() { entity.next_at(instant.at) } else { instant.at };
                let key = key_of(metric_labels);
                let factor = |detector| corrections.factor_of(detector, key, instant.at);
                let (alone, joint) = (factor(DetectorKind::Entity), factor(DetectorKind::Forest));
                events.extend(entity.judge(&self.config, series, &instant, (emitted_at, alone)));
                let room = MOST_TOGETHER.saturating_sub(self.together);
                let had = usize::from(entity.together.is_some());
                events.extend(entity.judge_together(&self.config, series, instant, (emitted_at, room, joint)));
                self.together = self.together - had + usize::from(entity.together.is_some());
            } else if entity.pending.len() > PENDING {
                give_up_waiting(entity, &mut self.metrics);
            } else {
                let is_lone = entity.is_lone();
                self.metrics[index].is_lone = is_lone;
                if is_lone {
                    // What is said of it is not said here: give back the room for instants.
                    entity.pending = VecDeque::new();
                }
                return events;
            }
        }
    }

    /// Replaces what is remembered of the open anomaly with the id of `anomaly`, to which the caller has
    /// added.
    pub fn amend(&mut self, anomaly: &Anomaly) {
        let who = self.known.get(&anomaly.labels.fingerprint());
        let Some(entity) = who.and_then(|who| self.entities.get_mut(who.place()?)) else { return };
        let open = match anomaly.detector {
            DetectorKind::Forest => entity.together.as_mut().and_then(|t| t.open.as_mut()),
            _ => entity.open.as_mut(),
        };
        if let Some(open) = open {
            open.anomaly = anomaly.clone();
        }
    }

    /// Takes back anomalies that were open when the process ended. One about how metrics go together, of which nothing is
    /// known any more, ends when all of them are heard again.
    pub fn restore(&mut self, anomalies: impl IntoIterator<Item = Anomaly>) {
        for anomaly in anomalies {
            let place = self.place_of(anomaly.labels.fingerprint());
            let entity = &mut self.entities[place as usize];
            if anomaly.detector == DetectorKind::Forest {
                self.together += usize::from(entity.together.is_none());
                entity.together = Some(Box::new(Together::restored(anomaly)));
            } else {
                entity.open = Some(Box::new(Open::of(anomaly)));
            }
        }
    }

    /// Begins the baseline of a thing anew, if `correction` says so: an anomaly that ends by that.
    pub(crate) fn begin_anew(&mut self, correction: &Correction) -> Option<AnomalyEvent> {
        if correction.change != Change::Baseline {
            return None;
        }
        let of = |detector| move |labels: &u64| subject_of(detector, key_of(*labels)) == correction.series;
        let find = |detector| self.known.keys().copied().find(of(detector));
        let (labels, is_alone) = find(DetectorKind::Entity)
            .map(|labels| (labels, true))
            .or_else(|| Some((find(DetectorKind::Forest)?, false)))?;
        let entity = self.entities.get_mut(self.known.get(&labels)?.place()?)?;
        let mut before = Before { labels, usual: Vec::new(), together: None };
        let open = if is_alone {
            for id in &entity.members {
                let Some(metric) = self.metrics.get_mut(id.index()) else { continue };
                before.usual.push((*id, metric.rolling, metric.began));
                metric.begins_anew = true;
            }
            entity.open.take()
        } else {
            before.together = entity.together.take();
            self.together -= usize::from(before.together.is_some());
            before.together.as_mut().and_then(|together| together.open.take())
        };
        let judged = entity.judged;
        if self.before.len() >= UNDOABLE {
            self.before.remove(0);
        }
        self.before.push((correction.id.clone(), before));
        open.map(|open| open.ended(judged))
    }

    /// Takes back that a baseline began anew, by the id of the correction. Metrics that are gone stay so.
    pub(crate) fn undo(&mut self, id: &str) {
        let Some(place) = self.before.iter().position(|(name, _)| name == id) else { return };
        let (_, Before { labels, usual, together }) = self.before.remove(place);
        let Some(who) = self.known.get(&labels) else { return };
        for (id, rolling, began) in usual {
            if let Some(metric) = self.metrics.get_mut(id.index()).filter(|m| m.is_known() && m.labels == labels) {
                (metric.rolling, metric.began, metric.begins_anew) = (rolling, began, false);
            }
        }
        let entity = who.place().and_then(|place| self.entities.get_mut(place));
        if let (Some(entity), Some(together)) = (entity, together) {
            self.together += usize::from(entity.together.is_none());
            entity.together = Some(together);
        }
    }

    /// Forgets series that are gone; with its last metric an entity is forgotten, and its anomaly ends.
    pub fn forget(&mut self, expired: &[SeriesId]) -> Vec<AnomalyEvent> {
        let mut events = Vec::new();
        for id in expired {
            let Some(metric) = self.metrics.get_mut(id.index()).map(std::mem::take) else { continue };
            let Some(who) = self.known.get(&metric.labels).filter(|_| metric.is_known()) else { continue };
            let Some(entity) = who.place().and_then(|place| self.entities.get_mut(place)) else {
                self.known.remove(&metric.labels);
                continue;
            };
            entity.members.retain(|member| member != id);
            entity.stalled -= usize::from(metric.is_stalled).min(entity.stalled);
            entity.set_strictness(&self.config);
            if entity.members.is_empty() {
                let gone = std::mem::take(entity);
                self.together -= usize::from(gone.together.is_some());
                let open = gone.together.and_then(|t| t.open);
                events.extend(gone.open.into_iter().chain(open).map(|open| open.ended(Some(metric.last))));
                self.known.remove(&metric.labels);
                self.free.push(metric.place);
            }
        }
        events
    }

    /// The anomalies that are open.
    pub fn open<'a>(&'a self) -> impl Iterator<Item = &'a Anomaly> {
        let entities = self.known.values().filter_map(|who| self.entities.get(who.place()?));
        let open = |e: &'a Entity| e.open.iter().chain(e.together.iter().filter_map(|t| t.open.as_ref()));
        entities.flat_map(open).map(|open| &open.anomaly)
    }
}

impl Who {
    fn place(self) -> Option<usize> {
        match self {
            Self::Lone(_) => None,
            Self::Entity(place) => Some(place as usize),
        }
    }
}

impl Metric {
    fn is_known(&self) -> bool {
        self.rolling.count() > 0
    }
}

/// What stands for the thing with labels of this fingerprint, where others have the key of a series.
pub(crate) fn key_of(labels: u64) -> SeriesKey {
    SeriesKey(u128::from(labels))
}

/// The entity has one metric more.
fn join(entity: &mut Entity, metrics: &mut [Metric], series: SeriesId) {
    for member in &entity.members {
        let Some(metric) = metrics.get_mut(member.index()).filter(|m| m.is_lone) else { continue };
        metric.is_lone = false;
        entity.judged = entity.judged.max(Some(metric.last));
    }
    entity.members.push(series);
}

/// The metrics that keep the oldest instant waiting are waited for no longer.
fn give_up_waiting(entity: &mut Entity, metrics: &mut [Metric]) {
    let Some(oldest) = entity.pending.front().map(|instant| instant.at) else { return };
    for member in &entity.members {
        let Some(metric) = metrics.get_mut(member.index()) else { continue };
        if !metric.is_stalled && metric.is_known() && metric.last < oldest {
            metric.is_stalled = true;
            entity.stalled += 1;
        }
    }
    // Whatever it is that still lacks (a series that went away in between), the queue gets shorter.
    let active = entity.active();
    if let Some(front) = entity.pending.front_mut() {
        front.passed = front.passed.max(active);
    }
}

impl Default for Entity {
    fn default() -> Self {
        let (members, pending) = (Vec::new(), VecDeque::new());
        Self { members, strictness: 1.0, stalled: 0, judged: None, pending, open: None, together: None }
    }
}

impl Entity {
    /// See [`Entities::strictness`].
    fn set_strictness(&mut self, config: &EntityConfig) {
        let metrics = self.members.len();
        #[expect(clippy::cast_precision_loss, reason = "a count of metrics")]
        let many = (metrics as f64).log10() / 2.0;
        self.strictness = if metrics < config.min_metrics { 1.0 } else { 1.0 + (config.strictness - 1.0) * many };
    }

    /// Whether there is one metric, and nothing but its next point can change anything.
    fn is_lone(&self) -> bool {
        self.members.len() == 1 && self.stalled == 0 && self.pending.is_empty() && self.open.is_none()
    }

    /// Metrics that are waited for.
    fn active(&self) -> usize {
        self.members.len().saturating_sub(self.stalled)
    }

    /// A metric has come from `before` to `at`; the instant there, unless it was judged already.
    fn reach(&mut self, before: Option<UnixNanos>, at: UnixNanos) -> Option<&mut Moment> {
        if self.judged.is_some_and(|judged| at <= judged) {
            return None;
        }
        let place = self.pending.partition_point(|i| i.at < at);
        if self.pending.get(place).is_none_or(|i| i.at != at) {
            // Who has come beyond the next instant has come beyond this one.
            let passed = self.pending.get(place).map_or(0, |next| next.passed);
            let (top, row) = (Vec::new(), Vec::new());
            let instant = Moment { at, passed, reported: 0, samples: 0, began: at, elapsed: 0.0, top, row };
            self.pending.insert(place, instant);
        }
        let from = before.map_or(0, |before| self.pending.partition_point(|i| i.at <= before));
        self.pending.range_mut(from..=place).for_each(|i| i.passed += 1);
        self.pending.get_mut(place)
    }

    /// Takes out the oldest instant, if all metrics have come that far.
    fn complete(&mut self) -> Option<Moment> {
        let active = self.active();
        let instant = self.pending.pop_front_if(|i| i.passed >= active)?;
        self.judged = Some(instant.at);
        Some(instant)
    }

    /// The oldest instant that waits, or `at`.
    fn next_at(&self, at: UnixNanos) -> UnixNanos {
        self.pending.front().map_or(at, |i| i.at)
    }

    fn judge(
        &mut self,
        config: &EntityConfig,
        series: &Arc<Series>,
        instant: &Moment,
        (emitted_at, factor): (UnixNanos, Option<f64>),
    ) -> Option<AnomalyEvent> {
        let Some(factor) = factor else { return self.open.take().map(|open| open.ended(Some(instant.at))) };
        if self.members.len() < config.min_metrics || instant.samples < config.min_samples {
            return None;
        }
        let evidence = evidence(&instant.top);
        let limit = config.limit + config.per_rate * (REFERENCE_INTERVAL / instant.elapsed.max(1e-3)).ln();
        let score = factor * evidence / limit.max(config.limit / 2.0);
        match self.open.take() {
            Some(open) => {
                let state = |a: &mut Anomaly| self.state(config, a, instant, score);
                let (calm, calm_points) = (config.calm_score, config.calm_points);
                let (open, event) = open.goes_on(instant.at, score, &Ends { calm, calm_points, worse: WORSE }, state);
                self.open = open;
                event
            }
            None if score > 1.0 => {
                let anomaly = self.opened(config, series, instant, (score, emitted_at));
                self.open = Some(Box::new(Open::of(anomaly.clone())));
                Some(AnomalyEvent::Opened(anomaly))
            }
            None => None,
        }
    }

    /// Judges how the metrics go together, if all are there. There may be `room` for another thing that is judged so.
    fn judge_together(
        &mut self,
        config: &EntityConfig,
        series: &Arc<Series>,
        mut instant: Moment,
        (emitted_at, room, factor): (UnixNanos, usize, Option<f64>),
    ) -> Option<AnomalyEvent> {
        if instant.row.len() != self.members.len() || !Together::suits(instant.row.len()) {
            return None;
        }
        if self.together.as_ref().is_some_and(|t| !t.wants(config, instant.at)) {
            return None;
        }
        instant.row.sort_by(|a, b| a.name.cmp(&b.name));
        if self.together.as_ref().is_none_or(|t| !t.knows(&instant.row)) {
            if self.together.is_none() && room == 0 {
                return None;
            }
            let fresh = Together::of(&instant, series.labels.fingerprint());
            let before = self.together.replace(Box::new(fresh));
            return before.and_then(|t| t.open).map(|open| open.ended(Some(instant.at)));
        }
        let is_out = self.open.is_some();
        let together = self.together.as_mut()?;
        let Some(factor) = factor else { return together.open.take().map(|open| open.ended(Some(instant.at))) };
        together.judge(config, series, &instant, (emitted_at, is_out, factor))
    }

    fn opened(
        &self,
        config: &EntityConfig,
        series: &Arc<Series>,
        instant: &Moment,
        (score, emitted_at): (f64, UnixNanos),
    ) -> Anomaly {
        let key = key_of(series.labels.fingerprint());
        let mut anomaly = Anomaly::of(DetectorKind::Entity, key, series, instant.at);
        (anomaly.emitted_at, anomaly.pattern) = (emitted_at, Pattern::Joint);
        anomaly.sample_count = instant.samples;
        anomaly.baseline_span = instant.at.since(instant.began).min(config.memory);
        self.state(config, &mut anomaly, instant, score);
        anomaly
    }

    /// Writes down the numbers of this instant: those of its most unusual metric, and every share.
    fn state(&self, config: &EntityConfig, a: &mut Anomaly, instant: &Moment, score: f64) {
        let Some(first) = instant.top.first() else { return };
        let evidence = evidence(&instant.top);
        a.metric = Arc::clone(&first.name);
        a.direction = if first.value >= first.mean { Direction::Up } else { Direction::Down };
        let sign = if first.value >= first.mean { 1.0 } else { -1.0 };
        (a.score, a.z, a.threshold) = (score, sign * evidence, evidence / score);
        (a.observed, a.expected) = (first.value, first.mean);
        // Where the metric would have to be for its z to be that of the whole at the limit.
        a.scale = first.deviation();
        let reach = a.threshold.exp_m1() * a.scale;
        (a.lower, a.upper) = (first.mean - reach, first.mean + reach);
        if score >= config.critical_score {
            a.severity = Severity::Critical;
        }
        let total: f64 = instant.top.iter().take(TOP).map(|r| r.z.ln_1p()).sum();
        a.contributors = instant
            .top
            .iter()
            .take(TOP)
            .map(|r| Contributor { name: Arc::clone(&r.name), distance: r.z, share: r.z.ln_1p() / total })
            .collect();
        a.explanation = explain(a, self.members.len());
    }
}

impl Moment {
    fn take(&mut self, reading: Reading) {
        self.reported += 1;
        if self.top.len() < TOP || self.top.last().is_some_and(|last| reading.is_before(last)) {
            self.top.truncate(TOP - 1);
            let at = self.top.partition_point(|r| r.is_before(&reading));
            self.top.insert(at, reading);
        }
    }
}

impl Reading {
    /// One standard deviation, in the metric's unit; 0 at the mean, where it does not show.
    fn deviation(&self) -> f64 {
        if self.z > 0.0 { (self.value - self.mean).abs() / self.z } else { 0.0 }
    }

    /// Deviations from the mean, below it negative.
    fn signed(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most fifty")]
        let z = self.z as f32;
        if self.value < self.mean { -z } else { z }
    }

    /// More unusual, or as unusual and first by name: the order does not depend on who came first.
    fn is_before(&self, other: &Self) -> bool {
        self.z > other.z || (self.z >= other.z && self.name < other.name)
    }
}

impl Open {
    fn of(anomaly: Anomaly) -> Self {
        Self { said: anomaly.score, anomaly, calm: 0, calm_since: None }
    }

    /// Takes one more instant, with its score; `state` writes down its numbers if they are the greatest so far. What is
    /// left open, and what is to be said.
    fn goes_on(
        mut self: Box<Self>,
        at: UnixNanos,
        score: f64,
        ends: &Ends,
        state: impl FnOnce(&mut Anomaly),
    ) -> (Option<Box<Self>>, Option<AnomalyEvent>) {
        if score < ends.calm {
            self.calm += 1;
            let since = *self.calm_since.get_or_insert(at);
            if self.calm >= ends.calm_points {
                return (None, Some(self.ended(Some(since))));
            }
            return (Some(self), None);
        }
        (self.calm, self.calm_since) = (0, None);
        self.anomaly.points += 1;
        if score > self.anomaly.score {
            state(&mut self.anomaly);
        }
        let is_worse = self.anomaly.score > ends.worse * self.said;
        if is_worse {
            self.said = self.anomaly.score;
        }
        let event = is_worse.then(|| AnomalyEvent::Updated(self.anomaly.clone()));
        (Some(self), event)
    }

    fn ended(self, at: Option<UnixNanos>) -> AnomalyEvent {
        let mut anomaly = self.anomaly;
        anomaly.ends_at = at.or(Some(anomaly.starts_at));
        AnomalyEvent::Ended(anomaly)
    }
}

/// Mean of `ln(1 + z)` over the most unusual metrics, which come first in `top`.
fn evidence(top: &[Reading]) -> f64 {
    let sum: f64 = top.iter().take(TOP).map(|r| r.z.ln_1p()).sum();
    #[expect(clippy::cast_precision_loss, reason = "five")]
    let most = TOP as f64;
    sum / most
}

fn explain(a: &Anomaly, metrics: usize) -> String {
    format!(
        "Of {metrics} metrics of {} several left their usual range of the last {} together: {}. The mean of ln(1 + z) \
         over the five most unusual is {:.2}; it would not have fired unless above {:.2}. The first was {}, usual is {}.",
        whose(a),
        span(a.baseline_span),
        shares(a, "standard deviations"),
        a.z.abs(),
        a.threshold,
        number(a.observed),
        number(a.expected),
    )
}

/// Whose metrics they are.
fn whose(a: &Anomaly) -> &str {
    if a.service.is_empty() { "one sender" } else { &a.service }
}

/// The metrics that contribute, with their distances in `unit` and their shares.
fn shares(a: &Anomaly, unit: &str) -> String {
    let of = |c: &Contributor| format!("{} ({:.1} {unit}, {:.0} %)", c.name, c.distance, 100.0 * c.share);
    a.contributors.iter().map(of).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "entity/tests.rs"]
mod tests;
