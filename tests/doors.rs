//! Credentials and certificates on the real binary: who is let in where, and what the log keeps to itself.

use std::{ffi::OsStr, process::Command};

use crate::binary::Binary;

#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const CONFIG: &str = "\
listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}
credentials:
  - {name: shop, bearer_token: 'file:token', tenants: [default]}
  - {name: bank, basic_auth: {username: bank, password: '${BANK_PASSWORD}'}, tenants: [bank]}
";
const TOKEN: &str = "token-that-nobody-may-see";
const PASSWORD: &str = "password-that-nobody-may-see";

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_wants_a_credential_and_the_log_keeps_secrets() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (config, data) = (directory.path().join("b.yaml"), directory.path().join("data"));
    std::fs::write(&config, CONFIG).expect("can be written");
    std::fs::write(directory.path().join("token"), TOKEN).expect("can be written");
    let arguments = [OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    let environment = [("BANK_PASSWORD", PASSWORD), ("BELLWETHER_LOG", "debug")];
    let binary = Binary::start_with(&arguments, &environment);
    // A failure means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let logs = |request: reqwest::RequestBuilder| request.header("content-type", "application/json").body("{}");
    let post = || logs(client.post(format!("{}/v1/logs", binary.http)));
    let get = |path: &str| client.get(format!("{}{path}", binary.api));
    let status = async |request: reqwest::RequestBuilder| request.send().await.expect("answers").status().as_u16();

    assert_eq!(status(post()).await, 401);
    assert_eq!(status(post().bearer_auth("guessed-by-a-stranger")).await, 401);
    assert_eq!(status(post().bearer_auth(TOKEN)).await, 200);
    assert_eq!(status(post().bearer_auth(TOKEN).header("x-scope-orgid", "bank")).await, 403);
    assert_eq!(status(post().basic_auth("bank", Some("wrong"))).await, 401);
    assert_eq!(status(post().basic_auth("bank", Some(PASSWORD))).await, 200);

    assert_eq!(status(get("/api/v1/status")).await, 401);
    assert_eq!(status(get("/api/v1/status").basic_auth("bank", Some(PASSWORD))).await, 200);
    assert_eq!(status(get("/healthz")).await, 200);
    let metrics = get("/metrics").bearer_auth(TOKEN).send().await.expect("answers").text().await.expect("is text");
    assert!(metrics.contains("transport=\"http\",outcome=\"unauthenticated\"} 3"), "{metrics}");

    let log = binary.log();
    assert!(log.contains("request refused"), "{log}");
    for secret in [TOKEN, PASSWORD, "guessed-by-a-stranger"] {
        assert!(!log.contains(secret) && !metrics.contains(secret), "{log}");
    }
    assert!(binary.stop().success());
}

#[test]
fn check_names_the_certificate_that_cannot_be_used() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let config = directory.path().join("b.yaml");
    std::fs::write(&config, "tls: {certificate: no.crt, key: no.key}\n").expect("can be written");
    let checked = Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("check").arg(&config).output().expect("runs");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(2), "{said}");
    assert!(said.contains("no.crt: tls: cannot be read"), "{said}");
}
