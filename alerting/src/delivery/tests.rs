mod peers;
mod sharing;

use std::{
    collections::{HashSet, VecDeque},
    path::Path,
    sync::Mutex,
};

use detect::Decision;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::{
    Alertmanager, Delivery, DeliveryFilter, DeliveryState, Fallback, FileSink, Ledger, Order, Page, PagerDuty, Teams,
    WebhookUrl, clock,
    testing::{fired, resolved},
};

mod handshake;

/// Far longer than anything here takes; a test that gets there has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test's receiver does with a request.
#[derive(Clone, Debug)]
enum Answer {
    /// Sends this, the whole response.
    Send(String),
    /// Never answers.
    Hang,
}

fn status(code: u16, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Send(format!("HTTP/1.1 {code} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"))
}

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: Value,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    fn status(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }
}

/// A real HTTP server that gives its answers in turn, and 200 after the last.
struct Sink {
    url: String,
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Sink {
    async fn answering(answers: impl Into<VecDeque<Answer>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/hook", listener.local_addr().expect("is bound"));
        let (sender, requests) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers.into()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone(), Arc::clone(&answers)));
            }
        });
        Self { url, requests }
    }

    async fn request(&mut self) -> Request {
        timeout(PATIENCE, self.requests.recv()).await.expect("a request comes in time").expect("the sink lives")
    }

    fn is_quiet(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

async fn serve(mut stream: TcpStream, sender: mpsc::UnboundedSender<Request>, answers: Arc<Mutex<VecDeque<Answer>>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let request = loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            // A peer to which nobody has said anything.
            if head.starts_with("GET /api/v1/peers/said?") {
                let lists = r#""silences": [], "acknowledgements": [], "pins": []"#;
                let page = &format!(r#"{{"instance": "0", "next": 0, "hasMore": false, {lists}}}"#);
                let Answer::Send(response) = status(200, "", page) else { return };
                let _ = stream.write_all(response.as_bytes()).await;
                return;
            }
            let body = if head.starts_with("OPTIONS ") { Ok(Value::Null) } else { serde_json::from_str(body) };
            if let Ok(body) = body {
                break Request { head: head.to_owned(), body };
            }
        }
    };
    let answer = answers.lock().expect("no test panics here").pop_front();
    let _ = sender.send(request);
    match answer.unwrap_or_else(|| status(200, "", "ok")) {
        Answer::Send(response) => {
            let _ = stream.write_all(response.as_bytes()).await;
        }
        Answer::Hang => std::future::pending().await,
    }
}

/// The defaults, but retrying within milliseconds.
fn quick() -> DeliveryConfig {
    let backoff = Backoff { start: Duration::from_millis(1), cap: Duration::from_millis(5) };
    DeliveryConfig { backoff, ..DeliveryConfig::default() }
}

fn receiver(name: &str, url: &str) -> Receiver {
    Receiver::webhook(name, url).expect("is valid")
}

fn open(directory: &Path) -> Ledger {
    Ledger::open(directory.join("ledger.db")).expect("opens")
}

struct Service {
    _directory: TempDir,
    ledger: Ledger,
    receivers: Vec<Receiver>,
    deliverer: Deliverer,
}

impl Service {
    fn start(receivers: Vec<Receiver>, config: &DeliveryConfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let ledger = open(directory.path());
        let deliverer = Deliverer::start(&ledger.outbox(), &receivers, config).expect("starts");
        Self { _directory: directory, ledger, receivers, deliverer }
    }

    fn record(&mut self, decisions: &[Decision]) {
        self.ledger.record(decisions, &self.receivers).expect("records");
    }

    /// The notifications once `enough` holds of them.
    async fn deliveries(&self, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let reader = self.ledger.reader();
        let wait = async {
            loop {
                let page = Page { order: Order::Ascending, ..Page::default() };
                let ask = move |r: &crate::Reader| r.deliveries(&DeliveryFilter::default(), page);
                let items = reader.ask(ask).await.expect("reads").items;
                if enough(&items) {
                    return items;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("delivery gets there in time")
    }

    async fn settled(&self) -> Vec<Delivery> {
        self.deliveries(|all| all.iter().all(|d| d.state != DeliveryState::Pending)).await
    }
}

#[tokio::test]
async fn a_notification_arrives_with_its_headers() {
    let mut sink = Sink::answering([]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1")]);
    let request = sink.request().await;
    assert!(request.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), concat!("bellwether/", env!("CARGO_PKG_VERSION")));
    let sent: i64 = request.header("webhook-timestamp").parse().expect("is a number");
    assert!((clock::now().0 / 1_000_000_000 - sent).abs() < 60);
    assert_eq!((&request.body["version"], request.status()), (&"4".into(), "firing"));
    let delivered = service.settled().await;
    assert_eq!(request.header("webhook-id"), delivered[0].id);
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, 1));
    let counters = service.deliverer.counters();
    assert!(service.deliverer.shutdown(PATIENCE).await);
    assert_eq!((counters.delivered(), counters.failed_attempts(), counters.given_up()), (1, 0, 0));
}

#[tokio::test]
async fn a_failure_is_retried_under_the_same_id() {
    let refusals = [status(500, "", "database\n is  down"), status(302, "location: http://127.0.0.1:9/\r\n", "")];
    let mut sink = Sink::answering(refusals).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1")]);
    let requests = [sink.request().await, sink.request().await, sink.request().await];
    let ids: HashSet<&str> = requests.iter().map(|r| r.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1);
    let delivered = service.settled().await;
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, 3));
    assert!(
        delivered[0].last_error.as_ref().is_some_and(|e| e.contains("redirects are not followed")),
        "{delivered:?}"
    );
    assert_eq!(service.deliverer.counters().failed_attempts(), 2);
}

// B4
#[tokio::test]
async fn whatever_fails_is_tried_again_until_it_is_taken() {
    let closed = Answer::Send(String::new());
    let broken = Answer::Send("HTTP/1.1 200 OK\r\ncontent-le".into());
    let statuses = [400, 401, 404, 408, 413, 425, 429, 500, 502, 503, 504, 599, 301, 308];
    let answers: Vec<Answer> = statuses.map(|code| status(code, "", "")).into_iter().chain([closed, broken]).collect();
    let count = answers.len();
    let mut sink = Sink::answering(answers).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1")]);
    let mut bodies = Vec::new();
    for _ in 0..=count {
        let request = sink.request().await;
        bodies.push((request.header("webhook-id").to_owned(), request.body.to_string()));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "it is the same in every attempt");
    let delivered = service.settled().await;
    let attempts = u32::try_from(count + 1).expect("is small");
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, attempts));
    assert!(sink.is_quiet(), "no redirect was followed, and nothing was sent twice");
}

#[tokio::test]
async fn a_resting_worker_hears_of_each_new_notification() {
    let mut sink = Sink::answering([]).await;
    let config = DeliveryConfig { poll: Duration::from_hours(1), ..quick() };
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &config);
    for episode in ["e1", "e2", "e3", "e4", "e5", "e6"] {
        service.record(&[fired(episode)]);
        assert_eq!(sink.request().await.body["alerts"][0]["bellwether"]["episode"], episode);
        service.settled().await;
    }
}

#[tokio::test]
async fn retry_after_sets_the_next_attempt() {
    let mut sink = Sink::answering([status(503, "retry-after: 1800\r\n", "later\n please")]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    let before = clock::now();
    service.record(&[fired("e1")]);
    sink.request().await;
    let waiting = service.deliveries(|all| all[0].attempts == 1).await;
    let wait = waiting[0].next_attempt_at.expect("is pending").since(before);
    assert!((1800..1860).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(waiting[0].last_status, Some(503));
    let error = waiting[0].last_error.as_deref().unwrap_or_default();
    assert_eq!(error, "answered 503 Service Unavailable: later please");
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_the_notification_at_once() {
    let mut sink = Sink::answering([status(410, "", "")]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1")]);
    sink.request().await;
    let failed = service.settled().await;
    assert_eq!((failed[0].state, failed[0].attempts, failed[0].last_status), (DeliveryState::Failed, 1, Some(410)));
    assert_eq!(service.deliverer.counters().given_up(), 1);
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn an_unreachable_receiver_is_given_up_at_last_without_showing_its_secrets() {
    let config = DeliveryConfig { give_up_after: Duration::from_millis(50), ..quick() };
    let ops = receiver("ops", "http://user:pa55word@127.0.0.1:1/T0000SECRET?token=s3cret");
    let mut service = Service::start(vec![ops], &config);
    service.record(&[fired("e1")]);
    let failed = service.settled().await;
    assert_eq!(failed[0].state, DeliveryState::Failed);
    let error = failed[0].last_error.as_deref().unwrap_or_default();
    assert!(error.starts_with("given up after ") && error.contains("refused"), "{error}");
    for secret in ["pa55word", "SECRET", "s3cret"] {
        assert!(!error.contains(secret), "{error}");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_nobody_else_and_is_tried_again() {
    let mut hung = Sink::answering([Answer::Hang]).await;
    let mut healthy = Sink::answering([]).await;
    let slow = receiver("slow", &hung.url).with_timeout(Duration::from_mins(5)).expect("is allowed");
    let mut service = Service::start(vec![slow, receiver("ops", &healthy.url)], &quick());
    service.record(&[fired("e1")]);
    hung.request().await;
    service.record(&[resolved("e1"), fired("e2")]);
    let mut told = Vec::new();
    for _ in 0..3 {
        let request = healthy.request().await;
        told.push(format!("{} {}", request.body["alerts"][0]["bellwether"]["episode"], request.status()));
    }
    told.sort();
    assert_eq!(told, ["\"e1\" firing", "\"e1\" resolved", "\"e2\" firing"]);
    assert_eq!(hung.request().await.body["alerts"][0]["bellwether"]["episode"], "e2");
    assert!(hung.is_quiet(), "the end of e1 waits for its beginning");
    assert!(!service.deliverer.shutdown(Duration::from_millis(10)).await);
}

#[tokio::test]
async fn an_attempt_ends_at_its_timeout() {
    let mut sink = Sink::answering([Answer::Hang]).await;
    let impatient = receiver("ops", &sink.url).with_timeout(Duration::from_millis(50)).expect("is allowed");
    let mut service = Service::start(vec![impatient], &quick());
    service.record(&[fired("e1")]);
    let (first, second) = (sink.request().await, sink.request().await);
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[tokio::test]
async fn a_refused_beginning_holds_the_end_of_its_episode_back() {
    let mut sink = Sink::answering([status(500, "", ""), status(429, "", "")]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1"), resolved("e1")]);
    for expected in ["firing", "firing", "firing", "resolved"] {
        assert_eq!(sink.request().await.status(), expected);
    }
    service.settled().await;
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn what_was_recorded_before_a_crash_is_delivered_once_after_it() {
    let mut sink = Sink::answering([]).await;
    let directory = tempfile::tempdir().expect("a directory for the test");
    let receivers = vec![receiver("ops", &sink.url)];
    let mut ledger = open(directory.path());
    ledger.record(&[fired("e1")], &receivers).expect("records");
    drop(ledger);
    let mut ledger = open(directory.path());
    // A restarted pipeline decides the same once more.
    ledger.record(&[fired("e1")], &receivers).expect("records");
    let deliverer = Deliverer::start(&ledger.outbox(), &receivers, &quick()).expect("starts");
    let service = Service { _directory: directory, ledger, receivers, deliverer };
    assert_eq!(sink.request().await.status(), "firing");
    assert_eq!(service.settled().await.len(), 1);
    assert!(service.deliverer.shutdown(PATIENCE).await);
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn a_shutdown_lets_the_request_in_flight_finish_and_starts_no_other() {
    let mut sink = Sink::answering([status(200, "", &"x".repeat(1 << 20))]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1")]);
    sink.request().await;
    let reader = service.ledger.reader();
    assert!(service.deliverer.shutdown(PATIENCE).await);
    assert_eq!(reader.delivery_count(DeliveryState::Delivered).expect("reads"), 1);
    service.ledger.record(&[fired("e2")], &service.receivers).expect("records");
    assert_eq!(reader.delivery_count(DeliveryState::Pending).expect("reads"), 1);
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn settings_out_of_range_and_names_used_twice_are_refused() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let outbox = open(directory.path()).outbox();
    let twice = vec![receiver("ops", "http://a/"), receiver("ops", "http://b/")];
    let error = Deliverer::start(&outbox, &twice, &quick()).expect_err("is refused").to_string();
    assert_eq!(error, "receivers: the name \"ops\" is used twice");
    let config = DeliveryConfig { poll: Duration::ZERO, ..DeliveryConfig::default() };
    let error = Deliverer::start(&outbox, &[], &config).expect_err("is refused").to_string();
    assert_eq!(error, "delivery.poll: expected more than 0 s, got 0ns");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_asked_nothing_more_and_a_replay_asks_it_again() {
    let mut sink = Sink::answering([status(410, "", "")]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    service.record(&[fired("e1")]);
    sink.request().await;
    let first = service.settled().await.remove(0);
    service.record(&[fired("e2")]);
    let failed = service.settled().await;
    assert_eq!(
        failed.iter().map(|d| (d.state, d.attempts)).collect::<Vec<_>>(),
        [(DeliveryState::Failed, 1), (DeliveryState::Failed, 0)]
    );
    assert!(sink.is_quiet());
    let replayed = service.ledger.operator().replay(&first.id, clock::now()).expect("writes");
    assert_eq!(replayed, crate::Replay::Pending);
    assert_eq!(sink.request().await.header("webhook-id"), first.id);
    service.deliveries(|all| all[0].state == DeliveryState::Delivered).await;
}

#[tokio::test]
async fn the_fallback_is_told_when_the_receiver_does_not_answer_and_how_it_ends() {
    let mut sink = Sink::answering([]).await;
    let after = Duration::from_millis(1);
    let dead = receiver("ops", "http://127.0.0.1:1/").with_fallback(Some(Fallback { receiver: "boss".into(), after }));
    let boss = receiver("boss", &sink.url);
    let directory = tempfile::tempdir().expect("a directory for the test");
    let mut ledger = open(directory.path());
    let _deliverer = Deliverer::start(&ledger.outbox(), &[dead.clone(), boss], &quick()).expect("starts");
    // Only one of them is told of it by itself.
    ledger.record(&[fired("e1")], std::slice::from_ref(&dead)).expect("records");
    assert_eq!(sink.request().await.status(), "firing");
    ledger.record(&[resolved("e1")], &[dead]).expect("records");
    assert_eq!(sink.request().await.status(), "resolved");
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn a_fallback_to_nobody_is_refused() {
    for name in ["nobody", "ops"] {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let fallback = Some(Fallback { receiver: name.into(), after: Duration::from_mins(5) });
        let ops = receiver("ops", "http://127.0.0.1:1/").with_fallback(fallback);
        let error = Deliverer::start(&open(directory.path()).outbox(), &[ops], &quick()).expect_err("is refused");
        assert_eq!(error.to_string(), "fallback of receiver \"ops\": expected the name of another receiver");
    }
}

#[tokio::test]
async fn nothing_is_sent_into_the_private_network_whatever_the_name() {
    let mut sink = Sink::answering([]).await;
    let strict = Destinations { allow_loopback: false, ..Destinations::default() };
    let config = DeliveryConfig { destinations: strict, ..quick() };
    let by_name = sink.url.replace("127.0.0.1", "localhost");
    let receivers = vec![receiver("literal", &sink.url), receiver("name", &by_name)];
    let mut service = Service::start(receivers, &config);
    service.record(&[fired("e1")]);
    let tried = service.deliveries(|all| all.iter().all(|d| d.attempts > 0)).await;
    for delivery in &tried {
        let error = delivery.last_error.as_deref().unwrap_or_default();
        assert!(error.contains("is not a public address"), "{}: {error}", delivery.receiver);
    }
    assert!(sink.is_quiet());
    // The same, allowed.
    let mut service = Service::start(vec![receiver("name", &by_name)], &quick());
    service.record(&[fired("e1")]);
    assert_eq!(sink.request().await.status(), "firing");
}

#[tokio::test]
async fn what_teams_calls_a_success_is_no_success() {
    let lie = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429";
    let mut sink = Sink::answering([status(200, "retry-after: 0\r\n", lie)]).await;
    let url = WebhookUrl::parse(&sink.url).expect("is a URL");
    let teams = Integration::new("msteamsv2/0", Target::Teams(Teams { url }));
    let mut service = Service::start(vec![Receiver::new("ops", vec![teams]).expect("is valid")], &quick());
    service.record(&[fired("e1")]);
    sink.request().await;
    sink.request().await;
    let delivered = service.settled().await;
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, 2));
    assert!(delivered[0].last_error.as_ref().is_some_and(|e| e.contains("429")), "{delivered:?}");
}

#[tokio::test]
async fn what_is_refused_for_good_is_given_up_and_holds_nothing_back() {
    let mut sink = Sink::answering([status(400, "", "bad event")]).await;
    let url = WebhookUrl::parse(&sink.url).expect("is a URL");
    let service = PagerDuty { url, ..PagerDuty::of(crate::Secret::new("R0UTE-KEY")) };
    let pager = Receiver::new("ops", vec![Integration::new("pagerduty/0", Target::PagerDuty(service))]);
    let mut service = Service::start(vec![pager.expect("is valid")], &quick());
    service.record(&[fired("e1"), resolved("e1")]);
    assert_eq!(sink.request().await.body["event_action"], "trigger");
    assert_eq!(sink.request().await.body["event_action"], "resolve");
    let settled = service.settled().await;
    let states: Vec<_> = settled.iter().map(|d| (d.state, d.attempts)).collect();
    assert_eq!(states, [(DeliveryState::Failed, 1), (DeliveryState::Delivered, 1)]);
}

#[tokio::test]
async fn a_file_gets_a_line_for_each_notification() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().join("alerts.jsonl");
    let file = Integration::new("file/0", Target::File(FileSink::File(path.clone())));
    let mut service = Service::start(vec![Receiver::new("log", vec![file]).expect("is valid")], &quick());
    service.record(&[fired("e1"), resolved("e1"), fired("e2")]);
    let delivered = service.settled().await;
    assert!(delivered.iter().all(|d| d.state == DeliveryState::Delivered && d.last_status.is_none()));
    let text = std::fs::read_to_string(path).expect("is there");
    let ids: HashSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("is JSON")["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ids, delivered.into_iter().map(|d| d.id).collect());
}

#[tokio::test]
async fn what_is_too_long_for_an_endpoint_is_told_in_part_at_once_and_so_is_the_next() {
    let mut sink = Sink::answering(vec![status(413, "", "too long"); 2]).await;
    let mut service = Service::start(Vec::new(), &quick());
    let receivers = vec![receiver("ops", &sink.url)];
    let route = crate::Route { group_wait: Duration::ZERO, ..crate::Route::to(Some("ops".into())) };
    let by = crate::GroupBy::Labels(Vec::new());
    let route = crate::Route { group_by: by, group_interval: Duration::ZERO, ..route };
    service.ledger.route(crate::Routing::new(route, Vec::new(), Vec::new()), &receivers).expect("writes");
    service.deliverer.reconfigure(&receivers, &quick()).expect("is right");
    service.receivers = receivers;
    service.record(&(0..400).map(|i| fired(&format!("e{i}"))).collect::<Vec<_>>());
    let (mut told, mut ids) = (Vec::new(), std::collections::BTreeSet::new());
    for _ in 0..3 {
        let request = sink.request().await;
        let alerts = request.body["alerts"].as_array().map_or(0, Vec::len);
        assert_eq!(request.body["truncatedAlerts"], 400 - alerts);
        told.push(alerts);
        ids.insert(request.header("webhook-id").to_owned());
    }
    assert_eq!((told[0], ids.len()), (400, 1));
    assert!((150..=200).contains(&told[1]) && (75..=100).contains(&told[2]), "{told:?}");
    let delivered = service.settled().await;
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, 1));
    // What it takes is known.
    service.record(&(0..400).map(|i| resolved(&format!("e{i}"))).collect::<Vec<_>>());
    let next = sink.request().await;
    assert!(next.body["alerts"].as_array().is_some_and(|alerts| alerts.len() <= told[2]), "{}", next.head);
}

#[tokio::test]
async fn an_alertmanager_is_told_again_what_goes_on() {
    let mut sink = Sink::answering([]).await;
    let base = WebhookUrl::parse(&sink.url).expect("is a URL");
    let peer = Alertmanager { resend: Duration::from_millis(50), ..Alertmanager::peer(&base) };
    let receivers = vec![
        Receiver::new("am", vec![Integration::new("alertmanager/0/0", Target::Alertmanager(peer))]).expect("is valid"),
    ];
    let mut service = Service::start(receivers, &quick());
    service.record(&[fired("e1")]);
    let said = |request: &Request| request.body.as_array().map_or(0, Vec::len);
    for _ in 0..3 {
        assert_eq!(said(&sink.request().await), 1);
    }
    let again = sink.request().await;
    assert!(again.head.starts_with("POST /hook/api/v2/alerts "), "{}", again.head);
    assert!(again.body[0]["endsAt"].as_str().is_some_and(|end| end > "2026"), "{}", again.body);
}

#[tokio::test]
async fn many_threads_are_served_at_once_each_in_its_order() {
    let mut sink = Sink::answering([]).await;
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &quick());
    let episodes: Vec<String> = (0..100).map(|i| format!("e{i}")).collect();
    service.record(&episodes.iter().map(|e| fired(e)).collect::<Vec<_>>());
    service.record(&episodes.iter().map(|e| resolved(e)).collect::<Vec<_>>());
    let mut told = std::collections::BTreeMap::<String, Vec<String>>::new();
    for _ in 0..200 {
        let request = sink.request().await;
        let episode = request.body["alerts"][0]["bellwether"]["episode"].to_string();
        told.entry(episode).or_default().push(request.status().to_owned());
    }
    assert_eq!(told.len(), 100);
    assert!(told.values().all(|said| said == &["firing", "resolved"]), "{told:?}");
    service.settled().await;
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn a_test_says_for_each_integration_what_was_answered() {
    let mut sink = Sink::answering([status(200, "", "ok"), status(403, "", "no, s3cretsegment")]).await;
    let webhook = |path: &str| {
        let url = WebhookUrl::parse(&sink.url.replace("hook", path)).expect("is a URL");
        Target::Webhook(crate::Webhook::to(url))
    };
    let integrations = vec![
        Integration::new("webhook/0", webhook("hook")),
        Integration::new("webhook/1", webhook("s3cretsegment")),
        Integration::new(
            "webhook/2",
            Target::Webhook(crate::Webhook::to(WebhookUrl::parse("http://10.0.0.1/").expect("is a URL"))),
        ),
    ];
    let ops = Receiver::new("ops", integrations).expect("is valid");
    let outcomes = notify_test(&ops, &Destinations::default(), "http://bw").await.expect("can be tried");
    assert_eq!(sink.request().await.body["alerts"][0]["labels"]["alertname"], "BellwetherTest");
    assert_eq!(outcomes[0].result, Ok(Some(200)));
    assert_eq!(outcomes[1].result, Err("answered 403 Forbidden: no, ***".into()));
    assert!(outcomes[2].result.as_ref().is_err_and(|error| error.contains("delivery.allow")), "{outcomes:?}");
}
