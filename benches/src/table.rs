//! The table of a run: which receivers are measured, and what is asked of each.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    client::{Load, Measured},
    floor::Floor,
    payload::{Kind, REQUESTS, REQUESTS_FOR_A_MILLION, Shape, Signal},
    receiver::{Receiver, Setting},
    report,
};

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The program under test.
    pub(crate) bellwether: PathBuf,
    /// A table for each.
    pub(crate) signals: Vec<Signal>,
    /// The points of metrics.
    pub(crate) kind: Kind,
    /// Core of the receivers.
    pub(crate) core: Option<u16>,
    /// How often.
    pub(crate) rounds: u8,
    /// How long each receiver is measured in each round.
    pub(crate) time: Duration,
    /// Connections to it.
    pub(crate) connections: usize,
    /// Short names of the rows that are measured; all when empty.
    pub(crate) rows: Vec<String>,
}

/// What stands in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A server to compare with.
    Floor(Floor),
    /// The real binary.
    Bellwether(Setting),
}

/// At most this many times the cost of another row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The other row.
    pub(crate) of: Subject,
    /// How often.
    pub(crate) most: f64,
}

/// One receiver's figures, one for each round.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) subject: Subject,
    /// In the order of the rounds.
    pub(crate) rounds: Vec<Measured>,
}

pub(crate) const DROP: Subject = Subject::Floor(Floor::Drop);
pub(crate) const DECODE: Subject = Subject::Floor(Floor::Decode);
const INGEST: Subject = Subject::Bellwether(Setting::Ingest);
const DURABLE: Subject = Subject::Bellwether(Setting::Durable);
const MILLION: Subject = Subject::Bellwether(Setting::Million);
const EVERYTHING: Subject = Subject::Bellwether(Setting::Everything);

impl Subject {
    /// How it is called in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor(floor) => floor.name(),
            Self::Bellwether(Setting::Ingest) => "(a) decode, identity, window append, derived series",
            Self::Bellwether(Setting::Everything) => "(b) everything of the default configuration",
            Self::Bellwether(Setting::Durable) => "(d) as (a), answered when it is on disk",
            Self::Bellwether(Setting::Million) => "(c) as (a), a million known series",
        }
    }

    /// How it is called where others are compared with it.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Floor(Floor::Drop) => "drop",
            Self::Floor(Floor::Decode) => "prost",
            Self::Bellwether(Setting::Ingest) => "(a)",
            Self::Bellwether(Setting::Everything) => "(b)",
            Self::Bellwether(Setting::Durable) => "(d)",
            Self::Bellwether(Setting::Million) => "(c)",
        }
    }

    /// The rows of a signal's table, in order.
    fn all_of(signal: Signal, kind: Kind) -> Vec<Self> {
        let mut rows = vec![DROP, DECODE, INGEST, EVERYTHING];
        // A million histograms are many more series, and would measure memory above all.
        if signal == Signal::Metrics && kind != Kind::Histogram {
            rows.push(MILLION);
        }
        rows.push(DURABLE);
        rows
    }

    /// What is asked of it. Targets exist for spans and for gauges.
    pub(crate) fn targets(self, shape: &Shape) -> Vec<Target> {
        let target = |of, most| Target { of, most };
        match (self, shape.signal, shape.kind) {
            (INGEST, Signal::Spans, _) => vec![target(DROP, 2.0), target(DECODE, 0.6)],
            (INGEST, Signal::Metrics, Kind::Gauge) => vec![target(DROP, 2.0), target(DECODE, 0.35)],
            (EVERYTHING, Signal::Spans, _) => vec![target(DROP, 3.0)],
            (EVERYTHING, Signal::Metrics, Kind::Gauge) => vec![target(DECODE, 1.0)],
            (MILLION, Signal::Metrics, Kind::Gauge) => vec![target(INGEST, 2.5)],
            _ => Vec::new(),
        }
    }

    /// Which row's rate, and how much of it, this one has to reach.
    pub(crate) fn least_rate(self) -> Option<(Self, f64)> {
        (self == DURABLE).then_some((INGEST, 0.7))
    }

    async fn start(self, plan: &Plan) -> Result<Receiver> {
        match self {
            Self::Floor(floor) => Receiver::floor(floor, plan.core).await,
            Self::Bellwether(setting) => Receiver::bellwether(&plan.bellwether, setting, plan.core).await,
        }
    }
}

impl Row {
    /// The median of a figure over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }

    /// What part of the other row's items per second: the median of the rounds' ratios.
    pub(crate) fn rate_to(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(a, b)| a.per_second() / b.per_second()).collect())
    }

    /// How many times the other row's CPU time: the median of the rounds' ratios, because what else the
    /// machine does during a round slows both.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(a, b)| a.cpu_per_million() / b.cpu_per_million()).collect())
    }
}

/// The middle one, or the mean of the two in the middle; NaN of nothing.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = |at: usize| numbers.get(at).copied().unwrap_or(f64::NAN);
    match numbers.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => f64::midpoint(middle(n / 2 - 1), middle(n / 2)),
        n => middle(n / 2),
    }
}

/// Measures everything and prints a table for each signal.
///
/// # Errors
/// A receiver that does not start, or that does not take all that it is sent.
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    for signal in &plan.signals {
        let shape = Shape { signal: *signal, kind: plan.kind, requests: usize::from(REQUESTS) };
        let mut rows: Vec<Row> = Subject::all_of(*signal, plan.kind)
            .into_iter()
            .filter(|subject| plan.rows.is_empty() || plan.rows.iter().any(|row| row == subject.short()))
            .map(|subject| Row { subject, rounds: Vec::new() })
            .collect();
        let mut load = Load::new(shape, plan.connections, plan.time);
        let mut million = rows.iter().any(|row| row.subject == MILLION).then(|| {
            let shape = Shape { requests: REQUESTS_FOR_A_MILLION, ..shape };
            Load::new(shape, plan.connections, plan.time)
        });
        for _ in 0..plan.rounds {
            for row in &mut rows {
                let load = million.as_mut().filter(|_| row.subject == MILLION).unwrap_or(&mut load);
                let receiver = row.subject.start(plan).await?;
                let measured = load.run(receiver.address, Some(receiver.pid)).await;
                row.rounds.push(measured.with_context(|| row.subject.name())?);
                receiver.stop().await?;
            }
        }
        report::table(plan, &shape, &rows);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]).to_bits(), 3.0_f64.to_bits());
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn targets_name_rows_of_their_own_table() {
        for signal in [Signal::Metrics, Signal::Spans, Signal::Logs] {
            let rows = Subject::all_of(signal, Kind::Gauge);
            let shape = Shape { signal, kind: Kind::Gauge, requests: 10 };
            let targets = rows.iter().flat_map(|row| row.targets(&shape));
            assert!(targets.map(|t| t.of).all(|of| rows.contains(&of)), "{signal:?}");
        }
    }
}
