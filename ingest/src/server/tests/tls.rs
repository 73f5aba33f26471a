//! TLS and client certificates, with certificates made here.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
        version::{TLS12, TLS13},
    },
};

use super::*;

/// A CA and what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

struct Signed {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the system gives random numbers");
        let certificate = params.self_signed(&key).expect("is its own issuer");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, until_year: i32) -> Signed {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("is a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().expect("the system gives random numbers");
        let certificate = params.signed_by(&key, &self.issuer).expect("the issuer may sign");
        Signed { certificate, key }
    }
}

impl Signed {
    fn write(&self, directory: &Path) {
        // The key first: a pair that does not match in between is refused and tried again.
        std::fs::write(directory.join("key.pem"), self.key.serialize_pem()).expect("can be written");
        std::fs::write(directory.join("cert.pem"), self.certificate.pem()).expect("can be written");
    }
}

fn config(directory: &Path, client_ca: Option<&Authority>) -> Config {
    let client_ca = client_ca.map(|authority| {
        let path = directory.join("ca.pem");
        std::fs::write(&path, authority.certificate.pem()).expect("can be written");
        path
    });
    let tls = TlsConfig {
        certificate: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        client_ca,
        reload_every: Duration::from_millis(20),
    };
    Config { tls: Some(tls), ..fake::config() }
}

fn client(
    roots: &[&Authority],
    own: Option<&Signed>,
    versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for authority in roots {
        store.add(authority.certificate.der().clone()).expect("is a certificate");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has them")
        .with_root_certificates(store);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain: Vec<CertificateDer<'static>> = vec![own.certificate.der().clone()];
            let key = PrivateKeyDer::try_from(own.key.serialize_der()).expect("is a key");
            builder.with_client_auth_cert(chain, key).expect("go together")
        }
    }
}

const EXPORT: &str = "https://localhost/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// One OTLP/HTTP request over TLS, or an OTLP/gRPC one where HTTP/2 is asked for; the protocol that was
/// agreed on, and the HTTP status.
async fn ask(address: SocketAddr, mut config: ClientConfig, alpn: &[u8]) -> Result<(Vec<u8>, u16), String> {
    config.alpn_protocols = vec![alpn.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let name = ServerName::try_from("localhost").expect("is a name");
    let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    let agreed = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
    let (io, logs) = (TokioIo::new(stream), fake::logs(1, 0));
    let response = if alpn == b"h2" {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let length = u8::try_from(logs.len()).expect("is short");
        let framed = [&[0, 0, 0, 0, length][..], &logs].concat();
        let request = Request::post(EXPORT).header("content-type", "application/grpc");
        sender.send_request(request.body(Full::new(Bytes::from(framed))).expect("is a request")).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let request = Request::post("/v1/logs").header("host", "localhost");
        let request = request.header("content-type", "application/x-protobuf");
        sender.send_request(request.body(Full::new(Bytes::from(logs))).expect("is a request")).await
    };
    let response = response.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    response.collect().await.map_err(|e| e.to_string())?;
    Ok((agreed, status))
}

#[tokio::test]
async fn both_doors_speak_tls_of_two_versions_and_agree_on_a_protocol() {
    let directory = tempfile::tempdir().expect("there is a place");
    let authority = Authority::new();
    authority.sign(2100).write(directory.path());
    let service = Service::start_as(&config(directory.path(), None)).await;
    for version in [&TLS12, &TLS13] {
        let client = || client(&[&authority], None, &[version]);
        assert_eq!(ask(service.http, client(), b"http/1.1").await, Ok((b"http/1.1".to_vec(), 200)));
        assert_eq!(ask(service.http, client(), b"h2").await, Ok((b"h2".to_vec(), 404)), "there is no gRPC here");
        assert_eq!(ask(service.grpc, client(), b"h2").await, Ok((b"h2".to_vec(), 200)));
        assert!(ask(service.grpc, client(), b"http/1.1").await.is_err(), "gRPC is HTTP/2");
    }
    assert_eq!(service.rows(), (0, 0, 4));
}

#[tokio::test]
async fn tls_1_1_and_plain_text_are_refused() {
    let directory = tempfile::tempdir().expect("there is a place");
    Authority::new().sign(2100).write(directory.path());
    let service = Service::start_as(&config(directory.path(), None)).await;
    // The greeting of a client that speaks TLS 1.1 at most: version 3.2 and one of its ciphers.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut record = vec![22, 3, 1, 0, 4 + u8::try_from(hello.len()).expect("is short"), 1, 0, 0];
    record.push(u8::try_from(hello.len()).expect("is short"));
    record.extend(hello);
    for (bytes, is_tls) in [(record, true), (b"POST /v1/logs HTTP/1.1\r\nhost: h\r\n\r\n".to_vec(), false)] {
        let mut stream = TcpStream::connect(service.http).await.expect("the door is open");
        stream.write_all(&bytes).await.expect("is taken");
        let mut answer = Vec::new();
        // A reset is a refusal as well.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        if is_tls {
            assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
        }
    }
}

#[tokio::test]
async fn with_a_client_ca_only_its_certificates_come_in() {
    let directory = tempfile::tempdir().expect("there is a place");
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign(2100).write(directory.path());
    let service = Service::start_as(&config(directory.path(), Some(&authority))).await;
    let with = |own| client(&[&authority], own, &[&TLS13, &TLS12]);
    let (good, expired, foreign) = (authority.sign(2100), authority.sign(2021), other.sign(2100));
    assert_eq!(ask(service.http, with(Some(&good)), b"http/1.1").await.map(|a| a.1), Ok(200));
    for (what, own) in [("none", None), ("expired", Some(&expired)), ("foreign", Some(&foreign))] {
        assert!(ask(service.http, with(own), b"http/1.1").await.is_err(), "{what}");
    }
    assert_eq!(service.rows(), (0, 0, 1));
}

#[tokio::test]
async fn new_certificates_are_taken_up_under_load_and_no_request_fails() {
    let directory = tempfile::tempdir().expect("there is a place");
    let (old, new) = (Authority::new(), Authority::new());
    old.sign(2100).write(directory.path());
    let service = Service::start_as(&config(directory.path(), None)).await;
    let (address, done) = (service.http, Arc::new(AtomicBool::new(false)));
    let both = client(&[&old, &new], None, &[&TLS13]);
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (both, done) = (both.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Relaxed) {
                    let answered = ask(address, both.clone(), b"http/1.1").await;
                    assert_eq!(answered.map(|a| a.1), Ok(200));
                }
            })
        })
        .collect();
    // What is no certificate changes nothing.
    std::fs::write(directory.path().join("cert.pem"), "half a file").expect("can be written");
    let only = |authority| client(&[authority], None, &[&TLS13]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ask(address, only(&old), b"http/1.1").await.map(|a| a.1), Ok(200));
    new.sign(2100).write(directory.path());
    let taken_up = async {
        while ask(address, only(&new), b"http/1.1").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken_up).await.expect("the new certificate is shown");
    assert!(ask(address, only(&old), b"http/1.1").await.is_err(), "the old one is gone");
    done.store(true, Relaxed);
    for sender in load {
        sender.await.expect("no request failed");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let directory = tempfile::tempdir().expect("there is a place");
    let (one, two) = (Authority::new().sign(2100), Authority::new().sign(2100));
    let check = || {
        let tls = config(directory.path(), None).tls.expect("is set");
        tls.check().map_err(|error| error.to_string())
    };
    assert!(check().is_err_and(|e| e.contains("cert.pem: cannot be read")));
    one.write(directory.path());
    assert_eq!(check(), Ok(()));
    std::fs::write(directory.path().join("key.pem"), two.key.serialize_pem()).expect("can be written");
    assert!(check().is_err(), "the key is not the certificate's");
    std::fs::write(directory.path().join("key.pem"), "-----BEGIN secret").expect("can be written");
    assert!(check().is_err_and(|e| e.contains("key.pem: expected a private key") && !e.contains("secret")));
    std::fs::write(directory.path().join("cert.pem"), "").expect("can be written");
    assert!(check().is_err_and(|e| e.contains("cert.pem: expected certificates in PEM")));
}
