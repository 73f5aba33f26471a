//! Both doors from outside, where they have to say the same: credentials, overload, senders that go.

use http::Request;
use prost::Message as _;
use proto::rpc::Status;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::{
    AccessConfig, AdmissionConfig, Batch, Credential, Proof, Rate, Rejections, Secret, TenantLimits,
    fake::{self, Answer, Service},
};

const GRPC: [&str; 4] = [
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/no.such.Service/Method",
];
const HTTP: [&str; 4] = ["/v1/metrics", "/v1/traces", "/v1/logs", "/no/such/path"];
const SHOP: &str = "Bearer token-of-the-shop";

fn credential(name: &str, tenant: &str) -> Credential {
    Credential {
        name: name.into(),
        proof: Proof::Bearer(Secret::new(format!("token-of-the-{name}"))),
        tenants: vec![Tenant::new(tenant).expect("is a name")],
    }
}

fn guarded() -> Config {
    let credentials = vec![credential("shop", "shop"), credential("bank", "bank")];
    Config { access: AccessConfig { credentials, trust_header: false }, ..fake::config() }
}

type Headers<'a> = &'a [(&'static str, &'a str)];

/// A request by either transport with an empty message and these headers.
async fn send(service: &Service, transport: Transport, path: &str, headers: Headers<'_>) -> Answer {
    send_message(service, transport, path, headers, Vec::new()).await
}

async fn send_message(
    service: &Service,
    transport: Transport,
    path: &str,
    headers: Headers<'_>,
    message: Vec<u8>,
) -> Answer {
    let mut request = match transport {
        Transport::Grpc => {
            let mut framed = vec![0];
            framed.extend(u32::try_from(message.len()).expect("is small").to_be_bytes());
            framed.extend(message);
            let request = Request::post(format!("http://localhost{path}")).header("content-type", "application/grpc");
            request.body(framed)
        }
        Transport::Http => Request::post(path).header("content-type", "application/x-protobuf").body(message),
    }
    .expect("is a request");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("is a header's value"));
    }
    match transport {
        Transport::Grpc => fake::http2(service.grpc, request).await,
        Transport::Http => fake::http(service.http, request).await,
    }
}

/// The canonical code of an answer, whose HTTP status has to go with it.
fn code_of(transport: Transport, answer: &Answer) -> i32 {
    match transport {
        Transport::Grpc => answer.grpc_status(),
        Transport::Http if answer.status.is_success() => 0,
        Transport::Http => Status::decode(&*answer.body).expect("every error's body is a status").code,
    }
}

#[tokio::test]
async fn every_path_wants_a_credential_of_the_tenant() {
    let service = Service::start_as(&guarded()).await;
    let (unauthenticated, forbidden) = (16, 7);
    let cases: [(Headers<'_>, Option<i32>); 6] = [
        (&[], Some(unauthenticated)),
        (&[("x-scope-orgid", "shop")], Some(unauthenticated)),
        (&[("authorization", "Bearer token-of-nobody")], Some(unauthenticated)),
        (&[("authorization", SHOP), ("x-scope-orgid", "bank")], Some(forbidden)),
        (&[("authorization", SHOP)], None),
        (&[("authorization", SHOP), ("x-scope-orgid", "shop")], None),
    ];
    for (transport, paths, unknown) in [(Transport::Grpc, GRPC, 12), (Transport::Http, HTTP, 5)] {
        for (i, path) in paths.into_iter().enumerate() {
            for (headers, expected) in &cases {
                let answer = send(&service, transport, path, headers).await;
                let expected = expected.unwrap_or(if i == 3 { unknown } else { 0 });
                assert_eq!(code_of(transport, &answer), expected, "{path} {headers:?}");
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge.starts_with("Bearer"), expected == unauthenticated, "{path} {challenge}");
                let http = answer.status.as_u16();
                let of_http = [(unauthenticated, 401), (forbidden, 403), (unknown, 404), (0, 200)];
                let wanted = of_http.iter().find(|(code, _)| *code == expected).map(|(_, http)| *http);
                assert_eq!(Some(http), if transport == Transport::Http { wanted } else { Some(200) }, "{path}");
            }
        }
    }
    for outcome in [Outcome::Unauthenticated, Outcome::Forbidden] {
        assert!(service.counters.requests(Signal::Logs, Transport::Grpc, outcome) > 0, "{outcome:?}");
        assert!(service.counters.requests(Signal::Logs, Transport::Http, outcome) > 0, "{outcome:?}");
    }
    // A wrong method is not told apart for strangers either.
    let get = Request::get("/v1/logs").body(Vec::new()).expect("is a request");
    assert_eq!(fake::http(service.http, get).await.status.as_u16(), 401);
}

#[tokio::test]
async fn while_the_pipeline_does_not_move_every_refusal_can_be_sent_again_and_says_when() {
    let (queue, mut submissions) = Queue::new(1 << 20, fake::nothing_known());
    let service = Arc::new(Service::start_with(queue).await);
    let mut asking = tokio::task::JoinSet::new();
    // Some 200 requests of one unit come in; nobody answers them.
    for i in 0..260 {
        let service = Arc::clone(&service);
        let transport = Transport::ALL[i % 2];
        let path = [GRPC[0], HTTP[0]][i % 2];
        asking
            .spawn(async move { (transport, send_message(&service, transport, path, &[], fake::metrics(1, 0)).await) });
    }
    let (mut refused, mut waits) = (0, Vec::new());
    while refused < 60 {
        let (transport, answer) = asking.join_next().await.expect("sixty are refused").expect("no panic");
        assert_eq!(code_of(transport, &answer), 14);
        if transport == Transport::Http {
            assert!(matches!(answer.status.as_u16(), 429 | 503), "{:?}", answer.status);
        } else {
            let details = proto::base64::decode(answer.header("grpc-status-details-bin")).expect("is base64");
            let status = Status::decode(&*details).expect("is a status");
            let wait = status.retry_after().expect("says when").as_secs().to_string();
            assert_eq!(wait, answer.header("retry-after"));
        }
        waits.push(answer.header("retry-after").parse::<u32>().expect("is a number of seconds"));
        refused += 1;
    }
    assert!(waits.iter().all(|w| (1..=30).contains(w)) && waits.iter().any(|w| *w != waits[0]), "{waits:?}");
    assert_eq!(service.counters.turned_away().next(), Some(("service", 60)));
    assert_eq!((service.counters.limit(), service.counters.in_flight()), (200, 200));
    // The pipeline moves again: all that were let in are answered.
    let pipeline = tokio::spawn(async move {
        while let Some(submission) = submissions.recv().await {
            let _ = submission.reply.send(Ok(Rejections::default()));
        }
    });
    while let Some(answered) = asking.join_next().await {
        let (transport, answer) = answered.expect("no panic");
        assert_eq!(code_of(transport, &answer), 0);
    }
    assert_eq!(service.counters.in_flight(), 0);
    pipeline.abort();
}

#[tokio::test]
async fn a_tenant_that_fills_the_service_does_not_keep_others_out() {
    let (queue, mut submissions) = Queue::new(8 << 20, fake::nothing_known());
    let service = Arc::new(Service::start_in_front_of(&guarded(), queue).await);
    let mut asking = tokio::task::JoinSet::new();
    let mut ask = |who: &'static str| {
        let service = Arc::clone(&service);
        asking.spawn(async move {
            let who = [("authorization", who)];
            let answer = send_message(&service, Transport::Http, HTTP[0], &who, fake::metrics(1, 0)).await;
            answer.status.as_u16()
        });
    };
    let mut waiting = Vec::new();
    for _ in 0..200 {
        ask(SHOP);
        waiting.push(submissions.recv().await.expect("there is room"));
    }
    for _ in 0..100 {
        ask("Bearer token-of-the-bank");
        waiting.push(submissions.recv().await.expect("has its share"));
    }
    ask("Bearer token-of-the-bank");
    ask(SHOP);
    for _ in 0..2 {
        assert_eq!(asking.join_next().await.expect("two are refused").expect("no panic"), 429);
    }
    assert_eq!(waiting.iter().filter(|s| s.tenant.as_str() == "bank").count(), 100);
    for submission in waiting {
        submission.reply.send(Ok(Rejections::default())).expect("is waited for");
    }
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
    assert_eq!(service.counters.in_flight(), 0);
    let of = |name| service.counters.taken_of(&Tenant::new(name).expect("is a name")).accepted(Signal::Metrics);
    assert_eq!((of("bank"), of("nobody")), (100, 0));
    assert_eq!(service.counters.taken().accepted(Signal::Metrics), 300);
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_to_come_again() {
    let slow = TenantLimits { items: Some(Rate { per_second: 1, burst: 1 }), ..TenantLimits::default() };
    let shop = Tenant::new("shop").expect("is a name");
    let admission = AdmissionConfig { tenants: [(shop, slow)].into(), ..AdmissionConfig::default() };
    let service = Service::start_as(&Config { admission, ..guarded() }).await;
    let (shop, bank) = (("authorization", SHOP), ("authorization", "Bearer token-of-the-bank"));
    let (service, logs) = (&service, fake::logs(50, 0));
    let send = async |transport, path, who| send_message(service, transport, path, &[who], logs.clone()).await;
    assert_eq!(code_of(Transport::Http, &send(Transport::Http, HTTP[2], shop).await), 0);
    let answer = send(Transport::Http, HTTP[2], shop).await;
    assert_eq!((answer.status.as_u16(), code_of(Transport::Http, &answer)), (429, 14));
    let answer = send(Transport::Grpc, GRPC[2], shop).await;
    assert_eq!(code_of(Transport::Grpc, &answer), 14);
    assert!(!answer.header("grpc-status-details-bin").is_empty());
    assert_eq!(code_of(Transport::Grpc, &send(Transport::Grpc, GRPC[2], bank).await), 0);
    assert_eq!(service.counters.requests(Signal::Logs, Transport::Grpc, Outcome::Limited), 1);
}

#[tokio::test]
async fn nothing_is_done_for_a_caller_whose_time_has_passed() {
    let service = Service::start().await;
    let late = send_message(&service, Transport::Grpc, GRPC[0], &[("grpc-timeout", "0n")], fake::metrics(1, 0)).await;
    assert_eq!(late.grpc_status(), 4);
    assert_eq!(service.rows(), (0, 0, 0));
    assert_eq!(service.counters.requests(Signal::Metrics, Transport::Grpc, Outcome::Abandoned), 1);
    let odd = send(&service, Transport::Grpc, GRPC[0], &[("grpc-timeout", "soon")]).await;
    assert_eq!(odd.grpc_status(), 3);
    assert_eq!(service.counters.requests(Signal::Metrics, Transport::Grpc, Outcome::Malformed), 1);
    let ok = send_message(&service, Transport::Grpc, GRPC[0], &[("grpc-timeout", "1H")], fake::metrics(1, 0)).await;
    assert_eq!((ok.grpc_status(), service.rows()), (0, (1, 0, 0)));
}

#[tokio::test]
async fn a_connection_that_is_cut_abandons_its_request() {
    let (queue, mut submissions) = Queue::new(1 << 20, fake::nothing_known());
    let service = Service::start_with(queue).await;
    let body = fake::metrics(1, 0);
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(service.http).await.expect("the door is open");
    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("is taken");
    let mut submission = submissions.recv().await.expect("comes through");
    assert!(!submission.is_abandoned());
    drop(stream);
    let gone = tokio::time::timeout(Duration::from_secs(30), submission.reply.closed()).await;
    assert!(gone.is_ok() && submission.is_abandoned());
    assert_eq!(service.counters.requests(Signal::Metrics, Transport::Http, Outcome::Abandoned), 1);
}

#[tokio::test]
async fn a_stranger_is_told_so_in_its_own_encoding() {
    let service = Service::start_as(&guarded()).await;
    for (tenant, status, code) in [("shop", 200, 0), ("bank", 403, 7), ("..", 400, 3)] {
        let request = Request::post("/v1/logs").header("content-type", "application/json").body(b"{}".to_vec());
        let mut request = request.expect("is a request");
        for (name, value) in [("authorization", SHOP), ("x-scope-orgid", tenant)] {
            request.headers_mut().insert(name, value.parse().expect("is a header's value"));
        }
        let answer = fake::http(service.http, request).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, "application/json"));
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("is JSON");
        assert_eq!(body["code"].as_i64().unwrap_or(0), code, "{body}");
    }
}

fn door(queue: Queue) -> Door {
    let (config, counters) = (fake::config(), Arc::default());
    Door::new(&config, Doorkeeper::new(&config, &counters), counters, queue)
}

#[tokio::test]
async fn nothing_is_read_for_a_sender_that_goes_while_it_waits_for_its_turn() {
    let (queue, mut submissions) = Queue::new(1 << 30, fake::nothing_known());
    let door = door(queue);
    let ask = |bytes: Vec<u8>| {
        let (tenant, encoding, coding) = (Tenant::default(), Encoding::Protobuf, Coding::Identity);
        let (door, body) = (door.clone(), Body { tenant, bytes: bytes.into(), encoding, coding, _held: None });
        tokio::spawn(async move { door.take(Signal::Metrics, None, async { Ok(body) }).await })
    };
    // Nobody answers these, so that there is much to do.
    let mut busy = Vec::new();
    for _ in 0..=door.at_once {
        let asking = ask(fake::metrics(1, 0));
        busy.push((asking, submissions.recv().await.expect("has its turn at once")));
    }
    let turns = door.turns.acquire_many(u32::try_from(door.at_once).expect("is small")).await.expect("is open");
    let (goes, stays) = (ask(b"nonsense".to_vec()), ask(fake::metrics(1, 0)));
    while door.counters.in_flight() < busy.len() as u64 + 2 {
        tokio::task::yield_now().await;
    }
    goes.abort();
    assert!(goes.await.is_err_and(|e| e.is_cancelled()) && submissions.try_recv().is_err());
    drop(turns);
    let submission = submissions.recv().await.expect("has its turn");
    submission.reply.send(Ok(Rejections::default())).expect("is waited for");
    assert!(stays.await.is_ok_and(|answer| answer.is_ok()));
    assert_eq!(door.counters.requests(Signal::Metrics, Transport::Grpc, Outcome::Malformed), 0);
    assert_eq!(door.counters.requests(Signal::Metrics, Transport::Grpc, Outcome::Abandoned), 1);
    assert!(busy.iter().all(|(asking, submission)| !asking.is_finished() && !submission.is_abandoned()));
}

#[tokio::test]
async fn a_sender_that_goes_leaves_nothing_behind() {
    let (queue, mut submissions) = Queue::new(1 << 20, fake::nothing_known());
    let door = door(queue);
    let body = Body {
        tenant: Tenant::default(),
        bytes: fake::metrics(1, 0).into(),
        encoding: Encoding::Protobuf,
        coding: Coding::Identity,
        _held: None,
    };
    let counters = Arc::clone(&door.counters);
    let asking = tokio::spawn(async move { door.take(Signal::Metrics, None, async { Ok(body) }).await });
    let submission = submissions.recv().await.expect("comes through");
    assert_eq!((counters.in_flight(), submission.is_abandoned()), (1, false));
    asking.abort();
    assert!(asking.await.is_err_and(|e| e.is_cancelled()) && submission.is_abandoned());
    assert_eq!(counters.in_flight(), 0);
    assert_eq!(counters.requests(Signal::Metrics, Transport::Grpc, Outcome::Abandoned), 1);
    assert_eq!(submission.batch.len(), Batch::default().len() + 1);
}
