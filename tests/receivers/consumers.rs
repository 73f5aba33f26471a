//! Programs that were written for Alertmanager's webhooks read ours: a model of the body, a sender of XMPP and a relay
//! to IRC, each its own reader.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    sync::mpsc,
};

use super::{PATIENCE, Setup, clients, skipped, works};
use crate::{api::eventually, binary::Binary, sink::Sink};

const INSTANCES: [&str; 3] = ["a", "b", "c"];
/// With a fraction, as a Prometheus server sends it: one of the programs reads no other.
const START: &str = "2026-01-02T03:04:05.678Z";
const END: &str = "2026-01-02T04:00:00.5Z";
const SOURCE: &str = "https://prometheus.example.com/graph?g0.expr=up&g0.tab=1";

fn labels(instance: &str) -> Value {
    json!({"alertname": "TooDeep", "instance": instance, "severity": "critical", "job": "queue <1> \"ä\""})
}

fn annotations(instance: &str) -> Value {
    json!({"summary": format!("{instance} & others"), "description": "deep"})
}

fn client() -> reqwest::Client {
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Posts alerts as a Prometheus server does, of which those of `over` have ended.
async fn post(binary: &Binary, over: &[&str]) {
    let alert = |instance: &&str| {
        let end = if over.contains(instance) { END } else { "2096-01-01T00:00:00Z" };
        json!({"labels": labels(instance), "annotations": annotations(instance), "startsAt": START, "endsAt": end,
            "generatorURL": SOURCE})
    };
    let body = INSTANCES.iter().map(alert).collect::<Value>();
    let request = client().post(format!("{}/api/v2/alerts", binary.api));
    let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
    assert_eq!(answer.expect("is answered").status().as_u16(), 200, "{}", binary.log());
}

fn config(url: &str) -> String {
    format!(
        "route: {{receiver: ops, group_by: [alertname, job], group_wait: 1s, group_interval: 1s}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{url}'}}]}}]\n"
    )
}

/// Which of [`INSTANCES`] are over: in the beginning, after a while, and in the end.
const COURSE: [&[&str]; 3] = [&[], &["a", "b"], &["a", "b", "c"]];

/// The bodies that a webhook gets of three alerts of a group that fire, two of which end before the third. Between any
/// two of them the service is killed, and knows each alert by the same fingerprint afterwards.
async fn bodies() -> Vec<Value> {
    let mut sink = Sink::listen(200).await;
    let setup = Setup::new(&config(&sink.url()));
    let mut bodies = Vec::new();
    for over in COURSE {
        let binary = setup.start();
        post(&binary, over).await;
        // One that was not known to have been taken comes again.
        while bodies.len() < COURSE.len() {
            let body = sink.request().await.json();
            if !bodies.contains(&body) {
                bodies.push(body);
                break;
            }
        }
        binary.kill();
    }
    bodies
}

/// Which of the alerts of the body after `step` are told, and how: all that fire, and what has ended since.
fn expected(step: usize) -> BTreeMap<&'static str, &'static str> {
    let before = step.checked_sub(1).map_or(&[][..], |before| COURSE[before]);
    let told = INSTANCES.into_iter().filter(|instance| !before.contains(instance));
    told.map(|i| (i, if COURSE[step].contains(&i) { "resolved" } else { "firing" })).collect()
}

/// What the script makes of `bodies`.
fn read_by(interpreter: &Path, program: &str, bodies: &[Value]) -> Vec<Value> {
    let mut command = Command::new(interpreter);
    command.arg(clients().join("python/read_alerts.py")).arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the interpreter was probed");
    let mut stdin = child.stdin.take().expect("is piped");
    for body in bodies {
        writeln!(stdin, "{body}").expect("it reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program} reads all of {bodies:#?}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

// B1
#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_alertmanagers_body_reads_ours() {
    let interpreter = clients().join("python/.venv/bin/python");
    if !works(Command::new(&interpreter).args(["-c", "import prometheus_alert_model"])) {
        return skipped("Python: install tests/clients/python/requirements.txt into tests/clients/python/.venv");
    }
    let bodies = bodies().await;
    let mut fingerprints = BTreeMap::<String, BTreeSet<String>>::new();
    for (step, group) in read_by(&interpreter, "model", &bodies).iter().enumerate() {
        let expected = expected(step);
        let status = if expected.values().any(|status| *status == "firing") { "firing" } else { "resolved" };
        assert_eq!((&group["receiver"], &group["status"]), (&json!("ops"), &json!(status)), "{group:#}");
        assert_eq!((&group["version"], &group["truncated"]), (&json!("4"), &json!(0)));
        assert_eq!(group["group_labels"], json!({"alertname": "TooDeep", "job": "queue <1> \"ä\""}));
        let alerts = group["alerts"].as_array().expect("is a list");
        let mut found = BTreeMap::new();
        for alert in alerts {
            let instance = alert["labels"]["instance"].as_str().expect("is text");
            assert_eq!((&alert["labels"], &alert["annotations"]), (&labels(instance), &annotations(instance)));
            assert_eq!(alert["starts_at"], "2026-01-02T03:04:05.678000+00:00");
            let ends = if alert["status"] == "firing" {
                "0001-01-01T00:00:00+00:00"
            } else {
                "2026-01-02T04:00:00.500000+00:00"
            };
            assert_eq!((&alert["ends_at"], &alert["generator_url"]), (&json!(ends), &json!(SOURCE)));
            let own = if alerts.len() == 1 { json!({}) } else { json!({"instance": instance}) };
            assert_eq!(alert["specific_labels"], own);
            fingerprints.entry(instance.to_owned()).or_default().insert(alert["fingerprint"].to_string());
            found.insert(instance, alert["status"].as_str().expect("is text"));
        }
        assert_eq!(found, expected);
    }
    assert!(fingerprints.len() == 3 && fingerprints.values().all(|of| of.len() == 1), "{fingerprints:#?}");
}

// B1
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_xmpp_reads_our_body() {
    // Debian's Python has it, whichever else there is.
    let interpreter = Path::new("/usr/bin/python3");
    if !works(Command::new(interpreter).args(["-c", "import prometheus_xmpp"])) {
        return skipped("Debian's prometheus-xmpp-alerts");
    }
    let bodies = bodies().await;
    for (step, said) in read_by(interpreter, "xmpp", &bodies).iter().enumerate() {
        let expected = expected(step);
        let lines = |which: &str| -> BTreeSet<String> {
            let lines = said[which].as_array().expect("is a list");
            lines.iter().map(|line| line.as_str().expect("is text").to_owned()).collect()
        };
        let short = |(instance, status): (&&str, &&str)| {
            format!("{}, 2026-01-02T03:04:05+00:00, {instance} & others", status.to_uppercase())
        };
        assert_eq!(lines("short"), expected.iter().map(short).collect());
        let full = |(instance, status): (&&str, &&str)| {
            format!(
                "*[{}] {instance} & others* (TooDeep queue <1> \"ä\")\ndeep\n*alertname:* TooDeep\n*instance:* {instance}\n\
                 *job:* queue <1> \"ä\"\n*severity:* critical",
                status.to_uppercase()
            )
        };
        assert_eq!(lines("full"), expected.iter().map(full).collect());
    }
}

/// Debian's relay to IRC, killed when dropped.
struct Relay {
    child: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says of each alert.
const TEMPLATE: &str = r#"{"status": {{printf "%q" .Status}}, "name": {{printf "%q" .Labels.alertname}}, "instance": {{printf "%q" .Labels.instance}}, "summary": {{printf "%q" .Annotations.summary}}, "starts": "{{.StartsAt.UnixMilli}}", "ends": "{{.EndsAt.UnixMilli}}", "fingerprint": "{{.Fingerprint}}"}"#;

impl Relay {
    /// It listens when it is told something for the first time, which is tried again.
    fn start(irc: u16) -> Self {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let config = directory.path().join("relay.yml");
        let text = format!(
            "http_host: 127.0.0.1\nhttp_port: {port}\nirc_host: 127.0.0.1\nirc_port: {irc}\nirc_use_ssl: no\n\
             irc_nickname: relay\nirc_realname: relay\nirc_channels: [{{name: '#ops'}}]\n\
             msg_once_per_alert_group: no\nmsg_template: '{TEMPLATE}'\n"
        );
        std::fs::write(&config, text).expect("the directory is writable");
        let mut command = Command::new("alertmanager-irc-relay");
        command.arg("-config").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("it was probed");
        Self { child, url: format!("http://127.0.0.1:{port}/ops"), _directory: directory }
    }
}

/// As much of a server of IRC as the relay needs; what it says in channels.
fn serve_irc(listener: TcpListener) -> mpsc::UnboundedReceiver<String> {
    let (sender, said) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let words: Vec<&str> = line.split(' ').collect();
                let answer = match words[..] {
                    ["USER", ..] => ":irc 001 relay :Welcome\r\n".to_owned(),
                    ["PING", word, ..] => format!(":irc PONG irc {word}\r\n"),
                    ["JOIN", channel, ..] => format!(":relay!relay@relay JOIN {channel}\r\n"),
                    ["NOTICE", "#ops", ..] => {
                        let text = line.split_once(" :").map(|(_, text)| text.to_owned());
                        // The test may have ended.
                        let _ = sender.send(text.unwrap_or_default());
                        continue;
                    }
                    _ => continue,
                };
                if write.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    said
}

// B1
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_to_irc_reads_what_it_is_sent() {
    if Command::new("alertmanager-irc-relay").arg("-help").output().is_err() {
        return skipped("Debian's alertmanager-irc-relay");
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let irc = listener.local_addr().expect("is bound").port();
    let mut said = serve_irc(listener);
    let relay = Relay::start(irc);
    let answers = eventually(PATIENCE, || async { client().get(&relay.url).send().await.ok() });
    assert!(answers.await.is_some(), "the relay listens");
    let setup = Setup::new(&config(&relay.url));
    let binary = setup.start();
    let mut fingerprints = BTreeMap::<String, BTreeSet<String>>::new();
    for (step, over) in COURSE.into_iter().enumerate() {
        post(&binary, over).await;
        let (expected, mut found) = (expected(step), BTreeMap::<String, String>::new());
        // What was not answered in time comes again.
        while expected.iter().any(|(instance, status)| found.get(*instance).is_none_or(|found| found != status)) {
            let line = tokio::time::timeout(PATIENCE, said.recv()).await;
            let line = line.unwrap_or_else(|_| unreachable!("{found:?}: {}", binary.log())).expect("it goes on");
            let alert: Value =
                serde_json::from_str(&line).unwrap_or_else(|_| unreachable!("whole and as it was: {line}"));
            let text = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
            let instance = text("instance");
            assert_eq!((text("name"), text("summary")), ("TooDeep".into(), format!("{instance} & others")));
            assert_eq!(text("starts"), "1767323045678");
            if text("status") == "resolved" {
                assert_eq!(text("ends"), "1767326400500");
            }
            fingerprints.entry(instance.clone()).or_default().insert(text("fingerprint"));
            found.insert(instance, text("status"));
        }
    }
    assert!(fingerprints.len() == 3 && fingerprints.values().all(|of| of.len() == 1), "{fingerprints:#?}");
}
