//! Alertmanager's own tools, and a Prometheus server, against the real binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

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

const LONGEST: Duration = Duration::from_secs(60);

/// Whether `program` can be run; without it the test is skipped, which CI does not allow.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

struct Fixture {
    directory: tempfile::TempDir,
    sink: Webhook,
}

impl Fixture {
    /// Without damping: over many kills alerts come and go more often than it lets through.
    async fn new() -> Self {
        // A failure means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fixture = Self {
            directory: tempfile::tempdir().expect("there is a temporary directory"),
            sink: Webhook::listen().await,
        };
        let config = format!(
            "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n\
             receivers:\n- name: ops\n  webhook_configs: [{{url: '{}'}}]\n\
             route: {{receiver: ops, group_by: [alertname], group_wait: 50ms, group_interval: 100ms}}\n\
             flapping: {{enabled: false}}\n",
            fixture.sink.url()
        );
        std::fs::write(fixture.path("b.yaml"), config).expect("can be written");
        fixture
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self) -> Binary {
        let (config, data) = (self.path("b.yaml"), self.path("data"));
        Binary::start(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()])
    }

    /// Waits until the receiver has been told of as much as `wanted` says of the alerts named `name`.
    async fn told(&self, name: &str, wanted: &[&str]) {
        let told = eventually(LONGEST, || async { (self.history(name) == wanted).then_some(()) }).await;
        assert!(told.is_some(), "{name}: {:?}, expected {wanted:?}", self.history(name));
    }

    fn history(&self, name: &str) -> Vec<String> {
        let all = self.sink.alerts().into_iter().filter(|alert| alert["labels"]["alertname"] == name);
        all.map(|alert| alert["status"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn amtool(binary: &Binary, arguments: &[&str]) -> String {
    let output = Command::new("amtool")
        .args(arguments)
        .arg(format!("--alertmanager.url={}", binary.api))
        .output()
        .expect("can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "amtool {arguments:?}: {} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn parsed(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn amtool_adds_asks_and_silences() {
    if !is_there("amtool") {
        return;
    }
    let fixture = Fixture::new().await;
    let binary = fixture.start();
    amtool(&binary, &["alert", "add", "alertname=Slow", "service=web", "--annotation=summary=is slow"]);
    fixture.told("Slow", &["firing"]).await;
    let asked = |arguments: &[&str]| parsed(&amtool(&binary, &[&["alert", "query", "-o", "json"], arguments].concat()));
    let found = asked(&["service=~w.b"]);
    assert_eq!((found.len(), &found[0]["annotations"]["summary"]), (1, &json!("is slow")));
    assert_eq!(found[0]["receivers"], json!([{"name": "ops"}]));
    assert_eq!(asked(&["service=db"]).len(), 0);
    assert!(amtool(&binary, &["alert", "query"]).contains("Slow"), "the table for people");

    let silence = |arguments: &[&str]| amtool(&binary, &[&["silence"], arguments].concat());
    let added = silence(&["add", "alertname=Slow", "service=~w.*", "-c", "drill", "-a", "ann"]);
    let id = added.trim();
    assert_eq!(asked(&[]).len(), 0, "what is silent is not shown");
    let silent = asked(&["--silenced"]);
    assert_eq!((silent.len(), &silent[0]["status"]["silencedBy"]), (1, &json!([id])));
    let listed = parsed(&silence(&["query", "-o", "json"]));
    assert_eq!((&listed[0]["comment"], &listed[0]["createdBy"]), (&json!("drill"), &json!("ann")));
    assert!(silence(&["update", "-d", "3h", id]).contains(id));
    // Silent ones are told when the silence is over, and no sooner; a restart changes nothing of it.
    amtool(&binary, &["alert", "add", "alertname=Slow", "service=war"]);
    assert!(binary.stop().success());
    let binary = fixture.start();
    let silence = |arguments: &[&str]| amtool(&binary, &[&["silence"], arguments].concat());
    assert_eq!(parsed(&silence(&["query", "-o", "json"]))[0]["id"], id);
    assert_eq!(fixture.history("Slow"), ["firing"]);
    std::fs::write(fixture.path("exported.json"), silence(&["query", "-o", "json"])).expect("can be written");
    silence(&["expire", id]);
    fixture.told("Slow", &["firing", "firing", "firing"]).await;
    assert_eq!(parsed(&silence(&["query", "-o", "json"])).len(), 0);
    assert_eq!(parsed(&silence(&["query", "--expired", "-o", "json"])).len(), 1);
    // Exported silences come back under ids of their own.
    let exported = std::fs::read_to_string(fixture.path("exported.json")).expect("is there");
    let mut exported = parsed(&exported);
    exported[0]["id"] = json!("");
    std::fs::write(fixture.path("exported.json"), json!(exported).to_string()).expect("can be written");
    silence(&["import", fixture.path("exported.json").to_str().expect("is text")]);
    assert_eq!(parsed(&silence(&["query", "-o", "json"])).len(), 1);
    let refused = Command::new("amtool")
        .args(["silence", "add", "a=\"\"", "-c", "x", &format!("--alertmanager.url={}", binary.api)])
        .output()
        .expect("can be run");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("matchers: expected one that"), "{said}");
    assert!(binary.stop().success());
}

/// A child that is killed at the end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // A failure means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn prometheus(directory: &Path, binary: &Binary) -> Killed {
    let target = binary.api.trim_start_matches("http://");
    let config = format!(
        "global: {{evaluation_interval: 1s}}\nrule_files: [rules.yaml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{target}']}}]}}]}}\n"
    );
    let rules = "groups: [{name: g, rules: [{alert: Always, expr: 'vector(1)', labels: {severity: page}}]}]\n";
    std::fs::write(directory.join("prometheus.yaml"), config).expect("can be written");
    std::fs::write(directory.join("rules.yaml"), rules).expect("can be written");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port").local_addr().expect("has one");
    let child = Command::new("prometheus")
        .current_dir(directory)
        .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=tsdb"])
        // What fires before it has found us is sent again.
        .args(["--rules.alert.resend-delay=1s".to_owned(), format!("--web.listen-address={free}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.expect("can be started"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_server_sends_its_alerts_here() {
    if !is_there("prometheus") {
        return;
    }
    let fixture = Fixture::new().await;
    let binary = fixture.start();
    let server = prometheus(fixture.directory.path(), &binary);
    fixture.told("Always", &["firing"]).await;
    let told = &fixture.sink.alerts()[0];
    assert_eq!(told["labels"]["severity"], "page");
    assert!(told["generatorURL"].as_str().is_some_and(|url| url.contains("/graph?g0.expr=vector")), "{told}");
    drop(server);
    assert!(binary.stop().success());
}

// B2, B6, C6: the grammar of what receivers are told, and under which ids.
#[tokio::test(flavor = "multi_thread")]
async fn every_history_is_firing_and_then_resolved_whatever_is_killed() {
    let rounds: u32 = if std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|size| size == "full") { 500 } else { 8 };
    let fixture = Fixture::new().await;
    let client = reqwest::Client::new();
    let names: Vec<String> = (0..50).map(|i| format!("A{i}")).collect();
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    // How many notifications had come when each process ended.
    let mut ends = Vec::new();
    for round in 0..rounds {
        let binary = fixture.start();
        let post = async |alerts: Value| {
            let request =
                client.post(format!("{}/api/v2/alerts", binary.api)).header("content-type", "application/json");
            let answer = request.body(alerts.to_string()).send().await;
            assert!(answer.is_ok_and(|answer| answer.status() == 200));
        };
        // What fired before the kill ends, what did not begins; some are told of while it dies.
        let is_over = round % 2 == 1;
        let of = |name: &String| match is_over {
            false => json!({"labels": {"alertname": name}}),
            true => {
                json!({"labels": {"alertname": name}, "endsAt": "2020-01-01T00:00:00Z", "startsAt": "2019-01-01T00:00:00Z"})
            }
        };
        for part in names.chunks(10) {
            post(Value::Array(part.iter().map(of).collect())).await;
            tokio::time::sleep(Duration::from_millis(u64::from(round * 13 % 40))).await;
        }
        if is_over {
            names.iter().for_each(|name| *wanted.entry(name).or_default() += 1);
        } else {
            // Groups wait for 50 ms: an alert that ends sooner need not be told.
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        binary.kill();
        ends.push(fixture.sink.notifications().len());
    }
    let binary = fixture.start();
    let all_over = eventually(LONGEST, || async {
        names.iter().all(|name| fixture.history(name).last().is_some_and(|last| last == "resolved")).then_some(())
    });
    assert!(all_over.await.is_some(), "an end was lost");
    // Nothing more may come.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for name in &names {
        let mut letters = String::new();
        for status in fixture.history(name) {
            write!(letters, "{}", &status[..1]).expect("a text takes it");
        }
        // Delivered again, perhaps, when killed between the answer and the note of it.
        let mut runs: Vec<char> = letters.chars().collect();
        runs.dedup();
        let expected: String = "fr".repeat(wanted[name.as_str()]);
        assert_eq!(runs.into_iter().collect::<String>(), expected, "{name}: {letters}");
    }
    // No process sends one twice that was taken: it comes again after a kill only, and then it is the same.
    let all = fixture.sink.notifications();
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut began = 0;
    for end in ends.into_iter().chain([all.len()]) {
        let ids: Vec<&str> = all[began..end].iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "one process sent a notification twice");
        began = end;
    }
    for (id, body) in &all {
        assert_eq!(*known.entry(id).or_insert(body), body, "{id} changed");
    }
    assert!(binary.stop().success());
}

// B7
#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_is_on_disk_when_it_is_answered() {
    if !is_there("python3") {
        return;
    }
    let kills: u32 = if std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|size| size == "full") { 200 } else { 8 };
    let fixture = Fixture::new().await;
    let client = reqwest::Client::new();
    let mut binary = fixture.start();
    let post = async |base: &str, path: &str, body: Value| {
        let request = client.post(format!("{base}{path}")).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.expect("is answered");
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let (mut silences, mut episodes) = (BTreeMap::new(), BTreeSet::new());
    for kill in 0..kills {
        let name = format!("B{kill}");
        assert_eq!(post(&binary.api, "/api/v2/alerts", json!([{"labels": {"alertname": name}}])).await.0, 200);
        let silence = json!({"matchers": [{"name": "alertname", "value": name, "isRegex": false}], "createdBy": "ann",
            "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2040-01-01T00:00:00Z", "comment": "drill"});
        let told = eventually(LONGEST, || async { episode_of(&fixture.sink.alerts(), &name) });
        let episode = told.await.expect("it is told");
        // One of both is the last word before the kill.
        let acknowledge = async |base: &str| {
            let path = format!("/api/v1/alerts/{episode}/acknowledge");
            assert!(post(base, &path, json!({"author": "ann"})).await.0 < 300);
        };
        if kill % 2 == 0 {
            acknowledge(&binary.api).await;
        }
        let (status, answer) = post(&binary.api, "/api/v2/silences", silence).await;
        assert_eq!(status, 200, "{answer}");
        if kill % 2 == 1 {
            acknowledge(&binary.api).await;
        }
        binary.kill();
        silences.insert(answer["silenceID"].as_str().expect("has an id").to_owned(), name);
        episodes.insert(episode);
        binary = fixture.start();
    }
    let answer = client.get(format!("{}/api/v2/silences", binary.api)).send().await.expect("is answered");
    let listed = parsed(&answer.text().await.expect("is text"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = listed.iter().map(|silence| (text(&silence["id"]), text(&silence["matchers"][0]["value"])));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), silences);
    assert!(binary.stop().success());
    assert_eq!(acknowledged(&fixture.path("data/bellwether.db")), episodes);
}

fn episode_of(alerts: &[Value], name: &str) -> Option<String> {
    let alert = alerts.iter().find(|alert| alert["labels"]["alertname"] == name)?;
    Some(alert["bellwether"]["episode"].as_str()?.to_owned())
}

/// The episodes that the ledger has an acknowledgement of, by another reader of SQLite.
fn acknowledged(ledger: &Path) -> BTreeSet<String> {
    let script = "import sqlite3, sys; print(*(row[0] for row in sqlite3.connect(sys.argv[1]).execute('SELECT episode FROM acknowledgements')), sep='\\n')";
    let output = Command::new("python3").args(["-c", script]).arg(ledger).output().expect("can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
