//! The real service, under load, with a ledger of what it has answered.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    api::{Api, encoded, eventually},
    binary::Binary,
    webhook::Webhook,
};

/// Senders at the same time, each with a series of its own.
const SENDERS: u32 = 4;
/// How long what was taken may need until it can be asked for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    Refused,
    /// There was no answer.
    Unknown,
}

/// Every request, by sender and number: each sends one point, whose value is the number.
pub(crate) type Ledger = BTreeMap<(u32, u64), Outcome>;

/// Senders that come again with what was refused or not answered, wherever the service is by then.
#[derive(Debug)]
pub(crate) struct Persistent {
    url: Arc<Mutex<String>>,
    is_over: Arc<AtomicBool>,
    senders: JoinSet<()>,
}

impl Persistent {
    /// Tells them where `service` is now.
    pub(crate) fn follow(&self, service: &Service) {
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = service.url();
    }

    /// Waits until they are rid of what they have begun.
    pub(crate) async fn end(self) {
        self.is_over.store(true, Relaxed);
        self.senders.join_all().await;
    }
}

/// A data directory, the service on it, and the ledger.
#[derive(Debug)]
pub(crate) struct Service {
    directory: TempDir,
    pub(crate) binary: Option<Binary>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    config: String,
    /// Where its API listens.
    pub(crate) api_address: String,
    /// How far the clocks of senders are ahead of the real one.
    pub(crate) ahead: Duration,
}

impl Service {
    /// One that is not started and does not judge, with this line in its configuration.
    pub(crate) fn new(config: &str) -> Self {
        Self::judging(&format!("detect: {{enabled: false}}\n{config}"))
    }

    /// One that is not started, with these lines in its configuration.
    pub(crate) fn judging(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (config, api_address) = (config.to_owned(), "127.0.0.1:0".to_owned());
        Self { directory, binary: None, ledger: Arc::default(), config, api_address, ahead: Duration::ZERO }
    }

    /// Where its configuration and its data are.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The directory of its log.
    pub(crate) fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("data/log")
    }

    /// Starts it.
    pub(crate) fn start(&mut self) {
        let arguments = self.arguments();
        self.binary = Some(Binary::start(&arguments.each_ref().map(OsString::as_os_str)));
    }

    /// Starts it through `wrapper`, a program and its arguments; whether it came to listen.
    pub(crate) fn start_through(&mut self, wrapper: &[OsString]) -> bool {
        let arguments = self.arguments();
        self.binary = Binary::start_through(wrapper, &arguments.each_ref().map(OsString::as_os_str));
        self.binary.is_some()
    }

    fn arguments(&self) -> [OsString; 4] {
        let config = self.directory.path().join("bellwether.yaml");
        let (api, rest) = (&self.api_address, &self.config);
        let text = format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '{api}'}}\n{rest}\n");
        std::fs::write(&config, text).expect("the directory is writable");
        let data = self.directory.path().join("data");
        ["--config".into(), config.into(), "--data-dir".into(), data.into()]
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(&self.binary.as_ref().expect("it was started").api)
    }

    /// What it has printed.
    pub(crate) fn log_text(&self) -> String {
        self.binary.as_ref().map(Binary::log).unwrap_or_default()
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        self.api().text("/metrics").await
    }

    /// Sends until `end` is over, or until nobody answers any more.
    pub(crate) async fn load(&self, end: impl Future<Output = ()>) {
        let is_over = Arc::new(AtomicBool::new(false));
        let senders: JoinSet<()> =
            self.senders().map(|sender| send(self.url(), sender, Arc::clone(&is_over))).collect();
        end.await;
        is_over.store(true, Relaxed);
        senders.join_all().await;
    }

    fn senders(&self) -> impl Iterator<Item = Sender> {
        (0..SENDERS).map(|sender| Sender::new(sender, self.ahead, Arc::clone(&self.ledger)))
    }

    fn url(&self) -> String {
        format!("{}/v1/metrics", self.binary.as_ref().expect("it was started").http)
    }

    /// Senders that send until they are told to end, and come again with what was not taken.
    pub(crate) fn persistent(&self) -> Persistent {
        let (url, is_over) = (Arc::new(Mutex::new(self.url())), Arc::new(AtomicBool::new(false)));
        let senders = self.senders().map(|sender| persist(Arc::clone(&url), sender, Arc::clone(&is_over))).collect();
        Persistent { url, is_over, senders }
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.values().filter(|o| **o == outcome).count()
    }

    /// Every acknowledged point is there, no refused one, and none that was not sent.
    pub(crate) async fn settle(&self, case: &str) {
        let api = self.api();
        let acknowledged = self.count(Outcome::Acknowledged);
        let complete = eventually(PATIENCE, || async { (points(&api).await.len() >= acknowledged).then_some(()) });
        let _ = complete.await;
        let found = points(&api).await;
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let lost: Vec<_> = ledger
            .iter()
            .filter(|(key, outcome)| **outcome == Outcome::Acknowledged && !found.contains_key(key))
            .map(|(key, _)| key)
            .collect();
        let log = self.binary.as_ref().map(Binary::log).unwrap_or_default();
        assert!(lost.is_empty(), "{case}: {} of {acknowledged} are lost: {lost:?}\n{log}", lost.len());
        for (key, times) in &found {
            let outcome = ledger.get(key);
            assert!(outcome.is_some_and(|o| *o != Outcome::Refused), "{case}: {key:?} was {outcome:?}\n{log}");
            assert_eq!(*times, 1, "{case}: {key:?} is there more than once");
        }
        assert!(!log.contains("panicked"), "{case}: {log}");
    }
}

/// Names and states of the alerts that were told so far.
pub(crate) fn told(webhook: &Webhook) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    webhook.alerts().iter().map(|a| (text(&a["labels"]["alertname"]), text(&a["status"]))).collect()
}

/// How often each point is there.
async fn points(api: &Api) -> BTreeMap<(u32, u64), u32> {
    let answer = api.get(&format!("/api/v1/query?query={}", encoded("torture_points[1h]"))).await;
    let mut found = BTreeMap::new();
    for series in answer["data"]["result"].as_array().into_iter().flatten() {
        let sender = series["metric"]["sender"].as_str().and_then(|s| s.parse().ok()).expect("each has its sender");
        for point in series["values"].as_array().into_iter().flatten() {
            let number = point[1].as_str().and_then(|n| n.parse().ok()).expect("values are numbers");
            *found.entry((sender, number)).or_default() += 1;
        }
    }
    found
}

/// One sender's requests, one after the other, each in the ledger before it is sent.
struct Sender {
    ledger: Arc<Mutex<Ledger>>,
    client: reqwest::Client,
    sender: u32,
    ahead: Duration,
    number: u64,
    /// The time of its last point, in milliseconds.
    last: u128,
}

impl Sender {
    /// One that goes on where the ledger ends.
    fn new(sender: u32, ahead: Duration, ledger: Arc<Mutex<Ledger>>) -> Self {
        // An error says that another test has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("valid");
        let of_it = (sender, 0)..=(sender, u64::MAX);
        let newest =
            ledger.lock().unwrap_or_else(PoisonError::into_inner).range(of_it).next_back().map(|((_, n), _)| *n);
        Self { ledger, client, sender, ahead, number: newest.unwrap_or(0), last: 0 }
    }

    fn locked(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request's key in the ledger, and its body.
    fn next(&mut self) -> ((u32, u64), String) {
        self.number += 1;
        // Milliseconds are what the query interface tells apart.
        let now = (SystemTime::now() + self.ahead).duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        self.last = now.max(self.last + 1);
        let (number, sender) = (self.number.to_string(), self.sender.to_string());
        let point = json!({"timeUnixNano": (self.last * 1_000_000).to_string(), "asInt": number,
            "attributes": [{"key": "sender", "value": {"stringValue": sender}}]});
        let metric = json!({"name": "torture.points", "gauge": {"dataPoints": [point]}});
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "torture"}}]});
        let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
        let key = (self.sender, self.number);
        self.locked().insert(key, Outcome::Unknown);
        (key, body.to_string())
    }

    /// Sends it; an error where there was no answer, or not all of it.
    async fn send(&self, url: &str, body: &str) -> reqwest::Result<Outcome> {
        let request = self.client.post(url).header("content-type", "application/json").body(body.to_owned());
        let answer = request.send().await?;
        if answer.status().as_u16() == 200 {
            let body = answer.text().await?;
            // Faster than the times that tell points apart, one of them would hide another.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return Ok(if body.contains("partialSuccess") { Outcome::Refused } else { Outcome::Acknowledged });
        }
        assert!([429, 503].contains(&answer.status().as_u16()), "{}", answer.status());
        assert!(answer.headers().contains_key("retry-after"), "it says when to come again");
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Outcome::Refused)
    }
}

async fn send(url: String, mut sender: Sender, is_over: Arc<AtomicBool>) {
    while !is_over.load(Relaxed) {
        let (key, body) = sender.next();
        match sender.send(&url, &body).await {
            Ok(outcome) => drop(sender.locked().insert(key, outcome)),
            Err(error) => {
                if error.is_connect() {
                    sender.locked().remove(&key);
                }
                return;
            }
        }
    }
}

async fn persist(url: Arc<Mutex<String>>, mut sender: Sender, is_over: Arc<AtomicBool>) {
    while !is_over.load(Relaxed) {
        let (key, body) = sender.next();
        loop {
            let url = url.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Ok(Outcome::Acknowledged) = sender.send(&url, &body).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sender.locked().insert(key, Outcome::Acknowledged);
    }
}
