//! A wall clock that is set while the service runs, and while it does not.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::{
    api::eventually,
    is_full, pause,
    service::{Outcome, Service, told},
    webhook::Webhook,
};

/// Where Debian and others put libfaketime.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];
/// How long a jump may need until it is seen: libfaketime reads its file once a second, and a tick is one.
const NOTICED: u64 = 2_500;
/// After a jump forward rules wait a minute for senders whose clocks are set later.
const PATIENCE: Duration = Duration::from_secs(150);

/// One that fires from the first point on, and two that must not: when time has passed without data.
const RULES: &str = r"
groups:
  - name: clocks
    interval: 1s
    rules:
      - {alert: Busy, expr: count(torture_points) > 0}
      - {alert: Gone, expr: absent(torture_points)}
      - {alert: Old, expr: 'absent(count_over_time(torture_points[1m]))'}
";

/// The library that lies about the wall clock, or `None`, which is said; a failure where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn faketime() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists())).as_deref();
    assert!(found.is_some() || std::env::var("CI").is_err(), "libfaketime is needed: apt-get install faketime");
    if found.is_none() {
        eprintln!("skipped: libfaketime is needed: apt-get install faketime");
    }
    found
}

/// A wall clock that is wrong by as much as its file says. The monotonic clock is the real one.
struct WallClock {
    file: PathBuf,
    library: &'static Path,
}

impl WallClock {
    fn of(service: &Service, library: &'static Path) -> Self {
        let clock = Self { file: service.directory().join("clock"), library };
        clock.set(0);
        clock
    }

    /// Sets it, so many seconds before or behind the real one.
    fn set(&self, ahead: i64) {
        // In one piece, since it may be read at any time.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead:+}")).and_then(|()| fs::rename(&new, &self.file)).expect("writable");
    }

    fn wrapper(&self) -> Vec<OsString> {
        let set = |name: &str, value: &Path| {
            let mut text = OsString::from(format!("{name}="));
            text.push(value);
            text
        };
        vec![
            "env".into(),
            set("LD_PRELOAD", self.library),
            set("FAKETIME_TIMESTAMP_FILE", &self.file),
            "FAKETIME_CACHE_DURATION=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "DONT_FAKE_MONOTONIC=1".into(),
        ]
    }

    /// Starts `service` with this clock.
    fn start(&self, service: &mut Service) {
        assert!(service.start_through(&self.wrapper()), "it starts");
    }
}

/// A service that judges, tells `webhook`, and has [`RULES`].
fn judging(webhook: &Webhook) -> Service {
    let service = Service::judging(&format!(
        "rule_files: [rules.yaml]\nlevel: {{assess_every: 1s}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: '{}'}}]}}]",
        webhook.url()
    ));
    fs::write(service.directory().join("rules.yaml"), RULES).expect("the directory is writable");
    service
}

/// How often rules and levels have been evaluated since the start.
async fn evaluations(service: &Service) -> u64 {
    let text = service.metrics().await;
    let count = text.lines().find_map(|line| line.strip_prefix("bellwether_evaluations_total "));
    count.and_then(|count| count.parse().ok()).expect("it counts them")
}

/// Sends until the first rule fires, and the others, which were evaluated just before there was anything, resolve.
async fn begins(service: &Service, webhook: &Webhook) {
    let is_settled = || async {
        let told = told(webhook);
        let count = |wanted: &str| told.iter().filter(|(_, state)| state == wanted).count();
        let fires = told.iter().any(|(name, _)| name == "Busy");
        (fires && count("firing") == count("resolved") + 1).then_some(())
    };
    service.load(async { assert!(eventually(PATIENCE, is_settled).await.is_some(), "{}", service.log_text()) }).await;
}

/// Silences an alert, until `end`.
async fn silence(service: &Service, alert: &str, end: DateTime<Utc>) {
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let silence = json!({"matchers": [{"name": "alertname", "value": alert, "isRegex": false}], "createdBy": "ada",
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": end.to_rfc3339(), "comment": "drill"});
    let url = format!("{}/api/v2/silences", service.binary.as_ref().expect("it was started").api);
    let post = reqwest::Client::new().post(url).header("content-type", "application/json").body(silence.to_string());
    assert_eq!(post.send().await.expect("answers").status().as_u16(), 200);
}

// C11
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_wakes_nobody_resolves_nothing_and_loses_nothing() {
    let Some(library) = faketime() else { return };
    let webhook = Webhook::listen().await;
    let mut service = judging(&webhook);
    let clock = WallClock::of(&service, library);
    clock.start(&mut service);
    begins(&service, &webhook).await;
    let before = told(&webhook);
    let few = [3_600, 0, -3_600, 0, 10, -10, 10, -10, 7_200, -7_200, 86_400, 0];
    let rounds = if is_full() { 10 } else { 1 };
    for (at, ahead) in few.repeat(rounds).into_iter().enumerate() {
        let is_down = at % 3 == 2;
        if is_down {
            service.binary.take().expect("it was started").kill();
        }
        clock.set(ahead);
        if is_down {
            clock.start(&mut service);
        }
        service.load(pause(NOTICED)).await;
        let log = service.log_text();
        assert_eq!(told(&webhook), before, "jump {at}, to {ahead} s: {log}");
        let level = service.api().get("/api/v1/degradation").await;
        assert_eq!(level["frozen"], Value::Bool(false), "jump {at}, to {ahead} s: {level}");
    }
    assert_eq!(service.count(Outcome::Refused), 0, "nothing was refused");
    // After a jump forward the service waits for senders whose clocks are set later.
    let count = evaluations(&service).await;
    let goes_on = || async { (evaluations(&service).await > count + 2).then_some(()) };
    service.load(async { assert!(eventually(PATIENCE, goes_on).await.is_some(), "{}", service.log_text()) }).await;
    assert_eq!(told(&webhook), before, "{}", service.log_text());
    // The clock is right again, and what was sent in the last hour is there.
    service.settle("jumps").await;
}

// C11
#[tokio::test(flavor = "multi_thread")]
async fn a_silence_holds_until_the_wall_clock_says_that_it_is_over() {
    const HALF_AN_HOUR: i64 = 1_800;
    let Some(library) = faketime() else { return };
    let webhook = Webhook::listen().await;
    let mut service = judging(&webhook);
    let clock = WallClock::of(&service, library);
    clock.start(&mut service);
    silence(&service, "Busy", Utc::now() + TimeDelta::seconds(HALF_AN_HOUR)).await;
    let is_silenced = || async {
        let alerts = service.api().get("/api/v2/alerts?silenced=true&active=false").await;
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        alerts.iter().any(|alert| alert["labels"]["alertname"] == "Busy").then_some(())
    };
    service.load(async { assert!(eventually(PATIENCE, is_silenced).await.is_some(), "{}", service.log_text()) }).await;
    let is_told = || async { told(&webhook).iter().any(|(name, _)| name == "Busy").then_some(()) };
    for ahead in [600, -3_600, 10, -10, 1_200, 0] {
        clock.set(ahead);
        service.load(pause(NOTICED)).await;
        assert!(is_silenced().await.is_some() && is_told().await.is_none(), "{ahead} s: {}", service.log_text());
    }
    clock.set(HALF_AN_HOUR + 1);
    service.load(async { assert!(eventually(PATIENCE, is_told).await.is_some(), "{}", service.log_text()) }).await;
}

// C11
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_begins_in_1970_is_forgotten_once_it_is_set() {
    let Some(library) = faketime() else { return };
    let webhook = Webhook::listen().await;
    let mut service = judging(&webhook);
    let clock = WallClock::of(&service, library);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    clock.set(30 - i64::try_from(since_1970).expect("fits"));
    clock.start(&mut service);
    service.load(pause(NOTICED)).await;
    assert!(service.count(Outcome::Refused) > 0, "all of it is in the future");
    assert_eq!(service.count(Outcome::Acknowledged), 0, "all of it is in the future");
    clock.set(0);
    pause(NOTICED).await;
    begins(&service, &webhook).await;
    let before = told(&webhook);
    service.load(pause(NOTICED)).await;
    assert_eq!(told(&webhook), before);
    service.settle("1970").await;
}

// C7
#[tokio::test(flavor = "multi_thread")]
async fn time_in_which_the_service_was_down_resolves_nothing_and_wakes_nobody() {
    let Some(library) = faketime() else { return };
    let webhook = Webhook::listen().await;
    let mut service = judging(&webhook);
    let clock = WallClock::of(&service, library);
    clock.start(&mut service);
    begins(&service, &webhook).await;
    let before = told(&webhook);
    for gap in [10, 300, 7_200, 172_800] {
        service.binary.take().expect("it was started").kill();
        service.ahead += Duration::from_secs(gap);
        clock.set(i64::try_from(service.ahead.as_secs()).expect("small"));
        clock.start(&mut service);
        service.load(pause(NOTICED)).await;
        assert_eq!(told(&webhook), before, "a gap of {gap} s: {}", service.log_text());
    }
    let count = evaluations(&service).await;
    let goes_on = || async { (evaluations(&service).await > count + 2).then_some(()) };
    service.load(async { assert!(eventually(PATIENCE, goes_on).await.is_some(), "{}", service.log_text()) }).await;
    assert_eq!(told(&webhook), before, "{}", service.log_text());
}
