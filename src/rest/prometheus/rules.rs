//! Rules and alerts as Prometheus lists them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::get,
};
use detect::{
    Labels,
    rules::{AlertRule, Rule, RuleGroup},
};
use serde::Serialize;

use super::{
    checked,
    envelope::{Refusal, Success},
    number,
};
use crate::{
    rest::{Asked, Shared, json::AlertJson, params::Params},
    view::View,
};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/alerts", get(alerts)).route("/api/v1/rules", get(rules))
}

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<AlertJson>,
}

async fn alerts(asked: Asked) -> Response {
    let view = asked.view();
    let flapping = match asked.ledger(|ledger| ledger.flapping()).await {
        Ok(flapping) => flapping,
        Err(error) => return Refusal::from(error).into_response(),
    };
    let alerts = view.alerts.iter().map(|alert| AlertJson::new(alert, number(alert.value), &flapping)).collect();
    Success::new(Alerts { alerts }, false).response().unwrap_or_else(IntoResponse::into_response)
}

#[derive(Serialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    name: String,
    file: String,
    /// Seconds.
    interval: f64,
    limit: u32,
    rules: Vec<RuleJson>,
}

/// A rule. Its labels and annotations are shown as written; filled in they show on its alerts.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
enum RuleJson {
    /// Raises alerts.
    Alerting {
        name: String,
        query: String,
        /// Seconds of `for`.
        duration: f64,
        /// Seconds.
        keep_firing_for: f64,
        labels: Labels,
        annotations: Labels,
        state: &'static str,
        health: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_error: Option<String>,
        alerts: Vec<AlertJson>,
    },
    /// Writes a series.
    Recording {
        name: String,
        query: String,
        labels: Labels,
        health: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_error: Option<String>,
    },
}

async fn rules(asked: Asked, request: Request) -> Response {
    let mut params = Params::of(request.uri());
    let wanted = params.choice("type", &["alert", "record"], |word| word);
    if let Err(refusal) = checked(&params) {
        return refusal.into_response();
    }
    let view = asked.view();
    let flapping = match asked.ledger(|ledger| ledger.flapping()).await {
        Ok(flapping) => flapping,
        Err(error) => return Refusal::from(error).into_response(),
    };
    let shown = Shown { view: &view, flapping: &flapping };
    let groups = asked.shared.api.info().rules.iter().map(|group| show_group(group, &shown, wanted)).collect();
    Success::new(Groups { groups }, false).response().unwrap_or_else(IntoResponse::into_response)
}

/// What rules are shown with.
struct Shown<'a> {
    view: &'a View,
    /// Fingerprints of alerts that flap.
    flapping: &'a BTreeSet<String>,
}

fn show_group(group: &RuleGroup, shown: &Shown<'_>, wanted: Option<&str>) -> Group {
    let is_wanted = |rule: &&Rule| match rule {
        Rule::Alert(_) => wanted != Some("record"),
        Rule::Record(_) => wanted != Some("alert"),
    };
    Group {
        name: group.name.clone(),
        file: group.file.clone(),
        interval: seconds(group.interval),
        limit: 0,
        rules: group.rules.iter().filter(is_wanted).map(|rule| show(rule, shown)).collect(),
    }
}

fn show(rule: &Rule, shown: &Shown<'_>) -> RuleJson {
    let view = shown.view;
    let error = |name: &str| view.rule_failures.iter().find(|(failed, _)| failed == name).map(|(_, why)| why.clone());
    let health = |last_error: &Option<String>| match last_error {
        Some(_) => "err",
        None if view.counts.evaluations == 0 => "unknown",
        None => "ok",
    };
    match rule {
        Rule::Alert(alert) => show_alerting(alert, shown, error(&alert.name), health),
        Rule::Record(record) => {
            let last_error = error(&record.name);
            RuleJson::Recording {
                name: record.name.to_string(),
                query: record.query.text().to_owned(),
                labels: Labels::from_pairs(record.labels()),
                health: health(&last_error),
                last_error,
            }
        }
    }
}

fn show_alerting(
    rule: &AlertRule,
    shown: &Shown<'_>,
    last_error: Option<String>,
    health: impl Fn(&Option<String>) -> &'static str,
) -> RuleJson {
    let is_ours = |alert: &&detect::Alert| alert.name() == rule.name && alert.source == rule.owner.source;
    let ours: Vec<_> = shown.view.alerts.iter().filter(is_ours).collect();
    let state = match ours.iter().map(|a| a.state.is_firing()).max() {
        Some(true) => "firing",
        Some(false) => "pending",
        None => "inactive",
    };
    RuleJson::Alerting {
        name: rule.name.clone(),
        query: rule.query.text().to_owned(),
        duration: seconds(rule.owner.hold),
        keep_firing_for: seconds(rule.owner.keep_firing),
        labels: Labels::from_pairs(rule.labels()),
        annotations: Labels::from_pairs(rule.annotations()),
        state,
        health: health(&last_error),
        last_error,
        alerts: ours.into_iter().map(|alert| AlertJson::new(alert, number(alert.value), shown.flapping)).collect(),
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
