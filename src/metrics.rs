//! What Bellwether counts about itself, for Prometheus: every name stands here.
//!
//! The text is made from the view, the counters of the doors and of the deliverer, and the ledger,
//! at the time of the question. Counts are of all tenants together; what names a service is of the tenant
//! that asks. A metrics library would hold a second copy of all these numbers.

mod process;
mod text;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use alerting::DeliveryState;
use axum::{
    Router,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use detect::AlertState;
use ingest::{Outcome, Transport};
use proto::otlp::Signal;

use self::text::{Format, Text};
use crate::{
    faces::Face,
    journal::LogStatus,
    pipeline::now,
    rest::{Asked, Problem, Shared},
    view::{Counts, View},
};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let faces = asked.shared.api.faces.all();
    let mut pending = 0;
    for face in &faces {
        pending += face.ledger.ask(|ledger| ledger.delivery_count(DeliveryState::Pending)).await?;
    }
    let format = Format::asked_for(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default());
    let (view, shared) = (asked.view(), Arc::clone(&asked.shared));
    let work = move || {
        let views: Vec<Arc<View>> = faces.iter().map(Face::view).collect();
        let mut counts = Counts::default();
        for view in &views {
            counts.add(&view.counts);
        }
        let mut text = Text::new(format);
        build(&mut text, &shared);
        doors(&mut text, &shared.api.ingest);
        text.gauge("bellwether_tenants", "Tenants that have windows and a ledger.");
        text.size(&[], faces.len());
        window(&mut text, &counts.window);
        history(&mut text, &views);
        log(&mut text, &shared.api.log);
        detection(&mut text, &counts, &views);
        event_time(&mut text, &view);
        levels(&mut text, &view);
        notifications(&mut text, &faces, pending);
        process::write(&mut text, shared.api.info().start.started_at);
        text.finish()
    };
    let mut response = asked.compute(work).await?.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

fn build(text: &mut Text, shared: &Shared) {
    text.gauge("bellwether_build_info", "The version that is running; always 1.");
    text.sample(&[("version", shared.api.info().start.version)], 1.0);
    let reloads = &shared.api.reloads;
    text.gauge("bellwether_config_last_reload_successful", "Whether the configuration that was read last is in force.");
    text.count(&[], u64::from(reloads.is_successful()));
    text.gauge("bellwether_config_last_reload_success_timestamp_seconds", "When a configuration was taken up last.");
    text.sample(&[], reloads.succeeded_at().as_secs_f64());
}

fn doors(text: &mut Text, counters: &ingest::Counters) {
    text.counter("bellwether_ingest_requests_total", "OTLP requests by how they ended.");
    for signal in Signal::ALL {
        for transport in Transport::ALL {
            for outcome in Outcome::ALL {
                let labels =
                    [("signal", signal.as_str()), ("transport", transport.as_str()), ("outcome", outcome.as_str())];
                text.count(&labels, counters.requests(signal, transport, outcome));
            }
        }
    }
    text.counter("bellwether_ingest_turned_away_total", "Requests that admission told to come again, by reason.");
    for (reason, count) in counters.turned_away() {
        text.count(&[("reason", reason)], count);
    }
    let gauges = [
        (
            "bellwether_ingest_limit_units",
            "Work that may be in flight, one unit for each decoded MiB.",
            counters.limit(),
        ),
        ("bellwether_ingest_in_flight_units", "Work in flight.", counters.in_flight()),
        ("bellwether_ingest_tenants", "Tenants that were active lately or owe something.", counters.tenants()),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help);
        text.count(&[], value);
    }
    let heaviest = counters.sources().heaviest(20);
    text.gauge("bellwether_ingest_source_score_max", "What the heaviest source address sends over what one may send.");
    text.sample(&[], heaviest.iter().map(|source| source.score).fold(0.0, f64::max));
    text.gauge("bellwether_ingest_sources_above_limit", "Of the twenty heaviest source addresses, those above 1.");
    text.size(&[], heaviest.iter().filter(|source| source.score > 1.0).count());
    text.counter("bellwether_ingest_items_total", "Data points, spans and log records of requests that were taken.");
    for signal in Signal::ALL {
        for (outcome, count) in
            [("accepted", counters.taken().accepted(signal)), ("rejected", counters.taken().rejected(signal))]
        {
            text.count(&[("signal", signal.as_str()), ("outcome", outcome)], count);
        }
    }
    text.counter("bellwether_ingest_bytes_total", "Bytes of request bodies that were taken, as they came.");
    for signal in Signal::ALL {
        text.count(&[("signal", signal.as_str())], counters.taken().bytes(signal));
    }
}

fn log(text: &mut Text, log: &LogStatus) {
    text.gauge("bellwether_log_bytes", "Bytes of the write-ahead log.");
    text.count(&[], log.bytes.load(Relaxed));
    text.gauge("bellwether_log_failing", "1 while the log cannot be written and nothing is taken in, else 0.");
    text.count(&[], u64::from(log.is_failing.load(Relaxed)));
    let counters = [
        ("bellwether_log_records_total", "Records written to the log.", &log.records),
        (
            "bellwether_log_syncs_total",
            "Waits for the disk, each for all records written since the one before.",
            &log.syncs,
        ),
        ("bellwether_log_failures_total", "Writes to the log, or waits for the disk, that failed.", &log.failures),
        ("bellwether_log_lost_total", "Damaged or missing parts of the log, found at the start.", &log.lost),
        (
            "bellwether_log_retries_total",
            "Requests that came again after a restart and had been taken in before it.",
            &log.retries,
        ),
        ("bellwether_checkpoints_total", "Checkpoints written.", &log.checkpoints),
        ("bellwether_checkpoint_failures_total", "Checkpoints that could not be written.", &log.checkpoint_failures),
    ];
    for (name, help, count) in counters {
        text.counter(name, help);
        text.count(&[], count.load(Relaxed));
    }
}

fn window(text: &mut Text, stats: &window::Stats) {
    text.gauge("bellwether_window_series", "Live series.");
    text.size(&[], stats.series);
    text.gauge("bellwether_window_bytes", "Bytes of sealed chunks.");
    text.size(&[], stats.bytes);
    text.gauge("bellwether_window_rows", "Rows in the window.");
    for (table, rows) in ["numbers", "spans", "logs", "histograms"].into_iter().zip(stats.rows) {
        text.size(&[("table", table)], rows);
    }
    text.counter("bellwether_window_evicted_chunks_total", "Chunks let go, because of their age or of the byte bound.");
    text.count(&[("reason", "time")], stats.evicted_by_time);
    text.count(&[("reason", "bytes")], stats.evicted_by_bytes);
}

fn history(text: &mut Text, views: &[Arc<View>]) {
    let mut all = window::HistoryStats::default();
    for past in views.iter().filter_map(|view| view.snapshot.past.as_ref()) {
        all.add(&past.history().stats());
    }
    let gauges = [
        ("bellwether_history_files", "Files of the history.", all.files as u64),
        ("bellwether_history_bytes", "Bytes of the history's files.", all.bytes),
        ("bellwether_history_rows", "Rollups in the history's files.", all.rows),
        ("bellwether_history_open_rows", "Rollups of buckets that are not written yet.", all.open_rows as u64),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help);
        text.count(&[], value);
    }
    let counters = [
        ("bellwether_history_points_total", "Points added to rollups.", all.points),
        (
            "bellwether_history_points_dropped_total",
            "Points that were too old for the history, or came while the disk could not keep up.",
            all.dropped_points,
        ),
        (
            "bellwether_history_failed_writes_total",
            "Attempts to write history that failed; all are repeated.",
            all.failed_writes,
        ),
        (
            "bellwether_history_damaged_files_total",
            "Files of the history that were found damaged and are left out.",
            all.damaged_files,
        ),
    ];
    for (name, help, count) in counters {
        text.counter(name, help);
        text.count(&[], count);
    }
}

fn detection(text: &mut Text, counts: &Counts, views: &[Arc<View>]) {
    let passed = counts.passed;
    let counters = [
        ("bellwether_points_judged_total", "Points judged by detectors.", counts.judged),
        (
            "bellwether_points_late_total",
            "Points older than the newest of their series: kept, not judged.",
            passed.late,
        ),
        ("bellwether_points_repeated_total", "Points of a series and time that were there: ignored.", passed.repeated),
        (
            "bellwether_points_early_total",
            "Points judged before the configured lateness had passed, because too many waited.",
            passed.early,
        ),
        ("bellwether_points_not_finite_total", "Points that are NaN or infinite: kept, not judged.", passed.not_finite),
        (
            "bellwether_events_late_total",
            "Spans and logs after their bucket was closed: kept, not in derived series.",
            passed.late_events,
        ),
        (
            "bellwether_events_unsummed_total",
            "Spans and logs of services beyond the limit: kept, not in derived series.",
            passed.unsummed_events,
        ),
        (
            "bellwether_points_folded_total",
            "Points of series beyond the limits, summed up in otel_metric_overflow series.",
            passed.folded,
        ),
        (
            "bellwether_attributes_repeated_total",
            "Attributes left out because another one of the same item had their name.",
            passed.repeated_attributes,
        ),
        ("bellwether_anomalies_opened_total", "Anomalies found.", counts.decisions[0]),
        ("bellwether_alert_transitions_total", "Changes of state of alerts.", counts.decisions[1]),
        ("bellwether_level_changes_total", "Changes of the degradation level of any scope.", counts.decisions[2]),
        (
            "bellwether_points_unpublished_total",
            "Bands and scores not published: near the limit, room for series is kept for what is sent and derived.",
            counts.unpublished,
        ),
        ("bellwether_evaluations_total", "Evaluations of rules and levels.", counts.evaluations),
    ];
    for (name, help, count) in counters {
        text.counter(name, help);
        text.count(&[], count);
    }
    text.gauge("bellwether_evaluation_duration_seconds", "How long the last evaluation took.");
    text.sample(&[], Duration::from_nanos(counts.evaluation_nanos).as_secs_f64());
    text.gauge("bellwether_series_with_verdict", "Series that detectors judge, and those still warming up.");
    text.size(&[("state", "warm")], counts.warm_series);
    text.size(&[("state", "warming")], counts.warming_series);
    text.gauge("bellwether_anomalies_open", "Anomalies that have not ended.");
    text.size(&[], views.iter().map(|v| v.open_anomalies.len()).sum());
    text.gauge("bellwether_alerts", "Alerts by state.");
    for state in [AlertState::Pending, AlertState::Firing, AlertState::Stale] {
        let of = |view: &Arc<View>| view.alerts.iter().filter(|a| a.state == state).count();
        text.size(&[("state", state.as_str())], views.iter().map(of).sum());
    }
    text.gauge("bellwether_rules_failing", "Rules that could not be evaluated when last tried.");
    text.size(&[], views.iter().map(|v| v.rule_failures.len()).sum());
    text.gauge("bellwether_decisions_unrecorded", "Decisions that wait because the ledger could not be written.");
    text.size(&[], counts.unrecorded);
}

/// Of the tenant that asks.
fn event_time(text: &mut Text, view: &View) {
    if let Some(event_time) = view.event_time {
        text.gauge("bellwether_event_time_lag_seconds", "How far event time is behind the clock.");
        text.sample(&[], now().since(event_time).as_secs_f64());
    }
}

/// Of the tenant that asks: names of services are its own business. `service` is empty for the level of
/// everything. Nothing is said about health before there is telemetry.
fn levels(text: &mut Text, view: &View) {
    text.gauge(
        "bellwether_degradation_level",
        "Recommended degradation level, 0 (full service) to 4 (emergency mode).",
    );
    for status in &view.levels {
        let service = status.service.as_deref().unwrap_or_default();
        text.sample(&[("service", service)], f64::from(status.level.number()));
    }
    text.gauge("bellwether_health", "Health, 0 to 1.");
    for status in view.levels.iter().filter(|_| view.event_time.is_some()) {
        text.sample(&[("service", status.service.as_deref().unwrap_or_default())], status.health);
    }
}

fn notifications(text: &mut Text, faces: &[Face], pending: u64) {
    let sum = |of: fn(&alerting::Counters) -> u64| faces.iter().map(|face| of(&face.delivery)).sum();
    let all: [(&str, &str, u64); 6] = [
        (
            "bellwether_notifications_delivered_total",
            "Notifications that receivers took.",
            sum(alerting::Counters::delivered),
        ),
        (
            "bellwether_notifications_failed_attempts_total",
            "Attempts to deliver that failed; most are repeated.",
            sum(alerting::Counters::failed_attempts),
        ),
        (
            "bellwether_notifications_told_by_peers_total",
            "Notifications that another node of the cluster had told.",
            sum(alerting::Counters::told_by_peers),
        ),
        (
            "bellwether_peer_questions_failed_total",
            "Questions that another node of the cluster did not answer: what it has told may be told again.",
            sum(alerting::Counters::failed_questions),
        ),
        (
            "bellwether_notifications_given_up_total",
            "Notifications that were given up.",
            sum(alerting::Counters::given_up),
        ),
        (
            "bellwether_notification_template_faults_total",
            "Templates that failed; their notifications went out with the text that there is without them.",
            sum(alerting::Counters::template_faults),
        ),
    ];
    for (name, help, count) in all {
        text.counter(name, help);
        text.count(&[], count);
    }
    text.gauge("bellwether_notifications_pending", "Notifications that wait to be delivered.");
    text.count(&[], pending);
}
