//! Decisions for tests, built in one place so that a new field is added once.

use std::{sync::Arc, time::Duration};

use detect::{
    Alert, AlertState, AlertTransition, Anomaly, AnomalyEvent, Decision, DetectorKind, Direction, Labels, Level,
    LevelChange, Pattern, Severity, UnixNanos,
};

use crate::ledger::Room;

/// `seconds` after the epoch.
pub(crate) fn at(seconds: i64) -> UnixNanos {
    UnixNanos(seconds * 1_000_000_000)
}

/// Room for so many messages of any length.
pub(crate) fn room(messages: usize) -> Room {
    Room { messages, bytes: usize::MAX }
}

/// An open anomaly of service `shop` with the id `a<seq>`, starting at `seq` seconds.
pub(crate) fn anomaly(seq: u32) -> Anomaly {
    Anomaly {
        id: format!("a{seq}"),
        seq: u64::from(seq),
        detector: DetectorKind::ZScore,
        service: Arc::from("shop"),
        metric: Arc::from("latency"),
        labels: Labels::from_pairs([("instance", "i1")]),
        series_key: serde_json::from_str("340282366920938463463374607431768211455").expect("is a 128-bit number"),
        starts_at: at(i64::from(seq)),
        ends_at: None,
        emitted_at: at(i64::from(seq)),
        direction: Direction::Up,
        pattern: Pattern::Spike,
        severity: Severity::Warning,
        score: 1.5,
        observed: 9.0,
        expected: 1.0,
        lower: 0.5,
        upper: 2.0,
        z: 8.0,
        threshold: 5.0,
        scale: 1.0,
        contributors: Vec::new(),
        attributes: Vec::new(),
        sample_count: 100,
        baseline_span: Duration::from_secs(1000),
        points: 1,
        exemplars: vec!["0af7651916cd43dd8448eb211c80319c".into()],
        incident_id: None,
        runbook_url: None,
        forecast: None,
        origin: None,
        explanation: format!("latency left its band ({seq})"),
    }
}

/// That `anomaly` was first said.
pub(crate) fn opened(anomaly: Anomaly) -> Decision {
    Decision::Anomaly(AnomalyEvent::Opened(anomaly))
}

/// That `anomaly` ended at `time`.
pub(crate) fn ended(mut anomaly: Anomaly, time: UnixNanos) -> Decision {
    anomaly.ends_at = Some(time);
    anomaly.points += 1;
    Decision::Anomaly(AnomalyEvent::Ended(anomaly))
}

/// A pending alert of service `shop`, active since 40 s.
pub(crate) fn alert(episode: &str) -> Alert {
    Alert {
        episode: episode.to_owned(),
        fingerprint: format!("{episode:0>16}"),
        labels: Labels::from_pairs([("alertname", "HighLatency"), ("severity", "critical"), ("service", "shop")]),
        annotations: Labels::from_pairs([("summary", "slow"), ("runbook_url", "https://rb/1")]),
        state: AlertState::Pending,
        active_at: at(40),
        fired_at: None,
        last_true_at: at(40),
        resolved_at: None,
        value: 2.5,
        source: "p99 > 1".to_owned(),
        anomalies: Vec::new(),
        attributes: Vec::new(),
        dependents: Vec::new(),
        argued_level: Level::CacheOnly,
    }
}

/// Further states of one alert.
pub(crate) trait Later {
    fn firing(self, time: UnixNanos) -> Alert;
    fn resolved(self, time: UnixNanos) -> Alert;
}

impl Later for Alert {
    fn firing(mut self, time: UnixNanos) -> Alert {
        (self.state, self.fired_at) = (AlertState::Firing, Some(time));
        self
    }

    fn resolved(mut self, time: UnixNanos) -> Alert {
        (self.state, self.resolved_at) = (AlertState::Resolved, Some(time));
        self
    }
}

fn transition(from: Option<AlertState>, alert: Alert, at: UnixNanos) -> Decision {
    Decision::Alert(AlertTransition { from, alert, at })
}

/// The episode began.
pub(crate) fn became_pending(episode: &str) -> Decision {
    transition(None, alert(episode), at(40))
}

/// The episode fires, since 100 s.
pub(crate) fn fired(episode: &str) -> Decision {
    transition(Some(AlertState::Pending), alert(episode).firing(at(100)), at(100))
}

/// The episode is over, since 200 s.
pub(crate) fn resolved(episode: &str) -> Decision {
    transition(Some(AlertState::Firing), alert(episode).firing(at(100)).resolved(at(200)), at(200))
}

/// The episode never fired, and is over since 60 s.
pub(crate) fn withdrawn(episode: &str) -> Decision {
    transition(Some(AlertState::Pending), alert(episode).resolved(at(60)), at(60))
}

/// The level of `service` changed at `seconds`.
pub(crate) fn level(service: Option<&str>, from: Level, to: Level, seconds: i64) -> Decision {
    let because = vec!["error ratio".to_owned()];
    Decision::Level(LevelChange { service: service.map(Arc::from), from, to, health: 0.6, at: at(seconds), because })
}
