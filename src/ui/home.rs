//! The first page: how far to degrade and why, what is wrong, and what was noticed.

use std::{collections::BTreeSet, sync::Arc};

use alerting::{AnomalyFilter, DeliveryState, Order, Page as LedgerPage};
use axum::{http::StatusCode, response::Response};
use detect::{Alert, Anomaly, Level, LevelStatus, UnixNanos};
use maud::{Markup, html};
use proto::otlp::Signal;

use super::{
    format::{NOTHING, ago, bytes, number, percent, seconds, span},
    page::{self, Page, arrow, badge, cell, count, is_web, number_cell, omitted, table},
};
use crate::{
    pipeline::now,
    rest::{Asked, Info, Link, Problem, ServiceRow, encoded, service_rows},
    view::View,
};

/// Services shown, the worst first.
const SERVICES: usize = 50;
/// Alerts shown, the worst first.
const ALERTS: usize = 50;
/// Anomalies shown, the newest first.
const ANOMALIES: u32 = 20;

/// Everything that the page shows.
struct Home {
    now: UnixNanos,
    view: Arc<View>,
    info: Arc<Info>,
    services: (Vec<ServiceRow>, usize),
    anomalies: Vec<Anomaly>,
    /// Fingerprints of alerts that flap.
    flapping: BTreeSet<String>,
    undelivered: u64,
    failed: u64,
    items_per_second: f64,
    link: Link,
}

pub(super) async fn home(asked: Asked) -> Response {
    match gather(&asked).await {
        Ok(home) => {
            let level = home.view.overall().filter(|status| home.is_known(status)).map(|status| status.level);
            let title = level.map_or_else(|| "Waiting for telemetry".to_owned(), |level| format!("Level {level}"));
            Page { title, is_live: true, level, body: home.render(), link: asked.link }.response(StatusCode::OK)
        }
        Err(problem) => page::problem(&problem),
    }
}

async fn gather(asked: &Asked) -> Result<Home, Problem> {
    let view = asked.view();
    let newest = LedgerPage { after: None, order: Order::Descending, limit: ANOMALIES };
    let ask = move |ledger: &alerting::Reader| {
        let anomalies = ledger.anomalies(&AnomalyFilter::default(), newest)?.items;
        let counts = (ledger.delivery_count(DeliveryState::Pending)?, ledger.delivery_count(DeliveryState::Failed)?);
        Ok((anomalies, counts, ledger.flapping()?))
    };
    let (anomalies, (undelivered, failed), flapping) = asked.ledger(ask).await?;
    let shown = Arc::clone(&view);
    let worst = |row: &ServiceRow| {
        let quiet = (row.alerts == 0, row.open_anomalies == 0);
        (std::cmp::Reverse(row.level), !row.silent, quiet, Arc::clone(&row.name))
    };
    let services = asked.compute(move || service_rows(&shown, SERVICES, worst)).await?;
    let taken = asked.shared.api.ingest.taken_of(&asked.face.tenant);
    let items: u64 = Signal::ALL.map(|signal| taken.accepted(signal)).into_iter().sum();
    Ok(Home {
        now: now(),
        view,
        info: asked.shared.api.info(),
        services,
        anomalies,
        flapping,
        undelivered,
        failed,
        items_per_second: asked.face.intake_rate.per_second(items),
        link: asked.link.clone(),
    })
}

impl Home {
    fn render(&self) -> Markup {
        html! {
            @match self.view.overall() {
                Some(status) if self.is_known(status) => (self.level(status)),
                _ => (self.waiting()),
            }
            (self.notices())
            (self.alerts())
            (self.services())
            (self.anomalies())
            (self.footer())
        }
    }

    /// Whether there is something to say about the level: from telemetry, a pin, or from before.
    fn is_known(&self, status: &LevelStatus) -> bool {
        self.view.event_time.is_some() || status.pin.is_some() || status.level > Level::FullService
    }

    fn level(&self, status: &LevelStatus) -> Markup {
        let has_news = self.view.event_time.is_some();
        html! {
            section class={ "hero level-" (status.level.number()) } aria-labelledby="level" {
                p.digit aria-hidden="true" { (status.level.number()) }
                div {
                    h1 id="level" { "Level " (status.level.number()) ": " (status.level.as_str()) }
                    p.meaning { (meaning(status.level)) }
                    @if !has_news {
                        p { "No telemetry has arrived since the start, so this level is from before or set by hand." }
                    }
                    @if status.because.is_empty() && has_news {
                        p { "All objectives are met and nothing that lowers health is firing." }
                    } @else {
                        ul.because { @for reason in status.because.iter().take(6) { li { (reason) } } }
                    }
                    p.facts {
                        span { "Health " strong { @if has_news { (percent(status.health)) } @else { "unknown" } } }
                        @if let Some(since) = status.since { span { "since " (ago(since, self.now)) } }
                        @if status.frozen { span.badge { "frozen" } }
                        @if let Some(pin) = &status.pin {
                            span.badge { "pinned by " (pin.author) ", ends " (ago(pin.expires_at, self.now)) }
                        }
                    }
                }
            }
        }
    }

    fn waiting(&self) -> Markup {
        html! {
            section.hero.level-none aria-labelledby="level" {
                p.digit aria-hidden="true" { "?" }
                div {
                    h1 id="level" { "No telemetry yet" }
                    p {
                        "Point an OpenTelemetry exporter at " code { "http://" (self.info.start.http_address) }
                        " (HTTP) or " code { (self.info.start.grpc_address) } " (gRPC). With most SDKs this is enough:"
                    }
                    pre { code {
                        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"
                        "OTEL_EXPORTER_OTLP_ENDPOINT=http://" (self.info.start.http_address)
                    } }
                    p { "The level, alerts and anomalies appear here by themselves. " code { "bellwether demo" }
                        " shows how that looks." }
                }
            }
        }
    }

    /// What an operator should know about Bellwether itself.
    fn notices(&self) -> Markup {
        let view = &self.view;
        let evicted = view.counts.window.evicted_by_bytes > 0;
        html! {
            @if view.counts.unrecorded > 0 {
                p.notice role="alert" {
                    strong { "The ledger cannot be written. " }
                    (view.counts.unrecorded) " decisions wait in memory. Check the disk under "
                    code { (self.info.start.data_dir.display().to_string()) } "."
                }
            }
            @for (rule, error) in view.rule_failures.iter().take(5) {
                p.notice { strong { "Rule " (rule) " could not be evaluated: " } (error) }
            }
            @if self.failed > 0 || self.undelivered > 0 {
                p.notice {
                    (self.undelivered) " notifications wait to be delivered, " (self.failed) " were given up. "
                    a href=(self.link.to("/api/v1/deliveries")) { "Deliveries" }
                }
            }
            @if self.info.receivers.is_empty() {
                p.notice {
                    "Alerts are sent to nobody. Give " code { "--webhook URL" } " or receivers in the configuration."
                }
            }
            @if evicted {
                p.notice {
                    "The window is shorter than configured, because its byte bound was reached. Raise "
                    code { "window.max_bytes" } " to keep more."
                }
            }
        }
    }

    fn alerts(&self) -> Markup {
        let mut alerts: Vec<&Alert> = self.view.alerts.iter().collect();
        alerts.sort_by_key(|a| (!a.state.is_firing(), std::cmp::Reverse(a.severity()), a.active_at));
        let columns = [
            ("Severity", false),
            ("Alert", false),
            ("State", false),
            ("Service", false),
            ("Value", true),
            ("Since", false),
        ];
        let rows = html! { @for alert in alerts.iter().take(ALERTS) { (self.alert(alert)) } };
        let rules: usize = self.info.rules.iter().map(|group| group.rules.len()).sum();
        html! {
            section.panel aria-labelledby="alerts" {
                h2 id="alerts" { "Open alerts" (count(alerts.len())) }
                @if alerts.is_empty() {
                    p.empty {
                        "None. " (rules) " rules and the built-in checks of latency, errors, traffic and silence are watching."
                    }
                } @else {
                    (table("Alerts that are pending, firing or stale, the worst first", &columns, &rows))
                    (omitted(alerts.len(), ALERTS, &self.link.to("/api/v1/alerts")))
                }
            }
        }
    }

    fn alert(&self, alert: &Alert) -> Markup {
        let annotation = |name| alert.annotations.get(name);
        let what = html! {
            strong { (alert.name()) }
            @if let Some(summary) = annotation("summary") { div { (summary) } }
            @if let Some(url) = annotation("runbook_url").filter(|url| is_web(url)) { a href=(url) { "Runbook" } }
            @for (i, id) in alert.anomalies.iter().take(3).enumerate() {
                " " a href=(self.link.to(&format!("/anomalies/{}", encoded(id)))) { "Anomaly " (i + 1) }
            }
        };
        let severity = alert.severity().as_str();
        let state = html! {
            (badge(alert.state.as_str(), alert.state.as_str()))
            @if self.flapping.contains(&alert.fingerprint) { " " span.badge { "flapping" } }
        };
        html! {
            tr role="row" {
                (cell("Severity", badge(severity, severity)))
                (cell("Alert", what))
                (cell("State", state))
                (cell("Service", alert.service().unwrap_or(NOTHING)))
                (number_cell("Value", number(alert.value)))
                (cell("Since", ago(alert.fired_at.unwrap_or(alert.active_at), self.now)))
            }
        }
    }

    fn services(&self) -> Markup {
        let (rows, all) = &self.services;
        let columns = [
            ("Service", false),
            ("Level", false),
            ("Health", true),
            ("Calls/s", true),
            ("Errors", true),
            ("p95", true),
            ("Anomalies", true),
            ("Heard", false),
        ];
        let body = html! { @for row in rows { (self.service(row)) } };
        html! {
            section.panel aria-labelledby="services" {
                h2 id="services" { "Services" (count(*all)) }
                @if rows.is_empty() {
                    p.empty { "None yet. A service appears with its first telemetry, by its " code { "service.name" } "." }
                } @else {
                    (table("Services, the worst first, with their calls now", &columns, &body))
                    (omitted(*all, SERVICES, &self.link.to("/api/v1/services")))
                }
            }
        }
    }

    fn service(&self, row: &ServiceRow) -> Markup {
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
        let level = html! {
            (badge(&format!("level-{}", row.level.number()), &row.level.to_string()))
            @if row.silent { " " (badge("stale", "silent")) }
        };
        html! {
            tr role="row" {
                th role="rowheader" scope="row" { (row.name) }
                (cell("Level", level))
                (number_cell("Health", or_nothing(row.health.map(percent))))
                (number_cell("Calls/s", or_nothing(row.red.calls_per_second.map(number))))
                (number_cell("Errors", or_nothing(row.red.error_ratio.map(percent))))
                (number_cell("p95", or_nothing(row.red.p95_seconds.map(seconds))))
                (number_cell("Anomalies", row.open_anomalies))
                (cell("Heard", html! {
                    @match row.last_heard { Some(at) => (ago(at, self.now)), None => (NOTHING) }
                }))
            }
        }
    }

    fn anomalies(&self) -> Markup {
        let counts = &self.view.counts;
        let columns = [
            ("Noticed", false),
            ("Service", false),
            ("Metric", false),
            ("Pattern", false),
            ("Score", true),
            ("Observed", true),
            ("Expected", true),
            ("State", false),
        ];
        let rows = html! { @for anomaly in &self.anomalies { (self.anomaly(anomaly)) } };
        html! {
            section.panel aria-labelledby="anomalies" {
                h2 id="anomalies" { "Recent anomalies" }
                @if self.anomalies.is_empty() {
                    p.empty {
                        "None yet. " (counts.warm_series) " series are judged, " (counts.warming_series)
                        " are still warming up; each needs some points before its first verdict."
                    }
                } @else {
                    (table("The newest anomalies. A score above 1 is rarer than the series should show by chance", &columns, &rows))
                    p.more { a href=(self.link.to("/api/v1/anomalies?order=desc")) { "All as JSON" } }
                }
            }
        }
    }

    fn anomaly(&self, a: &Anomaly) -> Markup {
        let (severity, unit) = (a.severity.as_str(), self.unit(a));
        let pattern = html! { (badge(severity, severity)) " " (a.pattern.as_str()) " " (arrow(a)) };
        let metric = html! {
            a href=(self.link.to(&format!("/anomalies/{}", encoded(&a.id)))) { (a.metric) }
            @if let Some(operation) = a.labels.get("span_name") { div.detail { (operation) } }
        };
        let state = html! {
            @match a.ends_at {
                None => (badge("open", "open")),
                Some(end) => { "lasted " (span(end.since(a.starts_at).as_secs())) }
            }
        };
        html! {
            tr role="row" {
                (cell("Noticed", ago(a.emitted_at, self.now)))
                (cell("Service", if a.service.is_empty() { NOTHING } else { &*a.service }))
                (cell("Metric", metric))
                (cell("Pattern", pattern))
                (number_cell("Score", number(a.score)))
                (number_cell("Observed", super::format::value(a.observed, &unit)))
                (number_cell("Expected", super::format::value(a.expected, &unit)))
                (cell("State", state))
            }
        }
    }

    /// The unit of an anomaly's series, as long as the window knows a series of that name.
    fn unit(&self, a: &Anomaly) -> String {
        let registry = &self.view.snapshot.registry;
        let series = registry.named(&a.metric).first().and_then(|id| registry.get(*id));
        series.map_or_else(String::new, |s| s.unit.to_string())
    }

    fn footer(&self) -> Markup {
        let (counts, info) = (&self.view.counts, &self.info);
        html! {
            footer {
                dl {
                    div { dt { "Version" } dd { (info.start.version) } }
                    div { dt { "Started" } dd { (ago(info.start.started_at, self.now)) } }
                    div { dt { "Intake" } dd { (number(self.items_per_second)) " items/s" } }
                    div { dt { "Series" } dd {
                        (counts.window.series) " (" (counts.warm_series) " judged, " (counts.warming_series) " warming up)"
                    } }
                    div { dt { "Window" } dd { (bytes(approximate(counts.window.bytes))) } }
                    div { dt { "Event time" } dd {
                        @match self.view.event_time { Some(at) => (ago(at, self.now)), None => (NOTHING) }
                    } }
                    div { dt { "OTLP" } dd { "gRPC " (info.start.grpc_address) ", HTTP " (info.start.http_address) } }
                }
                p {
                    a href=(self.link.to("/api/v1/status")) { "Status" } " " a href=(self.link.to("/api/v1/degradation")) { "Level" } " "
                    a href=(self.link.to("/metrics")) { "Metrics" }
                }
            }
        }
    }
}

/// What a level means, for those who see it for the first time.
fn meaning(level: Level) -> &'static str {
    match level {
        Level::FullService => "Everything on.",
        Level::NonCriticalOff => "Recommendations, analytics and notifications should be off.",
        Level::CacheOnly => "Prices should come from caches, beside what level 1 turns off.",
        Level::ReadOnly => "Nothing should be written: no uploads, no orders.",
        Level::EmergencyMode => "Only viewing quotes and emergency contact should be on.",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn approximate(bytes: usize) -> f64 {
    bytes as f64
}
