//! Tenants on the real binary: each sends to, reads from and is told about its own data only.

use std::{
    ffi::OsStr,
    future::Future,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{api::eventually, binary::Binary, webhook::Webhook};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;
#[path = "support/webhook.rs"]
mod webhook;

const PATIENCE: Duration = Duration::from_secs(20);
const CREDENTIALS: &str = "\
credentials:
  - {name: acme, bearer_token: '${ACME}', tenants: [Acme]}
  - {name: shop, bearer_token: '${SHOP}', tenants: [shop]}
  - {name: people, basic_auth: {username: people, password: '${PEOPLE}'}, tenants: [default, shop]}
";
const TRUST: &str = "tenants: {trust_header: true, max: 4}\n";
const ENVIRONMENT: [(&str, &str); 3] =
    [("ACME", "token-of-acme"), ("SHOP", "token-of-shop"), ("PEOPLE", "password-of-people")];
const RULES: &str = "\
groups:
  - name: depth
    interval: 1s
    rules: [{alert: QueueDepthHigh, expr: queue_depth > 300, labels: {severity: critical}}]
";
const QUEUE_DEPTH: &str = "/api/v1/query?query=queue_depth";

/// A binary in `directory`, with `extra` configuration.
fn start(directory: &Path, extra: &str, webhook: &str) -> Binary {
    let config = format!(
        "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n\
         rule_files: [rules.yaml]\n\
         level: {{assess_every: 1s, hold_up: 1s}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: '{webhook}'}}]}}]\n{extra}"
    );
    std::fs::write(directory.join("rules.yaml"), RULES).expect("the directory is writable");
    std::fs::write(directory.join("bellwether.yaml"), config).expect("the directory is writable");
    let (config, data) = (directory.join("bellwether.yaml"), directory.join("data"));
    let arguments = [OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    Binary::start_with(&arguments, &ENVIRONMENT)
}

fn client() -> Client {
    // A failure means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

/// How somebody says who it is.
type Identify = fn(RequestBuilder) -> RequestBuilder;

/// Somebody who sends and asks.
struct Peer {
    client: Client,
    http: String,
    api: String,
    identify: Identify,
}

impl Peer {
    fn new(binary: &Binary, identify: Identify) -> Self {
        Self { client: client(), http: binary.http.clone(), api: binary.api.clone(), identify }
    }

    async fn ask(&self, path: &str) -> (u16, String) {
        let answer = self.open(path).await;
        (answer.status().as_u16(), answer.text().await.expect("has a body"))
    }

    async fn open(&self, path: &str) -> Response {
        (self.identify)(self.client.get(format!("{}{path}", self.api))).send().await.expect("answers")
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask(path).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).expect("is JSON")
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        self.json(path).await["items"].as_array().cloned().expect("is a list")
    }

    /// The values of the gauge: one for each series.
    async fn depths(&self) -> Vec<String> {
        let answer = self.json(QUEUE_DEPTH).await;
        let series = answer["data"]["result"].as_array().cloned().expect("is a vector");
        series.iter().map(|one| one["value"][1].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The alerts that fire, by their service.
    async fn firing(&self) -> Vec<String> {
        let alerts = self.json("/api/v1/alerts").await;
        let alerts = alerts["data"]["alerts"].as_array().cloned().expect("is a list");
        let firing = alerts.iter().filter(|a| a["state"] == "firing" && a["labels"]["alertname"] == "QueueDepthHigh");
        firing.map(|a| a["service"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Sends `values` of the gauge of `service`, ten seconds apart, the last one of now.
    async fn send(&self, service: &str, values: &[f64]) -> u16 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let ago = (0..values.len() as u64).rev().map(|i| Duration::from_secs(10 * i));
        let point = |(value, ago): (&f64, Duration)| json!({"timeUnixNano": (now - ago).as_nanos().to_string(), "asDouble": value});
        let points: Vec<Value> = values.iter().zip(ago).map(point).collect();
        let metric = json!({"name": "queue.depth", "gauge": {"dataPoints": points}});
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
        let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
        let request = self.client.post(format!("{}/v1/metrics", self.http));
        let request = (self.identify)(request).header("content-type", "application/json").body(body.to_string());
        request.send().await.expect("the door is open").status().as_u16()
    }

    /// Sends `value` every now and then until `done` gives something.
    async fn send_until<T, F: Future<Output = Option<T>>>(
        &self,
        service: &str,
        value: f64,
        done: impl Fn() -> F,
    ) -> Option<T> {
        eventually(PATIENCE, || async {
            assert_eq!(self.send(service, &[value]).await, 200);
            done().await
        })
        .await
    }
}

/// Ten minutes of calm around `base`, and a jump.
fn jump(base: f64) -> Vec<f64> {
    (0..60_u32).map(|i| if i < 57 { base + f64::from(i * 7 % 11) / 10.0 } else { base * 4.0 }).collect()
}

fn calm(base: f64) -> Vec<f64> {
    jump(base)[..57].to_vec()
}

/// That `acme` (in trouble) and `shop` (calm) see their own, however they say who they are.
async fn each_sees_its_own(acme: &Peer, shop: &Peer) {
    let mut stream = shop.open("/api/v1/degradation/stream").await;
    assert_eq!(acme.send("checkout", &jump(100.0)).await, 200);
    assert_eq!(shop.send("stock", &calm(7.0)).await, 200);

    let depths = eventually(PATIENCE, || async {
        let (acme, shop) = (acme.depths().await, shop.depths().await);
        (!acme.is_empty() && !shop.is_empty()).then_some((acme, shop))
    });
    let depths = depths.await.expect("heads are sealed within a second or so");
    assert_eq!(depths, (vec!["400".to_owned()], vec!["7.7".to_owned()]));

    let anomalies = acme.items("/api/v1/anomalies").await;
    assert_eq!((anomalies.len(), &anomalies[0]["service"]), (1, &json!("checkout")));
    assert_eq!(shop.items("/api/v1/anomalies").await, Vec::<Value>::new());
    let id = anomalies[0]["id"].as_str().expect("has an id");
    for path in [format!("/api/v1/anomalies/{id}"), format!("/anomalies/{id}")] {
        assert_eq!((acme.ask(&path).await.0, shop.ask(&path).await.0), (200, 404), "{path}");
    }
    for (peer, own, other) in [(acme, "checkout", "stock"), (shop, "stock", "checkout")] {
        let services = peer.items("/api/v1/services").await;
        assert_eq!((services.len(), &services[0]["service"]), (1, &json!(own)));
        assert_eq!(peer.ask(&format!("/api/v1/services/{other}")).await.0, 404);
        for path in ["/", "/metrics", "/api/v1/label/job/values", "/api/v1/degradation"] {
            let (_, text) = peer.ask(path).await;
            assert!(text.contains(own) && !text.contains(other), "{path}: {text}");
        }
    }
    let fired = acme.send_until("checkout", 400.0, || async { (!acme.firing().await.is_empty()).then_some(()) });
    assert!(fired.await.is_some(), "the rule holds for acme");
    assert_eq!(shop.firing().await, Vec::<String>::new());
    let raised = acme.send_until("checkout", 400.0, || async {
        let level = acme.json("/api/v1/degradation").await;
        (level["level"] == 2).then_some(())
    });
    assert!(raised.await.is_some(), "a critical alert argues for level 2");
    // The stream of shop has been open all the time; its next news is its own.
    let pin = json!({"level": 1, "author": "ada", "reason": "drill", "expiresAt": now_seconds() + 3_600});
    let put =
        shop.client.put(format!("{}/api/v1/degradation/pin", shop.api)).header("content-type", "application/json");
    let set = (shop.identify)(put).body(pin.to_string()).send().await.expect("answers");
    assert_eq!(set.status().as_u16(), 200);
    let heard = read_until(&mut stream, "\"level\":1").await;
    assert!(!heard.contains("checkout") && !heard.contains("\"level\":2"), "{heard}");
    assert!(acme.json("/api/v1/degradation").await["pin"].is_null());
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Reads events until `wanted` is among them; returns all.
async fn read_until(stream: &mut Response, wanted: &str) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(wanted) {
            let chunk = stream.chunk().await.expect("the stream goes on").expect("and does not end");
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reading).await.is_ok(), "{wanted} did not come: {seen}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_keep_tenants_apart_through_a_kill() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let webhook = Webhook::listen().await;
    let first = start(directory.path(), CREDENTIALS, &webhook.url());
    let of_acme: Identify = |request| request.bearer_auth("token-of-acme");
    let of_shop: Identify = |request| request.bearer_auth("token-of-shop");
    each_sees_its_own(&Peer::new(&first, of_acme), &Peer::new(&first, of_shop)).await;

    let spoof = Peer::new(&first, |request| request.bearer_auth("token-of-shop").header("x-scope-orgid", "Acme"));
    assert_eq!(spoof.send("stock", &[1.0]).await, 403);
    for path in ["/", QUEUE_DEPTH, "/metrics", "/api/v1/degradation/stream"] {
        assert_eq!(spoof.ask(path).await.0, 403, "{path}");
    }
    let people = Peer::new(&first, |request| request.basic_auth("people", Some("password-of-people")));
    assert_eq!(people.json("/api/v1/status").await["tenant"], "default");
    assert_eq!(people.json("/api/v1/status?tenant=shop").await["tenant"], "shop");
    assert_eq!(people.ask("/api/v1/status?tenant=Acme").await.0, 403);

    let told = || async { webhook.alerts().into_iter().find(|a| a["labels"]["alertname"] == "QueueDepthHigh") };
    let told = eventually(PATIENCE, told).await.expect("the receiver is told");
    assert_eq!((&told["labels"]["tenant"], &told["bellwether"]["tenant"]), (&json!("Acme"), &json!("Acme")));
    assert!(told["generatorURL"].as_str().is_some_and(|url| url.ends_with("tenant=Acme")), "{told}");

    let shop = Peer::new(&first, of_shop);
    let fired = shop.send_until("stock", 500.0, || async { (!shop.firing().await.is_empty()).then_some(()) });
    assert!(fired.await.is_some(), "{}", first.log());
    first.kill();
    let second = start(directory.path(), CREDENTIALS, &webhook.url());
    for (identify, service) in [(of_acme, "checkout"), (of_shop, "stock")] {
        let peer = Peer::new(&second, identify);
        let kept = eventually(PATIENCE, || async { Some(peer.firing().await).filter(|f| !f.is_empty()) }).await;
        assert_eq!(kept.as_deref(), Some(&[service.to_owned()][..]), "{}", second.log());
    }
    let acme = Peer::new(&second, of_acme);
    assert!(acme.items("/api/v1/anomalies").await.iter().all(|a| a["service"] == "checkout"));
    assert!(second.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_header_keeps_tenants_apart_and_their_number_bounded() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let webhook = Webhook::listen().await;
    let binary = start(directory.path(), TRUST, &webhook.url());
    // Names that differ in a capital only.
    let acme = Peer::new(&binary, |request| request.header("x-scope-orgid", "acme"));
    let shop = Peer::new(&binary, |request| request.header("x-scope-orgid", "Acme"));
    each_sees_its_own(&acme, &shop).await;
    let nobody = Peer::new(&binary, |request| request);
    assert_eq!(nobody.items("/api/v1/services").await, Vec::<Value>::new());

    let hostile: [Identify; 6] = [
        |request| request.header("x-scope-orgid", ".."),
        |request| request.header("x-scope-orgid", "../default"),
        |request| request.header("x-scope-orgid", "a/b"),
        |request| request.header("x-scope-orgid", "a".repeat(151)),
        |request| request.header("x-scope-orgid", "acme|Acme"),
        |request| request.header("x-scope-orgid", "acme").header("x-scope-orgid", "Acme"),
    ];
    for identify in hostile {
        let peer = Peer::new(&binary, identify);
        assert_eq!((peer.send("x", &[1.0]).await, peer.ask("/api/v1/status").await.0), (400, 400));
    }
    let past_the_proxy = nobody.ask("/api/v1/services?tenant=acme").await.0;
    assert_eq!(past_the_proxy, 403, "a link alone opens nothing");

    let curious = Peer::new(&binary, |request| request.header("x-scope-orgid", "curious"));
    assert_eq!(curious.items("/api/v1/services").await, Vec::<Value>::new());
    let longest = Peer::new(&binary, |request| request.header("x-scope-orgid", "Z".repeat(150)));
    assert_eq!(longest.send("x", &[1.0]).await, 200, "{}", binary.log());
    assert_eq!(curious.send("x", &[1.0]).await, 503, "four is the limit, with the default tenant");
    assert_eq!(acme.send("checkout", &[400.0]).await, 200, "which concerns nobody who is known");
    let tenants = std::fs::read_dir(directory.path().join("data/tenants")).expect("is there");
    let mut names: Vec<String> = tenants.map(|e| e.expect("is read").file_name().to_string_lossy().into()).collect();
    names.sort_by_key(String::len);
    assert_eq!((names.len(), &names[..2]), (3, &["acme".to_owned(), "acme=8".to_owned()][..]));
    assert!(binary.stop().success());
}
