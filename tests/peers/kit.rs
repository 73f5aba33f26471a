//! Three real binaries that know each other, are fed the same, and tell the same receiver.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::binary::Binary;

pub(crate) const NODES: usize = 3;
const RULES: &str = "
groups:
  - name: test
    interval: 1s
    rules:
      - alert: TooDeep
        expr: queue_depth > 1
        labels: {severity: critical}
";
const TOKEN: &str = "a-token-of-peers";
/// How long a node may take to take what it is fed; then it misses it, as when a collector gives up.
const FED_WITHIN: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(200);

type Shared<T> = Arc<Mutex<T>>;

fn locked<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that shows the credential.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("the defaults are valid")
}

/// Sends a process a signal.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("every Unix has kill").success(), "process {pid} was not running any more");
}

/// One alert of a notification that the receiver took.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) round: String,
}

/// What is done when the receiver is told of a round for the first time, before it answers.
#[derive(Debug)]
pub(crate) struct Trap {
    pub(crate) round: String,
    pub(crate) status: &'static str,
    pub(crate) pid: u32,
    pub(crate) signal: &'static str,
}

/// The receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    told: Shared<Vec<Told>>,
    trap: Shared<Option<Trap>>,
}

impl Sink {
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let router = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(crate) fn set(&self, trap: Trap) {
        *locked(&self.trap) = Some(trap);
    }

    /// Whether what was set is no more.
    pub(crate) fn is_sprung(&self) -> bool {
        locked(&self.trap).is_none()
    }

    /// What it was told of a round, in order.
    pub(crate) fn told(&self, round: &str) -> Vec<Told> {
        locked(&self.told).iter().filter(|told| told.round == round).cloned().collect()
    }
}

async fn take(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    for alert in body["alerts"].as_array().into_iter().flatten().filter(|a| a["labels"]["alertname"] == "TooDeep") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = Told { id: id.clone(), status: text(&alert["status"]), round: text(&alert["labels"]["round"]) };
        let sprung = locked(&sink.trap).take_if(|trap| trap.round == told.round && trap.status == told.status);
        if let Some(Trap { pid, signal: name, .. }) = sprung {
            signal(pid, name);
        }
        locked(&sink.told).push(told);
    }
    StatusCode::OK
}

/// The way from one node to another, whose ends keep their addresses when the nodes do not.
#[derive(Clone, Debug)]
struct Way {
    from: SocketAddr,
    to: Shared<Option<SocketAddr>>,
    is_cut: Arc<AtomicBool>,
}

impl Way {
    async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let from = listener.local_addr().expect("a bound socket has an address");
        let way = Self { from, to: Arc::default(), is_cut: Arc::default() };
        let served = way.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().carry(stream));
            }
        });
        way
    }

    /// Nothing comes through a way that is cut, and nobody is told so.
    async fn carry(self, mut near: TcpStream) {
        let Some(to) = *locked(&self.to) else { return };
        let Ok(mut far) = TcpStream::connect(to).await else { return };
        let cut = async {
            while !self.is_cut.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            biased;
            () = cut => {
                while self.is_cut.load(Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            _ = copy_bidirectional(&mut near, &mut far) => {}
        }
    }
}

/// One node.
#[derive(Debug)]
struct Node {
    directory: TempDir,
    settings: String,
    binary: Option<Binary>,
    /// Where it is fed.
    http: Shared<Option<String>>,
    is_stopped: bool,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    /// From each to each.
    ways: Vec<Vec<Way>>,
    pub(crate) sink: Sink,
    depths: Shared<BTreeMap<String, u32>>,
    client: reqwest::Client,
}

impl Cluster {
    pub(crate) async fn start(peer_timeout: Duration) -> Self {
        let sink = Sink::default();
        let receiver = sink.listen().await;
        let mut ways = Vec::new();
        for _ in 0..NODES {
            let mut from = Vec::new();
            for _ in 0..NODES {
                from.push(Way::new().await);
            }
            ways.push(from);
        }
        let settings = |position: usize| {
            let peers: Vec<String> = ways[position].iter().map(|way| format!("'http://{}'", way.from)).collect();
            format!(
                "rule_files: [rules.yaml]\n\
                 ingest: {{lateness: 1s}}\n\
                 credentials: [{{name: all, bearer_token: 'file:token', tenants: [default]}}]\n\
                 receivers: [{{name: ops, webhook_configs: [{{url: 'http://{receiver}/'}}]}}]\n\
                 cluster:\n  peers: [{}]\n  position: {position}\n  peer_timeout: {}s\n  \
                 http_config: {{authorization: {{credentials: 'file:token'}}}}\n",
                peers.join(", "),
                peer_timeout.as_secs(),
            )
        };
        let node = |position| {
            let directory = tempfile::tempdir().expect("there is a temporary directory");
            for (name, text) in [("rules.yaml", RULES), ("token", TOKEN)] {
                std::fs::write(directory.path().join(name), text).expect("the directory is writable");
            }
            Node { directory, settings: settings(position), binary: None, http: Arc::default(), is_stopped: false }
        };
        let nodes = (0..NODES).map(node).collect();
        let mut cluster = Self { nodes, ways, sink, depths: Arc::default(), client: client() };
        for position in 0..NODES {
            cluster.begin(position);
        }
        cluster.feed();
        cluster
    }

    /// Starts a node that does not run.
    fn begin(&mut self, position: usize) {
        let node = &mut self.nodes[position];
        let binary = Binary::start_in(node.directory.path(), &node.settings);
        let address = binary.api.trim_start_matches("http://").parse().expect("it says where it listens");
        *locked(&node.http) = Some(binary.http.clone());
        node.binary = Some(binary);
        for from in &self.ways {
            *locked(&from[position].to) = Some(address);
        }
    }

    /// Sends all nodes the same, as a collector that fans out does.
    fn feed(&self) {
        let (sender, _) = broadcast::channel::<String>(8);
        for node in &self.nodes {
            let (mut sent, http, client) = (sender.subscribe(), Arc::clone(&node.http), self.client.clone());
            tokio::spawn(async move {
                loop {
                    let body = match sent.recv().await {
                        Ok(body) => body,
                        Err(broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(broadcast::error::RecvError::Closed) => return,
                    };
                    let Some(http) = locked(&http).clone() else { continue };
                    let post = client.post(format!("{http}/v1/metrics")).header("content-type", "application/json");
                    let _ = post.bearer_auth(TOKEN).timeout(FED_WITHIN).body(body).send().await;
                }
            });
        }
        let depths = Arc::clone(&self.depths);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
                let point = |(round, depth): (&String, &u32)| {
                    json!({"timeUnixNano": now.as_nanos().to_string(), "asDouble": depth,
                        "attributes": [{"key": "round", "value": {"stringValue": round}}]})
                };
                let points: Vec<Value> = locked(&depths).iter().map(point).collect();
                let body = json!({"resourceMetrics": [{
                    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "jobs"}}]},
                    "scopeMetrics": [{"metrics": [{"name": "queue.depth", "gauge": {"dataPoints": points}}]}]
                }]});
                let _ = sender.send(body.to_string());
            }
        });
    }

    /// From now on the queue of this round is so deep, and no other is looked at any more.
    pub(crate) fn set(&self, round: &str, depth: u32) {
        *locked(&self.depths) = [(round.to_owned(), depth)].into();
    }

    pub(crate) fn pid(&self, position: usize) -> u32 {
        self.nodes[position].binary.as_ref().expect("it runs").pid()
    }

    pub(crate) fn kill(&mut self, position: usize) {
        let node = &mut self.nodes[position];
        *locked(&node.http) = None;
        if let Some(binary) = node.binary.take() {
            binary.kill();
        }
    }

    pub(crate) fn stop(&mut self, position: usize) {
        signal(self.pid(position), "STOP");
        self.nodes[position].is_stopped = true;
    }

    /// Notes that a node has been sent `signal` already.
    pub(crate) fn was_sent(&mut self, position: usize, signal: &str) {
        if signal == "STOP" { self.nodes[position].is_stopped = true } else { self.kill(position) }
    }

    /// Cuts all ways from and to a node, except for those to the receiver.
    pub(crate) fn cut(&self, position: usize) {
        for (from, to) in (0..NODES).flat_map(|a| (0..NODES).map(move |b| (a, b))) {
            if (from == position) != (to == position) {
                self.ways[from][to].is_cut.store(true, Relaxed);
            }
        }
    }

    /// Makes all of it whole again.
    pub(crate) fn heal(&mut self) {
        self.ways.iter().flatten().for_each(|way| way.is_cut.store(false, Relaxed));
        for position in 0..NODES {
            if self.nodes[position].is_stopped {
                signal(self.pid(position), "CONT");
                self.nodes[position].is_stopped = false;
            }
            if self.nodes[position].binary.is_none() {
                self.begin(position);
            }
        }
    }

    /// Positions of those that run.
    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..NODES).filter(|i| self.nodes[*i].binary.is_some() && !self.nodes[*i].is_stopped).collect()
    }

    async fn get(&self, position: usize, path: &str) -> Option<Value> {
        let binary = self.nodes[position].binary.as_ref()?;
        let answer = self.client.get(format!("{}{path}", binary.api)).bearer_auth(TOKEN).send().await.ok()?;
        answer.status().is_success().then_some(())?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// The notifications of a node in this state.
    pub(crate) async fn deliveries(&self, position: usize, state: &str) -> Option<Vec<Value>> {
        let listed = self.get(position, &format!("/api/v1/deliveries?state={state}&limit=1000")).await?;
        listed["items"].as_array().cloned()
    }

    /// Whether a node knows the alert of this round, and it fires there.
    pub(crate) async fn fires(&self, position: usize, round: &str) -> Option<bool> {
        let answer = self.get(position, "/api/v1/alerts").await?;
        let alerts = answer["data"]["alerts"].as_array()?;
        Some(alerts.iter().any(|a| a["labels"]["round"] == round && a["state"] == "firing"))
    }

    /// Asks a node to do something, with a body or without; what it answers, which is a success.
    pub(crate) async fn send(&self, position: usize, method: &str, path: &str, body: Option<&Value>) -> Value {
        let binary = self.nodes[position].binary.as_ref().expect("it runs");
        let method = method.parse().expect("is a method");
        let request = self.client.request(method, format!("{}{path}", binary.api)).bearer_auth(TOKEN);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        let text = answer.text().await.expect("it answers to the end");
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Whether a node knows this silence, and it holds there.
    pub(crate) async fn is_silenced(&self, position: usize, id: &str) -> Option<bool> {
        let silence = self.get(position, &format!("/api/v2/silence/{id}")).await?;
        Some(silence["status"]["state"] == "active")
    }

    /// The level that a node recommends.
    pub(crate) async fn level(&self, position: usize) -> Option<u64> {
        self.get(position, "/api/v1/degradation").await?["level"].as_u64()
    }

    pub(crate) fn log(&self, position: usize) -> String {
        self.nodes[position].binary.as_ref().map(Binary::log).unwrap_or_default()
    }
}
