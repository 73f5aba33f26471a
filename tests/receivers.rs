//! Receivers as the real binary tells them: the official libraries of Standard Webhooks verify its signatures, a real
//! Alertmanager knows what goes on, nothing connects into the private network, and no secret is shown.
//!
//! Packages are installed by `.ci/run` or as `CONTRIBUTING.md` says. Without them a test says that it is skipped,
//! and fails where `CI=true`.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    alertmanager::Alertmanager,
    api::{Api, eventually},
    binary::Binary,
    sink::Sink,
};

#[path = "receivers/alertmanager.rs"]
mod alertmanager;
#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;
#[path = "receivers/bodies.rs"]
mod bodies;
#[path = "receivers/cloudevents.rs"]
mod cloudevents;
#[path = "receivers/consumers.rs"]
mod consumers;
#[path = "receivers/heartbeat.rs"]
mod heartbeat;
#[path = "receivers/hung.rs"]
mod hung;
#[path = "receivers/inside.rs"]
mod inside;
#[path = "receivers/sink.rs"]
mod sink;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LISTEN: &str = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}\n";
const RULES: &str = "
groups:
  - name: test
    interval: 1s
    rules:
      - alert: TooDeep
        expr: queue_depth > 1
        labels: {severity: critical}
        annotations: {summary: the queue is deep}
";

/// A directory with a configuration in it, and its secrets.
struct Setup {
    directory: TempDir,
}

impl Setup {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let setup = Self { directory };
        setup.write("rules.yaml", RULES);
        setup.write("bellwether.yaml", &format!("{LISTEN}rule_files: [rules.yaml]\n{config}"));
        setup
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).expect("the directory is writable");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self) -> Binary {
        let (config, data) = (self.path("bellwether.yaml"), self.path("data"));
        Binary::start(&["--config".as_ref(), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()])
    }

    /// `bellwether notify-test`, through `wrapper` if it has any words.
    fn notify_test(&self, receiver: &str, wrapper: &[&str]) -> Output {
        let mut words = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_bellwether")]);
        let mut command = Command::new(words.next().expect("the binary is one"));
        command.args(words).args(["notify-test", receiver, "--config"]).arg(self.path("bellwether.yaml"));
        command.output().expect("it can be run")
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Says why a test did nothing, which is a failure in CI.
#[expect(clippy::print_stderr, reason = "it is what the developer has to know")]
fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "not there: {why}");
    eprintln!("skipped: {why}");
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Sends one point of the gauge that the rule looks at, now.
/// Whether it was taken.
async fn send_depth(http: &str, depth: f64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    let body = serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "jobs"}}]},
        "scopeMetrics": [{"metrics": [{"name": "queue.depth", "gauge": {"dataPoints": [
            {"timeUnixNano": now.as_nanos().to_string(), "asDouble": depth}
        ]}}]}]
    }]});
    let request = reqwest::Client::new().post(format!("{http}/v1/metrics")).header("content-type", "application/json");
    request.body(body.to_string()).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Sends what the answer holds, again and again until the test ends, so that time goes on.
fn keep_sending(http: &str, depth: u32) -> Arc<AtomicU32> {
    let depth = Arc::new(AtomicU32::new(depth));
    let (http, kept) = (http.to_owned(), Arc::clone(&depth));
    tokio::spawn(async move {
        loop {
            if !send_depth(&http, f64::from(kept.load(Ordering::Relaxed))).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    depth
}

/// Signs with two keys, as while one is replaced, and lets `command` verify with each.
async fn verified_by(command: impl Fn() -> Command) {
    const KEYS: [&str; 2] =
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_bmV3IGtleSBmb3IgdGhlIG5leHQgbW9udGhzLi4u"];
    let mut sink = Sink::listen(200).await;
    let url = sink.url();
    let setup = Setup::new(&format!(
        "receivers: [{{name: ops, webhook_configs: [{{url: '{url}', signing_secrets: ['file:old', 'file:new']}}]}}]\n"
    ));
    setup.write("old", KEYS[0]);
    setup.write("new", KEYS[1]);
    let output = tokio::task::spawn_blocking(move || setup.notify_test("ops", &[])).await.expect("does not panic");
    assert!(output.status.success(), "{}", said(&output));
    let request = sink.request().await;
    let header = |name: &str| request.header(name);
    let headers: serde_json::Map<String, Value> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.to_owned(), header(name).into()))
        .collect();
    for secret in KEYS {
        let given = serde_json::json!({"secret": secret, "headers": headers, "body": request.body});
        let mut child =
            command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the interpreter was probed");
        let mut stdin = child.stdin.take().expect("is piped");
        stdin.write_all(given.to_string().as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let found: Value = serde_json::from_slice(&output.stdout).expect("the script prints what it found");
        let expected = serde_json::json!({
            "genuine": true, "other_body": false, "other_id": false, "other_time": false, "other_key": false,
        });
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn the_python_library_verifies_our_signatures() {
    let folder = clients().join("python");
    let interpreter = folder.join(".venv/bin/python");
    if !works(Command::new(&interpreter).args(["-c", "import standardwebhooks"])) {
        return skipped("Python: install tests/clients/python/requirements.txt into tests/clients/python/.venv");
    }
    verified_by(|| {
        let mut command = Command::new(&interpreter);
        command.arg(folder.join("verify_webhook.py"));
        command
    })
    .await;
}

#[tokio::test]
async fn the_javascript_library_verifies_our_signatures() {
    let folder = clients().join("node");
    let probe = "import 'standardwebhooks'";
    if !works(Command::new("node").args(["--input-type=module", "-e", probe]).current_dir(&folder)) {
        return skipped("Node: run `npm ci` in tests/clients/node");
    }
    verified_by(|| {
        let mut command = Command::new("node");
        command.arg(folder.join("verify-webhook.mjs"));
        command
    })
    .await;
}

/// Two peers that are not connected, so that each knows only what it was told; one of them forgets.
#[tokio::test(flavor = "multi_thread")]
async fn every_peer_of_an_alertmanager_knows_what_goes_on() {
    let Some((first, second)) = Alertmanager::start().await.zip(Alertmanager::start().await) else {
        return skipped("Debian's prometheus-alertmanager");
    };
    let setup = Setup::new(&format!(
        "receivers: [{{name: am, alertmanager_configs: [{{urls: ['{}', '{}'], resend: 2s}}]}}]\n",
        first.url(),
        second.url()
    ));
    let binary = setup.start();
    let depth = keep_sending(&binary.http, 5);
    for peer in [&first, &second] {
        let known = eventually(PATIENCE, || async { peer.ends_of("TooDeep").await.pop() }).await;
        let ends = known.unwrap_or_else(|| unreachable!("the peer was not told:\n{}", binary.log()));
        // It is told again: the end moves on.
        let later = eventually(PATIENCE, || async { peer.ends_of("TooDeep").await.pop().filter(|end| *end > ends) });
        assert!(later.await.is_some(), "{}", binary.log());
    }
    let second = second.restarted().await;
    let told_again = eventually(PATIENCE, || async { second.ends_of("TooDeep").await.pop() }).await;
    assert!(told_again.is_some(), "a peer that has forgotten is told:\n{}", binary.log());
    depth.store(0, Ordering::Relaxed);
    for peer in [&first, &second] {
        let over = eventually(PATIENCE, || async { peer.ends_of("TooDeep").await.is_empty().then_some(()) }).await;
        assert!(over.is_some(), "{}", binary.log());
    }
    assert!(binary.stop().success(), "a stopped service exits with 0");
}

/// What was given up is listed, and sent again when somebody asks for it; a page of another site may not.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_listed_and_sent_again() {
    let mut sink = Sink::listen(410).await;
    let setup = Setup::new(&format!("receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}]\n", sink.url()));
    let binary = setup.start();
    let api = Api::new(&binary.api);
    assert!(send_depth(&binary.http, 5.0).await);
    let first = sink.request().await;
    let failed = eventually(PATIENCE, || async { api.items("/api/v1/deliveries?state=failed").await.pop() }).await;
    let failed = failed.expect("the dead letter is listed");
    assert_eq!((&failed["integration"], &failed["lastStatus"]), (&"webhook/0".into(), &410.into()), "{failed}");
    let id = failed["id"].as_str().expect("is text");
    assert_eq!(first.header("webhook-id"), id);
    sink.answer(200);
    let replay = |id: &str, site: &str| {
        let url = format!("{}/api/v1/deliveries/{id}/replay", binary.api);
        let request = reqwest::Client::new().post(url).header("sec-fetch-site", site);
        async move { request.send().await.expect("the binary answers").status().as_u16() }
    };
    assert_eq!(replay(id, "cross-site").await, 403);
    assert_eq!(replay("msg_unknown", "none").await, 404);
    assert_eq!(replay(id, "none").await, 202);
    assert_eq!(sink.request().await.header("webhook-id"), id);
    let path = format!("/api/v1/deliveries/{id}");
    let taken = eventually(PATIENCE, || async { (api.get(&path).await["state"] == "delivered").then_some(()) }).await;
    assert!(taken.is_some(), "{}", api.get(&path).await);
    assert_eq!(replay(id, "none").await, 409);
}

/// Kills while a receiver fails every other time, and an alert comes and goes: each episode is told as firing and then as
/// resolved, each under one id, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_episode_is_told_and_then_its_end_over_many_kills() {
    const KILLS: usize = 8;
    let mut sink = Sink::listen(200).await;
    sink.fail_every_other_time();
    let setup = Setup::new(&format!("receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}]\n", sink.url()));
    for kill in 0..KILLS {
        let binary = setup.start();
        let depth = keep_sending(&binary.http, 5);
        let api = Api::new(&binary.api);
        let fires = |wanted: bool| {
            let api = api.clone();
            async move {
                let alerts = api.get("/api/v1/alerts").await;
                let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
                let fires = alerts.iter().any(|alert| alert["labels"]["alertname"] == "TooDeep");
                (fires == wanted).then_some(())
            }
        };
        assert!(eventually(PATIENCE, || fires(true)).await.is_some(), "{}", binary.log());
        // Every other run is killed while the alert fires.
        if kill % 2 == 0 {
            depth.store(0, Ordering::Relaxed);
            assert!(eventually(PATIENCE, || fires(false)).await.is_some(), "{}", binary.log());
        }
        binary.kill();
    }
    let binary = setup.start();
    let _depth = keep_sending(&binary.http, 0);
    let api = Api::new(&binary.api);
    let drained = eventually(PATIENCE, || async {
        let pending = api.items("/api/v1/deliveries?state=pending").await;
        let firing = api.get("/api/v1/alerts").await;
        let is_over = firing["data"]["alerts"].as_array().is_some_and(Vec::is_empty);
        (pending.is_empty() && is_over).then_some(())
    });
    assert!(drained.await.is_some(), "{:?}", api.items("/api/v1/deliveries").await);
    assert!(binary.stop().success(), "a stopped service exits with 0");
    let mut told = std::collections::BTreeMap::<String, Vec<(String, String)>>::new();
    while let Some(request) = sink.taken() {
        let message = request.json();
        let episode = message["alerts"][0]["bellwether"]["episode"].as_str().unwrap_or_default().to_owned();
        let said = (message["status"].as_str().unwrap_or_default().to_owned(), request.header("webhook-id"));
        let history = told.entry(episode).or_default();
        // A repetition after a kill has the same id.
        if !history.contains(&said) {
            history.push(said);
        }
    }
    assert!(told.len() >= KILLS / 2, "{told:?}");
    for (episode, history) in &told {
        let said: Vec<&str> = history.iter().map(|(status, _)| status.as_str()).collect();
        assert_eq!(said, ["firing", "resolved"], "{episode}: {history:?}");
    }
}

/// The switch goes off when the process stops, whatever it was doing: nothing is sent after its end, and something is
/// sent again and again before.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_comes_again_and_again_without_any_telemetry() {
    let mut sink = Sink::listen(200).await;
    let setup = Setup::new(&format!(
        "receivers: [{{name: dead-man, webhook_configs: [{{url: '{}'}}]}}]\nheartbeat: {{receiver: dead-man, interval: 1s}}\n",
        sink.url()
    ));
    let binary = setup.start();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let beat = sink.request().await;
        assert_eq!(beat.json()["alerts"][0]["labels"]["alertname"], "Watchdog");
        ids.insert(beat.header("webhook-id"));
    }
    assert_eq!(ids.len(), 3, "each is a notification of its own");
    binary.kill();
}

/// Secrets in every place where one can stand, and a receiver that says them all back.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_anywhere() {
    let sink = Sink::listen(500).await;
    sink.say("no CANARY-user:CANARY-password at /CANARY-path?key=CANARY-query");
    let url = sink.url().replace("http://", "http://CANARY-user:CANARY-password@");
    let secret_url = format!("{url}/CANARY-path?key=CANARY-query");
    let setup = Setup::new(&format!(
        "receivers:
- name: ops
  webhook_configs:
  - {{url: '{secret_url}', signing_secrets: ['file:key'], http_config: {{authorization: {{credentials: 'file:token'}}}}}}
  slack_configs:
  - {{app_token: 'file:token', app_url: '{secret_url}', channel: x, send_resolved: true}}
  pagerduty_configs:
  - {{routing_key_file: token, url: '{secret_url}'}}
  msteamsv2_configs:
  - {{webhook_url: '{secret_url}'}}
  email_configs:
  - {{to: a@example.com, from: b@example.com, smarthost: '127.0.0.1:1', auth_username: u, auth_password_file: token}}
"
    ));
    setup.write("token", "CANARY-token\n");
    setup.write("key", "whsec_Q0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZ\n");
    let binary = setup.start();
    let api = Api::new(&binary.api);
    assert!(send_depth(&binary.http, 5.0).await);
    let tried = eventually(PATIENCE, || async {
        let items = api.items("/api/v1/deliveries").await;
        (items.iter().filter(|item| item["attempts"].as_u64() > Some(0)).count() >= 4).then_some(items)
    });
    let tried = tried.await.expect("each was tried");
    let mut shown = vec![("deliveries", format!("{tried:?}"))];
    for path in ["/api/v1/status", "/metrics", "/", "/api/v1/alerts", "/api/v1/rules"] {
        shown.push((path, api.text(path).await));
    }
    shown.push(("log", binary.log()));
    let config = setup.path("bellwether.yaml");
    let check = Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("check").arg(config).output().expect("runs");
    shown.push(("check", said(&check)));
    let test = tokio::task::spawn_blocking(move || setup.notify_test("ops", &[])).await.expect("does not panic");
    assert_eq!(test.status.code(), Some(1), "{}", said(&test));
    shown.push(("notify-test", said(&test)));
    for (place, text) in shown {
        for secret in ["CANARY", "Q0FOQVJZ"] {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
    }
    assert!(binary.log().contains("answered 500"), "{}", binary.log());
}

/// Asks the system what was connected to.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_made_into_the_private_network() {
    if !works(Command::new("strace").args(["-e", "trace=connect", "true"])) {
        return skipped("strace, or the right to use it");
    }
    let mut sink = Sink::listen(302).await;
    sink.redirect("http://169.254.169.254/latest/meta-data");
    let port = sink.port();
    let of_loopback = format!("http://localhost:{port}/");
    let names =
        [of_loopback.clone(), format!("http://user:pass@localhost:{port}/"), format!("http://LOCALHOST:{port}/")];
    let list = names.iter().map(|url| format!("  - url: '{url}'\n")).collect::<String>();
    let strict = Setup::new(&format!(
        "delivery: {{allow_loopback: false}}\nreceivers:\n- name: ops\n  webhook_configs:\n{list}\
         - name: mail\n  email_configs: [{{to: a@b.example, from: a@b.example, smarthost: 'localhost:{port}', require_tls: false}}]\n"
    ));
    let strace = ["strace", "-f", "-qq", "-e", "trace=connect"];
    for receiver in ["ops", "mail"] {
        let output = strict.notify_test(receiver, &strace);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("is not a public address"), "{text}");
        assert!(!text.contains(&format!("sin_port=htons({port})")) && !text.contains("169.254"), "{text}");
    }
    assert!(sink.is_quiet());
    // The same is connected to where it is allowed, which shows that the system would have said so; and where that
    // leads is not.
    let open = Setup::new(&format!("receivers: [{{name: ops, webhook_configs: [{{url: '{of_loopback}'}}]}}]\n"));
    let text = said(&open.notify_test("ops", &strace));
    assert!(text.contains(&format!("htons({port})")) && text.contains("redirects are not followed"), "{text}");
    assert!(!text.contains("htons(80)"), "{text}");
    sink.request().await;
}

#[test]
fn check_reads_runbooks_and_names_file_line_and_field() {
    let setup = Setup::new("runbooks_dir: books\n");
    std::fs::create_dir(setup.path("books")).expect("can be made");
    setup.write("books/ours.yaml", "title: x\nsteps:\n- {name: a, action: b, verify: {metric: up, condition: soon}}\n");
    let check = |file: &str| {
        Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("check").arg(setup.path(file)).output().expect("runs")
    };
    for file in ["bellwether.yaml", "books/ours.yaml"] {
        let output = check(file);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("books/ours.yaml:3: steps[0].verify.condition: expected a comparison"), "{text}");
        assert!(text.contains("books/ours.yaml:1: `trigger` is missing"), "{text}");
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/cache-failure.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("check").arg(shipped).output().expect("runs");
    assert!(output.status.success() && said(&output).contains("the runbook is valid; 4 steps"), "{}", said(&output));
}

/// A file of Alertmanager's as there are many, with templates of its own.
#[tokio::test(flavor = "multi_thread")]
async fn templates_of_an_alertmanager_file_make_the_message_and_their_faults_are_found() {
    let mut sink = Sink::listen(200).await;
    let alertmanager = |title: &str| {
        format!(
            r#"
global: {{slack_api_url: '{}'}}
templates: ['templates/*.tmpl']
route: {{receiver: chat, group_by: [alertname]}}
receivers:
- name: chat
  slack_configs:
  - channel: '#ops'
    title: '{title}'
    title_link: '{{{{ template "slack.default.titlelink" . }}}}'
    text: |-
      {{{{ range .Alerts -}}}}
      *{{{{ .Labels.alertname | toUpper }}}}* {{{{ .Annotations.summary }}}} ({{{{ .StartsAt.Format "2006" | len }}}})
      {{{{- end }}}}
"#,
            sink.url()
        )
    };
    let setup = Setup::new("alertmanager_config: alertmanager.yml\n");
    std::fs::create_dir(setup.path("templates")).expect("can be made");
    setup.write("templates/ours.tmpl", "{{ define \"ours\" }}{{ .Status }} of {{ .Receiver }}{{ end }}\n");
    let check = |setup: &Setup| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        said(&command.arg("check").arg(setup.path("bellwether.yaml")).output().expect("runs"))
    };
    for (title, expected) in [
        (
            "{{ template \"theirs\" . }}",
            "alertmanager.yml:9: title: line 1 of the template: there is no template \"theirs\"",
        ),
        ("{{ .Allerts }}", "alertmanager.yml:9: title: line 1 of the template: there is no field .Allerts"),
        ("{{ query 1 }}", "the function query is not supported"),
    ] {
        setup.write("alertmanager.yml", &alertmanager(title));
        assert!(check(&setup).contains(expected), "{}", check(&setup));
    }
    setup.write("alertmanager.yml", &alertmanager("{{ template \"ours\" . }}"));
    setup.write("templates/wrong.tmpl", "\n{{ define \"x\" }}{{ if }}{{ end }}{{ end }}\n");
    assert!(check(&setup).contains("templates/wrong.tmpl:2: an action without a value"), "{}", check(&setup));
    std::fs::remove_file(setup.path("templates/wrong.tmpl")).expect("is there");
    let output = tokio::task::spawn_blocking(move || setup.notify_test("chat", &[])).await.expect("does not panic");
    assert!(output.status.success(), "{}", said(&output));
    let body = sink.request().await.json();
    let attachment = &body["attachments"][0];
    assert_eq!((&attachment["title"], &body["channel"]), (&"firing of chat".into(), &"#ops".into()), "{body}");
    let text = "*BELLWETHERTEST* This is a test of the way to this receiver. Nothing is wrong. (4)";
    assert_eq!(attachment["text"], text);
}
