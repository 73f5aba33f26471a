//! What newer senders add makes no difference.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kit::{self, Payload, Route, SECOND, Service, Signal, base_time, cases, json_of, renamed, unique};

/// All stored points of each of the named services, without the name, and without the number that is made from all that a
/// series is where PromQL could not tell two of them apart.
pub(crate) async fn stored(service: &Service, names: &[String]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in names {
        let points = service.points(&format!("{{service_name=\"{name}\"}}")).await;
        let nameless = |(labels, points)| format!("{:?}", (numberless(labels), points)).replace(name.as_str(), "NAME");
        let mut series: Vec<String> = points.into_iter().map(nameless).collect();
        series.sort();
        found.insert(name.clone(), series.concat());
    }
    found
}

/// Without the value of `otel_series`, which has eight characters.
fn numberless(labels: String) -> String {
    const LABEL: &str = "\"otel_series\":\"";
    match labels.split_once(LABEL).and_then(|(before, rest)| Some((before, rest.get(8..)?))) {
        Some((before, after)) => format!("{before}{LABEL}{after}"),
        None => labels,
    }
}

/// Sends one more point and waits until it can be asked for: then so can all that was sent before.
pub(crate) async fn wait_until_stored(service: &Service) {
    let last = unique("last");
    let answer = service.send(&Payload::one(Signal::Metrics, &last), Route::Grpc).await;
    assert!(answer.is_complete(), "{answer:?}");
    assert_eq!(service.points_when(&format!("{{service_name=\"{last}\"}}"), 1).await.len(), 1);
}

/// Which length-delimited fields of a message are messages, and of which kind.
fn inner(kind: &str, field: u64) -> Option<&'static str> {
    Some(match (kind, field) {
        ("request", 1) => "envelope",
        ("envelope", 1) => "resource",
        ("envelope", 2) => "inner",
        ("inner", 1) => "scope",
        ("resource", 1)
        | ("scope", 3)
        | ("metric", 12)
        | ("number", 7)
        | ("histogram", 9)
        | ("exponential", 1)
        | ("span", 9)
        | ("record", 6) => "pair",
        ("pair", 2) | ("record", 5) => "value",
        ("metric", 5 | 7) => "numbers",
        ("metric", 9) => "histograms",
        ("metric", 10) => "exponentials",
        ("numbers", 1) => "number",
        ("histograms", 1) => "histogram",
        ("exponentials", 1) => "exponential",
        ("exponential", 8 | 9) => "buckets",
        ("span", 11) => "event",
        ("span", 13) => "link",
        ("span", 15) => "status",
        ("event", 3) | ("link", 4) => "pair",
        _ => return None,
    })
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

fn read_varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// A field that no version knows yet, of any wire type that is still in use.
fn unknown_field(random: &mut fastrand::Rng, out: &mut Vec<u8>) {
    let wire = [0, 1, 2, 5][random.usize(..4)];
    varint(random.u64(1_000..500_000) << 3 | wire, out);
    let length = match wire {
        0 => return varint(random.u64(..), out),
        1 => 8,
        5 => 4,
        _ => {
            let length = random.usize(..20);
            varint(length as u64, out);
            length
        }
    };
    out.extend((0..length).map(|_| random.u8(..)));
}

/// The same message with unknown fields between the fields of every message in it.
fn with_unknown_fields(bytes: &[u8], kind: &str, item: &'static str, random: &mut fastrand::Rng) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if random.bool() {
            unknown_field(random, &mut out);
        }
        let tag = read_varint(bytes, &mut at);
        varint(tag, &mut out);
        let length = match tag & 7 {
            0 => {
                varint(read_varint(bytes, &mut at), &mut out);
                continue;
            }
            1 => 8,
            5 => 4,
            _ => usize::try_from(read_varint(bytes, &mut at)).expect("is within the request"),
        };
        let content = &bytes[at..at + length];
        at += length;
        let below = if (kind, tag >> 3) == ("inner", 2) { Some(item) } else { inner(kind, tag >> 3) };
        let content = below.map_or_else(|| content.to_vec(), |kind| with_unknown_fields(content, kind, item, random));
        if tag & 7 == 2 {
            varint(content.len() as u64, &mut out);
        }
        out.extend(content);
    }
    unknown_field(random, &mut out);
    out
}

/// The same JSON with unknown keys in every object.
fn with_unknown_keys(value: &Value, random: &mut fastrand::Rng) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|v| with_unknown_keys(v, random)).collect(),
        Value::Object(map) => {
            let mut out: serde_json::Map<String, Value> =
                map.iter().map(|(k, v)| (k.clone(), with_unknown_keys(v, random))).collect();
            let choices =
                [json!(null), json!(7), json!([[], {}]), json!({"a": {"b": "c"}}), json!("\u{e4}"), json!(true)];
            let at = random.usize(..choices.len());
            out.insert(format!("future{}", random.u32(..)), choices[at].clone());
            out.insert("snake_case_key".into(), json!(1.5));
            out.into()
        }
        other => other.clone(),
    }
}

/// Sends spans and log records of a minute later: what they are counted in up to `time` is over then, and stored.
async fn close_buckets(service: &Service, names: &[String], time: u64) {
    let later = time + 60 * SECOND;
    for name in names {
        let span = kit::a_span("later", later - SECOND, later);
        for request in [kit::traces(name, vec![span]), kit::logs(name, vec![kit::record(later, "later")])] {
            let answer = service.send(&request, Route::Protobuf).await;
            assert!(answer.is_complete(), "{answer:?}");
        }
    }
}

// A12
#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_and_keys_at_every_level_change_nothing() {
    // So that only what is sent closes buckets, and nothing is stored between two looks.
    let service = Service::start("ingest: {idle: off}");
    let mut random = fastrand::Rng::with_seed(12);
    let mut groups = Vec::new();
    for _ in 0..cases(30, 1_000) {
        let names = [unique("known"), unique("tags"), unique("keys")];
        let time = base_time();
        for request in kit::varied("future", time) {
            let [known, tags, keys] = names.each_ref().map(|name| renamed(&request, name));
            let item = match request.signal() {
                Signal::Metrics => "metric",
                Signal::Traces => "span",
                Signal::Logs => "record",
            };
            let tagged = with_unknown_fields(&tags.protobuf(), "request", item, &mut random);
            let keyed = with_unknown_keys(&json_of(&keys), &mut random).to_string();
            // Each twice: spans and log records that come again are counted again.
            for answer in [
                service.send(&known, Route::Protobuf).await,
                service.send(&known, Route::Grpc).await,
                service.send_bytes(request.signal(), &tagged, Route::Protobuf).await,
                service.send_bytes(request.signal(), &tagged, Route::Grpc).await,
                service.send_bytes(request.signal(), keyed.as_bytes(), Route::Json).await,
                service.send_bytes(request.signal(), keyed.as_bytes(), Route::Json).await,
            ] {
                assert!(answer.is_complete(), "{answer:?}");
            }
        }
        close_buckets(&service, &names, time).await;
        groups.push(names);
    }
    wait_until_stored(&service).await;
    for names in groups {
        let stored = stored(&service, &names).await;
        let first = &stored[&names[0]];
        assert!(["calls_total", "log_records_total", "c_total"].iter().all(|name| first.contains(name)), "{first}");
        assert!(stored.values().all(|s| s == first), "{stored:#?}");
    }
}
