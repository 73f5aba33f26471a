//! What a replay decided, in words.

use std::fmt::Write as _;

use alerting::{AnomalyFilter, Order, Page};
use detect::{Alert, Anomaly};

use super::outcome::Outcome;
use crate::{rest::rfc3339, ui};

/// Anomalies, alerts, levels and faults that are listed; the JSON and the page have more.
const LISTED: usize = 20;

/// The whole summary.
pub(super) fn text(outcome: &Outcome) -> anyhow::Result<String> {
    let mut out = String::new();
    head(outcome, &mut out);
    thresholds(outcome, &mut out);
    alerts(outcome, &mut out)?;
    anomalies(outcome, &mut out)?;
    levels(outcome, &mut out)?;
    faults(outcome, &mut out);
    Ok(out)
}

fn head(outcome: &Outcome, out: &mut String) {
    let (counts, totals) = (&outcome.counts, &outcome.totals);
    let files = plural(outcome.inputs.len() as u64, "file");
    let span = match (counts.from, counts.to) {
        (Some(from), Some(to)) => {
            format!(", {} to {} ({})", rfc3339(from), rfc3339(to), ui::span(to.since(from).as_secs()))
        }
        _ => String::new(),
    };
    let _ = writeln!(
        out,
        "Replayed {files}: {} with {}{span}",
        plural(counts.requests, "request"),
        plural(counts.items, "item")
    );
    let _ = writeln!(
        out,
        "  {} of {} series judged; {} late, {} repeated, {} not finite, {} refused{}",
        plural(outcome.passed.judged, "point"),
        outcome.series(),
        outcome.passed.passed.late,
        outcome.passed.passed.repeated,
        outcome.passed.passed.not_finite,
        counts.refused,
        counts.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default(),
    );
    let detectors: Vec<String> = totals.detectors.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let detectors = if detectors.is_empty() { String::new() } else { format!(" ({})", detectors.join(", ")) };
    let _ = writeln!(
        out,
        "\n{}{detectors}, {} fired{}",
        plural_of(totals.anomalies, "anomaly", "anomalies"),
        plural(totals.fired, "alert"),
        rate(outcome.per_day(totals.fired))
    );
    let _ = writeln!(
        out,
        "{} to receivers, {} not resolved at the end; greatest level {} in {}",
        plural(totals.notifications, "notification"),
        totals.unresolved,
        totals.greatest_level,
        plural(totals.level_changes, "change"),
    );
}

fn rate(per_day: Option<f64>) -> String {
    per_day.map(|rate| format!(", {} a day", ui::number(rate))).unwrap_or_default()
}

fn thresholds(outcome: &Outcome, out: &mut String) {
    let _ = writeln!(out, "\nAnomalies if only scores above this counted:");
    for rung in outcome.ladder() {
        let _ = writeln!(out, "  {:>6}  {:>7}{}", ui::number(rung.score), rung.anomalies, rate(rung.per_day));
    }
}

fn alerts(outcome: &Outcome, out: &mut String) -> anyhow::Result<()> {
    let totals = &outcome.totals;
    if totals.fired == 0 {
        return Ok(());
    }
    let _ = writeln!(out, "\nAlerts{}", omitted(totals.fired));
    let mut left = LISTED;
    outcome.alerts(|alert| {
        if left > 0 {
            left -= 1;
            out.push_str(&line_of(alert));
        }
        Ok(())
    })?;
    if totals.days.len() > 1 {
        let _ = writeln!(out, "\nAlerts by day (UTC)");
        for (day, fired) in totals.days.iter().take(LISTED) {
            let _ = writeln!(out, "  {day}  {fired:>5}");
        }
        if totals.days.len() > LISTED {
            let _ = writeln!(out, "  and {} more days", totals.days.len() - LISTED);
        }
    }
    Ok(())
}

fn line_of(alert: &Alert) -> String {
    let time = |at: Option<detect::UnixNanos>| at.map_or_else(|| "not resolved".to_owned(), rfc3339);
    let summary = alert.annotations.get("summary").unwrap_or_default();
    format!(
        "  {} to {}  {} ({}) {}: {summary}\n",
        time(alert.fired_at),
        time(alert.resolved_at),
        alert.name(),
        alert.severity(),
        alert.service().unwrap_or("everything"),
    )
}

fn anomalies(outcome: &Outcome, out: &mut String) -> anyhow::Result<()> {
    if outcome.totals.anomalies == 0 {
        return Ok(());
    }
    let _ = writeln!(out, "\nAnomalies, the newest{}", omitted(outcome.totals.anomalies));
    let limit = u32::try_from(LISTED).unwrap_or(u32::MAX);
    let newest = Page { after: None, order: Order::Descending, limit };
    for anomaly in outcome.ledger.anomalies(&AnomalyFilter::default(), newest)?.items.iter().rev() {
        let Anomaly { starts_at, score, explanation, .. } = anomaly;
        let pattern = anomaly.pattern.as_str();
        let _ = writeln!(out, "  {}  score {:<6} {pattern:<11} {explanation}", rfc3339(*starts_at), ui::number(*score));
    }
    Ok(())
}

fn levels(outcome: &Outcome, out: &mut String) -> anyhow::Result<()> {
    if outcome.totals.level_changes == 0 {
        return Ok(());
    }
    let _ = writeln!(out, "\nLevels{}", omitted(outcome.totals.level_changes));
    let mut left = LISTED;
    outcome.levels(|change| {
        if left > 0 {
            left -= 1;
            let scope = change.service.as_deref().unwrap_or("everything");
            let because = change.because.first().map_or("all is well", String::as_str);
            let (at, from, to) = (rfc3339(change.at), change.from.number(), change.to);
            let _ = writeln!(out, "  {at}  {scope}: {from} -> {to}: {because}");
        }
        Ok(())
    })
}

fn faults(outcome: &Outcome, out: &mut String) {
    let all = outcome.fault_count();
    if all == 0 {
        return;
    }
    let _ = writeln!(out, "\nNot read ({})", plural(all, "fault"));
    for fault in &outcome.faults {
        let _ = writeln!(out, "  {fault}");
    }
    let told = outcome.faults.len() as u64;
    if all > told {
        let _ = writeln!(out, "  and {} more", all - told);
    }
}

fn omitted(all: u64) -> String {
    if all > LISTED as u64 { format!(" ({LISTED} of {all}; all with --format json)") } else { String::new() }
}

fn plural(count: u64, what: &str) -> String {
    plural_of(count, what, &format!("{what}s"))
}

fn plural_of(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
