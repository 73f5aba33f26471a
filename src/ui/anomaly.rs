//! One anomaly: what was seen, against what, and everything that the verdict was made of.

use axum::{extract::Path, http::StatusCode, response::Response};
use detect::{Affected, Anomaly, BaselineOf, DetectorKind, Pattern, UnixNanos};
use maud::{Markup, html};

use super::{
    chart,
    format::{ago, number, span, value},
    page::{self, Page, arrow, badge, is_web},
};
use crate::{
    pipeline::now,
    rest::{self, Asked, Chart, Link, Problem, encoded},
};

/// Points drawn at most: more than the picture has dots for.
const DRAWN: usize = 700;

pub(super) async fn anomaly(asked: Asked, Path(id): Path<String>) -> Response {
    match gather(&asked, id).await {
        Ok((anomaly, chart)) => {
            let title = format!("{} of {}", anomaly.pattern.as_str(), anomaly.metric);
            let is_live = anomaly.ends_at.is_none();
            let body = render(&anomaly, &chart, now(), &asked.link);
            Page { title, is_live, level: None, link: asked.link, body }.response(StatusCode::OK)
        }
        Err(problem) => page::problem(&problem),
    }
}

async fn gather(asked: &Asked, id: String) -> Result<(Anomaly, Chart), Problem> {
    let anomaly = rest::anomaly(asked, id).await?;
    let (view, of) = (asked.view(), anomaly.clone());
    let chart = asked.compute(move || rest::chart(&of, &view, None, None, DRAWN)).await?;
    Ok((anomaly, chart))
}

fn render(a: &Anomaly, chart: &Chart, now: UnixNanos, link: &Link) -> Markup {
    let severity = a.severity.as_str();
    html! {
        section.panel {
            p.crumbs { a href=(link.to("/")) { "Overview" } " / Anomaly" }
            h1 { (a.pattern.as_str()) " " (arrow(a)) " in " span.metric { (a.metric) } }
            p.facts {
                (badge(severity, severity))
                @match a.ends_at {
                    None => { (badge("open", "open")) span { "since " (ago(a.starts_at, now)) } }
                    Some(end) => {
                        span { "began " (ago(a.starts_at, now)) ", lasted " (span(end.since(a.starts_at).as_secs())) }
                    }
                }
                @if !a.service.is_empty() { span { "in " strong { (a.service) } } }
            }
            p.explanation { (a.explanation) }
            @if let Some(url) = a.runbook_url.as_deref().filter(|url| is_web(url)) {
                p { a.action href=(url) { "What to do: runbook" } }
            }
        }
        section.panel aria-labelledby="chart" {
            h2 id="chart" { "Around it" }
            (chart::draw(chart, a))
        }
        @if !a.attributes.is_empty() {
            section.panel aria-labelledby="apart" { h2 id="apart" { "What sets these calls apart" } (apart(a)) }
        }
        div.columns {
            section.panel aria-labelledby="numbers" { h2 id="numbers" { "The verdict in numbers" } (numbers(a, chart)) }
            section.panel aria-labelledby="labels" { h2 id="labels" { "The series" } (series(a, link)) }
        }
    }
}

/// Everything with which the score can be computed again.
fn numbers(a: &Anomaly, chart: &Chart) -> Markup {
    let unit = chart.unit.as_str();
    let rows: [(&str, String); 12] = [
        ("Observed", value(a.observed, unit)),
        ("Expected", value(a.expected, unit)),
        ("Band", format!("{} to {}", value(a.lower, unit), value(a.upper, unit))),
        ("Scale", value(a.scale, unit)),
        (statistic(a), number(a.z)),
        ("Threshold", number(a.threshold)),
        ("Score = |z| / threshold", number(a.score)),
        ("Points outside the band", a.points.to_string()),
        ("Baseline", format!("{} points over {}", a.sample_count, span(a.baseline_span.as_secs()))),
        ("Detector", a.detector.as_str().to_owned()),
        ("Number", a.seq.to_string()),
        ("Incident", a.incident_id.clone().unwrap_or_else(|| super::format::NOTHING.to_owned())),
    ];
    html! { dl.numbers { @for (name, text) in rows { div { dt { (name) } dd { (text) } } } } }
}

/// What the raw statistic is, see [`Anomaly::z`].
fn statistic(a: &Anomaly) -> &'static str {
    match (a.detector, a.pattern) {
        (DetectorKind::ZScore, _) => "z = (observed − expected) / scale",
        (DetectorKind::Pattern, Pattern::Flatline) => "Points without a change",
        (DetectorKind::Pattern, Pattern::VarianceChange) => "ln(observed / expected)",
        (DetectorKind::Pattern, _) => "Lesser distance of two hours, in scales",
        (DetectorKind::Forecast, _) => "Probability of reaching the limit",
        _ => "Evidence",
    }
}

/// The attributes that carry it, with the counts that their shares come from.
fn apart(a: &Anomaly) -> Markup {
    let cell = |share: f64, count: u32, total: u32| format!("{:.0} % ({count} of {total})", 100.0 * share);
    html! {
        dl.numbers {
            @for s in &a.attributes {
                @let whose = if s.baseline_of == BaselineOf::All { " of all calls" } else { "" };
                @let calls = if s.of == Affected::Slow { "slow calls" } else { "failing calls" };
                div {
                    dt { (s.key) "=" (s.value) }
                    dd {
                        (cell(s.share, s.count, s.total)) " of " (calls) ", before "
                        (cell(s.baseline_share, s.baseline_count, s.baseline_total)) (whose)
                    }
                }
            }
        }
    }
}

fn series(a: &Anomaly, link: &Link) -> Markup {
    let selector = selector(a);
    let (id, query) = (encoded(&a.id), encoded(&selector));
    html! {
        dl.numbers { @for (name, value) in a.labels.iter() { div { dt { (name) } dd { (value) } } } }
        @if !a.exemplars.is_empty() {
            h3 { "Traces behind it" }
            ul.traces { @for trace in &a.exemplars { li { code { (trace) } } } }
        }
        h3 { "PromQL" }
        pre { code { (selector) } }
        p.links {
            a href=(link.to(&format!("/api/v1/query?query={query}"))) { "Value now" } " "
            a href=(link.to(&format!("/api/v1/anomalies/{id}/chart"))) { "Points as JSON" } " "
            a href=(link.to(&format!("/api/v1/anomalies/{id}"))) { "Anomaly as JSON" }
        }
    }
}

/// The PromQL selector of exactly this series.
fn selector(a: &Anomaly) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = a.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    format!("{}{{{}}}", a.metric, labels.join(", "))
}
