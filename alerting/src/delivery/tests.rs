use std::{collections::VecDeque, path::Path, sync::Mutex};

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
    Delivery, DeliveryFilter, DeliveryState, Ledger, Order, Page, clock,
    testing::{fired, resolved},
};

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
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            break Request { head: head.to_owned(), body };
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
        let deliverer = Deliverer::start(&ledger.outbox(), receivers.clone(), config).expect("starts");
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
    for expected in ["firing", "resolved", "firing"] {
        assert_eq!(healthy.request().await.status(), expected);
    }
    assert!(hung.is_quiet());
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
    let deliverer = Deliverer::start(&ledger.outbox(), receivers.clone(), &quick()).expect("starts");
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
    let error = Deliverer::start(&outbox, twice, &quick()).expect_err("is refused").to_string();
    assert_eq!(error, "receivers: the name \"ops\" is used twice");
    let config = DeliveryConfig { poll: Duration::ZERO, ..DeliveryConfig::default() };
    let error = Deliverer::start(&outbox, Vec::new(), &config).expect_err("is refused").to_string();
    assert_eq!(error, "delivery.poll: expected more than 0 s, got 0ns");
}
