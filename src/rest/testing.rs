//! An interface to ask in tests, over a small picture and a ledger in a temporary directory.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use alerting::{Ledger, Receiver};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode},
};
use detect::{
    Alert, AlertState, AlertTransition, Anomaly, AnomalyEvent, Decision, DetectorKind, Direction, Labels, Level,
    LevelStatus, Pattern, Severity, UnixNanos,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc, watch};
use tower::ServiceExt;
use window::{Point, Series, SeriesKey, SeriesKind, Window};

use super::{Api, Info, Origins, Present, Start, router};
use crate::{
    faces::{Face, Faces},
    pipeline::{Command, now},
    reload::ReloadStatus,
    view::View,
};

/// A value that would run, were it not escaped.
pub(super) const SCRIPT: &str = "<script>alert(1)</script>";
pub(super) const SERVICE: &str = "shop/pricing";

/// The interface and everything behind it.
pub(super) struct Fixture {
    pub(super) router: Router,
    pub(super) ledger: Ledger,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) decisions: broadcast::Sender<Arc<Decision>>,
    pub(super) commands: mpsc::Receiver<Command>,
    _nothing: watch::Sender<Arc<View>>,
    _directory: TempDir,
}

/// An answer with its whole body.
pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.head.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| Value::String(format!("{error} in {}", self.text)))
    }
}

impl Fixture {
    /// Nothing has happened yet.
    pub(super) fn empty() -> Self {
        Self::guarded(&ingest::AccessConfig::default())
    }

    /// The same for those that `access` lets in.
    pub(super) fn guarded(access: &ingest::AccessConfig) -> Self {
        Self::made(access, Origins::None)
    }

    /// The same with pages of `origins`.
    pub(super) fn made(access: &ingest::AccessConfig, origins: Origins) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let ledger = Ledger::open(directory.path().join("ledger.db")).expect("the ledger opens");
        let (faces, nothing) = Faces::new().expect("there is memory");
        let (view, shown) = watch::channel(Arc::new(View::default()));
        let (decisions, _) = broadcast::channel(16);
        faces.add(Face {
            view: shown,
            decisions: decisions.clone(),
            ledger: ledger.reader(),
            operator: Some(ledger.operator()),
            dispatcher: Some(Arc::new(ledger.dispatcher(Vec::new()))),
            ..faces.of(&ingest::Tenant::default())
        });
        let (command_sender, commands) = mpsc::channel(4);
        let rules = "groups: [{name: g, rules: [{alert: Slow, expr: latency > 1, for: 1m}, \
                     {record: 'a:b', expr: latency}]}]";
        let address = |port| ([127, 0, 0, 1], port).into();
        let start = Start {
            version: "0.0.1",
            started_at: now(),
            grpc_address: address(4317),
            http_address: address(4318),
            api_address: address(4320),
            is_encrypted: false,
            wants_certificates: false,
            data_dir: PathBuf::from("data"),
            external_url: "http://127.0.0.1:4320".into(),
        };
        let info = Info {
            start,
            is_guarded: !access.credentials.is_empty(),
            trial: detect::TrialConfig {
                zscore: detect::zscore::ZScoreConfig::default(),
                entity: detect::EntityConfig::default(),
            },
            rules: detect::rules::read("rules.yaml", rules, "http://127.0.0.1:4320").expect("the rules are valid"),
            receivers: vec!["ops".into()],
            resolve_timeout: Duration::from_mins(5),
            runbooks: Arc::new(crate::runbooks::Runbooks::load(None).expect("the shipped ones are sound")),
            origins,
            evaluations: ingest::Rate { per_second: 50, burst: 100 },
            max_streams: 40,
            position: Some(7),
        };
        let router = router(Api {
            faces: Arc::new(faces),
            commands: command_sender,
            info: Present::new(info),
            access: Arc::new(ingest::Access::new(access)),
            ingest: Arc::default(),
            log: Arc::default(),
            reloads: Arc::new(ReloadStatus::taken_up(now())),
            reloader: None,
        });
        Self { router, ledger, view, decisions, commands, _nothing: nothing, _directory: directory }
    }

    /// A service in trouble: an anomaly, an alert and a level, all recorded and shown.
    pub(super) fn troubled() -> Self {
        Self::troubled_for(&ingest::AccessConfig::default())
    }

    /// The same, of the default tenant, for those that `access` lets in.
    pub(super) fn troubled_for(access: &ingest::AccessConfig) -> Self {
        let mut fixture = Self::guarded(access);
        let receivers = [Receiver::webhook("ops", "http://127.0.0.1:9/").expect("the address is valid")];
        let firing = AlertTransition { from: Some(AlertState::Pending), alert: alert(), at: at(-60) };
        let decisions = [Decision::Anomaly(AnomalyEvent::Opened(anomaly(1))), Decision::Alert(firing)];
        fixture.ledger.record(&decisions, &receivers).expect("the ledger records");
        fixture.view.send_replace(Arc::new(view()));
        fixture
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("the body is whole");
        Answer { head: Response::from_parts(head, ()), text: String::from_utf8(bytes.into()).expect("is text") }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).expect("the request is valid")).await
    }

    /// A GET that must succeed, as JSON.
    pub(super) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.head.status(), StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    pub(super) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::from(body.to_owned())).expect("the request is valid")).await
    }
}

/// Seconds after a time near now that is the same for the whole process.
pub(super) fn at(seconds: i64) -> UnixNanos {
    static START: LazyLock<UnixNanos> = LazyLock::new(|| now().floor_to(Duration::from_secs(10)));
    UnixNanos(START.0 + seconds * 1_000_000_000)
}

/// An open anomaly whose operation is a script.
pub(super) fn anomaly(seq: u32) -> Anomaly {
    Anomaly {
        id: format!("a{seq}"),
        seq: u64::from(seq),
        detector: DetectorKind::ZScore,
        service: SERVICE.into(),
        metric: "traces_span_metrics_duration_seconds:p95".into(),
        labels: labels(),
        series_key: None,
        starts_at: at(-120),
        ends_at: None,
        emitted_at: at(-120),
        direction: Direction::Up,
        pattern: Pattern::LevelShift,
        severity: Severity::Critical,
        score: 2.5,
        observed: 0.9,
        expected: 0.1,
        lower: 0.05,
        upper: 0.2,
        z: 12.5,
        threshold: 5.0,
        scale: 0.064,
        contributors: Vec::new(),
        attributes: Vec::new(),
        sample_count: 100,
        baseline_span: Duration::from_secs(1000),
        points: 3,
        exemplars: vec!["0af7651916cd43dd8448eb211c80319c".into()],
        incident_id: Some("i1".into()),
        runbook_url: Some("http://127.0.0.1:4320/runbooks/high-latency".into()),
        forecast: None,
        origin: None,
        explanation: format!("p95 of {SCRIPT} is 0.9 s where 0.1 s was expected"),
    }
}

fn labels() -> Labels {
    Labels::from_pairs([("job", SERVICE), ("span_name", SCRIPT), ("span_kind", "SPAN_KIND_SERVER")])
}

fn alert() -> Alert {
    Alert {
        episode: "e1".into(),
        fingerprint: "00000000000000e1".into(),
        labels: Labels::from_pairs([("alertname", "Slow"), ("severity", "critical"), ("job", SERVICE)]),
        annotations: Labels::from_pairs([("summary", SCRIPT), ("runbook_url", "javascript:alert(1)")]),
        state: AlertState::Firing,
        active_at: at(-120),
        fired_at: Some(at(-60)),
        last_true_at: at(-5),
        resolved_at: None,
        value: 0.9,
        source: "latency > 1".into(),
        anomalies: vec!["a1".into()],
        attributes: Vec::new(),
        dependents: Vec::new(),
        argued_level: Level::CacheOnly,
    }
}

/// A level of this scope.
pub(super) fn level(service: Option<&str>, level: Level) -> LevelStatus {
    LevelStatus {
        service: service.map(Into::into),
        level,
        name: level.as_str(),
        health: 0.65,
        since: Some(at(-30)),
        frozen: false,
        pin: None,
        because: vec![format!("alert Slow of {SERVICE} is firing (critical)")],
    }
}

/// A service whose p95 stepped up two minutes ago, one whose name is a script, and three series with
/// the band beside the first.
pub(super) fn view() -> View {
    let mut window = Window::new(window::Config::default());
    let steps = |time: i64| if time < -120 { 0.1 } else { 0.9 };
    add(&mut window, "traces_span_metrics_duration_seconds:p95", "s", steps);
    add(&mut window, "traces_span_metrics_duration_seconds:p95:expected", "s", |_| 0.1);
    add(&mut window, "traces_span_metrics_duration_seconds:p95:lower", "s", |_| 0.05);
    add(&mut window, "traces_span_metrics_duration_seconds:p95:upper", "s", |_| 0.2);
    add(&mut window, "traces_span_metrics_calls:rate", "1/s", |_| 20.0);
    add(&mut window, "traces_span_metrics_errors:ratio", "1", |_| 0.25);
    View {
        at: now(),
        event_time: Some(at(0)),
        last_arrival: Some(now()),
        snapshot: window.seal(),
        alerts: vec![alert()],
        open_anomalies: vec![anomaly(1)],
        levels: vec![level(None, Level::CacheOnly), level(Some(SERVICE), Level::ReadOnly)],
        services: vec![(SERVICE.into(), at(0)), (SCRIPT.into(), at(-10))],
        ..View::default()
    }
}

fn add(window: &mut Window, name: &str, unit: &str, value: impl Fn(i64) -> f64) {
    let series = Series {
        key: SeriesKey(0).derived(name),
        name: name.into(),
        source_name: name.into(),
        unit: unit.into(),
        kind: SeriesKind::Derived,
        labels: labels(),
        service: SERVICE.into(),
    };
    let key = series.key;
    let series = window.registry_mut().find_or_add(key, || series).expect("the registry has room");
    for time in (-600..=0).step_by(10) {
        window.push_point(Point { series, time: at(time), value: value(time) });
    }
}
