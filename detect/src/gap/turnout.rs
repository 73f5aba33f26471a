//! Series of a service that stop while the service itself is heard: one instance of several, one exporter of two.
//!
//! Of every service those series are counted that exporters send regularly. The count must not fall by a tenth below the
//! least of the last hour; the least, because a rollout has the series of old and new instances for a while. Which
//! ones are missing, and what label they have in common, is said. A service that was scaled in looks the same, so a fall that
//! lasts an hour is how it is from then on, and falls of up to one and a half times its size are no news any more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{Labels, Series, UnixNanos};

use super::{Feeds, labels_of};
use crate::{Absence, Condition, Owner, Severity, zscore::span};

/// Event time between two counts.
const EVERY: Duration = Duration::from_mins(1);
/// A series that was not heard for so long, while its service was, is missing.
const PAUSE: Duration = Duration::from_mins(5);
/// Series that come more seldom than this, in the mean, are not counted: three of their points fit into [`PAUSE`].
const LONGEST_INTERVAL: Duration = Duration::from_secs(100);
/// Points after which it is known how often a series comes.
const LEAST_POINTS: u64 = 10;
/// The least number of series that one can be missed of.
const FEWEST: u32 = 4;
/// Counts that the next is compared with, and how many there must be.
const HISTORY: usize = 60;
const LEAST_HISTORY: usize = 30;
/// The least share that is news.
const LEAST_SHARE: f64 = 0.1;
/// How much greater than any that was got used to a fall must be.
const TIMES: f64 = 1.5;
/// What was got used to fades with every count, by half in two weeks.
const FADE: f64 = 1.0 - std::f64::consts::LN_2 / (14.0 * 24.0 * 60.0);
/// How far the service must have come since a fall was first seen: instances do not come back at once.
const CONFIRM: Duration = Duration::from_mins(2);
/// A fall that lasts so long is got used to.
const ADOPT: Duration = Duration::from_hours(1);
/// Labels that are said to be in common at most.
const MOST_LABELS: usize = 2;

/// A series, and how it was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard<'a> {
    pub(crate) series: &'a Arc<Series>,
    /// Its first point.
    pub(crate) began: UnixNanos,
    /// Its newest point.
    pub(crate) last: UnixNanos,
    pub(crate) points: u64,
}

impl Heard<'_> {
    /// Whether an exporter sends it, and often enough. What is made of spans and logs comes when there are any.
    fn is_regular(&self) -> bool {
        let is_made = ["traces_span_metrics_", "log_records"].iter().any(|made| self.series.name.starts_with(made));
        let pauses = u32::try_from(self.points.saturating_sub(1)).unwrap_or(u32::MAX);
        !is_made
            && self.points >= LEAST_POINTS
            && self.last.since(self.began) <= LONGEST_INTERVAL.saturating_mul(pauses)
    }

    /// Whether it is missing of a service that has come to `newest`.
    fn is_missing(&self, newest: UnixNanos) -> bool {
        self.last < newest.minus(PAUSE)
    }
}

/// How many series of each service are heard.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Turnout {
    services: BTreeMap<Arc<str>, Service>,
    next: Option<UnixNanos>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Service {
    /// The newest counts while none was missed, oldest first.
    counts: VecDeque<u32>,
    /// Up to where the service had come at the last count.
    seen: UnixNanos,
    /// The greatest share that was got used to.
    usual: f64,
    fall: Option<Fall>,
}

/// Some are missing.
#[derive(Debug, Serialize, Deserialize)]
struct Fall {
    /// How far the service had come when it was first seen, and how far it is.
    since: UnixNanos,
    until: UnixNanos,
    expected: u32,
    heard: u32,
    /// What the missing ones have in common, in words.
    common: String,
}

impl Fall {
    fn share(&self) -> f64 {
        1.0 - f64::from(self.heard) / f64::from(self.expected)
    }

    fn lasts(&self) -> Duration {
        self.until.since(self.since)
    }
}

impl Turnout {
    /// Whether it is time to count, at event time `at`.
    pub(crate) fn is_due(&self, at: UnixNanos) -> bool {
        self.next.is_none_or(|next| at >= next)
    }

    /// Puts counting off until `until`, and until series have had time to come back.
    pub(crate) fn put_off(&mut self, until: UnixNanos) {
        self.next = Some(until.plus(PAUSE));
    }

    /// Counts `all` series at event time `at`, where `feeds` says how far services have come.
    pub(crate) fn count<'a>(&mut self, at: UnixNanos, all: impl Iterator<Item = Heard<'a>>, feeds: &Feeds) {
        self.next = Some(at.plus(EVERY).floor_to(EVERY));
        let mut regular: BTreeMap<&str, Vec<Heard<'_>>> = BTreeMap::new();
        for heard in all.filter(Heard::is_regular) {
            regular.entry(&heard.series.service).or_default().push(heard);
        }
        self.services.retain(|service, _| regular.contains_key(&**service));
        for (service, series) in regular {
            let Some(newest) = feeds.last_heard(service) else {
                self.services.remove(service);
                continue;
            };
            let known = match self.services.get_mut(service) {
                Some(known) => known,
                None => self.services.entry(service.into()).or_default(),
            };
            // One that has not come further has said nothing new.
            if newest.since(known.seen) < EVERY / 2 {
                continue;
            }
            known.seen = newest;
            let heard: u32 = series.iter().map(|heard| u32::from(!heard.is_missing(newest))).sum();
            known.note(heard, newest, || common(&series, newest));
        }
    }

    /// Who raises these alerts.
    pub(crate) fn owner() -> Owner {
        Owner {
            name: "bellwether/telemetry-partial-gap".into(),
            source: "partial gap detector".into(),
            hold: Duration::ZERO,
            keep_firing: Duration::ZERO,
        }
    }

    /// What is missed, as conditions for alerts, at event time `now`.
    pub(crate) fn conditions(&self, feeds: &Feeds, now: UnixNanos) -> Vec<Condition> {
        let missed = self.services.iter().filter_map(|(service, known)| Some((service, known.fall.as_ref()?)));
        let is_sure = |(service, fall): &(&Arc<str>, &Fall)| fall.lasts() >= CONFIRM && !feeds.is_silent(service, now);
        missed.filter(is_sure).map(|(service, fall)| condition(service, fall, feeds)).collect()
    }

    /// Whether an active alert with `labels` and no condition at `now` is over.
    pub(crate) fn absence(&self, labels: &Labels, feeds: &Feeds, now: UnixNanos) -> Absence {
        let service = labels.get("job").unwrap_or_default();
        let is_heard = self.services.get(service).is_some_and(|known| !known.counts.is_empty() && known.fall.is_none());
        let is_over = feeds.is_forgotten(service) || (is_heard && !feeds.is_silent(service, now));
        if is_over { Absence::NotMet } else { Absence::NoData }
    }
}

impl Service {
    /// Takes the count of a service that has come to `newest`; `common` says what the missing ones have in common.
    fn note(&mut self, heard: u32, newest: UnixNanos, common: impl FnOnce() -> String) {
        self.usual *= FADE;
        let expected = self.counts.iter().min().copied().filter(|_| self.counts.len() >= LEAST_HISTORY);
        let expected = expected.filter(|least| *least >= FEWEST).unwrap_or_default();
        let limit = LEAST_SHARE.max(TIMES * self.usual);
        let is_fallen = expected > 0 && f64::from(heard) <= (1.0 - limit) * f64::from(expected);
        if !is_fallen {
            self.fall = None;
            self.keep(heard);
            return;
        }
        let since = self.fall.as_ref().map_or(newest, |fall| fall.since);
        let fall = Fall { since, until: newest, expected, heard, common: common() };
        if fall.lasts() < ADOPT {
            self.fall = Some(fall);
            return;
        }
        self.usual = self.usual.max(fall.share());
        self.fall = None;
        self.counts.clear();
        self.keep(heard);
    }

    fn keep(&mut self, heard: u32) {
        if self.counts.len() >= HISTORY {
            self.counts.pop_front();
        }
        self.counts.push_back(heard);
    }
}

/// The labels that all missing series of a service have, and of which few of the others are: "instance=b (4 of 4)".
fn common(regular: &[Heard<'_>], newest: UnixNanos) -> String {
    // Missing ones and all, by label and value; of what has been missing for long nobody speaks any more.
    let mut shares: BTreeMap<(&str, &str), (u32, u32)> = BTreeMap::new();
    let mut missing = 0;
    for heard in regular.iter().filter(|heard| heard.last >= newest.minus(PAUSE + ADOPT + CONFIRM)) {
        let is_missing = u32::from(heard.is_missing(newest));
        missing += is_missing;
        for (name, value) in heard.series.labels.iter().chain([("__name__", &*heard.series.name)]) {
            let share = shares.entry((name, value)).or_default();
            *share = (share.0 + is_missing, share.1 + 1);
        }
    }
    let mut found: Vec<_> = shares.into_iter().filter(|(_, (gone, all))| *gone == missing && 2 * gone > *all).collect();
    found.sort_by_key(|((name, _), (gone, all))| (all - gone, *name));
    let said = |((name, value), (gone, all)): &((&str, &str), (u32, u32))| format!("{name}={value} ({gone} of {all})");
    found.iter().take(MOST_LABELS).map(said).collect::<Vec<_>>().join(", ")
}

fn condition(service: &str, fall: &Fall, feeds: &Feeds) -> Condition {
    let common = match &*fall.common {
        "" => String::new(),
        common => format!(" All of the missing ones have {common}."),
    };
    let description = format!(
        "{} of the {} series that {service} has sent regularly for the last hour have not come for {}, while it is heard.\
         {common} If that goes on for {}, it is how it is from then on.",
        fall.expected - fall.heard,
        fall.expected,
        span(PAUSE),
        span(ADOPT),
    );
    let summary = format!("{service} sends only {} of {} series", fall.heard, fall.expected);
    let labels = labels_of("TelemetryPartialGap", Severity::Info, service);
    feeds.condition(&labels, summary, description, fall.share())
}

#[cfg(test)]
mod tests {
    use window::{SeriesKey, SeriesKind};

    use super::*;
    use crate::GapConfig;

    fn secs(s: i64) -> UnixNanos {
        UnixNanos(s * 1_000_000_000)
    }

    /// A service of several instances with four series each, every 10 s, which is counted every minute.
    struct Shop {
        feeds: Feeds,
        turnout: Turnout,
        series: Vec<(Arc<Series>, UnixNanos, UnixNanos, u64)>,
        now: i64,
    }

    impl Shop {
        fn new() -> Self {
            Self { feeds: Feeds::new(GapConfig::default()), turnout: Turnout::default(), series: Vec::new(), now: 0 }
        }

        fn index(&mut self, instance: usize, metric: usize) -> usize {
            let name: Arc<str> = format!("m{metric}").into();
            let labels = Labels::from_pairs([("job", "shop"), ("instance", &*format!("i{instance}"))]);
            let place = self.series.iter().position(|(s, ..)| s.name == name && s.labels == labels);
            place.unwrap_or_else(|| {
                let series = Series {
                    key: SeriesKey(self.series.len() as u128),
                    source_name: Arc::clone(&name),
                    name,
                    unit: "".into(),
                    kind: SeriesKind::Gauge,
                    labels,
                    service: "shop".into(),
                };
                self.series.push((Arc::new(series), secs(self.now), secs(self.now), 0));
                self.series.len() - 1
            })
        }

        /// `instances` are heard for `minutes`; what is missed then.
        fn run(&mut self, minutes: i64, instances: std::ops::Range<usize>) -> Vec<String> {
            for _ in 0..minutes * 6 {
                self.now += 10;
                for (instance, metric) in instances.clone().flat_map(|i| (0..4).map(move |m| (i, m))) {
                    let index = self.index(instance, metric);
                    let (_, _, last, points) = &mut self.series[index];
                    (*last, *points) = (secs(self.now), *points + 1);
                    self.feeds.heard(&"shop".into(), secs(self.now));
                }
                self.count();
            }
            self.missed()
        }

        fn count(&mut self) {
            if self.turnout.is_due(secs(self.now)) {
                let heard = self.series.iter().map(|(series, began, last, points)| Heard {
                    series,
                    began: *began,
                    last: *last,
                    points: *points,
                });
                self.turnout.count(secs(self.now), heard, &self.feeds);
            }
        }

        fn missed(&self) -> Vec<String> {
            let conditions = self.turnout.conditions(&self.feeds, secs(self.now));
            conditions.iter().map(|c| c.annotations.get("description").unwrap_or_default().to_owned()).collect()
        }
    }

    #[test]
    fn an_instance_that_stops_is_missed_named_and_over_when_it_is_back() {
        let mut shop = Shop::new();
        assert_eq!(shop.run(45, 0..6), [""; 0]);
        assert_eq!(shop.run(6, 0..5), [""; 0], "it may pause");
        let missed = shop.run(4, 0..5);
        assert_eq!(missed.len(), 1);
        assert!(missed[0].starts_with("4 of the 24 series that shop has sent"), "{missed:?}");
        assert!(missed[0].contains("have instance=i5 (4 of 4)."), "{missed:?}");
        let labels = Labels::from_pairs([("job", "shop")]);
        assert_eq!(shop.turnout.absence(&labels, &shop.feeds, secs(shop.now)), Absence::NoData);
        assert_eq!(shop.run(2, 0..6), [""; 0]);
        assert_eq!(shop.turnout.absence(&labels, &shop.feeds, secs(shop.now)), Absence::NotMet);
        // It was an outage: the next one is news too.
        assert_eq!(shop.run(10, 0..5).len(), 1);
    }

    #[test]
    fn a_service_that_was_scaled_in_is_got_used_to() {
        let mut shop = Shop::new();
        shop.run(60, 0..10);
        assert_eq!(shop.run(20, 0..7).len(), 1);
        assert_eq!(shop.run(60, 0..7), [""; 0]);
        assert_eq!(shop.run(90, 0..10), [""; 0]);
        assert_eq!(shop.run(30, 0..7), [""; 0], "as large as the one before");
        assert_eq!(shop.run(60, 0..10), [""; 0]);
        assert_eq!(shop.run(30, 0..4).len(), 1, "twice as large");
    }

    #[test]
    fn a_rollout_is_no_fall() {
        let mut shop = Shop::new();
        shop.run(60, 0..10);
        for step in 1..=10 {
            assert_eq!(shop.run(1, step..10 + step), [""; 0]);
        }
        assert_eq!(shop.run(60, 10..20), [""; 0]);
    }

    #[test]
    fn a_service_that_is_silent_or_comes_back_piece_by_piece_is_not_partly_missing() {
        let mut shop = Shop::new();
        shop.run(60, 0..10);
        assert_eq!(shop.run(60, 0..0), [""; 0]);
        assert_eq!(shop.run(1, 0..1), [""; 0]);
        assert_eq!(shop.run(1, 0..5), [""; 0]);
        assert_eq!(shop.run(30, 0..10), [""; 0]);
    }

    #[test]
    fn series_that_come_now_and_then_and_small_services_are_not_counted() {
        let mut shop = Shop::new();
        shop.run(60, 0..1);
        let index = shop.index(0, 0);
        shop.series[index].2 = secs(0);
        for metric in 1..4 {
            let index = shop.index(0, metric);
            shop.series[index].3 = 12;
        }
        assert_eq!(shop.run(0, 0..1), [""; 0]);
        let is_regular = |began, last, points| {
            let series = Arc::clone(&shop.series[0].0);
            Heard { series: &series, began: secs(began), last: secs(last), points }.is_regular()
        };
        assert!(is_regular(0, 90, 10) && is_regular(0, 900, 10));
        assert!(!is_regular(0, 901, 10), "once in more than 100 s");
        assert!(!is_regular(0, 80, 9), "too new");
    }
}
