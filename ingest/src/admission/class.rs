//! What is shed first when there is too much to do.

use std::collections::HashSet;

use proto::{
    otlp::{
        OriginVisitor, Resource, Scope, Signal,
        logs::{self, LogRecord},
        metrics::{self, ExponentialPoint, HistogramPoint, Kind, Metric, NumberPoint, SummaryPoint},
    },
    wire::Malformed,
};
use window::{SeriesKind, Temporality};

use crate::decode::prometheus_name;

/// The greatest severity number of `DEBUG`; smaller ones are those of `TRACE`, and 0 is unspecified.
const DEBUG: i32 = 8;

/// How much a request matters: what comes first is shed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Log records, none of them above `DEBUG`.
    DebugLogs,
    /// Log records.
    Logs,
    /// Spans.
    Spans,
    /// Metrics.
    Metrics,
    /// Metrics, among them one that a rule or the level reads.
    UsedMetrics,
}

impl Class {
    pub(super) const COUNT: usize = 5;

    /// What may be taken by this class and those below it, in percent of the whole.
    pub(super) fn percent(self) -> u64 {
        [60, 70, 80, 90, 100][self as usize]
    }

    /// The class below it of the same signal, which cannot be told from it before a request is
    /// decompressed, and a number for the pair.
    pub(super) fn in_doubt(self) -> Option<(Self, usize)> {
        match self {
            Self::Logs => Some((Self::DebugLogs, 0)),
            Self::UsedMetrics => Some((Self::Metrics, 1)),
            Self::DebugLogs | Self::Spans | Self::Metrics => None,
        }
    }

    /// The class that a request of `signal` can have at best, which is what is known of it before it is
    /// decompressed.
    pub(crate) fn at_best(signal: Signal, used: &UsedMetrics) -> Self {
        match signal {
            Signal::Logs => Self::Logs,
            Signal::Traces => Self::Spans,
            Signal::Metrics if used.is_empty() => Self::Metrics,
            Signal::Metrics => Self::UsedMetrics,
        }
    }

    /// The class of a request in protobuf. What is malformed has the best one of its signal: it is for
    /// the decoder to say what is wrong with it.
    pub(crate) fn of(signal: Signal, request: &[u8], used: &UsedMetrics) -> Self {
        let mut looking = Looking { used, found: false };
        let read = match signal {
            Signal::Logs => logs::read(request, &mut looking),
            Signal::Metrics if !used.is_empty() => metrics::read(request, &mut looking),
            Signal::Traces | Signal::Metrics => return Self::at_best(signal, used),
        };
        match (signal, read.is_err() || looking.found) {
            (Signal::Logs, false) => Self::DebugLogs,
            (Signal::Metrics, false) => Self::Metrics,
            _ => Self::at_best(signal, used),
        }
    }

    /// In the plural, for messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DebugLogs => "logs up to DEBUG",
            Self::Logs => "logs",
            Self::Spans => "spans",
            Self::Metrics => "metrics that no rule reads",
            Self::UsedMetrics => "metrics",
        }
    }
}

/// Looks for something that raises a request above the least class of its signal.
struct Looking<'u> {
    used: &'u UsedMetrics,
    found: bool,
}

impl OriginVisitor for Looking<'_> {
    fn resource(&mut self, _: &Resource<'_>) {}

    fn scope(&mut self, _: &Scope<'_>) {}
}

impl logs::Visitor for Looking<'_> {
    fn record(&mut self, record: &LogRecord<'_>) -> Result<(), Malformed> {
        self.found |= !(1..=DEBUG).contains(&record.severity);
        Ok(())
    }
}

impl metrics::Visitor for Looking<'_> {
    fn metric(&mut self, metric: &Metric<'_>) -> bool {
        self.found = self.found || self.used.contains(metric);
        false
    }

    fn skipped(&mut self, _: u64) {}

    fn numbers(&mut self, _: &[NumberPoint<'_>]) -> Result<(), Malformed> {
        Ok(())
    }

    fn histogram(&mut self, _: HistogramPoint<'_>) -> Result<(), Malformed> {
        Ok(())
    }

    fn exponential(&mut self, _: ExponentialPoint<'_>) -> Result<(), Malformed> {
        Ok(())
    }

    fn summary(&mut self, _: SummaryPoint<'_>) -> Result<(), Malformed> {
        Ok(())
    }
}

/// The metrics that rules and the level read. Under overload they are the last to be refused. Default:
/// none, and all metrics matter alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedMetrics {
    /// Names as PromQL knows them, without what is added for a part or a derivation.
    stems: HashSet<Box<str>>,
    /// Something reads metrics that it does not name exactly.
    all: bool,
}

impl UsedMetrics {
    /// Those with these names in PromQL; `None` stands for a selector that does not name one exactly,
    /// which makes all metrics used. `<name>:rate`, `<name>_bucket` and the like mean the metric that
    /// they come from.
    #[must_use]
    pub fn new<'n>(names: impl IntoIterator<Item = Option<&'n str>>) -> Self {
        let mut used = Self::default();
        for name in names {
            match name {
                Some(name) => {
                    used.stems.insert(stem(name).into());
                }
                None => used.all = true,
            }
        }
        used
    }

    fn is_empty(&self) -> bool {
        self.stems.is_empty() && !self.all
    }

    fn contains(&self, metric: &Metric<'_>) -> bool {
        let kind = match metric.kind {
            Some(Kind::Gauge) => SeriesKind::Gauge,
            // The temporality does not show in a name.
            Some(Kind::Sum) => SeriesKind::Sum { monotonic: metric.is_monotonic, temporality: Temporality::Cumulative },
            Some(Kind::Histogram | Kind::Exponential | Kind::Summary) | None => SeriesKind::Derived,
        };
        self.all || self.stems.contains(stem(&prometheus_name(metric.name.as_str(), metric.unit.as_str(), kind)))
    }
}

/// A metric's name without a part's suffix and without what a derived or published series adds to it.
fn stem(name: &str) -> &str {
    // A name may have a colon of its own, but hardly a leading one.
    let name = name.split_once(':').map_or(name, |(before, _)| before);
    ["_bucket", "_count", "_sum", "_total"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests;
