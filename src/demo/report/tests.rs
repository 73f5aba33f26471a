use detect::{AlertState, AlertTransition, Labels, Level, LevelChange};

use super::*;

const KIND_SECONDS: u64 = 300;

fn report() -> Report {
    let script = Script::scaled(Duration::from_secs(KIND_SECONDS), 1).expect("long enough");
    Report::new(script, UNIX_EPOCH)
}

fn transition(name: &str, state: AlertState, at: Duration) -> Decision {
    let at = UnixNanos(0).plus(at);
    let alert = Alert {
        episode: format!("{name}-1"),
        fingerprint: "f".into(),
        labels: Labels::from_pairs([("alertname", name)]),
        annotations: Labels::default(),
        state,
        active_at: at,
        fired_at: Some(at),
        last_true_at: at,
        resolved_at: None,
        value: 1.0,
        source: String::new(),
        anomalies: Vec::new(),
        attributes: Vec::new(),
        dependents: Vec::new(),
        argued_level: Level::NonCriticalOff,
    };
    let from = if state.is_firing() { AlertState::Pending } else { AlertState::Firing };
    Decision::Alert(AlertTransition { from: Some(from), alert, at })
}

fn received(name: &str, status: &str) -> Received {
    let alert = serde_json::json!({"status": status, "bellwether": {"episode": format!("{name}-1")}});
    Received { id: format!("{name}-{status}"), body: serde_json::json!({"alerts": [alert]}) }
}

/// A demonstration in which everything goes well.
fn perfect() -> (Report, Vec<Received>) {
    let mut report = report();
    let mut deliveries = Vec::new();
    for incident in report.script.incidents.clone() {
        let name = expected(incident.kind)[0];
        report.note(&transition(name, AlertState::Firing, incident.from + Duration::from_secs(5)));
        report.note(&transition(name, AlertState::Resolved, incident.until + Duration::from_secs(2)));
        deliveries.extend([received(name, "firing"), received(name, "resolved")]);
    }
    (report, deliveries)
}

#[test]
fn all_found_delivered_and_resolved_passes() {
    let (mut report, deliveries) = perfect();
    report.take_deliveries(&deliveries);
    assert!(report.passed());
    let table = report.table(&Sent::default());
    assert_eq!(table.matches("yes, both").count(), 6, "{table}");
    assert_eq!(table.matches("5.0 s").count(), 6, "{table}");
}

#[test]
fn a_missing_or_repeated_delivery_fails() {
    let (mut report, mut deliveries) = perfect();
    deliveries.pop();
    report.take_deliveries(&deliveries);
    assert!(!report.passed());
    let (mut report, mut deliveries) = perfect();
    deliveries.push(deliveries[0].clone());
    report.take_deliveries(&deliveries);
    assert!(!report.passed());
}

#[test]
fn a_missed_incident_fails_and_is_shown() {
    let report = report();
    assert!(!report.passed());
    assert_eq!(report.table(&Sent::default()).matches("MISSED").count(), 6);
}

#[test]
fn an_alert_that_no_incident_explains_is_false() {
    let (mut report, mut deliveries) = perfect();
    let line = report.note(&transition("MarginErosionToo", AlertState::Firing, Duration::from_secs(10)));
    assert!(line.is_some_and(|l| l.contains("FALSE ALARM")));
    report.note(&transition("MarginErosionToo", AlertState::Resolved, Duration::from_secs(20)));
    deliveries.extend([received("MarginErosionToo", "firing"), received("MarginErosionToo", "resolved")]);
    report.take_deliveries(&deliveries);
    assert_eq!(report.false_alarms(), 1);
    assert!(!report.passed());
}

fn change(from: Level, to: Level, at: Duration) -> Decision {
    let at = UnixNanos(0).plus(at);
    Decision::Level(LevelChange { service: None, from, to, health: 0.5, at, because: Vec::new() })
}

#[test]
fn a_level_that_an_earlier_incident_holds_up_is_not_that_of_the_next() {
    let mut report = report();
    let incidents = report.script.incidents.clone();
    let fires = |incident: &Incident| {
        let name = expected(incident.kind)[0];
        transition(name, AlertState::Firing, incident.from + Duration::from_secs(4))
    };
    report.note(&fires(&incidents[0]));
    let soon = Duration::from_secs(5);
    report.note(&change(Level::FullService, Level::CacheOnly, incidents[0].from + soon));
    // The level is still 2 when the second incident is found, and falls while it lasts.
    report.note(&fires(&incidents[1]));
    report.note(&change(Level::CacheOnly, Level::NonCriticalOff, incidents[1].from + soon));
    // The third is found when the level is 0: what its alert calls for has not come yet.
    report.note(&change(Level::NonCriticalOff, Level::FullService, incidents[2].from));
    report.note(&fires(&incidents[2]));
    assert_eq!(report.levels, [2, 1, 0, 0, 0, 0]);
    report.note(&change(Level::FullService, Level::NonCriticalOff, incidents[2].from + soon));
    assert_eq!(report.levels, [2, 1, 1, 0, 0, 0]);
}
