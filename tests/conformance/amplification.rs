//! Small bodies that ask for much: bombs, empty messages, deep nesting.

use std::time::Instant;

use prost::encoding::encode_varint;

use crate::kit::{
    Answer, Connection, Payload, Route, Service, Signal, frame, gzip, is_full, logs, metrics, record, traces, unique,
};

const MIB: usize = 1 << 20;

/// A service with the default limits (64 MiB), looked at from outside.
struct Bounded {
    service: Service,
    before: u64,
}

impl Bounded {
    fn start() -> Self {
        let service = Service::start("");
        service.process().forget_peak();
        let before = service.process().resident();
        Self { service, before }
    }

    /// Bytes by which memory grew at the most since the last question.
    fn growth(&mut self) -> u64 {
        let process = self.service.process();
        let growth = process.peak().saturating_sub(self.before);
        process.forget_peak();
        self.before = process.resident();
        growth
    }
}

/// A length-delimited field around `content`.
fn wrapped(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    encode_varint(field << 3 | 2, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

/// Zeros packed by gzip, `gib` GiB of them, as members of 64 MiB.
fn zeros(gib: usize) -> Vec<u8> {
    gzip(&vec![0; 64 * MIB]).repeat(gib * 16)
}

// E2
#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_of_ten_gibibytes_is_refused_for_the_price_of_one_request() {
    let mut bounded = Bounded::start();
    let bomb = zeros(10);
    let twice = gzip(&bomb);
    for route in [Route::ProtobufGzip, Route::JsonGzip, Route::GrpcGzip] {
        let cpu = bounded.service.process().cpu_seconds();
        let refusal = bounded.service.send_packed(Signal::Traces, &bomb, route).await.verdict().expect_err("is a bomb");
        assert_eq!((refusal.code, refusal.hint.details), (8, None), "{route:?}: {refusal:?}");
        assert_eq!(refusal.http, if route == Route::GrpcGzip { 0 } else { 413 }, "{route:?}: {refusal:?}");
        // Unpacking 64 MiB is what a good request may cost as well. An optimised build takes a tenth.
        let cpu = bounded.service.process().cpu_seconds() - cpu;
        assert!(cpu <= if cfg!(debug_assertions) { 5.0 } else { 1.0 }, "{route:?}: {cpu} s of processor time");
        let growth = bounded.growth();
        assert!(growth <= 2 * 64 * MIB as u64 + bomb.len() as u64, "{route:?}: {} MiB", growth >> 20);
    }
    // Packed twice and said once, it is garbage.
    let refusal = bounded.service.send_packed(Signal::Traces, &twice, Route::ProtobufGzip).await.verdict();
    assert!(refusal.is_err(), "{refusal:?}");
    bounded.service.assert_healthy().await;
}

/// An empty message of each kind, two bytes on the wire, repeated to `size` bytes in its place.
fn empties(size: usize) -> Vec<(&'static str, Signal, Vec<u8>)> {
    let many = |field: u64| wrapped(field, &[]).repeat(size / wrapped(field, &[]).len());
    // Each list goes from the innermost field outwards.
    let inside = |fields: &[u64], content: Vec<u8>| fields.iter().fold(content, |inner, f| wrapped(*f, &inner));
    let mut packed = vec![0_u8; size];
    packed.fill(0);
    vec![
        ("spans", Signal::Traces, inside(&[2, 1], many(2))),
        ("records", Signal::Logs, inside(&[2, 1], many(2))),
        ("metrics", Signal::Metrics, inside(&[2, 1], many(2))),
        ("points", Signal::Metrics, inside(&[5, 2, 2, 1], many(1))),
        ("pairs", Signal::Traces, inside(&[1, 1], many(1))),
        ("pairs of a point", Signal::Metrics, inside(&[1, 5, 2, 2, 1], many(7))),
        ("buckets", Signal::Metrics, inside(&[2, 8, 1, 10, 2, 2, 1], packed)),
        ("exemplars", Signal::Metrics, inside(&[1, 5, 2, 2, 1], many(5))),
        ("events", Signal::Traces, inside(&[2, 2, 1], many(11))),
        ("links", Signal::Traces, inside(&[2, 2, 1], many(13))),
        ("quantiles", Signal::Metrics, inside(&[1, 11, 2, 2, 1], many(6))),
        ("values", Signal::Logs, inside(&[5, 5, 2, 2, 1], many(1))),
        ("scopes", Signal::Logs, inside(&[1], many(2))),
        ("resources", Signal::Metrics, many(1)),
    ]
}

// E3
#[tokio::test(flavor = "multi_thread")]
async fn empty_messages_cost_no_more_than_they_weigh() {
    let mut bounded = Bounded::start();
    let sizes: &[usize] = if is_full() { &[1, 4, 16, 60] } else { &[1, 4] };
    let mut faults = Vec::new();
    for size in sizes {
        for (what, signal, body) in empties(size * MIB) {
            let started = Instant::now();
            let verdict = bounded.service.send_bytes(signal, &body, Route::GrpcGzip).await.verdict();
            let elapsed = started.elapsed();
            let growth = bounded.growth();
            // What is refused is refused for good; what is taken is counted to the last item.
            if !verdict.as_ref().map_or_else(|refusal| refusal.hint.details.is_none(), |partial| partial.rejected >= 0)
            {
                faults.push(format!("{what} {size} MiB: {verdict:?}"));
            }
            if let (Ok(partial), "spans" | "records" | "metrics" | "points") = (&verdict, what) {
                let items = i64::try_from(size * MIB / 2).expect("is small");
                if partial.rejected != items {
                    faults.push(format!("{what} {size} MiB: {} rejected of {items}", partial.rejected));
                }
            }
            if growth > 64 * MIB as u64 + 3 * (size * MIB) as u64 {
                faults.push(format!("{what} {size} MiB: grew by {} MiB in {elapsed:?}", growth >> 20));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    bounded.service.assert_healthy().await;
}

// E3
#[tokio::test(flavor = "multi_thread")]
async fn many_bodies_of_empty_messages_at_once_are_survived() {
    let mut bounded = Bounded::start();
    let (count, size) = if is_full() { (100, 4 * MIB) } else { (12, MIB) };
    let bodies = empties(size);
    let packed: Vec<_> = bodies.iter().take(4).map(|(_, signal, body)| (*signal, frame(&gzip(body), true))).collect();
    let calls = (0..count).map(|i| {
        let (signal, body) = packed[i % packed.len()].clone();
        let grpc = bounded.service.binary.grpc.clone();
        tokio::spawn(async move {
            let connection = Connection::open(&grpc).await;
            connection.call(signal.method(), &[("grpc-encoding", "gzip")], body).await
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        let answer = call.await.expect("no panic").expect("a call is answered");
        let verdict = Answer::Grpc(answer).verdict();
        let is_right = verdict.as_ref().map_or_else(|r| [8, 14].contains(&r.code), |p| p.rejected > 0);
        assert!(is_right, "{verdict:?}");
    }
    let growth = bounded.growth();
    assert!(growth <= 512 * MIB as u64, "grew by {} MiB", growth >> 20);
    bounded.service.assert_healthy().await;
    let answer = bounded.service.send(&Payload::one(Signal::Logs, "after"), Route::Grpc).await;
    assert!(answer.is_complete(), "{answer:?}");
}

/// A value nested `depth` times, in protobuf: lists in lists, or maps in maps.
fn nested(depth: usize, lists: bool) -> Vec<u8> {
    // Built from the inside; each level adds its heads in front, so the bytes are made backwards.
    let mut reversed: Vec<u8> = Vec::new();
    let head = |reversed: &mut Vec<u8>, field: u64| {
        let mut head = Vec::new();
        encode_varint(field << 3 | 2, &mut head);
        encode_varint(reversed.len() as u64, &mut head);
        reversed.extend(head.iter().rev());
    };
    for _ in 0..depth {
        if lists {
            head(&mut reversed, 1);
            head(&mut reversed, 5);
        } else {
            head(&mut reversed, 2);
            head(&mut reversed, 1);
            head(&mut reversed, 6);
        }
    }
    reversed.reverse();
    reversed
}

fn nested_json(depth: usize, lists: bool) -> String {
    let (open, close) = if lists {
        ("{\"arrayValue\":{\"values\":[", "]}}")
    } else {
        ("{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":", "}]}}")
    };
    format!("{}{{\"stringValue\":\"x\"}}{}", open.repeat(depth), close.repeat(depth))
}

// E4
#[tokio::test(flavor = "multi_thread")]
async fn nesting_of_any_depth_is_taken_or_refused_in_a_few_words() {
    let service = Service::shared();
    for depth in [8, 10, 20, 60, 100, 1_000, 10_000, 100_000] {
        for lists in [true, false] {
            let value = nested(depth, lists);
            let body = [5, 2, 2, 1].iter().fold(value.clone(), |inner, field| wrapped(*field, &inner));
            let pair = [wrapped(1, b"k"), wrapped(2, &value)].concat();
            let attribute = [9, 2, 2, 1].iter().fold(pair, |inner, field| wrapped(*field, &inner));
            let unknown = [77, 2, 2, 1].iter().fold(value, |inner, field| wrapped(*field, &inner));
            let time = crate::kit::base_time();
            let json = format!(
                "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"timeUnixNano\":\"{time}\",\"body\":{}}}]}}]}}]}}",
                nested_json(depth, lists)
            );
            for (what, signal, bytes, route) in [
                ("body", Signal::Logs, body.as_slice(), Route::Grpc),
                ("attribute", Signal::Traces, attribute.as_slice(), Route::Protobuf),
                ("unknown", Signal::Traces, unknown.as_slice(), Route::Protobuf),
                ("JSON", Signal::Logs, json.as_bytes(), Route::Json),
            ] {
                let verdict = service.send_bytes(signal, bytes, route).await.verdict();
                let message = verdict.as_ref().map_or_else(|r| &r.message, |p| &p.message);
                assert!(message.len() <= 1_024, "{what} {depth}: {} bytes", message.len());
                if let Err(refusal) = &verdict {
                    assert!(depth > 8, "{what} {depth} is no attack: {refusal:?}");
                    assert!(
                        [3, 8].contains(&refusal.code) && refusal.hint.details.is_none(),
                        "{what} {depth}: {refusal:?}"
                    );
                }
                assert!(depth < 1_000 || what == "unknown" || verdict.is_err(), "{what} {depth}: {verdict:?}");
            }
        }
    }
    for depth in [10, 1_000, 100_000] {
        for bytes in ["[".repeat(depth), "{\"a\":".repeat(depth)] {
            let verdict = service.send_bytes(Signal::Metrics, bytes.as_bytes(), Route::Json).await.verdict();
            assert!(verdict.is_err_and(|r| r.code == 3 && r.message.len() <= 1_024), "{depth}");
        }
        // Below a key that nobody knows, depth may be skipped or refused.
        let skipped = format!("{{\"future\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let verdict = service.send_bytes(Signal::Metrics, skipped.as_bytes(), Route::Json).await.verdict();
        assert!(verdict.as_ref().err().is_none_or(|r| depth > 10 && r.code == 3), "{depth}: {verdict:?}");
        // Groups within groups, which no OTLP message has.
        let groups = [[0xfb, 0x3e].repeat(depth), [0xfc, 0x3e].repeat(depth)].concat();
        let verdict = service.send_bytes(Signal::Metrics, &groups, Route::Protobuf).await.verdict();
        assert!(verdict.is_err() || depth == 10, "groups {depth}: {verdict:?}");
    }
    service.assert_healthy().await;
    let names = [metrics(&unique("after"), vec![]), traces("after", vec![]), logs("after", vec![record(1, "b")])];
    for payload in names {
        assert!(service.send(&payload, Route::Grpc).await.verdict().is_ok());
    }
}
