//! Bad input from outside: a clear error with the right code, and the service goes on, or refuses to
//! start with exit code 2.

use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{api::Api, binary::Binary};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

/// Runs the binary to its end; exit code, standard output and standard error.
fn run(arguments: &[&OsStr]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(arguments)
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn free_ports(directory: &Path) -> std::path::PathBuf {
    let config = directory.join("bellwether.yaml");
    let text = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}\n";
    std::fs::write(&config, text).expect("the directory is writable");
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_the_doors_is_refused_and_the_service_goes_on() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (config, data) = (free_ports(directory.path()), directory.path().join("data"));
    let binary =
        Binary::start(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()]);
    let api = Api::new(&binary.api);
    let client = reqwest::Client::new();
    let post = |path: &'static str, kind: &'static str, body: Vec<u8>| {
        client.post(format!("{}{path}", binary.http)).header("content-type", kind).body(body).send()
    };
    let protobuf = "application/x-protobuf";
    for (path, kind, body, status) in [
        ("/v1/metrics", protobuf, vec![0xff; 100], 400),
        ("/v1/traces", "application/json", b"{\"resourceSpans\": 7}".to_vec(), 400),
        ("/v1/traces", "application/json", vec![b'['; 100_000], 400),
        ("/v1/logs", "text/plain", b"hello".to_vec(), 415),
        ("/v1/profiles", protobuf, Vec::new(), 404),
        ("/v1/metrics", protobuf, vec![0; (64 << 20) + 1], 413),
        ("/v1/metrics", protobuf, Vec::new(), 200),
    ] {
        let answer = post(path, kind, body).await;
        let got = answer.map(|a| a.status().as_u16());
        assert!(matches!(got, Ok(code) if code == status), "{path} {kind}: {got:?}, expected {status}");
    }
    let got = client.get(format!("{}/v1/metrics", binary.http)).send().await.expect("answers");
    assert_eq!(got.status().as_u16(), 405);

    for path in ["/api/v1/anomalies?limit=many", "/api/v1/anomalies?sevrity=warning", "/api/v1/anomalies?minScore=NaN"]
    {
        let answer = client.get(format!("{}{path}", binary.api)).send().await.expect("answers");
        assert_eq!(answer.status().as_u16(), 400, "{path}");
        let kind = answer.headers()["content-type"].to_str().unwrap_or_default().to_owned();
        assert!(kind.starts_with("application/problem+json"), "{path}: {kind}");
        let problem: Value = serde_json::from_slice(&answer.bytes().await.expect("has a body")).expect("is JSON");
        let parameter = path.split(['?', '=']).nth(1).unwrap_or_default();
        assert_eq!(problem["parameter"], parameter, "{problem}");
    }
    let refused = client.get(format!("{}/api/v1/query?query=sum(", binary.api)).send().await.expect("answers");
    assert_eq!(refused.status().as_u16(), 400);
    assert_eq!(api.get("/api/v1/status").await["version"], env!("CARGO_PKG_VERSION"));
    assert!(!binary.log().contains("panicked"), "{}", binary.log());
    assert!(binary.stop().success());
}

#[test]
fn every_fault_of_a_configuration_is_said_at_once_and_nothing_starts() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let config = directory.path().join("bad.yaml");
    std::fs::write(&config, "listen: {grpc: nowhere}\nwindow: {span: soon}\ntypo: 1\n").expect("is writable");
    for arguments in [vec![OsStr::new("check"), config.as_os_str()], vec![OsStr::new("--config"), config.as_os_str()]] {
        let (code, out, err) = run(&arguments);
        assert_eq!(code, Some(2));
        for line in ["bad.yaml:1: listen.grpc", "bad.yaml:2: window.span", "bad.yaml:3: unknown key `typo`"] {
            assert!(out.contains(line) || err.contains(line), "{line} is not in:\n{out}{err}");
        }
    }
}

#[test]
fn every_fault_of_a_rule_file_is_said_at_once() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let rules = directory.path().join("rules.yaml");
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: histogram_stddev(x)\n  - alert: B\n    expr: x >\n    for: never\n";
    std::fs::write(&rules, text).expect("is writable");
    let (code, out, _) = run(&[OsStr::new("check"), rules.as_os_str()]);
    assert_eq!(code, Some(2));
    for part in ["rules.yaml:5:", "histogram_stddev", "rules.yaml:7:", "rules.yaml:8:", "3 faults found"] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
}

#[test]
fn a_valid_file_is_said_to_be_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (rules, example) = (root.join("rules/business.yaml"), root.join("bellwether.example.yaml"));
    let (code, out, _) = run(&[OsStr::new("check"), rules.as_os_str(), example.as_os_str()]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("4 rules in 1 groups are valid"), "{out}");
}

#[test]
fn a_taken_port_and_an_unusable_directory_are_named() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = taken.local_addr().expect("is bound").to_string();
    let config = directory.path().join("bellwether.yaml");
    for key in ["grpc", "http", "api"] {
        let mut ports = [("grpc", "127.0.0.1:0"), ("http", "127.0.0.1:0"), ("api", "127.0.0.1:0")];
        ports.iter_mut().filter(|(name, _)| *name == key).for_each(|p| p.1 = &address);
        let list: Vec<String> = ports.iter().map(|(name, port)| format!("{name}: '{port}'")).collect();
        std::fs::write(&config, format!("listen: {{{}}}\n", list.join(", "))).expect("is writable");
        let data = directory.path().join("data");
        let (code, _, err) =
            run(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(&address), "{key}: {err}");
    }
    let config = free_ports(directory.path());
    let file = directory.path().join("a-file");
    std::fs::write(&file, "").expect("is writable");
    let (code, _, err) = run(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), file.as_os_str()]);
    assert_eq!(code, Some(2));
    assert!(err.contains("a-file"), "{err}");
}

/// Like `bellwether serve | head -1`.
#[test]
fn a_reader_of_the_start_up_lines_may_go_away() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let free = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let api = free.local_addr().expect("is bound");
    drop(free);
    let config = directory.path().join("bellwether.yaml");
    let text = format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '{api}'}}\n");
    std::fs::write(&config, text).expect("the directory is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args([OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), directory.path().as_os_str()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let answers = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(api)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let is_up = (0..200).any(|_| {
        let is_up = answers().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
        if !is_up {
            std::thread::sleep(Duration::from_millis(50));
        }
        is_up
    });
    let ended = child.try_wait().expect("can be asked");
    child.kill().expect("can be ended");
    child.wait().expect("was ended");
    assert!(is_up && ended.is_none(), "ended with {ended:?}");
}
