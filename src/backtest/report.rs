//! The result of a replay as one page that needs nothing else: no script, no font, no second file.

use std::collections::BTreeMap;

use chrono::Duration as Days;
use detect::{Alert, Anomaly, Labels, UnixNanos};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    outcome::{Outcome, day},
    plot,
};
use crate::{
    rest::rfc3339,
    tape::Tape,
    ui::{self, badge, cell, number_cell, table},
};

/// Series that are drawn, those with the greatest score first.
const CHARTS: usize = 40;
/// Series that are remembered to find these.
const REMEMBERED: usize = 2_000;
/// Anomalies that are explained below each chart, the greatest score first.
const EXPLAINED: usize = 5;
/// Anomalies marked in one chart.
const MARKED: usize = 500;
/// Rows of a table.
const ROWS: usize = 300;
/// Days that are drawn as bars.
const MOST_DAYS: usize = 1_000;
/// What this page has and the others have not.
const STYLE: &str = "
.chart .alert { stroke: var(--l4); stroke-width: 1.5; stroke-dasharray: 2 2; } .chart .peak { fill: var(--interval); }
.chart .level { stroke: var(--l2); stroke-width: 2; fill: none; } .chart .bar { fill: var(--l2); }
.key.alert::before { border-left: 2px dashed var(--l4); width: .2em; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; }
.figures div { display: block; } .figures dd { font-size: 1.5rem; font-weight: 650; }
.told { margin: .3rem 0 0; padding-left: 1.1rem; font-size: .9rem; }
";

/// A series with its anomalies.
struct Marked {
    metric: String,
    service: String,
    labels: Labels,
    greatest: f64,
    anomalies: Vec<Anomaly>,
    count: u64,
}

/// The page.
pub(super) fn page(outcome: &Outcome, tape: &Tape) -> anyhow::Result<String> {
    let marked = marked(outcome)?;
    let (mut alerts, mut fired) = (Vec::new(), BTreeMap::<String, Vec<UnixNanos>>::new());
    outcome.alerts(|alert| {
        if alerts.len() < ROWS {
            alerts.push(alert.clone());
            for (id, at) in alert.anomalies.iter().zip(std::iter::repeat(alert.fired_at)) {
                fired.entry(id.clone()).or_default().extend(at);
            }
        }
        Ok(())
    })?;
    let body = html! {
        (head(outcome))
        (by_day(outcome))
        (levels(outcome)?)
        (ladder(outcome))
        (charts(&marked, tape, &fired))
        (alert_table(&alerts, outcome.totals.fired))
        (anomaly_table(outcome)?)
        (faults(outcome))
    };
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Backtest · Bellwether" }
                style { (PreEscaped(ui::STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                header.top { nav { span.brand { "Bellwether" } span { "Backtest" } } }
                main id="content" { (body) }
            }
        }
    };
    Ok(document.into_string())
}

/// The series with anomalies, the greatest score first.
fn marked(outcome: &Outcome) -> anyhow::Result<Vec<Marked>> {
    let mut found: BTreeMap<(String, u64), Marked> = BTreeMap::new();
    outcome.anomalies(|anomaly| {
        let key = (anomaly.metric.to_string(), anomaly.labels.fingerprint());
        if found.len() >= REMEMBERED && !found.contains_key(&key) {
            return Ok(());
        }
        let series = found.entry(key).or_insert_with(|| Marked {
            metric: anomaly.metric.to_string(),
            service: anomaly.service.to_string(),
            labels: anomaly.labels.clone(),
            greatest: 0.0,
            anomalies: Vec::new(),
            count: 0,
        });
        series.count += 1;
        series.greatest = series.greatest.max(anomaly.score);
        if series.anomalies.len() < MARKED {
            series.anomalies.push(anomaly.clone());
        }
        Ok(())
    })?;
    let mut marked: Vec<Marked> = found.into_values().collect();
    marked.sort_by(|a, b| b.greatest.total_cmp(&a.greatest));
    Ok(marked)
}

fn head(outcome: &Outcome) -> Markup {
    let (counts, totals) = (&outcome.counts, &outcome.totals);
    let per_day = outcome.per_day(totals.fired).map_or_else(|| "–".to_owned(), ui::number);
    html! {
        section.panel {
            h1 { "Backtest" }
            p.meaning {
                @for input in outcome.inputs.iter().take(10) {
                    code { (input.path) } " (" (input.format.map_or("not read", super::input::Format::as_str)) ") "
                }
                @if outcome.inputs.len() > 10 { "and " (outcome.inputs.len() - 10) " more files" }
            }
            @if let (Some(from), Some(to)) = (counts.from, counts.to) {
                p { (rfc3339(from)) " to " (rfc3339(to)) ", " (ui::span(to.since(from).as_secs())) }
            }
            dl.figures {
                div { dt { "Anomalies" } dd { (totals.anomalies) } }
                div { dt { "Alerts fired" } dd { (totals.fired) } }
                div { dt { "Alerts a day" } dd { (per_day) } }
                div { dt { "Notifications" } dd { (totals.notifications) } }
                div { dt { "Greatest level" } dd { (totals.greatest_level) } }
                div { dt { "Points judged" } dd { (outcome.passed.judged) } }
                div { dt { "Series" } dd { (outcome.series()) } }
                div { dt { "Late, not judged" } dd { (outcome.passed.passed.late) } }
            }
            @if counts.refused > 0 {
                p.notice { (counts.refused) " items were refused: " (counts.reason.as_deref().unwrap_or_default()) }
            }
        }
    }
}

/// Alerts by day, with the days on which there were none.
fn by_day(outcome: &Outcome) -> Markup {
    let (Some(from), Some(to)) = (outcome.counts.from, outcome.counts.to) else { return html! {} };
    let start = chrono::DateTime::from_timestamp_nanos(from.0);
    let days: Vec<(String, u64)> = (0..)
        .map(|i| start.date_naive() + Days::days(i))
        .take_while(|date| date.to_string() <= day(to))
        .take(MOST_DAYS)
        .map(|date| (date.to_string(), outcome.totals.days.get(&date.to_string()).copied().unwrap_or(0)))
        .collect();
    if days.len() < 2 || outcome.totals.fired == 0 {
        return html! {};
    }
    html! { section.panel { h2 { "Alerts by day" } (plot::days(&days)) } }
}

fn levels(outcome: &Outcome) -> anyhow::Result<Markup> {
    let mut changes = Vec::new();
    outcome.levels(|change| {
        if change.service.is_none() && changes.len() < ROWS * 10 {
            changes.push((change.at, change.to.number()));
        }
        Ok(())
    })?;
    let (Some(from), Some(to)) = (outcome.counts.from, outcome.counts.to) else { return Ok(html! {}) };
    if changes.is_empty() {
        return Ok(html! {});
    }
    Ok(html! { section.panel { h2 { "Level of everything" } (plot::levels(&changes, from, to)) } })
}

fn ladder(outcome: &Outcome) -> Markup {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), ui::number);
    let rows = html! {
        @for rung in outcome.ladder() {
            tr role="row" {
                (number_cell("Score above", ui::number(rung.score)))
                (number_cell("Anomalies", rung.anomalies))
                (number_cell("A day", rate(rung.per_day)))
            }
        }
    };
    html! {
        section.panel {
            h2 { "What each threshold would have given" }
            (table("Anomalies whose greatest score is above a threshold", &[("Score above", true), ("Anomalies", true), ("A day", true)], &rows))
        }
    }
}

fn charts(marked: &[Marked], tape: &Tape, fired: &BTreeMap<String, Vec<UnixNanos>>) -> Markup {
    html! {
        @for series in marked.iter().take(CHARTS) { (chart(series, tape, fired)) }
        @if marked.len() > CHARTS {
            p.more { (marked.len() - CHARTS) " more series had anomalies; they are in the table and in the JSON." }
        }
        @if tape.left_out() > 0 {
            p.notice { "Some series could not be kept for drawing, because there were too many." }
        }
    }
}

fn chart(series: &Marked, tape: &Tape, fired: &BTreeMap<String, Vec<UnixNanos>>) -> Markup {
    let tracks = tape.of(&series.metric, &series.labels);
    let alerts: Vec<UnixNanos> = series.anomalies.iter().filter_map(|a| fired.get(&a.id)).flatten().copied().collect();
    let mut told: Vec<&Anomaly> = series.anomalies.iter().collect();
    told.sort_by(|a, b| b.score.total_cmp(&a.score));
    html! {
        section.panel {
            h2 { (series.metric) " of " (series.service) " " span.count { (series.count) } }
            p.detail { (labels_text(&series.labels)) }
            @if tracks.is_empty() { p.empty { "No single series: several metrics were judged together." } }
            @for track in &tracks { (plot::series(track, &series.anomalies, &alerts)) }
            ol.told {
                @for anomaly in told.into_iter().take(EXPLAINED) {
                    li { strong { (rfc3339(anomaly.starts_at)) } " " (anomaly.explanation) }
                }
            }
        }
    }
}

fn labels_text(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

fn alert_table(alerts: &[Alert], all: u64) -> Markup {
    let columns = [("Severity", false), ("Alert", false), ("Service", false), ("Fired", false), ("Resolved", false)];
    let time = |at: Option<UnixNanos>| at.map_or_else(|| "not in the recording".to_owned(), rfc3339);
    let rows = html! {
        @for alert in alerts {
            tr role="row" {
                (cell("Severity", badge(alert.severity().as_str(), alert.severity().as_str())))
                (cell("Alert", html! { strong { (alert.name()) } div { (alert.annotations.get("summary").unwrap_or_default()) } }))
                (cell("Service", alert.service().unwrap_or("everything")))
                (cell("Fired", time(alert.fired_at)))
                (cell("Resolved", time(alert.resolved_at)))
            }
        }
    };
    html! {
        section.panel {
            h2 { "Alerts" }
            @if alerts.is_empty() { p.empty { "None would have fired." } }
            @else { (table(&format!("{} of {all} alerts that fired", alerts.len()), &columns, &rows)) }
        }
    }
}

fn anomaly_table(outcome: &Outcome) -> anyhow::Result<Markup> {
    let mut rows = Vec::new();
    outcome.anomalies(|a| {
        if rows.len() < ROWS {
            rows.push(html! {
                tr role="row" {
                    (cell("Severity", badge(a.severity.as_str(), a.severity.as_str())))
                    (cell("What", html! { strong { (a.metric) } " of " (a.service) div.detail { (a.explanation) } }))
                    (cell("From", html! { time { (ui::moment(a.starts_at)) } }))
                    (cell("To", a.ends_at.map_or_else(|| html! { "open" }, |at| html! { time { (ui::moment(at)) } })))
                    (cell("Pattern", a.pattern.as_str()))
                    (number_cell("Score", ui::number(a.score)))
                }
            });
        }
        Ok(())
    })?;
    let columns =
        [("Severity", false), ("What", false), ("From", false), ("To", false), ("Pattern", false), ("Score", true)];
    let caption = format!("{} of {} anomalies, the oldest first", rows.len(), outcome.totals.anomalies);
    let rows = html! { @for row in &rows { (row) } };
    Ok(html! {
        section.panel {
            h2 { "Anomalies" }
            @if outcome.totals.anomalies == 0 { p.empty { "None." } } @else { (table(&caption, &columns, &rows)) }
        }
    })
}

fn faults(outcome: &Outcome) -> Markup {
    let all = outcome.fault_count();
    html! {
        @if all > 0 {
            section.panel {
                h2 { "Not read" }
                p { (all) " faults, of which these are told:" }
                ul { @for fault in &outcome.faults { li { (fault.to_string()) } } }
            }
        }
    }
}
