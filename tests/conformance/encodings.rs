//! Compression, from none to nonsense.

use crate::kit::{
    Answer, Connection, Framing, Payload, Route, Service, Signal, frame, gzip, gzip_members, http1, unique, zstd,
};

/// Sends one good request in each signal as `pack` packs it and gives the answers.
async fn send_packed(service: &Service, route: Route, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for signal in Signal::ALL {
        let payload = Payload::one(signal, &unique("encodings"));
        let plain =
            if route.is_json() { crate::kit::json_of(&payload).to_string().into_bytes() } else { payload.protobuf() };
        answers.push(service.send_packed(signal, &pack(&plain), route).await);
    }
    answers
}

// A2
#[tokio::test(flavor = "multi_thread")]
async fn no_compression_and_gzip_of_one_or_many_members_are_read() {
    let service = Service::shared();
    for route in [Route::Grpc, Route::Protobuf, Route::Json] {
        for answer in send_packed(&service, route, <[u8]>::to_vec).await {
            assert!(answer.is_complete(), "{route:?}: {answer:?}");
        }
    }
    for route in [Route::GrpcGzip, Route::ProtobufGzip, Route::JsonGzip] {
        for members in [usize::MAX, 10, 1] {
            for answer in send_packed(&service, route, |plain| gzip_members(plain, members.min(plain.len()))).await {
                assert!(answer.is_complete(), "{route:?} in members of {members} bytes: {answer:?}");
            }
        }
    }
}

// A2
#[tokio::test(flavor = "multi_thread")]
async fn gzip_that_is_cut_or_wrong_is_bad_data() {
    let service = Service::shared();
    let cut_anywhere = |share: usize| move |plain: &[u8]| gzip(plain)[..gzip(plain).len() * share / 100].to_vec();
    let flipped = |plain: &[u8]| {
        let mut packed = gzip(plain);
        // The checksum stands in the last eight bytes.
        let at = packed.len() - 6;
        packed[at] ^= 0xff;
        packed
    };
    for route in [Route::GrpcGzip, Route::ProtobufGzip, Route::JsonGzip] {
        let mut answers = send_packed(&service, route, flipped).await;
        answers.extend(send_packed(&service, route, |plain| plain.to_vec()).await);
        for share in [10, 50, 99] {
            answers.extend(send_packed(&service, route, cut_anywhere(share)).await);
        }
        for answer in answers {
            let refusal = answer.verdict().expect_err("what cannot be unpacked is refused");
            assert_eq!(
                (refusal.code, refusal.http),
                (3, if route == Route::GrpcGzip { 0 } else { 400 }),
                "{refusal:?}"
            );
        }
    }
    service.assert_healthy().await;
}

// A2
#[tokio::test(flavor = "multi_thread")]
async fn encodings_that_are_not_known_are_refused_by_name_and_for_good() {
    let service = Service::shared();
    let payload = Payload::one(Signal::Traces, &unique("encodings"));
    let twice = gzip(&gzip(&payload.protobuf()));
    for encoding in ["br", "gzip, gzip", "deflate", "x-unknown", "gzip;q=1"] {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", encoding)];
        let answer = http1(&service.binary.http, "POST", "/v1/traces", &headers, &twice, Framing::Length).await;
        let refusal = Answer::Http(Route::Protobuf, answer).verdict().expect_err("is not known");
        assert!([400, 415].contains(&refusal.http), "{encoding}: {refusal:?}");
        assert!([3, 12].contains(&refusal.code), "{encoding}: {refusal:?}");
        assert!(refusal.message.contains(encoding), "{encoding}: {refusal:?}");

        let connection = Connection::open(&service.binary.grpc).await;
        let call = connection.call(Signal::Traces.method(), &[("grpc-encoding", encoding)], frame(&twice, true)).await;
        let answer = call.expect("a call is answered");
        assert_eq!(answer.code, 12, "{encoding}: {answer:?}");
        let known: Vec<&str> = answer.header("grpc-accept-encoding").split(',').map(str::trim).collect();
        assert!(known.contains(&"gzip") && known.contains(&"identity"), "{encoding}: {known:?}");
    }
    service.assert_healthy().await;
}

// A2
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_grpc_that_break_its_rules_are_refused() {
    let service = Service::shared();
    let good = Payload::one(Signal::Logs, &unique("frames")).protobuf();
    let (mut two, mut short, mut flag) =
        (frame(&good, false).to_vec(), frame(&good, false).to_vec(), frame(&good, false).to_vec());
    two.extend(frame(&good, false));
    short.truncate(good.len());
    flag[0] = 7;
    let marked = frame(&gzip(&good), true).to_vec();
    for (what, body) in [
        ("two messages", two),
        ("a message that is cut", short),
        ("an unknown flag", flag),
        ("compressed without saying how", marked),
        ("half a frame head", vec![0, 0, 0]),
        ("nothing", Vec::new()),
    ] {
        let connection = Connection::open(&service.binary.grpc).await;
        let call = connection.call(Signal::Logs.method(), &[], body.into()).await;
        // Ending the stream is an answer as well; being taken is not.
        if let Ok(answer) = call {
            assert!([3, 12, 13].contains(&answer.code), "{what}: {answer:?}");
        }
    }
    service.assert_healthy().await;
}

// A2
#[tokio::test(flavor = "multi_thread")]
async fn zstd_is_read_and_bounded_as_gzip_is() {
    let service = Service::start("ingest: {max_request_bytes: 1MiB}");
    let good = Payload::one(Signal::Metrics, &unique("zstd")).protobuf();
    let large = vec![0; (1 << 20) + 1];
    let cut = zstd(&good)[..good.len()].to_vec();
    let http = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
    for (what, body, code, status) in
        [("good", zstd(&good), 0, 200), ("cut", cut, 3, 400), ("too large", zstd(&large), 8, 413)]
    {
        let connection = Connection::open(&service.binary.grpc).await;
        let call = connection.call(Signal::Metrics.method(), &[("grpc-encoding", "zstd")], frame(&body, true)).await;
        let answer = call.expect("a call is answered");
        assert_eq!(answer.code, code, "{what}: {answer:?}");
        let answer = http1(&service.binary.http, "POST", "/v1/metrics", &http, &body, Framing::Length).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    let known = Connection::open(&service.binary.grpc).await;
    let answer = known.call(Signal::Metrics.method(), &[("grpc-encoding", "br")], frame(&good, true)).await;
    let answer = answer.expect("a call is answered");
    assert!(answer.header("grpc-accept-encoding").contains("zstd"), "{answer:?}");
}
