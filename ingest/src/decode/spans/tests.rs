//! Spans against what prost says that was sent.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    resource::v1::Resource as SentResource,
    trace::v1::{self as wire, ResourceSpans, ScopeSpans, Status},
};
use proptest::prelude::*;
use prost::Message as _;
use proto::otlp::{Encoding, Signal};
use window::{Config, Window};

use super::*;
use crate::{Decoded, Decoder, Intake, IntakeConfig, KnownSeries, Limits, decode::tests::attempt};

/// Any value that nests at most eight levels.
pub(in crate::decode) fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        "[a-z\u{e4}]{0,6}".prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|flag| Some(Value::BoolValue(flag))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        (-1e9..1e9).prop_map(|number| Some(Value::DoubleValue(number))),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ];
    leaf.prop_map(|value| AnyValue { value }).prop_recursive(8, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }),
            prop::collection::vec(("[a-c]", inner), 0..3).prop_map(|entries| {
                let values = entries.into_iter().map(|(key, value)| pair(&key, value)).collect();
                AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
            }),
        ]
    })
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), key_strindex: 0 }
}

/// Attributes without repeated names.
pub(in crate::decode) fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec(value(), 0..4)
        .prop_map(|values| values.into_iter().zip(0..).map(|(v, i)| pair(&format!("key.{i}"), v)).collect())
}

fn sent_span() -> impl Strategy<Value = wire::Span> {
    let event = (attributes(), any::<u64>(), "[a-z]{0,4}", 0..3_u32).prop_map(|(attributes, time, name, dropped)| {
        wire::span::Event { time_unix_nano: time, name, attributes, dropped_attributes_count: dropped }
    });
    let link = (attributes(), any::<u8>(), any::<u32>()).prop_map(|(attributes, id, flags)| wire::span::Link {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        attributes,
        flags,
        ..wire::span::Link::default()
    });
    let lists = (attributes(), prop::collection::vec(event, 0..3), prop::collection::vec(link, 0..3));
    let status = prop::option::of((0..3_i32, "[a-z ]{0,5}").prop_map(|(code, message)| Status { code, message }));
    (lists, status, "[a-z]{0,3}", 0..6_i32, any::<u32>(), 1..1_000_000_u64, 0..3_u32).prop_map(
        |((attributes, events, links), status, text, kind, flags, time, dropped)| wire::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state: text.clone(),
            parent_span_id: vec![3; 8],
            flags,
            name: text,
            kind,
            start_time_unix_nano: time,
            end_time_unix_nano: time + 5,
            attributes,
            dropped_attributes_count: dropped,
            events,
            dropped_events_count: dropped,
            links,
            dropped_links_count: dropped,
            status,
        },
    )
}

fn request(resource: Vec<KeyValue>, scope: InstrumentationScope, spans: Vec<wire::Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource = Some(SentResource { attributes: resource, ..SentResource::default() });
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

fn decoded(spans: Vec<wire::Span>) -> Decoded {
    let shop = pair("service.name", AnyValue { value: Some(Value::StringValue("shop".into())) });
    let bytes = request(vec![shop], InstrumentationScope::default(), spans).encode_to_vec();
    attempt(Signal::Traces, &bytes).expect("is a request")
}

/// The span that a row is, put together again.
fn whole(row: &SpanRow<'_>) -> wire::Span {
    let mut span = wire::Span::decode(row.rest).expect("is a span");
    span.trace_id = row.trace_id.to_vec();
    span.span_id = row.span_id.to_vec();
    span.parent_span_id = row.parent_span_id.to_vec();
    span.flags = row.flags;
    span.name = row.name.into();
    span.kind = row.kind as i32;
    span.start_time_unix_nano = row.start.0.unsigned_abs();
    span.end_time_unix_nano = row.end.0.unsigned_abs();
    span.attributes = KeyValueList::decode(row.attributes).expect("is a list").values;
    let message = span.status.take().map(|s| s.message).unwrap_or_default();
    span.status = Some(Status { code: row.status as i32, message }).filter(|s| *s != Status::default());
    span
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_sent_is_lost(
        spans in prop::collection::vec(sent_span(), 1..4),
        resource in attributes(),
        (name, scope_attributes) in ("[a-z]{0,3}", attributes()),
    ) {
        let scope = InstrumentationScope { version: name.clone(), name, attributes: scope_attributes, dropped_attributes_count: 3 };
        let sent = request(resource.clone(), scope.clone(), spans.clone());
        let got = attempt(Signal::Traces, &sent.encode_to_vec()).expect("is a request");
        prop_assert_eq!((got.items, got.batch.rejected.count), (spans.len() as u64, 0));
        for (i, mut span) in spans.into_iter().enumerate() {
            span.status = span.status.filter(|s| *s != Status::default());
            prop_assert_eq!(got.batch.spans.get(i).map(|row| whole(&row)), Some(span));
            let [_, kept_resource, kept_scope] = got.batch.spans.origin(i);
            prop_assert_eq!(&SentResource::decode(kept_resource).expect("is a resource").attributes, &resource);
            prop_assert_eq!(InstrumentationScope::decode(kept_scope).expect("is a scope"), scope.clone());
        }
    }
}

fn span() -> wire::Span {
    wire::Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 10,
        end_time_unix_nano: 25,
        ..wire::Span::default()
    }
}

#[test]
fn a_valid_span_takes_the_least_bytes_and_no_fewer() {
    let least = wire::Span { name: String::new(), kind: 0, ..span() };
    let in_scope = ScopeSpans { spans: vec![least], ..ScopeSpans::default() };
    assert!(in_scope.encoded_len() >= LEAST_BYTES);
}

#[test]
fn a_span_keeps_what_detection_uses() {
    let status = Some(Status { code: 2, ..Status::default() });
    let got = decoded(vec![wire::Span { status, parent_span_id: vec![3; 8], name: "n".repeat(300), ..span() }, span()]);
    let row = got.batch.spans.get(0).expect("has two spans");
    assert_eq!((row.start, row.end, got.batch.spans.origin(0)[0]), (UnixNanos(10), UnixNanos(25), &b"shop"[..]));
    assert_eq!((row.kind, row.status, row.name.len()), (SpanKind::Server, SpanStatus::Error, 256));
    assert_eq!((row.trace_id, row.span_id, row.parent_span_id), ([1; 16], [2; 8], [3; 8]));
    let row = got.batch.spans.get(1).expect("has two spans");
    assert_eq!((row.status, row.parent_span_id, row.rest, got.items), (SpanStatus::Unset, [0; 8], &[][..], 2));
    assert_eq!(got.batch.feeds.len(), 1);
}

#[test]
fn spans_without_identity_or_time_are_refused() {
    let got = decoded(vec![
        wire::Span { trace_id: vec![0; 16], ..span() },
        wire::Span { trace_id: vec![1; 15], ..span() },
        wire::Span { span_id: vec![], ..span() },
        wire::Span { end_time_unix_nano: 0, ..span() },
        wire::Span { start_time_unix_nano: u64::MAX, ..span() },
        span(),
    ]);
    assert_eq!((got.batch.spans.len(), got.batch.rejected.count), (1, 5));
    let reasons = [
        "trace_id is not 16 bytes, or all zero",
        "span_id is not 8 bytes, or all zero",
        "span: end_time_unix_nano is 0",
        "span: start_time_unix_nano is beyond the year 2262",
    ];
    assert_eq!(got.batch.rejected.reasons, reasons);
}

fn int(key: &str) -> KeyValue {
    pair(key, AnyValue { value: Some(Value::IntValue(7)) })
}

#[test]
fn what_is_too_much_is_refused_or_dropped_and_counted() {
    let many = (0..129).map(|i| int(&i.to_string())).collect();
    let event = wire::span::Event { name: "e".repeat(30_000), ..wire::span::Event::default() };
    let got = decoded(vec![
        wire::Span { attributes: many, ..span() },
        wire::Span { attributes: vec![int("a"), int("b"), int("a")], events: vec![event; 3], ..span() },
    ]);
    assert_eq!((got.batch.rejected.count, got.batch.repeated_attributes), (1, 1));
    assert_eq!(got.batch.rejected.reasons, ["span: 129 attributes, the limit is 128"]);
    let kept = whole(&got.batch.spans.get(0).expect("one is kept"));
    assert_eq!((kept.attributes.len(), kept.dropped_attributes_count), (2, 1));
    assert_eq!((kept.events.len(), kept.dropped_events_count), (2, 1));
}

#[test]
fn an_event_or_a_link_keeps_as_many_attributes_as_an_item_may_have() {
    let attributes = |count: u32| (0..count).map(|i| int(&format!("key.{i}"))).collect::<Vec<_>>();
    let event = |count, dropped| wire::span::Event {
        time_unix_nano: 7,
        name: "e".into(),
        attributes: attributes(count),
        dropped_attributes_count: dropped,
    };
    let link = |count, dropped| wire::span::Link {
        trace_id: vec![4; 16],
        span_id: vec![5; 8],
        trace_state: "t".into(),
        attributes: attributes(count),
        dropped_attributes_count: dropped,
        flags: 1,
    };
    let sent = wire::Span {
        events: vec![event(128, 0), event(131, 2), event(129, u32::MAX)],
        links: vec![link(200, 0), link(128, 1)],
        ..span()
    };
    let got = decoded(vec![sent]);
    let kept = whole(&got.batch.spans.get(0).expect("is kept"));
    assert_eq!(kept.events, [event(128, 0), event(128, 5), event(128, u32::MAX)]);
    assert_eq!(kept.links, [link(128, 72), link(128, 1)]);
    assert_eq!((got.batch.rejected.count, kept.dropped_events_count, kept.dropped_links_count), (0, 0, 0));
}

#[test]
fn a_resource_or_a_scope_over_the_limits_is_refused_with_all_it_holds() {
    let long = || vec![int(&"n".repeat(1025))];
    let scope = InstrumentationScope { attributes: long(), ..InstrumentationScope::default() };
    for (sent, what) in [
        (request(long(), InstrumentationScope::default(), vec![span(); 3]), "resource"),
        (request(vec![], scope, vec![span(); 3]), "scope"),
    ] {
        let got = attempt(Signal::Traces, &sent.encode_to_vec()).expect("is a request");
        assert_eq!((got.batch.spans.len(), got.batch.rejected.count, got.batch.feeds.len()), (0, 3, 0));
        let reason = &got.batch.rejected.reasons[0];
        assert!(reason.starts_with(&format!("{what}: attribute name of 1025 bytes")), "{reason}");
    }
}

#[test]
fn what_is_malformed_within_an_attribute_an_event_or_a_link_refuses_the_request() {
    let whole = wire::Span {
        attributes: vec![int("abcdefgh")],
        events: vec![wire::span::Event { name: "ijklmnop".into(), ..Default::default() }],
        links: vec![wire::span::Link { trace_state: "qrstuvwx".into(), ..Default::default() }],
        // It would be refused for itself.
        trace_id: vec![],
        ..span()
    };
    let bytes = request(vec![], InstrumentationScope::default(), vec![span(), whole]).encode_to_vec();
    assert!(attempt(Signal::Traces, &bytes).is_ok());
    for text in ["abcdefgh", "ijklmnop", "qrstuvwx"] {
        let place = bytes.windows(8).position(|w| w == text.as_bytes()).expect("was sent");
        let mut broken = bytes.clone();
        broken[place + 3] = 0xff;
        let fault = attempt(Signal::Traces, &broken).map_err(|e| e.to_string());
        assert!(fault.as_ref().is_err_and(|fault| fault.contains("text is not UTF-8")), "{fault:?}");
    }
}

#[test]
fn room_is_made_for_spans_that_can_be_there() {
    let bomb = request(vec![], InstrumentationScope::default(), vec![wire::Span::default(); 10_000]).encode_to_vec();
    let got = attempt(Signal::Traces, &bomb).expect("is a request");
    assert_eq!((got.items, got.batch.rejected.count), (10_000, 10_000));
    assert!(got.batch.bytes() < 4 * bomb.len(), "{} bytes for {}", got.batch.bytes(), bomb.len());
}

#[test]
fn unknown_fields_and_scattered_attributes_give_the_same_columns() {
    let sent = wire::Span { attributes: vec![int("a"), int("b")], ..span() };
    let first = wire::Span { attributes: vec![int("a")], ..wire::Span::default() }.encode_to_vec();
    let second = wire::Span { attributes: vec![int("b")], ..span() }.encode_to_vec();
    // A field that nobody knows stands between, and the tag of the first is longer than it need be.
    let odd = [&[0xca, 0x00][..], &first[1..], &[0xd0, 0x7d, 1], &second].concat();
    let envelope = |span: &[u8]| {
        let mut scope = Vec::new();
        put_bytes(2, span, &mut scope);
        let (mut resource, mut request) = (Vec::new(), Vec::new());
        put_bytes(2, &scope, &mut resource);
        put_bytes(1, &resource, &mut request);
        request
    };
    let decode = |bytes: &[u8]| attempt(Signal::Traces, bytes).expect("is a request");
    let (odd, plain) = (decode(&envelope(&odd)), decode(&envelope(&sent.encode_to_vec())));
    assert_eq!(odd.batch.spans.get(0).expect("has a span"), plain.batch.spans.get(0).expect("has a span"));
}

/// When the spans of [`load`] end, until they are given another time.
const BASE: u64 = 1_700_000_000_000_000_000;

/// A request of 500 spans with twelve attributes, of 0.9 KB each.
fn load(number: usize) -> Vec<u8> {
    let text = |key: &str, value: String| pair(key, AnyValue { value: Some(Value::StringValue(value)) });
    let columns = "id, tenant_id, quote_id, material, finish, quantity, unit_price, lead_time_days, updated_at";
    let host = "quotes.production.example.internal";
    let one = |index: usize| {
        let id = (number * 500 + index + 1) as u64;
        let route = format!("/api/v1/tenants/{{tenant}}/quotes/{{quote}}/items/{:02}", index % 20);
        let path = format!("/api/v1/tenants/t-{:03}/quotes/q-{index:05}/items/{:02}", index % 50, index % 20);
        wire::Span {
            trace_id: [id.to_be_bytes(), id.rotate_left(17).to_be_bytes()].concat(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: (id | 1 << 40).to_be_bytes().to_vec(),
            name: format!("GET {route}"),
            kind: 2,
            start_time_unix_nano: BASE - 1_000_000 - index as u64 * 23_000,
            end_time_unix_nano: BASE,
            attributes: vec![
                text("http.request.method", "GET".into()),
                text("http.route", route),
                int("http.response.status_code"),
                text("url.full", format!("https://{host}{path}?currency=EUR&expand=pricing,dfm")),
                text("server.address", host.into()),
                int("server.port"),
                text("client.address", format!("10.20.{}.{}", index % 7, index % 251)),
                text(
                    "user_agent.original",
                    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0".into(),
                ),
                text("network.protocol.version", "1.1".into()),
                text("enduser.id", format!("user-{:06}", index * 7919)),
                text("db.query.text", format!("SELECT {columns} FROM items WHERE tenant_id = $1 AND quote_id = $2")),
                text("thread.name", format!("tokio-runtime-worker-{}", index % 8)),
            ],
            ..wire::Span::default()
        }
    };
    let resource = ["service.name", "service.namespace", "service.instance.id", "service.version", "host.name"]
        .map(|key| text(key, format!("{key}-{}", number % 8)));
    let scope = InstrumentationScope { name: "load".into(), version: "1".into(), ..InstrumentationScope::default() };
    request(resource.to_vec(), scope, (0..500).map(one).collect()).encode_to_vec()
}

/// Nanoseconds that this thread has run, which other processes on the machine do not lengthen.
fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("is Linux");
    stat.split(' ').next().and_then(|field| field.parse().ok()).expect("is a number")
}

#[test]
#[ignore = "prints the processor time of a span, for --release -- --ignored --nocapture"]
#[expect(clippy::print_stderr, reason = "the figures are what it is for")]
fn time_for_a_span() {
    let known = std::sync::Arc::new(KnownSeries::new(0));
    let decoder = Decoder::new(Limits::default());
    // After the first rounds the window is full, and takes the memory of the chunks that it lets go.
    let mut window = Window::new(Config { max_bytes: 64 << 20, ..Config::default() });
    let mut intake = Intake::new(IntakeConfig::default(), std::sync::Arc::clone(&known));
    let mut requests: Vec<Vec<u8>> = (0..8).map(load).collect();
    let near = |w: &[u8]| u64::from_le_bytes(w.try_into().expect("is eight bytes")).wrapping_sub(BASE - 1_000_000_000);
    let places = |bytes: &Vec<u8>| -> Vec<usize> {
        bytes.windows(8).enumerate().filter(|(_, w)| near(w) <= 1_000_000_000).map(|(place, _)| place).collect()
    };
    let places: Vec<Vec<usize>> = requests.iter().map(places).collect();
    for round in 0..6 {
        let (mut decoding, mut applying) = (0, 0);
        for number in 0..200 {
            let bytes = &mut requests[number % 8];
            for place in &places[number % 8] {
                let time = bytes[*place..].first_chunk_mut().expect("is eight bytes");
                *time = (u64::from_le_bytes(*time) + 8 * 5_000_000).to_le_bytes();
            }
            let begin = cpu_nanos();
            let decoded = decoder
                .measure(Signal::Traces, Encoding::Protobuf, bytes)
                .and_then(|m| decoder.decode(&m, &known))
                .expect("is a request");
            let read = cpu_nanos();
            let applied = intake.apply(decoded.batch, &mut window, None).expect("is not outdated");
            assert_eq!(applied.rejected.count, 0);
            decoding += read - begin;
            applying += cpu_nanos() - read;
        }
        let begin = cpu_nanos();
        window.seal();
        applying += cpu_nanos() - begin;
        assert_eq!(intake.passed().late_events, 0);
        eprintln!("round {round}: {} ns to decode a span, {} to keep it", decoding / 100_000, applying / 100_000);
    }
}
