//! Paths, methods, media types and framings of the HTTP door.

use bytes::Bytes;

use crate::kit::{Answer, Connection, Framing, HttpAnswer, Payload, Route, Service, Signal, http1, json_of, unique};

const TYPES: [&str; 5] =
    ["application/x-protobuf", "application/json", "application/json; charset=utf-8", "", "text/plain"];
const METHODS: [&str; 3] = ["POST", "GET", "PUT"];
const BODIES: [&str; 3] = ["ok", "empty", "garbage"];
/// How the request travels.
const CARRIERS: [&str; 3] = ["HTTP/1.1", "HTTP/2", "chunked"];

fn is_json(kind: &str) -> bool {
    kind.starts_with("application/json")
}

fn body_of(signal: Signal, kind: &str, body: &str) -> Vec<u8> {
    match (body, is_json(kind)) {
        ("ok", true) => json_of(&Payload::one(signal, &unique("matrix"))).to_string().into_bytes(),
        ("ok", false) => Payload::one(signal, &unique("matrix")).protobuf(),
        // An empty request in JSON is an empty object; no bytes at all are no JSON.
        ("empty", true) => b"{}".to_vec(),
        ("empty", false) => Vec::new(),
        _ => vec![0xff; 40],
    }
}

fn expected(method: &str, kind: &str, body: &str) -> u16 {
    match (method, kind, body) {
        ("GET" | "PUT", ..) => 405,
        (_, "" | "text/plain", _) => 415,
        (_, _, "garbage") => 400,
        _ => 200,
    }
}

async fn carry(service: &Service, carrier: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> HttpAnswer {
    let headers: Vec<(&str, &str)> =
        [("content-type", kind)].into_iter().filter(|(_, kind)| !kind.is_empty()).collect();
    let base = &service.binary.http;
    match carrier {
        "HTTP/2" => {
            let connection = Connection::open(base).await;
            let body = Bytes::copy_from_slice(body);
            connection.request(method, path, &headers, body).await.expect("the stream is answered")
        }
        "chunked" => http1(base, method, path, &headers, body, Framing::Chunked(7)).await,
        _ => http1(base, method, path, &headers, body, Framing::Length).await,
    }
}

// A1
#[tokio::test(flavor = "multi_thread")]
async fn every_method_type_body_and_framing_has_its_answer() {
    let service = Service::shared();
    let mut faults = Vec::new();
    let mut cells = 0;
    for signal in Signal::ALL {
        for (kind, method, body) in
            TYPES.iter().flat_map(|k| METHODS.iter().flat_map(move |m| BODIES.iter().map(move |b| (*k, *m, *b))))
        {
            let bytes = body_of(signal, kind, body);
            for carrier in CARRIERS {
                cells += 1;
                let answer = carry(&service, carrier, method, signal.path(), kind, &bytes).await;
                let wanted = expected(method, kind, body);
                if answer.status != wanted {
                    faults.push(format!(
                        "{method} {} {kind:?} {body} over {carrier}: {}, expected {wanted}",
                        signal.path(),
                        answer.status
                    ));
                    continue;
                }
                // Checks the media type, and that an error is a status with a code and a message.
                let route = if is_json(kind) { Route::Json } else { Route::Protobuf };
                let verdict = Answer::Http(route, answer).verdict();
                assert_eq!(verdict.is_ok(), wanted == 200, "{verdict:?}");
            }
        }
    }
    assert_eq!(cells, 405);
    assert_eq!(faults, Vec::<String>::new());
    service.assert_healthy().await;
}

// A1
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_there_is_answered_with_a_status() {
    let service = Service::shared();
    for (path, route, kind) in [
        ("/v1development/profiles", Route::Protobuf, "application/x-protobuf"),
        ("/v1/metrics/", Route::Json, "application/json"),
        ("/", Route::Json, "application/json"),
    ] {
        let base = &service.binary.http;
        let answer = http1(base, "POST", path, &[("content-type", kind)], b"{}", Framing::Length).await;
        let refusal = Answer::Http(route, answer).verdict().expect_err("there is no such path");
        assert_eq!((refusal.http, refusal.code), (404, 5), "{path}: {refusal:?}");
    }
    let connection = Connection::open(&service.binary.grpc).await;
    let answer = connection
        .call(
            "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
            &[],
            Bytes::from_static(&[0; 5]),
        )
        .await
        .expect("a call is answered");
    assert_eq!(answer.code, 12, "{answer:?}");
}
