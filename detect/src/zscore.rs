//! The detector of single series: a [`models::ZScore`] and a [`models::Novelty`] each for its values, a
//! [`models::Shape`] and a [`models::Season`] for its course, and intervals made of their verdicts.
//!
//! One disturbance is one anomaly: it opens with the first point whose score exceeds 1, lasts
//! while points stay out, and ends when several in a row are calm. Points inside do not teach the
//! baseline; a disturbance that outlasts [`ZScoreConfig::adopt_after`] is accepted as the new normal.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use models::{novelty, zscore::Params};
use serde::{Deserialize, Serialize};
use window::{Point, Series, SeriesId, SeriesKey, UnixNanos};

use self::{
    form::Progress,
    sibling::{MOST_TRIALS, Siblings, Trial},
    smooth::Smooth,
    verdict::{Numbers, Verdict, seconds},
};
use crate::{
    Anomaly, AnomalyEvent, Change, Correction, DetectorKind, Direction, Limit, MetricSettings, Pattern, Settings,
    Severity, attributes, corrections::Corrections,
};

mod explain;
mod form;
mod sibling;
mod smooth;
mod verdict;

pub(crate) use self::explain::{number, span, subject};

/// How the detector decides.
#[derive(Clone, Debug, PartialEq)]
pub struct ZScoreConfig {
    /// What is known of single metrics beforehand. Default nothing.
    pub settings: Settings,
    /// Parameters of the z-score.
    pub params: Params,
    /// Parameters of novelty.
    pub novelty: novelty::Params,
    /// Event time, and points, after which a series is judged by novelty. Default one day and 40 points.
    pub settle: Duration,
    /// See [`ZScoreConfig::settle`].
    pub settle_points: u64,
    /// The z-score's own score from which on it has a say about a settled series. Default 12.
    pub far_score: f64,
    /// Scores of a settled series below this are calm. Default 0.5.
    pub calm_novelty: f64,
    /// Calm points in a row that end an anomaly of a settled series. Default 1: a value that was seen
    /// before is calm by itself.
    pub calm_points_novelty: u64,
    /// Scores from here on are critical. Default 2.
    pub critical_score: f64,
    /// Scores below this are calm. Default 0.8.
    pub calm_score: f64,
    /// Calm points in a row that end an anomaly. Default 3.
    pub calm_points: u64,
    /// Points outside the band from which on it is called a level shift. Default 12.
    pub shift_points: u64,
    /// An anomaly that lasts this long (and 60 points) is the new normal. Default 6 h.
    pub adopt_after: Duration,
    /// Event time between published `:expected`, `:lower`, `:upper`, `:score`. Default 60 s.
    pub publish_every: Duration,
}

impl Default for ZScoreConfig {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            params: Params::default(),
            novelty: novelty::Params::default(),
            settle: Duration::from_hours(24),
            settle_points: 40,
            far_score: 12.0,
            calm_novelty: 0.5,
            calm_points_novelty: 1,
            critical_score: 2.0,
            calm_score: 0.8,
            calm_points: 3,
            shift_points: 12,
            adopt_after: Duration::from_hours(6),
            publish_every: Duration::from_secs(60),
        }
    }
}

const ADOPT_POINTS: u64 = 60;
/// An update is said again when the score has grown by this factor.
const WORSE: f64 = 1.5;
/// Smallest scale of a share: one point in a hundred, so that 0 % to 1 % is not infinitely many sigmas.
const RATIO_FLOOR: f64 = 0.01;
/// The same for shares of failed calls, of which nobody says how many calls there were ...
const ERROR_RATIO_FLOOR: f64 = 0.02;
/// ... and where it is known, whatever their number.
const LEAST_ERROR_RATIO: f64 = 0.005;
/// The share of failed calls that is believed of a service that has had none.
const USUAL_ERROR_RATIO: f64 = 0.01;
/// So much of one failed call is noise: then a single one, of however few, is not yet an excursion.
const ONE_FAILURE: f64 = 0.4;
const CALLS: &str = "traces_span_metrics_calls:rate";
const ERRORS: &str = "traces_span_metrics_errors:ratio";

/// Values to be written beside the series that they speak of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// The series that was judged.
    pub of: SeriesId,
    /// Event time of the judged point.
    pub time: UnixNanos,
    /// In the order of [`Published::SUFFIXES`]; what is not finite is not known.
    values: [f64; 4],
}

impl Published {
    /// What the names of the series end in that the values are written to.
    const SUFFIXES: [&str; 4] = [":expected", ":lower", ":upper", ":score"];

    /// What is known, by the suffix of its series.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, f64)> {
        Self::SUFFIXES.into_iter().zip(self.values).filter(|(_, value)| value.is_finite())
    }
}

/// The detector with the state of every series.
#[derive(Debug, Serialize, Deserialize)]
pub struct ZScoreDetector {
    #[serde(skip)]
    config: ZScoreConfig,
    states: Vec<State>,
    /// Anomalies that were open when the process ended, until their series is seen again.
    restored: BTreeMap<SeriesKey, Anomaly>,
    /// Rates of calls, by the fingerprint of their labels.
    calls: BTreeMap<u64, SeriesId>,
    siblings: Siblings,
    /// Series that try the baseline of another.
    trials: usize,
    corrections: Corrections,
    /// What baselines were before they began anew, by the id of the correction; the newest [`UNDOABLE`].
    before: Vec<(String, Baseline)>,
}

/// What is known of one series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Baseline {
    model: models::ZScore,
    novelty: models::Novelty,
    shape: models::Shape,
    season: models::Season,
    smooth: Option<Box<Smooth>>,
    began: Option<UnixNanos>,
}

/// Baselines that are kept to be taken back.
const UNDOABLE: usize = 100;

/// All that is known of one series by itself. In bytes, of one that has shown everything, the week of its hours included:
///
/// | of | here | apart from it | that is |
/// |---|---|---|---|
/// | z-score | 240 | 2 x 128 | 32 peaks of each tail |
/// | novelty | 440 | 1,792 | here the last 26 points, 20 residuals and 24 hours; there 3 x 64 values and 128 pairs |
/// | shape | 88 | | |
/// | season | 32 | 560 | 24 hours of the day and 168 of the week, of two bytes each, and errors |
/// | the rest | 88 | | |
///
/// 888 and 2,608, in four pieces, to each of which the allocator adds 8 to 16. [`crate::Entities`] remembers 56 and an entry of
/// a map, about 30, of each series. That is 3.6 kB. A series of estimates has [`Smooth`] too, 288 and again 2 x 128: 4.2 kB. One
/// with the label `instance` has a number in a list of siblings, and for its first points a copy of what is known of one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    model: models::ZScore,
    novelty: models::Novelty,
    shape: models::Shape,
    season: models::Season,
    /// Of a series whose points are estimates from a few calls each.
    smooth: Option<Box<Smooth>>,
    /// Of a share of failed calls: the rate of these calls.
    calls: Option<SeriesId>,
    began: Option<UnixNanos>,
    last: UnixNanos,
    last_value: f64,
    published: Option<UnixNanos>,
    open: Option<Box<Open>>,
    /// Of a new instance, what is known of another.
    trial: Option<Box<Trial>>,
    /// Where its settings are; `None` until they were looked for.
    #[serde(skip)]
    settings: Option<Option<u16>>,
}

/// An anomaly that has not ended.
#[derive(Debug, Serialize, Deserialize)]
struct Open {
    anomaly: Anomaly,
    /// Score when it was last said.
    said: f64,
    progress: Progress,
    /// Calm points in a row, and the time of the first of them.
    calm: u64,
    calm_since: Option<UnixNanos>,
}

/// What observing a point gave.
#[derive(Debug, Default)]
pub struct Observed {
    /// News about an anomaly of the series.
    pub event: Option<AnomalyEvent>,
    /// What to publish.
    pub published: Option<Published>,
}

impl ZScoreDetector {
    /// A detector that knows nothing.
    #[must_use]
    pub fn new(config: ZScoreConfig) -> Self {
        Self {
            config,
            states: Vec::new(),
            restored: BTreeMap::new(),
            calls: BTreeMap::new(),
            siblings: Siblings::default(),
            trials: 0,
            corrections: Corrections::default(),
            before: Vec::new(),
        }
    }

    /// The same, deciding by `config` from now on. `key_of` says which series has a number: what was
    /// written down does not.
    #[must_use]
    pub(crate) fn with_config(mut self, config: ZScoreConfig, key_of: impl Fn(SeriesId) -> Option<SeriesKey>) -> Self {
        for (id, state) in (0..).map(SeriesId).zip(&mut self.states) {
            state.settings = None;
            if let Some(open) = &mut state.open {
                open.anomaly.series_key = key_of(id);
            }
        }
        self.restored.iter_mut().for_each(|(key, anomaly)| anomaly.series_key = Some(*key));
        Self { config, ..self }
    }

    /// Takes back the anomalies that were open when the process ended. They stay open until their
    /// series has been judged calm.
    pub fn restore(&mut self, anomalies: impl IntoIterator<Item = Anomaly>) {
        self.restored.extend(anomalies.into_iter().filter_map(|a| Some((a.series_key?, a))));
    }

    /// Judges the next point of a series: finite, later than all before it.
    pub fn observe(&mut self, point: &Point, series: &Arc<Series>) -> Observed {
        self.observe_strictly(point, series, 1.0)
    }

    /// The same; `strictness` multiplies what the series must exceed. It is above 1 for the many
    /// metrics of one thing, each of which would otherwise have its own chance of a false alarm.
    pub fn observe_strictly(&mut self, point: &Point, series: &Arc<Series>, strictness: f64) -> Observed {
        let index = point.series.index();
        if self.states.len() <= index {
            self.states.resize_with(index + 1, State::default);
        }
        let calls = self.calls_of(point.series, series);
        if self.states[index].began.is_none() {
            let siblings = self.siblings.join(series, point.series);
            let lenders = siblings.iter().filter_map(|id| self.states.get(id.index()));
            let trial = if self.trials < MOST_TRIALS { Trial::of(lenders, &self.config, point) } else { None };
            self.trials += usize::from(trial.is_some());
            self.states[index].trial = trial;
        }
        let state = &mut self.states[index];
        if state.began.is_none() && !self.restored.is_empty() {
            state.open = self.restored.remove(&series.key).map(Open::restored);
        }
        if state.began.is_none() {
            state.smooth = Smooth::of(series).map(Box::new);
        }
        let place = *state.settings.get_or_insert_with(|| self.config.settings.place_of(series));
        let settings = self.config.settings.at(place);
        let factor = self.corrections.factor(series.key, point.time);
        let Some(factor) = factor.filter(|_| settings.is_none_or(|s| s.enabled)) else {
            return Observed { event: state.open.take().map(|open| open.ended(point.time)), published: None };
        };
        let began = *state.began.get_or_insert(point.time);
        let elapsed = if state.novelty.count() == 0 { 0.0 } else { point.time.since(state.last).as_secs_f64() };
        (state.last, state.last_value) = (point.time, point.value);
        let floor_at = |expected| scale_floor(series, elapsed, calls, expected);
        let floor = floor_at(state.model.expected().unwrap_or(0.0));
        if let Some(trial) = state.trial.take_if(|_| elapsed > 0.0) {
            let (by, scores) = ((&self.config, settings), (floor_at, strictness, factor));
            state.try_on(trial.goes_on(by, scores, point, elapsed), &self.config);
            self.trials -= usize::from(state.trial.is_none());
        }
        // Looked at where it is: moving four hundred bytes takes longer than most of what made them.
        let mut verdict = state.verdict(&self.config, settings, (floor, strictness), point);
        let Some(verdict) = &mut verdict else {
            state.learn(&self.config, floor, point, elapsed, None, false);
            return Observed::default();
        };
        verdict.multiply(factor);
        let was_open = state.open.is_some();
        let event = match state.open.take() {
            Some(open) => state.continues(&self.config, settings, open, floor, verdict, point),
            None if verdict.score > 1.0 => {
                let baseline = (state.model.samples(), point.time.since(began));
                state.numbers(&self.config, settings, floor, verdict, point).map(|numbers| {
                    let anomaly = opened(&self.config, point, series, numbers, baseline);
                    state.open = Some(Box::new(Open::new(anomaly.clone())));
                    state.novelty.note_anomaly();
                    AnomalyEvent::Opened(anomaly)
                })
            }
            None => None,
        };
        let is_inside = was_open || state.open.is_some();
        state.learn(&self.config, floor, point, elapsed, Some(verdict), is_inside);
        let published = state.publish(&self.config, verdict, point, was_open != state.open.is_some());
        Observed { event, published }
    }

    /// Calls a second, lately, of which `series` is the share that failed; `None` where it is no such share, or
    /// where that is not known.
    fn calls_of(&mut self, id: SeriesId, series: &Series) -> Option<f64> {
        let state = self.states.get_mut(id.index())?;
        if &*series.name == CALLS && state.began.is_none() {
            self.calls.insert(series.labels.fingerprint(), id);
        }
        if &*series.name != ERRORS {
            return None;
        }
        if state.calls.is_none() {
            state.calls = self.calls.get(&series.labels.fingerprint()).copied();
        }
        let calls = state.calls?;
        self.states.get(calls.index()).filter(|calls| calls.began.is_some()).map(|calls| calls.last_value)
    }

    /// Replaces what is remembered of the open anomaly of `series` by `anomaly`, to which the caller
    /// has added.
    pub fn amend(&mut self, series: SeriesId, anomaly: &Anomaly) {
        if let Some(open) = self.states.get_mut(series.index()).and_then(|s| s.open.as_mut()) {
            open.anomaly = anomaly.clone();
        }
    }

    /// Makes a change to what is expected of a series, unless it was made already; `id` is its present number.
    pub(crate) fn correct(&mut self, correction: Correction, id: SeriesId) -> Option<AnomalyEvent> {
        let (name, change) = (correction.id.clone(), correction.change);
        if !self.corrections.add(correction) || change != Change::Baseline {
            return None;
        }
        let state = self.states.get_mut(id.index()).filter(|state| state.began.is_some())?;
        self.trials -= usize::from(state.trial.take().is_some());
        let fresh = Baseline { smooth: state.smooth.as_ref().map(|_| Box::default()), ..Baseline::default() };
        let before = state.replace(fresh);
        if self.before.len() >= UNDOABLE {
            self.before.remove(0);
        }
        self.before.push((name, before));
        state.open.take().map(|open| open.ended(state.last))
    }

    /// Takes a change back, by its id. `id_of` says which number a series has now.
    pub(crate) fn undo(&mut self, id: &str, id_of: impl Fn(SeriesKey) -> Option<SeriesId>) {
        let Some(correction) = self.corrections.remove(id) else { return };
        let Some(place) = self.before.iter().position(|(name, _)| name == id) else { return };
        let (_, before) = self.before.remove(place);
        if let Some(state) = id_of(correction.series).and_then(|id| self.states.get_mut(id.index())) {
            state.replace(before);
        }
    }

    /// The changes that are in force for all detectors.
    pub(crate) fn in_force(&self) -> &Corrections {
        &self.corrections
    }

    /// The same, one by one.
    pub(crate) fn corrections(&self) -> impl Iterator<Item = &Correction> {
        self.corrections.iter()
    }

    /// Forgets series that are gone; their open anomalies end at their last point.
    pub fn forget(&mut self, expired: &[SeriesId]) -> Vec<AnomalyEvent> {
        if expired.is_empty() {
            return Vec::new();
        }
        let gone: HashSet<SeriesId> = expired.iter().copied().collect();
        self.siblings.forget(&gone);
        let before = self.calls.len();
        self.calls.retain(|_, id| !gone.contains(id));
        let (states, trials) = (&mut self.states, &mut self.trials);
        if self.calls.len() < before {
            states.iter_mut().for_each(|state| state.calls = state.calls.filter(|id| !gone.contains(id)));
        }
        expired
            .iter()
            .filter_map(|id| {
                let state = std::mem::take(states.get_mut(id.index())?);
                *trials -= usize::from(state.trial.is_some());
                let mut anomaly = state.open?.anomaly;
                anomaly.ends_at = Some(state.last);
                Some(AnomalyEvent::Ended(anomaly))
            })
            .collect()
    }

    /// How each series was heard: its first point, its newest, and how many there were.
    pub(crate) fn heard(&self) -> impl Iterator<Item = (SeriesId, UnixNanos, UnixNanos, u64)> {
        let states = (0..).map(SeriesId).zip(&self.states);
        states.filter_map(|(id, state)| Some((id, state.began?, state.last, state.model.samples())))
    }

    /// The limit that the series of `point` must not reach, if it has one and was observed, and what scores of its
    /// forecasts are multiplied by; `None` while these are not to be judged.
    pub(crate) fn limit_of(&self, point: &Point, key: SeriesKey) -> Option<(&Limit, f64)> {
        let place = self.states.get(point.series.index())?.settings?;
        let limit = self.config.settings.at(place)?.limit.as_ref()?;
        Some((limit, self.corrections.factor_of(DetectorKind::Forecast, key, point.time)?))
    }

    /// The anomalies that are open.
    pub fn open(&self) -> impl Iterator<Item = &Anomaly> {
        self.open_by_series().map(|(_, anomaly)| anomaly).chain(self.restored.values())
    }

    /// The same with their series, but for those whose series was not seen again.
    pub(crate) fn open_by_series(&self) -> impl Iterator<Item = (SeriesId, &Anomaly)> {
        (0..).map(SeriesId).zip(&self.states).filter_map(|(id, s)| Some((id, &s.open.as_ref()?.anomaly)))
    }

    /// How many series have a verdict, and how many are still warming up.
    #[must_use]
    pub fn warm_and_warming(&self) -> (usize, usize) {
        let seen = self.states.iter().filter(|s| s.began.is_some());
        let (mut warm, mut warming) = (0, 0);
        for state in seen {
            if state.model.samples() >= u64::from(self.config.params.min_samples) { warm += 1 } else { warming += 1 }
        }
        (warm, warming)
    }
}

impl State {
    /// Goes on from another baseline, and gives back the one before.
    fn replace(&mut self, with: Baseline) -> Baseline {
        Baseline {
            model: std::mem::replace(&mut self.model, with.model),
            novelty: std::mem::replace(&mut self.novelty, with.novelty),
            shape: std::mem::replace(&mut self.shape, with.shape),
            season: std::mem::replace(&mut self.season, with.season),
            smooth: std::mem::replace(&mut self.smooth, with.smooth),
            // A series that was seen has begun, whatever is known of it.
            began: std::mem::replace(&mut self.began, with.began.or(Some(self.last))),
        }
    }

    /// Goes on from the baseline of another instance, once it has been tried for long enough.
    fn try_on(&mut self, trial: Option<Box<Trial>>, config: &ZScoreConfig) {
        match trial.map(|trial| trial.passed(config)) {
            Some(Ok(baseline)) => {
                self.replace(baseline);
            }
            Some(Err(trial)) => self.trial = Some(trial),
            None => {}
        }
    }

    /// Takes the point into the models. What belongs to an anomaly does not move the baseline; that the
    /// series has been there is remembered all the same.
    fn learn(
        &mut self,
        config: &ZScoreConfig,
        floor: f64,
        point: &Point,
        elapsed: f64,
        verdict: Option<&Verdict>,
        is_inside: bool,
    ) {
        if verdict.is_some_and(|v| v.detector == DetectorKind::Limit) {
            return;
        }
        match verdict.and_then(|v| v.z) {
            Some(j) if is_inside && j.score > config.calm_score => {
                self.model.learn_anomalous(&self.params(config), &j, elapsed);
            }
            _ => self.model.learn(&self.params(config), floor, point.value, elapsed),
        }
        if let Some(smooth) = &mut self.smooth {
            smooth.learn(config, floor, point.value, elapsed, is_inside);
        }
        self.shape.learn(point.value, is_inside);
        self.season.learn(seconds(point), point.value);
        let judged = verdict.and_then(|v| v.novelty);
        self.novelty.learn(&config.novelty, seconds(point), point.value, elapsed, judged.as_ref());
    }

    /// What a further point means for an open anomaly.
    fn continues(
        &mut self,
        config: &ZScoreConfig,
        settings: Option<&MetricSettings>,
        mut open: Box<Open>,
        floor: f64,
        verdict: &Verdict,
        point: &Point,
    ) -> Option<AnomalyEvent> {
        if verdict.is_calm() {
            open.calm += 1;
            let since = *open.calm_since.get_or_insert(point.time);
            if open.calm < verdict.calm_points {
                self.open = Some(open);
                return None;
            }
            open.anomaly.ends_at = Some(since);
            return Some(AnomalyEvent::Ended(open.anomaly));
        }
        (open.calm, open.calm_since) = (0, None);
        let a = &mut open.anomaly;
        a.points += 1;
        let lasted = point.time.since(a.starts_at);
        if lasted >= config.adopt_after && a.points >= ADOPT_POINTS {
            a.ends_at = Some(point.time);
            if a.detector != DetectorKind::Pattern {
                a.pattern = Pattern::LevelShift;
            }
            a.explanation.push_str(" It lasted so long that it is now taken as the new normal.");
            self.model = models::ZScore::default();
            self.shape = models::Shape::default();
            self.smooth = self.smooth.take().map(|_| Box::default());
            self.began = Some(point.time);
            return Some(AnomalyEvent::Ended(open.anomaly));
        }
        let worse = (verdict.score > open.anomaly.score)
            .then(|| self.numbers(config, settings, floor, verdict, point))
            .flatten();
        let distance = verdict.z.map(|j| point.value - j.expected);
        let event = open.worsened(config, worse, distance).then(|| AnomalyEvent::Updated(open.anomaly.clone()));
        self.open = Some(open);
        event
    }

    fn publish(&mut self, config: &ZScoreConfig, verdict: &Verdict, point: &Point, turned: bool) -> Option<Published> {
        let due = self.published.is_none_or(|last| point.time.since(last) >= config.publish_every);
        if !due && !turned {
            return None;
        }
        self.published = Some(point.time);
        let [expected, lower, upper] = verdict.z.as_ref().map_or([f64::NAN; 3], |j| [j.expected, j.lower, j.upper]);
        Some(Published { of: point.series, time: point.time, values: [expected, lower, upper, verdict.score] })
    }
}

impl Open {
    fn new(anomaly: Anomaly) -> Self {
        let mut progress = Progress::default();
        progress.take(anomaly.observed - anomaly.expected);
        Self { said: anomaly.score, anomaly, progress, calm: 0, calm_since: None }
    }

    fn restored(anomaly: Anomaly) -> Box<Self> {
        Box::new(Self::new(anomaly))
    }

    fn ended(mut self, at: UnixNanos) -> AnomalyEvent {
        self.anomaly.ends_at = Some(at);
        AnomalyEvent::Ended(self.anomaly)
    }

    /// Notes a further point outside the band, with its numbers if they are the worst so far; whether
    /// that is worth saying.
    fn worsened(&mut self, config: &ZScoreConfig, worse: Option<Numbers>, distance: Option<f64>) -> bool {
        if let Some(distance) = distance {
            self.progress.take(distance);
        }
        let named =
            self.progress.pattern(config.shift_points).filter(|_| self.anomaly.detector != DetectorKind::Pattern);
        let shifted = named.is_some_and(|pattern| pattern != self.anomaly.pattern);
        self.anomaly.pattern = named.unwrap_or(self.anomaly.pattern);
        let before = self.anomaly.severity;
        if let Some(numbers) = worse {
            state_numbers(&mut self.anomaly, config, numbers);
        }
        let worse = self.anomaly.score > WORSE * self.said || self.anomaly.severity > before;
        if worse {
            self.said = self.anomaly.score;
        }
        worse || shifted
    }
}

/// The smallest scale that makes sense for a series, in its unit; 0 where nothing is known.
///
/// Shares have a resolution that people care about. Rates of events scatter like a Poisson process
/// at least: by the root of the events expected in the `elapsed` seconds, and by one event. Shares of
/// failed calls scatter like binomial ones, of which there are `calls` a second.
fn scale_floor(series: &Series, elapsed: f64, calls: Option<f64>, expected: f64) -> f64 {
    if &*series.name == ERRORS {
        let number = calls.map_or(0.0, |rate| rate * elapsed);
        if number > 0.0 {
            let (share, number) = (expected.clamp(USUAL_ERROR_RATIO, 0.5), number.max(1.0));
            (share * (1.0 - share) / number).sqrt().hypot(ONE_FAILURE / number).max(LEAST_ERROR_RATIO)
        } else {
            ERROR_RATIO_FLOOR
        }
    } else if &*series.unit == "1" || series.name.ends_with("_ratio") || series.name.ends_with(":ratio") {
        RATIO_FLOOR
    } else if series.name.ends_with(":rate") && !series.unit.starts_with('s') && elapsed > 0.0 {
        (expected * elapsed).max(1.0).sqrt() / elapsed
    } else {
        0.0
    }
}

fn opened(
    config: &ZScoreConfig,
    point: &Point,
    series: &Arc<Series>,
    numbers: Numbers,
    (sample_count, baseline_span): (u64, Duration),
) -> Anomaly {
    let up = numbers.z > 0.0;
    let mut anomaly = Anomaly::of(DetectorKind::ZScore, series.key, series, point.time);
    anomaly.series_key = Some(series.key);
    anomaly.direction = if up { Direction::Up } else { Direction::Down };
    anomaly.pattern = numbers.pattern.unwrap_or(if up { Pattern::Spike } else { Pattern::Dip });
    (anomaly.sample_count, anomaly.baseline_span) = (sample_count, baseline_span);
    state_numbers(&mut anomaly, config, numbers);
    anomaly
}

/// Writes down numbers, and what they mean.
fn state_numbers(a: &mut Anomaly, config: &ZScoreConfig, numbers: Numbers) {
    if let Some(pattern) = numbers.pattern {
        a.pattern = pattern;
    } else if a.detector == DetectorKind::Pattern {
        a.pattern = if numbers.z > 0.0 { Pattern::Spike } else { Pattern::Dip };
    }
    a.detector = numbers.detector;
    a.score = numbers.score;
    a.observed = numbers.observed;
    (a.expected, a.lower, a.upper) = (numbers.expected, numbers.lower, numbers.upper);
    (a.z, a.threshold, a.scale) = (numbers.z, numbers.threshold, numbers.scale);
    a.contributors = numbers.contributors;
    let severity = if numbers.score >= numbers.critical { Severity::Critical } else { Severity::Warning };
    a.severity = a.severity.max(severity);
    a.explanation = explain::decision(a, config, numbers.of_mean) + &attributes::sentence(&a.attributes);
}

#[cfg(test)]
#[path = "zscore/tests.rs"]
mod tests;

#[cfg(test)]
mod regressions;
