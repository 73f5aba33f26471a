//! Notifications as CloudEvents: the official SDK reads them, and nobody gets one who has not agreed where that is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{PATIENCE, Setup, clients, keep_sending, said, skipped, works};
use crate::{
    api::{Api, eventually},
    sink::{Request, Sink},
};

/// Series that cross the rule's limit at once, each an alert of its own that begins and ends.
const SERIES: usize = 500;

/// Sends `depth` for every series, until it is taken.
async fn send_all(http: &str, depth: f64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    let point = |i: usize| {
        let attributes = json!([{"key": "queue", "value": {"stringValue": format!("q{i} \"ä\\")}}]);
        json!({"timeUnixNano": now.as_nanos().to_string(), "asDouble": depth, "attributes": attributes})
    };
    let body = json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "jobs"}}]},
        "scopeMetrics": [{"metrics": [{"name": "queue.depth", "gauge": {"dataPoints":
            (0..SERIES).map(point).collect::<Vec<_>>()}}]}]
    }]});
    let taken = eventually(PATIENCE, || async {
        let request = reqwest::Client::new().post(format!("{http}/v1/metrics"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        request.send().await.is_ok_and(|answer| answer.status().is_success()).then_some(())
    });
    taken.await.expect("it is taken");
}

/// What the SDK makes of these requests.
fn read_by_sdk(requests: &[Request]) -> Value {
    let folder = clients().join("python");
    let mut command = Command::new(folder.join(".venv/bin/python"));
    command.arg(folder.join("validate_cloudevents.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the interpreter was probed");
    let mut stdin = child.stdin.take().expect("is piped");
    for request in requests {
        let headers: BTreeMap<&str, String> =
            ["content-type", "webhook-id"].into_iter().map(|name| (name, request.header(name))).collect();
        writeln!(stdin, "{}", json!({"headers": headers, "body": request.body})).expect("it reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("the script prints what it found")
}

/// Adds what the sink is sent to `all`, alerts of other rules and requests for consent aside, until `is_done` with it.
async fn gathered(sink: &mut Sink, all: &mut Vec<Request>, is_done: impl Fn(&[Request]) -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let is_wanted = |request: &Request| {
            let event = (request.method == Method::POST).then(|| request.json());
            let name = event.as_ref().and_then(|event| event["data"]["alerts"][0]["labels"]["alertname"].as_str());
            event.is_some() && name.is_none_or(|name| name == "TooDeep")
        };
        all.extend(sink.everything().into_iter().filter(is_wanted));
        if is_done(all) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// A thousand, half of them the ends of the others, while every other request fails.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_reads_a_thousand_events_and_each_is_itself_in_every_attempt() {
    let interpreter = clients().join("python/.venv/bin/python");
    if !works(Command::new(interpreter).args(["-c", "import cloudevents.core"])) {
        return skipped("Python: install tests/clients/python/requirements.txt into tests/clients/python/.venv");
    }
    let mut sink = Sink::listen(200).await;
    sink.fail_every_other_time();
    let setup = Setup::new(&format!(
        "receivers: [{{name: ops, webhook_configs: [{{url: '{}', format: cloudevents, signing_secrets: ['file:key']}}]}}]\n",
        sink.url()
    ));
    setup.write("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let binary = setup.start();
    let api = Api::new(&binary.api);
    // Time goes on by a series that never fires.
    let _clock = keep_sending(&binary.http, 0);
    let (mut taken, mut all) = (BTreeMap::<String, Request>::new(), Vec::new());
    for (depth, wanted) in [(5.0, SERIES), (0.0, 2 * SERIES)] {
        send_all(&binary.http, depth).await;
        let is_done = |all: &[Request]| {
            let ids: BTreeSet<_> = all.iter().filter(|r| r.is_taken).map(|r| r.header("webhook-id")).collect();
            ids.len() == wanted
        };
        let done = gathered(&mut sink, &mut all, is_done).await;
        let pending = api.items("/api/v1/deliveries?state=pending&limit=3").await;
        assert!(done, "{wanted} of {}: {pending:?}", all.len());
    }
    let mut bodies = BTreeMap::<String, BTreeSet<&str>>::new();
    for request in &all {
        assert!(!request.header("webhook-signature").is_empty());
        bodies.entry(request.header("webhook-id")).or_default().insert(&request.body);
        if request.is_taken {
            taken.insert(request.header("webhook-id"), request.clone());
        }
    }
    assert!(all.len() > 2 * SERIES, "some were told more than once");
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "an event is the same in every attempt");
    let found = read_by_sdk(&taken.into_values().collect::<Vec<_>>());
    let expected = json!({
        "faults": [], "pairs": 2 * SERIES,
        "types": {"bellwether.alerts.firing": SERIES, "bellwether.alerts.resolved": SERIES},
        "statuses": {"firing": SERIES, "resolved": SERIES},
        "refused": {"specversion": true, "id": true, "source": true, "time": true, "Name": true},
    });
    assert_eq!(found, expected);
    assert!(all.iter().all(|request| request.json()["source"] == binary.api));
}

/// `notify-test` asks as well; and a change of the level goes the same way as an alert.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_posted_before_the_endpoint_has_agreed() {
    let mut sink = Sink::listen(200).await;
    let setup = Setup::new(&format!(
        "level: {{webhooks: [{{receiver: ops}}]}}\nreceivers: [{{name: ops, webhook_configs: [{{url: '{}', format: cloudevents, handshake: true, \
         request_origin: bw.example.com, request_rate: 6000}}]}}]\n",
        sink.url()
    ));
    let binary = setup.start();
    let api = Api::new(&binary.api);
    let depth = keep_sending(&binary.http, 5);
    for _ in 0..3 {
        let request = sink.request().await;
        assert_eq!(
            (&request.method, request.header("webhook-request-origin").as_str()),
            (&Method::OPTIONS, "bw.example.com")
        );
        assert_eq!(request.header("webhook-request-rate"), "6000");
    }
    let pending = api.items("/api/v1/deliveries?state=pending").await;
    let says_why = |item: &Value| item["lastError"].as_str().is_some_and(|error| error.contains("has not consented"));
    assert!(pending.iter().any(says_why), "{pending:?}");
    let test = |setup: &Setup| tokio::task::block_in_place(|| setup.notify_test("ops", &[]));
    let output = test(&setup);
    assert!(said(&output).contains("has no WebHook-Allowed-Origin"), "{}", said(&output));
    sink.answer_options(&[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "6000")]);
    let mut all = Vec::new();
    for wanted in ["bellwether.alerts.firing", "bellwether.degradation.changed", "bellwether.alerts.resolved"] {
        let is_told = |all: &[Request]| all.iter().any(|request| request.json()["type"] == wanted);
        assert!(gathered(&mut sink, &mut all, is_told).await, "{wanted}:\n{}", binary.log());
        depth.store(if wanted.ends_with("firing") { 5 } else { 0 }, Ordering::Relaxed);
    }
    for request in &all {
        assert_eq!(request.header("webhook-request-origin"), "bw.example.com");
        assert_eq!(request.json()["id"], request.header("webhook-id"));
    }
    let output = test(&setup);
    assert!(output.status.success(), "{}", said(&output));
}
