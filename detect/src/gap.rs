//! Telemetry that used to come and stopped.
//!
//! Judged per service, not per instance: pods come and go, and a replaced one is no news. How long
//! a service may be silent follows from how regularly it has been heard. When nothing at all comes,
//! that is one finding (the road to us is broken), not one per service.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{Labels, UnixNanos};

use crate::{Absence, Condition, Level, Owner, Severity, zscore::span};

mod turnout;

pub(crate) use self::turnout::{Heard, Turnout};

/// When silence is news.
#[derive(Clone, Debug, PartialEq)]
pub struct GapConfig {
    /// Silence shorter than this is never news. Default 2 min.
    pub min_silence: Duration,
    /// Silence is news beyond this multiple of the longest pause lately. Default 3.
    pub pauses: f64,
    /// How often a service must have been heard before it can be missed. Default 10.
    pub min_heard: u64,
    /// A service silent for this long is forgotten, and its alert resolves. Default 24 h.
    pub forget_after: Duration,
    /// Where the runbook of these alerts is.
    pub runbook_url: String,
}

impl Default for GapConfig {
    fn default() -> Self {
        Self {
            min_silence: Duration::from_mins(2),
            pauses: 3.0,
            min_heard: 10,
            forget_after: Duration::from_hours(24),
            runbook_url: String::new(),
        }
    }
}

/// The longest pause fades by this factor with each arrival, so that one outage is forgotten.
const FADE: f64 = 0.98;

#[derive(Debug, Serialize, Deserialize)]
struct Feed {
    last: UnixNanos,
    heard: u64,
    longest_pause: Duration,
    /// How long nobody could be heard since `last`, because this process was not there.
    excused: Duration,
}

impl Feed {
    fn limit(&self, config: &GapConfig) -> Duration {
        config.min_silence.max(self.longest_pause.mul_f64(config.pauses))
    }

    /// For how long the service has been silent at `now`.
    fn silence(&self, now: UnixNanos) -> Duration {
        now.since(self.last).saturating_sub(self.excused)
    }

    fn is_silent(&self, config: &GapConfig, now: UnixNanos) -> bool {
        self.silence(now) > self.limit(config)
    }
}

/// When each service was last heard, and how regular it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Feeds {
    #[serde(skip)]
    config: GapConfig,
    feeds: BTreeMap<Arc<str>, Feed>,
    order: Vec<Arc<str>>,
    /// Services that were silent for so long that they are no longer watched.
    forgotten: BTreeSet<Arc<str>>,
}

/// Bound on the services remembered; further ones are not watched for gaps.
const MAX_SERVICES: usize = 20_000;

impl Feeds {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(config: GapConfig) -> Self {
        Self { config, feeds: BTreeMap::new(), order: Vec::new(), forgotten: BTreeSet::new() }
    }

    /// The same, deciding by `config` from now on.
    #[must_use]
    pub(crate) fn with_config(self, config: GapConfig) -> Self {
        Self { config, ..self }
    }

    /// Notes that nobody could be heard for as long as `away`, because this process was not there: a
    /// silence that it caused itself is nobody's gap. How long each had been silent before goes on counting.
    pub(crate) fn excuse(&mut self, away: Duration) {
        self.feeds.values_mut().for_each(|feed| feed.excused = feed.excused.saturating_add(away));
    }

    /// Notes telemetry of `service` up to event time `at`.
    pub fn heard(&mut self, service: &Arc<str>, at: UnixNanos) {
        if let Some(feed) = self.feeds.get_mut(service) {
            if at > feed.last {
                let pause = feed.silence(at);
                // The outage that was just reported is not how regular the service is.
                if pause <= feed.limit(&self.config) || feed.heard < self.config.min_heard {
                    feed.longest_pause = pause.max(feed.longest_pause.mul_f64(FADE));
                }
                (feed.last, feed.excused) = (at, Duration::ZERO);
                feed.heard += 1;
            }
        } else if self.feeds.len() < MAX_SERVICES {
            self.order.push(Arc::clone(service));
            self.forgotten.remove(service);
            let feed = Feed { last: at, heard: 1, longest_pause: Duration::ZERO, excused: Duration::ZERO };
            self.feeds.insert(Arc::clone(service), feed);
        }
    }

    /// Whether `service` is known and silent for longer than it may be at event time `now`.
    #[must_use]
    pub fn is_silent(&self, service: &str, now: UnixNanos) -> bool {
        self.feeds.get(service).is_some_and(|feed| feed.is_silent(&self.config, now))
    }

    /// Whether nothing at all is heard: every service is silent, or about to be.
    #[must_use]
    pub fn all_silent(&self, now: UnixNanos) -> bool {
        let shortest = self.feeds.values().map(|feed| feed.silence(now)).min();
        shortest.is_some_and(|silence| silence > self.config.min_silence / 2)
    }

    /// Whether `service` was silent for so long that it is no longer watched.
    #[must_use]
    pub fn is_forgotten(&self, service: &str) -> bool {
        self.forgotten.contains(service)
    }

    /// Event time at which `service` was last heard.
    #[must_use]
    pub fn last_heard(&self, service: &str) -> Option<UnixNanos> {
        self.feeds.get(service).map(|f| f.last)
    }

    /// Known services, in order of first appearance.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.order.iter()
    }

    /// Who raises these alerts.
    #[must_use]
    pub fn owner() -> Owner {
        Owner {
            name: "bellwether/telemetry-gap".into(),
            source: "gap detector".into(),
            hold: Duration::ZERO,
            keep_firing: Duration::ZERO,
        }
    }

    /// Whether an active alert of this detector, with `labels` and no condition at `now`, is over.
    #[must_use]
    pub fn absence(&self, labels: &Labels, now: UnixNanos) -> Absence {
        let over = match labels.get("job") {
            Some(job) if self.feeds.contains_key(job) => !self.is_silent(job, now),
            // After a restart a service is unknown until it is heard again, which proves nothing.
            Some(job) => self.forgotten.contains(job),
            None => !self.feeds.is_empty() && !self.all_silent(now),
        };
        if over { Absence::NotMet } else { Absence::NoData }
    }

    /// The gaps at event time `now`, as conditions for alerts. Forgets services that are gone.
    pub fn conditions(&mut self, now: UnixNanos) -> Vec<Condition> {
        let forget_after = self.config.forget_after;
        let forgotten = &mut self.forgotten;
        self.feeds.retain(|name, feed| {
            let keep = feed.silence(now) < forget_after;
            if !keep && forgotten.len() < MAX_SERVICES {
                forgotten.insert(Arc::clone(name));
            }
            keep
        });
        let feeds = &self.feeds;
        self.order.retain(|name| feeds.contains_key(name));
        let config = &self.config;
        let silent: Vec<(&Arc<str>, &Feed)> = self
            .order
            .iter()
            .filter_map(|name| Some((name, self.feeds.get(name)?)))
            .filter(|(_, f)| f.heard >= config.min_heard && f.is_silent(config, now))
            .collect();
        if self.order.len() > 1 && self.all_silent(now) {
            // Alerts about single services that were raised before stay; no new ones join them.
            return silent.first().map(|_| self.stopped(now)).into_iter().collect();
        }
        silent.iter().map(|(name, feed)| self.silent(name, feed, now)).collect()
    }

    fn silent(&self, service: &str, feed: &Feed, now: UnixNanos) -> Condition {
        let silence = feed.silence(now);
        let labels = labels_of("TelemetryGap", Severity::Warning, service);
        let description = format!(
            "Nothing came from {service} for {}. Its longest pause lately was {}, so more than {} of silence is news. \
             Its alerts stay as they are, and its degradation level is frozen.",
            span(silence),
            span(feed.longest_pause),
            span(feed.limit(&self.config)),
        );
        self.condition(&labels, format!("{service} sends no telemetry"), description, silence.as_secs_f64())
    }

    fn stopped(&self, now: UnixNanos) -> Condition {
        let silence = self.feeds.values().map(|feed| feed.silence(now)).min().unwrap_or_default();
        let description = format!(
            "Nothing came from any of {} services for {}: look at the exporters' network or at the Collector first. \
             Alerts stay as they are, and all degradation levels are frozen.",
            self.feeds.len(),
            span(silence),
        );
        let labels = [("alertname", "TelemetryStopped"), ("severity", Severity::Critical.as_str())];
        self.condition(&labels, "No telemetry arrives at all".into(), description, silence.as_secs_f64())
    }

    fn condition(&self, labels: &[(&str, &str)], summary: String, description: String, value: f64) -> Condition {
        let annotations =
            [("summary", summary), ("description", description), ("runbook_url", self.config.runbook_url.clone())];
        Condition {
            labels: Labels::from_pairs(labels.iter().copied()),
            annotations: Labels::from_pairs(annotations),
            value,
            since: None,
            anomalies: Vec::new(),
            argued_level: Level::FullService,
        }
    }
}

/// Labels of an alert of this detector about one service.
fn labels_of<'a>(alertname: &'a str, severity: Severity, service: &'a str) -> [(&'static str, &'a str); 4] {
    let name = service.rsplit('/').next().unwrap_or(service);
    [("alertname", alertname), ("severity", severity.as_str()), ("job", service), ("service_name", name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: i64) -> UnixNanos {
        UnixNanos(s * 1_000_000_000)
    }

    fn names(conditions: &[Condition]) -> Vec<String> {
        conditions
            .iter()
            .map(|c| {
                let job = c.labels.get("job").unwrap_or("-");
                format!("{} {job}", c.labels.get("alertname").unwrap_or_default())
            })
            .collect()
    }

    fn heard(feeds: &mut Feeds, service: &str, times: impl Iterator<Item = i64>) {
        let service: Arc<str> = service.into();
        times.for_each(|t| feeds.heard(&service, secs(t)));
    }

    #[test]
    fn a_service_that_stops_is_missed_and_others_are_not() {
        let mut feeds = Feeds::new(GapConfig::default());
        heard(&mut feeds, "a", (0..=600).step_by(10));
        heard(&mut feeds, "b", (0..=900).step_by(10));
        assert_eq!(names(&feeds.conditions(secs(720))), Vec::<String>::new());
        assert_eq!(names(&feeds.conditions(secs(721))), ["TelemetryGap a"]);
        assert!(feeds.is_silent("a", secs(721)) && !feeds.is_silent("b", secs(721)));
    }

    #[test]
    fn a_service_that_pauses_often_is_given_more_time() {
        let mut feeds = Feeds::new(GapConfig::default());
        heard(&mut feeds, "batch", (0..=7_200).step_by(300));
        heard(&mut feeds, "b", (0..=9_000).step_by(10));
        assert!(feeds.conditions(secs(7_200 + 899)).is_empty());
        assert_eq!(names(&feeds.conditions(secs(7_200 + 901))), ["TelemetryGap batch"]);
    }

    #[test]
    fn a_service_heard_a_few_times_is_not_missed() {
        let mut feeds = Feeds::new(GapConfig::default());
        heard(&mut feeds, "a", 0..9);
        heard(&mut feeds, "b", (0..=900).step_by(10));
        assert!(feeds.conditions(secs(900)).is_empty());
    }

    #[test]
    fn silence_of_everything_is_one_finding() {
        let mut feeds = Feeds::new(GapConfig::default());
        for service in ["a", "b", "c"] {
            heard(&mut feeds, service, (0..=600).step_by(10));
        }
        assert!(feeds.all_silent(secs(661)));
        assert_eq!(names(&feeds.conditions(secs(800))), ["TelemetryStopped -"]);
    }

    #[test]
    fn the_gap_itself_is_not_taken_as_regular() {
        let mut feeds = Feeds::new(GapConfig::default());
        heard(&mut feeds, "a", (0..=600).step_by(10).chain((3_000..=3_600).step_by(10)));
        heard(&mut feeds, "b", (0..=9_000).step_by(10));
        assert_eq!(names(&feeds.conditions(secs(3_721))), ["TelemetryGap a"]);
    }

    #[test]
    fn the_time_in_which_nobody_could_be_heard_is_nobodys_gap() {
        let mut feeds = Feeds::new(GapConfig::default());
        heard(&mut feeds, "a", (0..=600).step_by(10));
        heard(&mut feeds, "b", (0..=500).step_by(10));
        feeds.excuse(Duration::from_secs(3_600));
        heard(&mut feeds, "a", (4_200..=4_220).step_by(10));
        assert!(feeds.conditions(secs(4_220)).is_empty(), "b was silent for 120 s of its own");
        assert_eq!(names(&feeds.conditions(secs(4_221))), ["TelemetryGap b"], "what it was before counts on");
        heard(&mut feeds, "a", (4_230..=4_340).step_by(10));
        assert!(!feeds.is_silent("a", secs(4_460)) && feeds.is_silent("a", secs(4_461)), "the excuse is used up");
    }

    #[test]
    fn what_is_gone_for_good_is_forgotten() {
        let mut feeds = Feeds::new(GapConfig::default());
        heard(&mut feeds, "a", (0..=600).step_by(10));
        heard(&mut feeds, "b", (0..=90_000).step_by(10));
        assert!(feeds.conditions(secs(90_000)).is_empty());
        assert_eq!(feeds.last_heard("a"), None);
        let labels = |job| Labels::from_pairs([("job", job)]);
        assert_eq!(feeds.absence(&labels("a"), secs(90_000)), Absence::NotMet);
        assert_eq!(feeds.absence(&labels("never heard"), secs(90_000)), Absence::NoData);
    }
}
