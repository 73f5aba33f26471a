//! What people said of anomalies, and what follows for their series.
//!
//! A false alarm raises what its series must exceed; something expected leaves the hours of its week out; a new normal
//! begins the baseline anew. Each change can be tried on the recent window before it is made, and be undone. What is said of
//! one detector's anomaly changes nothing for another's: whose a change is goes by the detector too, see [`Correction::subject`].

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use window::{Point, Sample, Series, SeriesId, SeriesKey, Snapshot, UnixNanos};

use crate::{
    Anomaly, AnomalyEvent, DetectorKind, Entities, EntityConfig, Forecasts, entity,
    zscore::{ZScoreConfig, ZScoreDetector},
};

const HOUR: i64 = 3_600;
const WEEK: i64 = 7 * 24 * HOUR;
/// Seconds from the beginning of a week, a Monday, to the epoch, a Thursday.
const EPOCH: i64 = 3 * 24 * HOUR;
/// What is left of the score of an anomaly that was a false alarm.
const QUIET: f64 = 0.95;
/// Corrections of one series at most; the oldest are let go.
const MOST: usize = 64;

/// What somebody says of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was one.
    TruePositive,
    /// It was none.
    FalsePositive,
    /// It was planned, and will be again at this time of the week.
    Expected,
    /// Things are like that from now on.
    NewNormal,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TruePositive, Self::FalsePositive, Self::Expected, Self::NewNormal];

    /// The word used in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TruePositive => "true_positive",
            Self::FalsePositive => "false_positive",
            Self::Expected => "expected",
            Self::NewNormal => "new_normal",
        }
    }
}

/// What changes for a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Change {
    /// Nothing.
    None,
    /// Its scores are multiplied by `factor`, in (0, 1).
    Threshold {
        /// The factor.
        factor: f64,
    },
    /// It is not judged in a part of every week.
    Exclusion {
        /// Where the part begins, in seconds from Monday 00:00 UTC.
        from: u32,
        /// Where it ends; before `from` if it goes over the end of the week.
        until: u32,
    },
    /// Its baseline begins anew.
    Baseline,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Correction {
    /// By which it is undone.
    pub id: String,
    /// Whose: see [`Correction::subject`].
    pub series: SeriesKey,
    /// What it changes.
    pub change: Change,
}

impl Correction {
    /// Whose scores change with what is said of `anomaly`: those of its series, or of the thing with its labels, as its
    /// detector judges it. `None` where nothing can be changed.
    #[must_use]
    pub fn subject(anomaly: &Anomaly) -> Option<SeriesKey> {
        use DetectorKind::{Entity, Forecast, Forest, Gap, Limit, Novelty, Pattern, ZScore};
        let key = match anomaly.detector {
            ZScore | Novelty | Pattern | Forecast => anomaly.series_key?,
            Entity | Forest => entity::key_of(anomaly.labels.fingerprint()),
            Gap | Limit => return None,
        };
        Some(subject_of(anomaly.detector, key))
    }
}

/// The key under which corrections of a series, or of a thing, are kept for a detector. All that judge single series by
/// their past are one.
pub(crate) fn subject_of(detector: DetectorKind, key: SeriesKey) -> SeriesKey {
    match detector {
        DetectorKind::ZScore | DetectorKind::Novelty | DetectorKind::Pattern => key,
        other => key.derived(other.as_str()),
    }
}

/// What a change would have done in the recent window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Points of the series that were judged again.
    pub points: usize,
    /// Event time of the first; `None` without points.
    pub from: Option<UnixNanos>,
    /// Event time of the last.
    pub to: Option<UnixNanos>,
    /// Anomalies that were found without the change, by a detector that knows nothing older.
    pub anomalies_before: usize,
    /// Anomalies that were found with it.
    pub anomalies_after: usize,
}

impl Change {
    /// What follows from `verdict` about `anomaly`; `None` where nothing can be done for its detector.
    #[must_use]
    pub fn proposed(verdict: Verdict, anomaly: &Anomaly) -> Option<Self> {
        match verdict {
            Verdict::TruePositive => Some(Self::None),
            _ if Correction::subject(anomaly).is_none() => None,
            // A forecast has no baseline but the last hours.
            Verdict::NewNormal if anomaly.detector == DetectorKind::Forecast => None,
            Verdict::FalsePositive => Some(Self::Threshold { factor: (QUIET / anomaly.score).min(QUIET) }),
            Verdict::Expected => Some(Self::exclusion(anomaly)),
            Verdict::NewNormal => Some(Self::Baseline),
        }
    }

    /// The whole hours of the week that `anomaly` touches: at least one, at most all but one.
    fn exclusion(anomaly: &Anomaly) -> Self {
        let end = anomaly.ends_at.unwrap_or(anomaly.emitted_at).max(anomaly.starts_at);
        let (first, last) = (hour_of(anomaly.starts_at), hour_of(end));
        let hours = (last - first).clamp(0, WEEK / HOUR - 2) + 1;
        let second = |hour: i64| u32::try_from((hour * HOUR).rem_euclid(WEEK)).unwrap_or_default();
        Self::Exclusion { from: second(first), until: second(first + hours) }
    }

    /// The change in words.
    #[must_use]
    pub fn describe(&self, anomaly: &Anomaly) -> String {
        let of = match anomaly.detector {
            DetectorKind::Entity | DetectorKind::Forest => {
                format!("all metrics of {} {} together", anomaly.service, anomaly.labels)
            }
            DetectorKind::Forecast => format!("the forecast of {} of {}", anomaly.metric, anomaly.service),
            _ => format!("{} of {}", anomaly.metric, anomaly.service),
        };
        match self {
            Self::None => "nothing changes: the anomaly is confirmed".into(),
            Self::Threshold { factor } => {
                format!("scores of {of} are multiplied by {factor:.3}: what was {:.2} would be {QUIET}", anomaly.score)
            }
            Self::Exclusion { from, until } => {
                format!(
                    "{of} is not judged from {} to {} UTC of every week, and learns nothing then",
                    day(*from),
                    day(*until)
                )
            }
            Self::Baseline => format!("the baseline of {of} begins anew"),
        }
    }
}

/// `Tuesday 14:00`.
fn day(second: u32) -> String {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let (day, rest) = (second / 86_400, second % 86_400);
    let name = DAYS.get(day as usize).copied().unwrap_or_default();
    format!("{name} {:02}:{:02}", rest / 3_600, rest % 3_600 / 60)
}

/// Hours since the Monday before the epoch.
fn hour_of(at: UnixNanos) -> i64 {
    (at.0.div_euclid(1_000_000_000) + EPOCH).div_euclid(HOUR)
}

/// Seconds since the beginning of the week.
fn second_of_week(at: UnixNanos) -> u32 {
    u32::try_from((at.0.div_euclid(1_000_000_000) + EPOCH).rem_euclid(WEEK)).unwrap_or_default()
}

/// The corrections in force, by series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Corrections(BTreeMap<SeriesKey, Vec<Correction>>);

impl Corrections {
    /// Adds a correction, unless it is there; whether it was not.
    pub(crate) fn add(&mut self, correction: Correction) -> bool {
        let of = self.0.entry(correction.series).or_default();
        if of.iter().any(|c| c.id == correction.id) {
            return false;
        }
        if of.len() >= MOST {
            of.remove(0);
        }
        of.push(correction);
        true
    }

    /// Takes the correction with this id out.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Correction> {
        for (series, of) in &mut self.0 {
            if let Some(place) = of.iter().position(|c| c.id == id) {
                let (removed, series) = (of.remove(place), *series);
                if of.is_empty() {
                    self.0.remove(&series);
                }
                return Some(removed);
            }
        }
        None
    }

    /// Those of all series.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Correction> {
        self.0.values().flatten()
    }

    /// The same for what `detector` says of a series, or of a thing with `key`.
    pub(crate) fn factor_of(&self, detector: DetectorKind, key: SeriesKey, at: UnixNanos) -> Option<f64> {
        if self.0.is_empty() { Some(1.0) } else { self.factor(subject_of(detector, key), at) }
    }

    /// What the scores of a series are multiplied by at `at`; `None` while it is not to be judged.
    pub(crate) fn factor(&self, series: SeriesKey, at: UnixNanos) -> Option<f64> {
        if self.0.is_empty() {
            return Some(1.0);
        }
        let mut product = 1.0;
        for correction in self.0.get(&series).into_iter().flatten() {
            match correction.change {
                Change::Threshold { factor } => product *= factor,
                Change::Exclusion { from, until } => {
                    let now = second_of_week(at);
                    let is_within =
                        if from < until { (from..until).contains(&now) } else { now >= from || now < until };
                    if is_within {
                        return None;
                    }
                }
                Change::None | Change::Baseline => {}
            }
        }
        Some(product)
    }
}

/// How the detectors decide that a change may be tried with.
#[derive(Clone, Debug)]
pub struct TrialConfig {
    /// Single series.
    pub zscore: ZScoreConfig,
    /// Things with several metrics.
    pub entity: EntityConfig,
}

/// Judges what the window holds of the series of `anomaly`, or of all metrics of its thing, twice: as it is and with
/// `change`, by detectors that know nothing older. How metrics go together is judged from half of the window on.
#[must_use]
pub fn try_out(snapshot: &Snapshot, config: &TrialConfig, anomaly: &Anomaly, change: Change) -> Trial {
    let Some(subject) = Correction::subject(anomaly) else { return Trial::default() };
    let points = points_of(snapshot, anomaly);
    let (from, to) = (points.first().map(|(_, p)| p.time), points.last().map(|(_, p)| p.time));
    let mut config = config.clone();
    if let (DetectorKind::Forest, Some(from), Some(to)) = (anomaly.detector, from, to) {
        config.entity.memory = config.entity.memory.min(to.since(from) / 2);
    }
    let count = |change: Option<Change>| {
        let mut detectors = Detectors::new(&config, anomaly.detector);
        let mut change = change.map(|change| Correction { id: String::new(), series: subject, change });
        let mut found = 0;
        for (series, point) in &points {
            // A baseline begins anew where the anomaly began; everything else holds from the start.
            let is_due = |c: &Correction| c.change != Change::Baseline || point.time >= anomaly.starts_at;
            if let Some(correction) = change.take_if(|c| is_due(c)) {
                detectors.correct(correction, point.series);
            }
            found += detectors.opened(point, series);
        }
        found
    };
    let (anomalies_before, anomalies_after) = (count(None), count(Some(change)));
    Trial { points: points.len(), from, to, anomalies_before, anomalies_after }
}

/// The points of the series of `anomaly`, or of all metrics with its labels, by time.
fn points_of<'a>(snapshot: &'a Snapshot, anomaly: &Anomaly) -> Vec<(&'a Arc<Series>, Point)> {
    let is_joint = matches!(anomaly.detector, DetectorKind::Entity | DetectorKind::Forest);
    let is_its = |series: &Series| {
        if is_joint {
            series.kind.is_judged() && series.labels == anomaly.labels
        } else {
            Some(series.key) == anomaly.series_key
        }
    };
    let mut points = Vec::new();
    let mut samples: Vec<Sample> = Vec::new();
    for (id, series) in snapshot.registry.iter().filter(|(_, series)| is_its(series)) {
        snapshot.samples_into(id, UnixNanos(i64::MIN), UnixNanos(i64::MAX), &mut samples);
        let finite = samples.iter().filter(|sample| sample.value.is_finite());
        points.extend(finite.map(|s| (series, Point { series: id, time: s.time, value: s.value })));
    }
    points.sort_by_key(|(_, point)| point.time);
    points
}

/// What judges in a trial.
struct Detectors {
    kind: DetectorKind,
    zscore: ZScoreDetector,
    entities: Entities,
    forecasts: Forecasts,
}

impl Detectors {
    fn new(config: &TrialConfig, kind: DetectorKind) -> Self {
        let (zscore, entities) = (ZScoreDetector::new(config.zscore.clone()), Entities::new(config.entity.clone()));
        Self { kind, zscore, entities, forecasts: Forecasts::default() }
    }

    fn correct(&mut self, correction: Correction, id: SeriesId) {
        self.entities.begin_anew(&correction);
        self.zscore.correct(correction, id);
    }

    /// Anomalies that begin with a point.
    fn opened(&mut self, point: &Point, series: &Arc<Series>) -> usize {
        let is_opened = |event: &AnomalyEvent| matches!(event, AnomalyEvent::Opened(a) if a.detector == self.kind);
        match self.kind {
            DetectorKind::Entity | DetectorKind::Forest => {
                let events = self.entities.observe(point, series, self.zscore.in_force());
                events.iter().filter(|event| is_opened(event)).count()
            }
            kind => {
                let event = self.zscore.observe(point, series).event;
                if kind != DetectorKind::Forecast {
                    return usize::from(matches!(event, Some(AnomalyEvent::Opened(_))));
                }
                let event = self.forecasts.observe(point, series, self.zscore.limit_of(point, series.key));
                usize::from(event.as_ref().is_some_and(is_opened))
            }
        }
    }
}

#[cfg(test)]
#[path = "corrections/tests.rs"]
mod tests;
