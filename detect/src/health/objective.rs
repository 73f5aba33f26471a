//! What has to hold: a value between a good and a bad end, and a budget of failures over long windows.
//!
//! Burn rates say whether a month's target will be missed, the value says how bad it is now. Neither is enough:
//! 14.4 times the budget of 99.9 % are 1.4 % errors, no reason to stop writes; and a value that is bad for a moment
//! spends no budget. So a burning budget takes a step by itself, and the value takes further steps only while a
//! fast pair of windows agrees.

use std::{sync::Arc, time::Duration};

use query::Query;

use super::slices::Slices;
use crate::zscore::number;

/// Something that is good at one value and bad at another.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Name for people, as in "error ratio".
    pub name: Arc<str>,
    /// The only service it is about: a `job`, or what stands behind its last slash. `None` for all.
    pub service: Option<Arc<str>>,
    /// Its values, by the label `job`. A value without it is of [`Self::service`], or of everything.
    pub query: Query,
    /// Up to here (or from here, where less is worse) health is 1: the target.
    pub good: f64,
    /// From here on health is 0. Less than [`Self::good`] where less is worse.
    pub bad: f64,
    /// Whether a value that is the target itself misses it. Default: it does not.
    pub is_strict: bool,
    /// How much of what it takes from health counts, in [0, 1]. Default 1.
    pub weight: f64,
    /// How often it may be missed.
    pub budget: Option<Budget>,
    /// How slices of time are judged, if its budget is of slices and its values do not say so themselves.
    pub slices: Option<Slices>,
    /// Whether its values are published as `bellwether_objective_value` and `bellwether_objective_missed`.
    pub is_published: bool,
}

/// How often an objective may be missed, and over which windows that is looked at.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The share that may be bad, in (0, 1): 0.001 for a target of 99.9 %.
    pub share: f64,
    /// Pairs of windows.
    pub pairs: [Pair; 3],
}

/// Two windows that must both burn faster than a factor.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What shows that it matters.
    pub long: Burn,
    /// What shows that it still goes on.
    pub short: Burn,
    /// How many times as fast as the budget lasts.
    pub factor: f64,
    /// The most that health is while both burn faster.
    pub ceiling: f64,
}

/// The share that was bad in a window.
#[derive(Clone, Debug)]
pub struct Burn {
    /// Length of the window.
    pub window: Duration,
    /// The share of it that was bad, by `job`.
    pub query: Query,
}

/// The Site Reliability Workbook's pairs, and the most that health is while one burns: the last argues for no level
/// by itself, the others for level 1.
const PAIRS: [(Duration, Duration, f64, f64); 3] = [
    (Duration::from_hours(1), Duration::from_mins(5), 14.4, 0.75),
    (Duration::from_hours(6), Duration::from_mins(30), 6.0, 0.85),
    (Duration::from_hours(72), Duration::from_hours(6), 1.0, 0.95),
];
/// The least that health is by the value alone, while no fast pair agrees: level 2 at most.
const WITHOUT_AGREEMENT: f64 = 0.5;
/// Published values of objectives.
pub(crate) const VALUE: &str = "bellwether_objective_value";
/// Published: 1 where the value missed the target, 0 where it met it.
pub(crate) const MISSED: &str = "bellwether_objective_missed";
/// Published where slices of time are judged: how much of the one that ends with the value counts as missed.
pub(crate) const SLICE_MISSED: &str = "bellwether_objective_slice_missed";
const SERVER: &str = "span_kind=~\"SPAN_KIND_(SERVER|CONSUMER)\"";

/// Where the values of an objective come from, in PromQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Failed calls over all calls, from spans. The text holds further label matchers, or nothing.
    Calls(String),
    /// One counter over another: selectors of what was bad and of all there was.
    Counters {
        /// What was bad.
        bad: String,
        /// All there was.
        total: String,
    },
    /// One counter over another: selectors of what was good and of all there was.
    GoodCounters {
        /// What was good.
        good: String,
        /// All there was.
        total: String,
    },
    /// A quantile of the durations of calls, from spans: 0.5, 0.95 or 0.99, and further label matchers.
    Durations(f64, String),
    /// A quantile of a histogram by its name, without `_bucket`.
    Histogram(f64, String),
    /// Any expression.
    Expression(String),
}

impl Source {
    /// The share of bad events in `range`, for those sources that count events.
    fn ratio(&self, range: Duration) -> Option<String> {
        let ms = range.as_millis().max(1);
        let rate = |selector: &str| format!("sum by (job) (rate({selector}[{ms}ms]))");
        Some(match self {
            Self::Calls(more) => {
                let more = if more.is_empty() { String::new() } else { format!(",{more}") };
                let calls = |status: &str| format!("traces_span_metrics_calls_total{{{SERVER}{more}{status}}}");
                format!("{} / {}", rate(&calls(",status_code=\"STATUS_CODE_ERROR\"")), rate(&calls("")))
            }
            Self::Counters { bad, total } => format!("{} / {}", rate(bad), rate(total)),
            Self::GoodCounters { good, total } => format!("1 - {} / {}", rate(good), rate(total)),
            Self::Durations(..) | Self::Histogram(..) | Self::Expression(_) => return None,
        })
    }

    /// The value over the last `range`.
    fn value(&self, range: Duration) -> String {
        let ms = range.as_millis().max(1);
        match self {
            Self::Durations(quantile, more) => {
                let more = if more.is_empty() { String::new() } else { format!(",{more}") };
                let percent = (quantile * 100.0).round();
                format!("max by (job) (traces_span_metrics_duration_seconds:p{percent}{{{SERVER}{more}}})")
            }
            Self::Histogram(quantile, name) => {
                format!("histogram_quantile({quantile}, sum by (job, le) (rate({name}_bucket[{ms}ms])))")
            }
            Self::Expression(text) => text.clone(),
            Self::Calls(_) | Self::Counters { .. } | Self::GoodCounters { .. } => self.ratio(range).unwrap_or_default(),
        }
    }
}

impl Objective {
    /// Over which time values are taken if nothing is said.
    pub const RANGE: Duration = Duration::from_mins(5);
    /// How many times its target a value is from which on health is 0 if nothing is said.
    pub const WORST_TIMES: f64 = 10.0;

    /// The share of failures from which on health is 0 if nothing is said, where `good` are allowed.
    #[must_use]
    pub fn worst_share(good: f64) -> f64 {
        (2.0 * good).max(0.5)
    }

    /// An objective whose values are those of `source` over the last `range`, good up to `good`, bad from `bad` on.
    ///
    /// # Errors
    /// What is wrong with the PromQL that the source stands for.
    pub fn new(name: &str, source: &Source, range: Duration, good: f64, bad: f64) -> Result<Self, String> {
        let query = parse(&source.value(range))?;
        Ok(Self {
            name: name.into(),
            service: None,
            query,
            good,
            bad,
            is_strict: false,
            weight: 1.0,
            budget: None,
            slices: None,
            is_published: false,
        })
    }

    /// The same, of which the share `share` may be bad: of events where `source` counts them, else of time.
    ///
    /// # Errors
    /// What is wrong with the PromQL that the source stands for.
    pub fn with_budget(self, source: &Source, share: f64) -> Result<Self, String> {
        self.budgeted(share, |o, window| source.ratio(window).unwrap_or_else(|| o.mean(MISSED, window)))
    }

    /// The same, of which the share `share` of time may be bad: time in which the value missed the target.
    ///
    /// # Errors
    /// What is wrong with the PromQL that asks for the time.
    pub fn with_budget_of_time(self, share: f64) -> Result<Self, String> {
        self.budgeted(share, |o, window| o.mean(MISSED, window))
    }

    /// The same, whose values are shares that were bad, and may be `share` in the mean.
    ///
    /// # Errors
    /// What is wrong with the PromQL that asks for the values.
    pub fn with_budget_of_values(self, share: f64) -> Result<Self, String> {
        self.budgeted(share, |o, window| o.mean(VALUE, window))
    }

    /// The same, of which slices of time of `length` may miss the target, `share` of them. A slice misses it where less
    /// than `target` of its values meet it; without a `target` as much as its values miss it.
    ///
    /// # Errors
    /// What is wrong with the PromQL that asks for slices.
    pub fn with_budget_of_slices(mut self, share: f64, length: Duration, target: Option<f64>) -> Result<Self, String> {
        self.slices = Some(Slices::new(&self, length, target)?);
        self.budgeted(share, |o, window| o.mean(SLICE_MISSED, window))
    }

    /// The mean of what is published of it under the name `metric`, over a window.
    fn mean(&self, metric: &str, window: Duration) -> String {
        format!("avg by (job) (avg_over_time({}))", self.published(metric, window))
    }

    /// What is published of it under the name `metric`, in a window.
    pub(super) fn published(&self, metric: &str, window: Duration) -> String {
        let name = self.name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{metric}{{objective=\"{name}\"}}[{}ms]", window.as_millis())
    }

    /// With a budget of which `spent` says the share that was bad in a window.
    fn budgeted(mut self, share: f64, spent: impl Fn(&Self, Duration) -> String) -> Result<Self, String> {
        let burn = |window: Duration| Ok::<_, String>(Burn { window, query: parse(&spent(&self, window))? });
        let pair = |(long, short, factor, ceiling): (Duration, Duration, f64, f64)| {
            Ok::<_, String>(Pair { long: burn(long)?, short: burn(short)?, factor, ceiling })
        };
        let [fast, slow, ticket] = PAIRS;
        let pairs = [pair(fast)?, pair(slow)?, pair(ticket)?];
        self.budget = Some(Budget { share, pairs });
        Ok(self)
    }

    /// Everything that it asks.
    pub fn queries(&self) -> impl Iterator<Item = &Query> {
        let burns = self.budget.iter().flat_map(|budget| &budget.pairs).flat_map(|pair| [&pair.long, &pair.short]);
        let slices = self.slices.iter().flat_map(Slices::queries);
        std::iter::once(&self.query).chain(burns.map(|burn| &burn.query)).chain(slices)
    }

    /// Whether it is about `job`.
    #[must_use]
    pub fn is_about(&self, job: &str) -> bool {
        self.service.as_deref().is_none_or(|service| is_named(job, service))
    }

    /// Whether `value` misses the target.
    #[must_use]
    pub fn is_missed(&self, value: f64) -> bool {
        match (self.bad > self.good, self.is_strict) {
            (true, false) => value > self.good,
            (true, true) => value >= self.good,
            (false, false) => value < self.good,
            (false, true) => value <= self.good,
        }
    }

    /// Health in [0, 1] at `value`, while both windows of the pair `burning` burn, if there is one.
    #[must_use]
    pub fn health(&self, value: f64, burning: Option<&Pair>) -> f64 {
        let health = (self.bad - value) / (self.bad - self.good);
        let health = if health.is_nan() { 1.0 } else { health.clamp(0.0, 1.0) };
        if self.budget.is_none() {
            return health;
        }
        let ceiling = burning.map_or(1.0, |pair| pair.ceiling);
        let agrees = burning.is_some_and(|pair| pair.ceiling < PAIRS[2].3);
        ceiling.min(if agrees { health } else { health.max(WITHOUT_AGREEMENT) })
    }

    /// The value, the target and how fast the budget burns, in words, with the shares that were bad in the windows of
    /// `burning`.
    #[must_use]
    pub fn explain(
        &self,
        service: Option<&str>,
        value: f64,
        burning: Option<&Pair>,
        bad_share: impl Fn(&Burn) -> Option<f64>,
    ) -> String {
        let of = service.map(|service| format!(" of {service}")).unwrap_or_default();
        let side = match (self.bad > self.good, self.is_strict) {
            (true, false) => "at most",
            (true, true) => "below",
            (false, false) => "at least",
            (false, true) => "above",
        };
        let mut text = format!("{}{of} is {}; target: {side} {}", self.name, number(value), number(self.good));
        if let (Some(budget), Some(pair)) = (&self.budget, burning) {
            let part = |burn: &Burn| {
                let rate = bad_share(burn).unwrap_or_default() / budget.share;
                format!("{} times over {}", number(rate), length(burn.window))
            };
            let (long, short) = (part(&pair.long), part(&pair.short));
            text.push_str(&format!(
                "; its budget burns {long} and {short} as fast as it lasts (limit {})",
                pair.factor
            ));
        }
        text
    }
}

/// Whether `service` names `job`: whole, or by what stands behind the last slash.
pub(crate) fn is_named(job: &str, service: &str) -> bool {
    job == service || job.rsplit_once('/').is_some_and(|(_, name)| name == service)
}

/// Whole days, hours or minutes.
fn length(window: Duration) -> String {
    match window.as_secs() / 60 {
        minutes if minutes % 1_440 == 0 => format!("{} d", minutes / 1_440),
        minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
        minutes => format!("{minutes} min"),
    }
}

pub(super) fn parse(text: &str) -> Result<Query, String> {
    Query::parse(text).map_err(|error| format!("`{text}`: {error}"))
}
