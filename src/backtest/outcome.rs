//! What a replay decided, read from its ledger as the API reads it from that of a running service.

use std::{collections::BTreeMap, io, io::Write};

use alerting::{AlertFilter, AnomalyFilter, LedgerError, LevelFilter, Listed, Order, Page, Reader, Receiver};
use chrono::DateTime;
use detect::{Alert, Anomaly, LevelChange, UnixNanos};
use serde::Serialize;

use super::{
    input::{Fault, Format},
    replay::Counts,
};
use crate::{
    rest::{AnomalyJson, LevelChangeJson, rfc3339},
    view,
};

/// Scores for which anomalies are counted.
const LADDER: [f64; 8] = [1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0];

/// One file and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Input {
    pub(super) path: String,
    /// `None` when it could not be opened.
    pub(super) format: Option<Format>,
    pub(super) requests: u64,
    /// Faults in it, told or not.
    pub(super) faults: u64,
}

/// The whole result, but for what is read from the ledger piece by piece.
pub(super) struct Outcome {
    pub(super) inputs: Vec<Input>,
    pub(super) faults: Vec<Fault>,
    pub(super) counts: Counts,
    pub(super) passed: view::Counts,
    pub(super) ledger: Reader,
    pub(super) receivers: Vec<Receiver>,
    pub(super) totals: Totals,
}

/// How much of everything there was.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) anomalies: u64,
    /// By rung of the ladder: anomalies whose greatest score is above it.
    pub(super) above: [u64; LADDER.len()],
    /// By detector.
    pub(super) detectors: BTreeMap<&'static str, u64>,
    pub(super) fired: u64,
    pub(super) unresolved: u64,
    pub(super) notifications: u64,
    /// Alerts that began to fire, by day of event time in UTC.
    pub(super) days: BTreeMap<String, u64>,
    pub(super) greatest_level: u8,
    pub(super) level_changes: u64,
}

/// A rung of the ladder of thresholds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rung {
    /// Anomalies whose greatest score is above this.
    pub(super) score: f64,
    pub(super) anomalies: u64,
    pub(super) per_day: Option<f64>,
}

/// An alert's episode.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertJson<'a> {
    name: &'a str,
    episode: &'a str,
    fingerprint: &'a str,
    service: Option<&'a str>,
    severity: &'static str,
    state: &'static str,
    labels: &'a detect::Labels,
    annotations: &'a detect::Labels,
    active_at: String,
    starts_at: Option<String>,
    ends_at: Option<String>,
    value: Option<f64>,
    source: &'a str,
    anomalies: &'a [String],
    argued_level: detect::Level,
}

/// What receivers would have been told.
#[derive(Serialize)]
struct NotificationJson<'a> {
    at: String,
    status: &'static str,
    alert: &'a str,
    episode: &'a str,
    receivers: Vec<&'a str>,
}

/// Asks for all pages of a list.
pub(super) fn each<T>(
    mut ask: impl FnMut(Page) -> Result<Listed<T>, LedgerError>,
    mut with: impl FnMut(&T) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut page = Page { after: None, order: Order::Ascending, limit: Page::MAX_LIMIT };
    loop {
        let listed = ask(page)?;
        listed.items.iter().try_for_each(&mut with)?;
        page.after = listed.next;
        if page.after.is_none() {
            return Ok(());
        }
    }
}

/// The day of a moment, in UTC.
pub(super) fn day(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.0).format("%Y-%m-%d").to_string()
}

impl Outcome {
    /// Calls `with` for each anomaly, as it ended, in the order in which they were said.
    pub(super) fn anomalies(&self, with: impl FnMut(&Anomaly) -> io::Result<()>) -> anyhow::Result<()> {
        let filter = AnomalyFilter::default();
        each(|page| self.ledger.anomalies(&filter, page), with)
    }

    /// Calls `with` for each alert that fired.
    pub(super) fn alerts(&self, mut with: impl FnMut(&Alert) -> io::Result<()>) -> anyhow::Result<()> {
        let filter = AlertFilter::default();
        each(
            |page| self.ledger.alerts(&filter, page),
            |alert| if alert.fired_at.is_some() { with(alert) } else { Ok(()) },
        )
    }

    /// Calls `with` for each change of level.
    pub(super) fn levels(&self, with: impl FnMut(&LevelChange) -> io::Result<()>) -> anyhow::Result<()> {
        let filter = LevelFilter::default();
        each(|page| self.ledger.level_history(&filter, page), with)
    }

    /// Counts everything.
    pub(super) fn count(&mut self) -> anyhow::Result<()> {
        let mut totals = Totals::default();
        self.anomalies(|anomaly| {
            totals.anomalies += 1;
            *totals.detectors.entry(anomaly.detector.as_str()).or_default() += 1;
            for (above, score) in totals.above.iter_mut().zip(LADDER) {
                *above += u64::from(anomaly.score > score);
            }
            Ok(())
        })?;
        self.alerts(|alert| {
            totals.fired += 1;
            totals.unresolved += u64::from(alert.resolved_at.is_none());
            totals.notifications += 1 + u64::from(alert.resolved_at.is_some());
            if let Some(at) = alert.fired_at {
                *totals.days.entry(day(at)).or_default() += 1;
            }
            Ok(())
        })?;
        self.levels(|change| {
            totals.level_changes += 1;
            if change.service.is_none() {
                totals.greatest_level = totals.greatest_level.max(change.to.number());
            }
            Ok(())
        })?;
        self.totals = totals;
        Ok(())
    }

    /// Event time from the first to the last of what was replayed, in days.
    pub(super) fn days(&self) -> Option<f64> {
        let span = self.counts.to?.since(self.counts.from?);
        (!span.is_zero()).then(|| span.as_secs_f64() / 86_400.0)
    }

    /// Series that detectors have seen.
    pub(super) fn series(&self) -> usize {
        self.passed.warm_series + self.passed.warming_series
    }

    /// `count` for each day of the recording; of less than a day nothing is said.
    pub(super) fn per_day(&self, count: u64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let count = count as f64;
        self.days().filter(|days| *days >= 1.0).map(|days| count / days)
    }

    /// How many anomalies there would have been with each threshold.
    pub(super) fn ladder(&self) -> Vec<Rung> {
        let rung = |(score, anomalies)| Rung { score, anomalies, per_day: self.per_day(anomalies) };
        LADDER.into_iter().zip(self.totals.above).map(rung).collect()
    }

    /// How many faults there were, told or not.
    pub(super) fn fault_count(&self) -> u64 {
        self.inputs.iter().map(|input| input.faults).sum()
    }

    /// Writes all of it as JSON, piece by piece.
    pub(super) fn write_json(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Counts { requests, items, from, to, refused, reason } = &self.counts;
        let passed = &self.passed.passed;
        let head = serde_json::json!({
            "inputs": self.inputs,
            "faults": self.faults,
            "from": from.map(rfc3339),
            "to": to.map(rfc3339),
            "counts": {
                "requests": requests, "items": items, "judged": self.passed.judged,
                "series": self.series(), "refused": refused, "refusedBecause": reason,
                "late": passed.late, "repeated": passed.repeated, "notFinite": passed.not_finite,
                "lateEvents": passed.late_events, "unsummedEvents": passed.unsummed_events, "folded": passed.folded,
            },
            "thresholds": self.ladder(),
            "alertsPerDay": {
                "mean": self.per_day(self.totals.fired),
                "days": self.totals.days.iter().map(|(day, fired)| serde_json::json!({"day": day, "fired": fired})).collect::<Vec<_>>(),
            },
        });
        let head = serde_json::to_string_pretty(&head)?;
        out.write_all(head.trim_end().trim_end_matches('}').trim_end().as_bytes())?;
        let mut list = Lists { out };
        list.begin("anomalies")?;
        let mut first = true;
        self.anomalies(|anomaly| list.item(&mut first, &AnomalyJson::from(anomaly)))?;
        list.end()?;
        list.begin("alerts")?;
        first = true;
        self.alerts(|alert| list.item(&mut first, &AlertJson::from(alert)))?;
        list.end()?;
        list.begin("notifications")?;
        first = true;
        self.alerts(|alert| {
            self.notifications(alert).iter().try_for_each(|notification| list.item(&mut first, notification))
        })?;
        list.end()?;
        list.begin("levels")?;
        first = true;
        self.levels(|change| list.item(&mut first, &LevelChangeJson::from(change)))?;
        list.end()?;
        out.write_all(b"\n}\n")?;
        Ok(out.flush()?)
    }

    fn notifications<'a>(&'a self, alert: &'a Alert) -> Vec<NotificationJson<'a>> {
        let told = |status: &'static str, at: Option<UnixNanos>| {
            let wants = |receiver: &&Receiver| status == "firing" || receiver.wants_resolved();
            Some(NotificationJson {
                at: rfc3339(at?),
                status,
                alert: alert.name(),
                episode: &alert.episode,
                receivers: self.receivers.iter().filter(wants).map(Receiver::name).collect(),
            })
        };
        [told("firing", alert.fired_at), told("resolved", alert.resolved_at)].into_iter().flatten().collect()
    }
}

impl<'a> From<&'a Alert> for AlertJson<'a> {
    fn from(alert: &'a Alert) -> Self {
        Self {
            name: alert.name(),
            episode: &alert.episode,
            fingerprint: &alert.fingerprint,
            service: alert.service(),
            severity: alert.severity().as_str(),
            state: alert.state.as_str(),
            labels: &alert.labels,
            annotations: &alert.annotations,
            active_at: rfc3339(alert.active_at),
            starts_at: alert.fired_at.map(rfc3339),
            ends_at: alert.resolved_at.map(rfc3339),
            value: Some(alert.value).filter(|value| value.is_finite()),
            source: &alert.source,
            anomalies: &alert.anomalies,
            argued_level: alert.argued_level,
        }
    }
}

/// Lists behind the head of a JSON object, an item a line.
struct Lists<'o, W> {
    out: &'o mut W,
}

impl<W: Write> Lists<'_, W> {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        write!(self.out, ",\n  \"{name}\": [")
    }

    fn item(&mut self, first: &mut bool, item: &impl Serialize) -> io::Result<()> {
        let comma = if std::mem::take(first) { "" } else { "," };
        write!(self.out, "{comma}\n    {}", serde_json::to_string(item)?)
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n  ]")
    }
}
