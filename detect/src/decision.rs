//! The vocabulary of decisions: what the core says to the world. Plain data, serialised as it is
//! shown over REST (lowerCamelCase; times are [`UnixNanos`] here and RFC 3339 at the edge).

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use window::{Labels, Series, SeriesKey, UnixNanos};

use crate::AttributeShare;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nobody is woken.
    Info,
    /// Needs a look today.
    Warning,
    /// Needs a person now.
    Critical,
}

impl Severity {
    /// The word used in labels and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// From the word used in labels; `page` counts as critical.
    #[must_use]
    pub fn from_label(text: &str) -> Option<Self> {
        match text {
            "info" | "none" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "critical" | "page" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which detector spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorKind {
    /// Robust streaming z-score of one series.
    ZScore,
    /// Distance from everything that one series has ever done.
    Novelty,
    /// Many metrics of one thing taken together.
    Entity,
    /// Data that used to come and stopped.
    Gap,
    /// A value outside of what the configuration gives as valid.
    Limit,
    /// A series that is about to reach a limit.
    Forecast,
    /// The course of a series: it stands still, moves more or less than ever, or no longer follows the day or week.
    Pattern,
    /// The metrics of one thing, which no longer go together as they did.
    Forest,
}

impl DetectorKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ZScore,
        Self::Novelty,
        Self::Entity,
        Self::Gap,
        Self::Limit,
        Self::Forecast,
        Self::Pattern,
        Self::Forest,
    ];

    /// The word used in labels, answers and query parameters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZScore => "z-score",
            Self::Novelty => "novelty",
            Self::Entity => "entity",
            Self::Gap => "gap",
            Self::Limit => "limit",
            Self::Forecast => "forecast",
            Self::Pattern => "pattern",
            Self::Forest => "isolation-forest",
        }
    }
}

/// To which side a series left its band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Above the upper limit.
    Up,
    /// Below the lower limit.
    Down,
}

/// What the disturbance looks like so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// One or a few points above the band.
    Spike,
    /// One or a few points below the band.
    Dip,
    /// Outside the band for so long that it is a new level.
    LevelShift,
    /// Several metrics of one thing left their usual range together.
    Joint,
    /// The data stopped.
    Gap,
    /// It goes one way and does not stop.
    Trend,
    /// Outside the band on both sides, or steps that are larger or smaller than ever.
    VarianceChange,
    /// It moved, and stands still.
    Flatline,
    /// It followed the day or the week, and no longer does.
    SeasonalityBreak,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Spike,
        Self::Dip,
        Self::LevelShift,
        Self::Joint,
        Self::Gap,
        Self::Trend,
        Self::VarianceChange,
        Self::Flatline,
        Self::SeasonalityBreak,
    ];

    /// The word used in answers and query parameters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Dip => "dip",
            Self::LevelShift => "level-shift",
            Self::Joint => "joint",
            Self::Gap => "gap",
            Self::Trend => "trend",
            Self::VarianceChange => "variance-change",
            Self::Flatline => "flatline",
            Self::SeasonalityBreak => "seasonality-break",
        }
    }
}

/// An interval in which one series did not behave as its history says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anomaly {
    /// Stable id: the same input gives the same id.
    pub id: String,
    /// Increasing number, for cursors; set once when the anomaly is first said.
    pub seq: u64,
    /// Who found it.
    pub detector: DetectorKind,
    /// `service.namespace/service.name` of the series; empty when unknown.
    pub service: Arc<str>,
    /// PromQL name of the series.
    pub metric: Arc<str>,
    /// Labels of the series.
    pub labels: Labels,
    /// Identity of the series.
    #[serde(skip)]
    pub series_key: Option<SeriesKey>,
    /// Event time of the first point outside the band.
    pub starts_at: UnixNanos,
    /// Event time of the first point back inside; `None` while it lasts.
    pub ends_at: Option<UnixNanos>,
    /// Event time at which it was first said.
    pub emitted_at: UnixNanos,
    /// To which side.
    pub direction: Direction,
    /// What it looks like.
    pub pattern: Pattern,
    /// Warning above score 1; critical well above.
    pub severity: Severity,
    /// Greatest evidence so far over the detector's threshold: above 1 means anomalous.
    #[serde(deserialize_with = "number")]
    pub score: f64,
    /// Value at the greatest score.
    #[serde(deserialize_with = "number")]
    pub observed: f64,
    /// What the history said it should be, at the greatest score.
    #[serde(deserialize_with = "number")]
    pub expected: f64,
    /// Lower limit of the band at the greatest score.
    #[serde(deserialize_with = "number")]
    pub lower: f64,
    /// Upper limit of the band at the greatest score.
    #[serde(deserialize_with = "number")]
    pub upper: f64,
    /// The raw statistic, signed by direction. Of the z-score (observed - expected) / scale; of patterns points without
    /// a change, ln(observed / expected) of steps, or the lesser distance of two hours in mean errors; of the others their
    /// evidence, see [`Anomaly::contributors`].
    #[serde(deserialize_with = "number")]
    pub z: f64,
    /// What |z| had to exceed; score = |z| / threshold.
    #[serde(deserialize_with = "number")]
    pub threshold: f64,
    /// Standard deviation used as the scale.
    #[serde(deserialize_with = "number")]
    pub scale: f64,
    /// What the evidence is made of, the greatest share first; empty where there is only one part.
    #[serde(default)]
    pub contributors: Vec<Contributor>,
    /// Which attributes set its failing or slow calls apart, the strongest first; empty for anomalies of other things.
    #[serde(default)]
    pub attributes: Vec<AttributeShare>,
    /// How many points the baseline was learned from.
    pub sample_count: u64,
    /// Event time span of that baseline.
    pub baseline_span: Duration,
    /// Points outside the band so far.
    pub points: u64,
    /// Trace ids of the slowest or failed requests behind it, hex.
    pub exemplars: Vec<String>,
    /// The incident that it belongs to.
    pub incident_id: Option<String>,
    /// Where the incident probably began, as far as was known when this anomaly was first said.
    #[serde(default)]
    pub origin: Option<Box<Origin>>,
    /// What to do about it.
    pub runbook_url: Option<String>,
    /// When the limit is reached, where that is what it is about.
    #[serde(default)]
    pub forecast: Option<Box<Forecast>>,
    /// The decision in one sentence, with its numbers.
    pub explanation: String,
}

/// Where an incident probably began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The service.
    pub service: Arc<str>,
    /// The metric of its first anomaly.
    pub metric: Arc<str>,
    /// The id of that anomaly.
    pub anomaly_id: String,
    /// Why it is taken for the origin.
    pub because: String,
}

/// When a series reaches its limit, as of the greatest score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The limit.
    pub limit: f64,
    /// How far ahead was looked.
    pub horizon: Duration,
    /// Probability of reaching it within the horizon.
    pub probability: f64,
    /// Time until it is reached with a probability of 0.1; `None` if the pace does not lead there at all.
    pub p10: Option<Duration>,
    /// The same with a probability of 0.5.
    pub p50: Option<Duration>,
    /// The same with a probability of 0.9.
    pub p90: Option<Duration>,
    /// Change a second of event time.
    pub pace: f64,
}

impl Anomaly {
    /// A warning of `detector` about `series` that begins and is said at `at`, with no numbers yet. `key` is what it is
    /// known by.
    pub(crate) fn of(detector: DetectorKind, key: SeriesKey, series: &Series, at: UnixNanos) -> Self {
        Self {
            id: anomaly_id(detector, key, at),
            seq: 0,
            detector,
            service: Arc::clone(&series.service),
            metric: Arc::clone(&series.name),
            labels: series.labels.clone(),
            series_key: None,
            starts_at: at,
            ends_at: None,
            emitted_at: at,
            direction: Direction::Up,
            pattern: Pattern::Spike,
            severity: Severity::Warning,
            score: 0.0,
            observed: 0.0,
            expected: 0.0,
            lower: 0.0,
            upper: 0.0,
            z: 0.0,
            threshold: 0.0,
            scale: 0.0,
            contributors: Vec::new(),
            attributes: Vec::new(),
            sample_count: 0,
            baseline_span: Duration::ZERO,
            points: 1,
            exemplars: Vec::new(),
            incident_id: None,
            origin: None,
            runbook_url: None,
            forecast: None,
            explanation: String::new(),
        }
    }
}

/// Stable id of an anomaly: the same detector, series and start give the same one.
fn anomaly_id(detector: DetectorKind, key: SeriesKey, starts_at: UnixNanos) -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(detector.as_str().as_bytes());
    hash.update(&key.0.to_le_bytes());
    hash.update(&starts_at.0.to_le_bytes());
    format!("{:016x}", hash.digest())
}

/// A part of the evidence for an anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contributor {
    /// A view on the series (see [`models::novelty::VIEWS`]), or a metric.
    pub name: Arc<str>,
    /// Its distance from the past, in standard deviations.
    pub distance: f64,
    /// Its share of the evidence; those listed sum up to at most 1.
    pub share: f64,
}

/// What happened to an anomaly.
#[derive(Clone, Debug, PartialEq)]
pub enum AnomalyEvent {
    /// First said.
    Opened(Anomaly),
    /// Greater score, new pattern or severity.
    Updated(Anomaly),
    /// Back inside the band, or the series is gone.
    Ended(Anomaly),
}

impl AnomalyEvent {
    /// The anomaly as it is after the event.
    #[must_use]
    pub fn anomaly(&self) -> &Anomaly {
        match self {
            Self::Opened(a) | Self::Updated(a) | Self::Ended(a) => a,
        }
    }
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The condition holds, but not yet for as long as `for` asks.
    Pending,
    /// Said to the world.
    Firing,
    /// Firing, and its input has gone silent: neither confirmed nor resolved.
    Stale,
    /// Over. (A pending alert whose condition ends goes back to nothing without being said.)
    Resolved,
}

impl AlertState {
    /// The word used in labels and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
        }
    }

    /// Whether receivers hold it to be firing.
    #[must_use]
    pub fn is_firing(self) -> bool {
        matches!(self, Self::Firing | Self::Stale)
    }
}

/// One alert: a rule (or detector) and a label set, through one episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Id of this episode: the rule, the labels and the time at which it became active.
    pub episode: String,
    /// Hash of the labels as 16 hex digits: the same alert in every episode.
    pub fingerprint: String,
    /// Labels, with `alertname` and `severity`.
    pub labels: Labels,
    /// `summary`, `description`, `runbook_url` and whatever the rule adds.
    pub annotations: Labels,
    /// Where it is.
    pub state: AlertState,
    /// Event time since which the condition has held.
    pub active_at: UnixNanos,
    /// Event time at which it fired.
    pub fired_at: Option<UnixNanos>,
    /// Event time of the last evaluation that found the condition to hold.
    pub last_true_at: UnixNanos,
    /// Event time at which it resolved.
    pub resolved_at: Option<UnixNanos>,
    /// Value of the rule's expression at the last evaluation that had one.
    #[serde(deserialize_with = "number")]
    pub value: f64,
    /// The rule's expression, or the detector's name: what to look at.
    pub source: String,
    /// Ids of the anomalies behind it.
    pub anomalies: Vec<String>,
    /// Which attributes set the failing calls of its service apart when a rule's alert began to fire.
    #[serde(default)]
    pub attributes: Vec<AttributeShare>,
    /// The services whose trouble may follow from that of its own, by name, at most 1,000: those that called it when the
    /// alert began to fire. Of an open circuit breaker the one that has it, those that call that one, and those that call
    /// what the breaker stands before, also those that were seen to since.
    #[serde(default)]
    pub dependents: Vec<Arc<str>>,
    /// The level that this alert alone argues for.
    pub argued_level: Level,
}

/// The service that labels of an alert name: `service`, else `job`, else `service_name`; `None` when it has none of them.
#[must_use]
pub fn service_of(labels: &Labels) -> Option<&str> {
    ["service", "job", "service_name"].into_iter().find_map(|name| labels.get(name))
}

impl Alert {
    /// The `alertname` label.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or_default()
    }

    /// The `severity` label; [`Severity::Warning`] when absent or unknown.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.labels.get("severity").and_then(Severity::from_label).unwrap_or(Severity::Warning)
    }

    /// The service that its labels name: see [`service_of`].
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        service_of(&self.labels)
    }
}

/// A change in an alert's state, or in what is known of it while it fires, at an event time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertTransition {
    /// State before; `None` for an alert that was not known.
    pub from: Option<AlertState>,
    /// The alert after the change; a pending alert that went away has `resolved_at` set and
    /// `fired_at` unset, and nobody outside hears of it.
    pub alert: Alert,
    /// Event time of the change.
    pub at: UnixNanos,
}

impl AlertTransition {
    /// Whether receivers are to be told: it began or ceased to fire.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        let was = self.from.is_some_and(AlertState::is_firing);
        let is = self.alert.state.is_firing();
        was != is && self.alert.fired_at.is_some()
    }
}

/// The recommendation: 0 (full service) to 4 (emergency mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Level {
    /// Everything on.
    #[default]
    FullService,
    /// Recommendations, analytics, notifications off.
    NonCriticalOff,
    /// Answers from caches.
    CacheOnly,
    /// No writes.
    ReadOnly,
    /// Only what must stay.
    EmergencyMode,
}

impl Level {
    /// All levels, 0 to 4.
    pub const ALL: [Self; 5] =
        [Self::FullService, Self::NonCriticalOff, Self::CacheOnly, Self::ReadOnly, Self::EmergencyMode];

    /// 0 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The level's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullService => "full-service",
            Self::NonCriticalOff => "non-critical-off",
            Self::CacheOnly => "cache-only",
            Self::ReadOnly => "read-only",
            Self::EmergencyMode => "emergency-mode",
        }
    }

    /// One level towards full service.
    #[must_use]
    pub fn one_lower(self) -> Self {
        Self::ALL[usize::from(self.number().saturating_sub(1))]
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        level.number()
    }
}

/// A number that is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a level from 0 to 4, got {0}")]
pub struct NoSuchLevel(pub u8);

impl TryFrom<u8> for Level {
    type Error = NoSuchLevel;

    fn try_from(number: u8) -> Result<Self, NoSuchLevel> {
        Self::ALL.get(usize::from(number)).copied().ok_or(NoSuchLevel(number))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.as_str())
    }
}

/// A change of the recommended level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelChange {
    /// The service, or `None` for the level of everything.
    pub service: Option<Arc<str>>,
    /// Level before.
    pub from: Level,
    /// Level now.
    pub to: Level,
    /// Health in [0, 1] at the change.
    #[serde(deserialize_with = "number")]
    pub health: f64,
    /// Event time of the change.
    pub at: UnixNanos,
    /// Why, in sentences.
    pub because: Vec<String>,
}

/// One thing that the core decided, in the order in which it was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// About an anomaly.
    Anomaly(AnomalyEvent),
    /// About an alert.
    Alert(AlertTransition),
    /// About a level.
    Level(LevelChange),
}

/// Reads a number. JSON has no NaN and no infinity: both are written as `null`, which comes back as NaN.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    if deserializer.is_human_readable() {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    } else {
        f64::deserialize(deserializer)
    }
}
