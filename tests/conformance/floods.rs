//! Floods of HTTP/2 frames, and senders that take their time, beside senders that behave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Framing, Payload, Route, Service, Signal, eventually, http1, is_full, open, unique};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame types.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags of HEADERS, the first one of DATA too, the second one of CONTINUATION.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `POST http /` with authority `a`, in HPACK.
const HEAD: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];
const MIB: u64 = 1 << 20;

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("is small").to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// An empty export of logs by gRPC, which has an answer with a body; at the other door there is no such
/// path, which has one too.
fn question(stream: u32) -> Vec<u8> {
    // `:path` and `content-type` of HPACK's static table, each with a value of its own.
    let path = Signal::Logs.method().as_bytes();
    let length = u8::try_from(path.len()).expect("is short");
    let kind = b"application/grpc";
    let head = [&[0x83, 0x86, 0x41, 1, b'a', 0x04, length], path, &[0x0f, 0x10, 16], kind].concat();
    [http2_frame(HEADERS, END_HEADERS, stream, &head), http2_frame(DATA, END_STREAM, stream, &[0; 5])].concat()
}

/// What a flood begins with, and frame number `i` of it.
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 8] = [
    ("rapid reset", Vec::new, |i| {
        let stream = 2 * i + 1;
        [http2_frame(HEADERS, END_HEADERS, stream, HEAD), http2_frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
            .concat()
    }),
    (
        "continuation",
        || http2_frame(HEADERS, 0, 1, HEAD),
        |_| {
            // Literal headers without indexing: one letter, and a value of 100.
            let header = [&[0, 1, b'x', 100][..], &[b'v'; 100]].concat();
            http2_frame(CONTINUATION, 0, 1, &header.repeat(50))
        },
    ),
    ("empty data", || http2_frame(HEADERS, END_HEADERS, 1, HEAD), |_| http2_frame(DATA, 0, 1, &[])),
    ("settings", Vec::new, |_| http2_frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
    ("open streams", Vec::new, |i| http2_frame(HEADERS, END_HEADERS, 2 * i + 1, HEAD)),
    ("ping", Vec::new, |_| http2_frame(PING, 0, 0, &[7; 8])),
    (
        // Every answer has a body, and none of it may be sent.
        "zero window",
        || http2_frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
        |i| question(2 * i + 1),
    ),
    (
        // An answer is let out byte by byte, and the connection's window grows beside it.
        "window updates",
        || {
            let none = http2_frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            [none, question(1)].concat()
        },
        |i| http2_frame(WINDOW_UPDATE, 0, i % 2, &1_u32.to_be_bytes()),
    ),
];

/// Floods `base` over and over until `stop`; how often it was cut off.
async fn flood(base: String, flood: Flood, stop: Arc<AtomicBool>, closed: Arc<AtomicU64>) {
    let (_, begin, next) = flood;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = open(&base).await;
        let mut first = [PREFACE.to_vec(), http2_frame(SETTINGS, 0, 0, &[])].concat();
        first.extend(begin());
        let _ = stream.write_all(&first).await;
        let mut i = 0;
        while !stop.load(Ordering::Relaxed) {
            let many: Vec<u8> = (i..i + 100).flat_map(next).collect();
            i += 100;
            // Nobody reads here: what the service wants to say has to be its own problem.
            let written = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&many)).await;
            if !matches!(written, Ok(Ok(()))) {
                closed.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
}

// E5
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_leave_the_others_and_the_memory_alone() {
    let service = Service::start("");
    let time = Duration::from_secs(if is_full() { 60 } else { 2 });
    for one in FLOODS {
        for base in [&service.binary.grpc, &service.binary.http] {
            let (stop, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let before = service.process().resident();
            service.process().forget_peak();
            let tasks: Vec<_> = (0..4)
                .map(|_| tokio::spawn(flood(base.clone(), one, Arc::clone(&stop), Arc::clone(&closed))))
                .collect();
            let healthy = async {
                let (mut good, mut all) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    for route in [Route::Grpc, Route::Protobuf] {
                        all += 1;
                        good +=
                            u32::from(service.send(&Payload::one(Signal::Logs, "healthy"), route).await.is_complete());
                    }
                }
                (good, all)
            };
            let timer = async {
                tokio::time::sleep(time / 2).await;
                stop.store(true, Ordering::Relaxed);
            };
            let ((good, all), ()) = tokio::join!(healthy, timer);
            for task in tasks {
                task.await.expect("a flood just ends");
            }
            let growth = service.process().peak().saturating_sub(before);
            assert!(good == all && all > 0, "{} at {base}: {good} of {all} healthy requests were taken", one.0);
            assert!(growth <= 50 * MIB, "{} at {base}: grew by {} MiB", one.0, growth / MIB);
        }
    }
    service.assert_healthy().await;
}

/// What it is, where to, what is sent at once, and the byte that is sent now and then.
type Slow = (&'static str, String, Vec<u8>, u8);

/// Ways to be slow within a request.
fn slow_requests(service: &Service) -> Vec<Slow> {
    let http = service.binary.http.clone();
    let body = b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n";
    let chunk = b"POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n";
    vec![
        ("a head", http.clone(), b"POST /v1/traces HTTP/1.1\r\nx: ".to_vec(), b'a'),
        ("a body", http.clone(), body.to_vec(), 0),
        ("a chunk", http, chunk.to_vec(), b' '),
    ]
}

/// Waits until the service has ended the connection.
async fn until_closed(mut stream: tokio::net::TcpStream, drip: u8) {
    let mut buffer = [0; 1024];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) {
            return;
        }
        if drip != 0 && stream.write_all(&[drip]).await.is_err() {
            return;
        }
    }
}

/// That connections of all these ways are ended within a minute, and others are served all the time.
async fn assert_cut_off(service: &Service, ways: Vec<Slow>) {
    let each = if is_full() { 1_600 } else { 25 };
    let before = service.process().resident();
    let mut slow = Vec::new();
    for (what, base, first, drip) in ways {
        for _ in 0..each {
            let mut stream = open(&base).await;
            stream.write_all(&first).await.expect("the connection is new");
            slow.push((what, tokio::spawn(until_closed(stream, drip))));
        }
    }
    for i in 0..100 {
        let route = Route::ALL[i % 6];
        let answer = service.send(&Payload::one(Signal::Metrics, &unique("beside")), route).await;
        assert!(answer.is_complete(), "{answer:?}");
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut open_still = std::collections::BTreeMap::new();
    for (what, task) in slow {
        if tokio::time::timeout_at(deadline, task).await.is_err() {
            *open_still.entry(what).or_insert(0_u32) += 1;
        }
    }
    assert!(open_still.is_empty(), "after a minute these are still open: {open_still:?}");
    let growth = service.process().resident().saturating_sub(before);
    assert!(growth <= 100 * MIB, "grew by {} MiB", growth / MIB);
    let fds = eventually(Duration::from_secs(10), || async {
        let open = service.counted("process_open_fds", &[]).await;
        (open < 60.0).then_some(open)
    });
    assert!(fds.await.is_some(), "file descriptors stay open");
    let healthy = http1(&service.binary.api, "GET", "/healthz", &[], &[], Framing::Length).await;
    assert_eq!(healthy.status, 200);
}

// D8
#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_are_cut_off_within_a_minute_and_harm_nobody() {
    let service = Service::start("");
    assert_cut_off(&service, slow_requests(&service)).await;
}

/// Ways to be slow before there is a request.
fn slow_beginnings(service: &Service) -> Vec<Slow> {
    let (http, grpc) = (service.binary.http.clone(), service.binary.grpc.clone());
    let preface = [PREFACE.to_vec(), http2_frame(SETTINGS, 0, 0, &[]), http2_frame(HEADERS, 0, 1, HEAD)].concat();
    vec![
        ("nothing by HTTP", http, Vec::new(), 0),
        ("nothing by gRPC", grpc.clone(), Vec::new(), 0),
        ("half a preface", grpc.clone(), PREFACE[..10].to_vec(), 0),
        ("half a head in HTTP/2", grpc, preface, 0),
    ]
}

// D8
#[tokio::test(flavor = "multi_thread")]
async fn slow_beginnings_are_cut_off_within_a_minute_and_harm_nobody() {
    let service = Service::start("");
    assert_cut_off(&service, slow_beginnings(&service)).await;
}
