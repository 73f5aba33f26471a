//! What was found, set against what was caused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::signals::{Base, Case, DAY, EVERY, STEPS, Signal};

/// Points that a series has before anything can be said of it.
const WARM_UP: usize = 30;
/// Length of a calm stretch that is set against a disturbance, in points.
const STRETCH: usize = 12;

/// An anomaly, or an alert about silence.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) case: String,
    pub(super) detector: String,
    /// Steps since the beginning.
    pub(super) starts: f64,
    pub(super) said: f64,
    pub(super) direction: String,
    pub(super) score: f64,
}

impl Finding {
    /// An anomaly, as REST shows it. `begin` is the second of the first step.
    pub(super) fn of(anomaly: &Value, begin: u64) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let step = |name: &str| step_of(anomaly[name].as_str()?, begin);
        Some(Self {
            case: text(&anomaly["labels"]["case"]).or_else(|| text(&anomaly["service"]))?,
            detector: text(&anomaly["detector"])?,
            starts: step("startsAt")?,
            said: step("emittedAt")?,
            direction: text(&anomaly["direction"])?,
            score: anomaly["score"].as_f64()?,
        })
    }

    /// An alert about silence, as REST shows it.
    pub(super) fn of_gap(alert: &Value, begin: u64) -> Option<Self> {
        let at = step_of(alert["startsAt"].as_str()?, begin)?;
        (alert["labels"]["alertname"].as_str()? == "TelemetryGap").then(|| Self {
            case: alert["service"].as_str().unwrap_or_default().to_owned(),
            detector: "gap".to_owned(),
            starts: at,
            said: at,
            direction: String::new(),
            score: 1.0,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit")]
fn step_of(time: &str, begin: u64) -> Option<f64> {
    let millis = chrono::DateTime::parse_from_rfc3339(time).ok()?.timestamp_millis() as f64;
    Some((millis / 1e3 - begin as f64) / EVERY as f64)
}

/// What became of one disturbance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Points from its beginning until it was said; `None` when it was missed.
    pub(super) after: Option<f64>,
    /// Whether the direction was right; true where there is none.
    pub(super) is_right: bool,
}

/// All findings by case.
#[derive(Debug, Default)]
pub(super) struct Judge {
    findings: BTreeMap<String, Vec<Finding>>,
}

#[expect(clippy::cast_precision_loss, reason = "steps are small")]
fn float(n: usize) -> f64 {
    n as f64
}

/// How many points a disturbance has in which it may be found.
fn length(signal: Signal) -> usize {
    match signal {
        Signal::Spike => 3,
        Signal::Drop => 6,
        Signal::Ramp | Signal::Joint => 24,
        Signal::Variance => 40,
        Signal::Step | Signal::Season | Signal::Gap => STEPS,
    }
}

impl Judge {
    pub(super) fn of(findings: impl IntoIterator<Item = Finding>) -> Self {
        let mut judge = Self::default();
        for finding in findings {
            judge.findings.entry(finding.case.clone()).or_default().push(finding);
        }
        judge
    }

    pub(super) fn of_case(&self, id: &str) -> &[Finding] {
        self.findings.get(id).map_or(&[], Vec::as_slice)
    }

    /// What became of the disturbance in `case`, if there is one.
    pub(super) fn verdict(&self, case: &Case) -> Option<Verdict> {
        let (signal, _) = case.signal?;
        let from = float(case.wrong_from());
        let until = from + float(length(signal));
        let within =
            |f: &&Finding| f.starts >= from && f.starts < until && (f.detector == "gap") == (signal == Signal::Gap);
        let found = self.of_case(&case.id).iter().filter(within).min_by(|a, b| a.said.total_cmp(&b.said));
        let is_right = found.is_none_or(|f| signal.direction().is_none_or(|direction| f.direction == direction));
        Some(Verdict { after: found.map(|f| f.said - from), is_right })
    }

    /// Findings before anything went wrong, and the days in which there could have been some, of a base.
    pub(super) fn false_alarms<'c>(&self, cases: impl IntoIterator<Item = &'c Case>) -> (usize, f64) {
        let (mut count, mut days) = (0, 0.0);
        for case in cases {
            let end = if case.signal.is_some() { case.wrong_from() } else { STEPS };
            count += self.of_case(&case.id).iter().filter(|f| f.starts < float(end)).count();
            days += float(case.metrics * end.saturating_sub(case.born + WARM_UP)) / float(DAY);
        }
        (count, days)
    }

    /// The chance that a disturbance scores above a calm stretch by the word of `detector`; what it said nothing
    /// about scores 0.
    pub(super) fn auc<'c>(&self, detector: &str, cases: impl Iterator<Item = &'c Case>) -> f64 {
        let (mut wrong, mut calm) = (Vec::new(), Vec::new());
        for case in cases {
            let greatest = |from: usize, until: usize| {
                let of = self.of_case(&case.id).iter().filter(|f| f.detector == detector);
                let within = of.filter(|f| f.starts >= float(from) && f.starts < float(until));
                within.map(|f| f.score).fold(0.0, f64::max)
            };
            let end = case.wrong_from();
            if let Some((signal, _)) = case.signal {
                wrong.push(greatest(end, end + length(signal)));
            }
            let mut from = case.born + WARM_UP;
            while from + STRETCH <= end {
                calm.push(greatest(from, from + STRETCH));
                from += STRETCH;
            }
        }
        above(&wrong, &calm)
    }
}

/// The share of pairs in which the first is greater; of equal ones half.
fn above(wrong: &[f64], calm: &[f64]) -> f64 {
    let mut sum = 0.0;
    for a in wrong {
        for b in calm {
            sum += match a.total_cmp(b) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    sum / float(wrong.len() * calm.len()).max(1.0)
}

/// Cases of one row of the table.
pub(super) fn row(cases: &[Case], signal: Signal, base: Base, is_young: bool) -> impl Iterator<Item = &Case> {
    cases.iter().filter(move |case| {
        case.base == base && case.is_young == is_young && case.signal.is_some_and(|(found, _)| found == signal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        let check = |wrong: &[f64], calm: &[f64], expected: f64| assert!((above(wrong, calm) - expected).abs() < 1e-12);
        check(&[2.0, 3.0], &[0.0, 1.0], 1.0);
        check(&[0.0, 1.0], &[2.0, 3.0], 0.0);
        check(&[0.0, 2.0], &[0.0, 0.0], 0.75);
        check(&[], &[1.0], 0.0);
    }
}
