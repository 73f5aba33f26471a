//! Backtests with the real binary: the same decisions as a service that is sent the same, whatever the
//! recording is written in, and every fault of a file named.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use arrow_array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use serde_json::{Value, json};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const BEGIN: u64 = 1_767_600_000;
const STEPS: u64 = 420;
const EVERY: u64 = 10;

/// The same noise whoever asks, in [-1, 1).
fn noise(step: u64, salt: u64) -> f64 {
    let mut x = (step + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (salt + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    f64::from(u32::try_from(x >> 32).unwrap_or_default()) / f64::from(1_u32 << 31) - 1.0
}

/// A load with a spike and a step, and a temperature with a drop.
fn values(step: u64) -> [(&'static str, f64); 2] {
    let load = match step {
        200 => 400.0,
        300.. => 190.0,
        _ => 100.0,
    };
    let temperature = if (250..256).contains(&step) { 20.0 } else { 60.0 };
    [("load", load + 3.0 * noise(step, 1)), ("temperature", temperature + noise(step, 2))]
}

fn resource(service: &str) -> Option<Resource> {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(service.to_owned())) });
    let attributes = vec![KeyValue { key: "service.name".into(), value, ..KeyValue::default() }];
    Some(Resource { attributes, ..Resource::default() })
}

fn metrics(step: u64) -> Vec<u8> {
    let gauge = |(name, value): (&str, f64)| {
        let point = NumberDataPoint {
            time_unix_nano: (BEGIN + step * EVERY) * 1_000_000_000,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
        Metric { name: name.to_owned(), data, ..Metric::default() }
    };
    let scope = Some(InstrumentationScope { name: "bellwether".into(), ..InstrumentationScope::default() });
    let metrics = values(step).into_iter().map(gauge).collect();
    let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource("plant"), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// Twelve calls of ten seconds, slow for a while.
fn traces(step: u64) -> Vec<u8> {
    let slow = if (340..352).contains(&step) { 20 } else { 1 };
    let span = |i: u64| {
        let end = (BEGIN + step * EVERY) * 1_000_000_000 + i * 700_000_000;
        let jitter = (noise(step * 100 + i, 3) * 8e6).abs();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few milliseconds")]
        let duration = slow * (40_000_000 + jitter as u64);
        Span {
            trace_id: [step.to_be_bytes(), i.to_be_bytes()].concat(),
            span_id: (step * 100 + i + 1).to_be_bytes().to_vec(),
            name: "quote".into(),
            kind: 2,
            start_time_unix_nano: end - duration,
            end_time_unix_nano: end,
            ..Span::default()
        }
    };
    let scope_spans = vec![ScopeSpans { spans: (0..12).map(span).collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource("shop"), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn backtest(arguments: &[&OsStr]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.arg("backtest").args(arguments).env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    command.output().expect("cargo has built the binary")
}

fn said(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| unreachable!("no JSON: {error}\n{errors}"))
}

/// The result of replaying `path`, which must be read whole.
fn replayed(path: &Path) -> Value {
    let output = backtest(
        &["--format", "json", "--input"].map(OsStr::new).into_iter().chain([path.as_os_str()]).collect::<Vec<_>>(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    said(&output)
}

#[tokio::test]
async fn a_recording_is_decided_as_it_was_when_it_was_sent() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let config = directory.path().join("bellwether.yaml");
    // Links begin with the address of the API, so both have to know the same.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("loopback has a free port");
    let text = format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '{address}'}}\ndurability: memory\n");
    fs::write(&config, text).expect("can be written");
    let data = directory.path().join("data");
    let arguments = [OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    let live = binary::Binary::start(&arguments);
    let api = api::Api::new(&live.api);
    let client = reqwest::Client::new();
    // As the Collector's file exporter writes them: each request behind its length in four bytes.
    let mut recording = Vec::new();
    for step in 0..STEPS {
        for (path, body) in [("metrics", metrics(step)), ("traces", traces(step))] {
            recording.extend(u32::try_from(body.len()).expect("is short").to_be_bytes());
            recording.extend(&body);
            let sent = client.post(format!("{}/v1/{path}", live.http)).header("content-type", "application/x-protobuf");
            let answer = sent.body(body).send().await.expect("the binary answers");
            assert_eq!(answer.status().as_u16(), 200, "{}", live.log());
        }
    }
    let file = directory.path().join("recording.pb");
    fs::write(&file, recording).expect("can be written");
    let answered = api.items("/api/v1/anomalies?limit=1000").await;
    let inputs = [OsStr::new("--config"), config.as_os_str(), OsStr::new("--input"), file.as_os_str()];
    let output = backtest(&[&inputs[..], &["--format", "json"].map(OsStr::new)].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let replayed = said(&output)["anomalies"].as_array().cloned().unwrap_or_default();
    let of = |service: &str| answered.iter().filter(|anomaly| anomaly["service"] == service).count();
    assert!(of("plant") >= 3 && of("shop") >= 1, "what is compared is worth it: {answered:#?}");
    assert_eq!(replayed, answered);
    assert!(live.stop().success());
}

/// The same values as CSV, as OTLP JSON and as Parquet; each in a file that is called `plant`.
fn write_all(directory: &Path) -> [std::path::PathBuf; 3] {
    let path = |end: &str| directory.join(format!("plant.{end}"));
    let (mut csv, mut lines) = ("time,load,temperature,label\n".to_owned(), String::new());
    let (mut times, mut names, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..STEPS {
        let time = BEGIN + step * EVERY;
        let [(_, load), (_, temperature)] = values(step);
        csv.push_str(&format!("{time},{load},{temperature},0\n"));
        let nanos = (time * 1_000_000_000).to_string();
        let gauge = |(name, value): (&str, f64)| json!({"name": name, "gauge": {"dataPoints": [{"timeUnixNano": nanos, "asDouble": value}]}});
        let scope = json!({"scope": {"name": "bellwether"}, "metrics": values(step).map(gauge)});
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "plant"}}]});
        lines.push_str(&json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}).to_string());
        lines.push('\n');
        for (name, value) in values(step) {
            times.push(i64::try_from(time).expect("is small"));
            names.push(name);
            all.push(value);
        }
    }
    fs::write(path("csv"), csv).expect("can be written");
    fs::write(path("jsonl"), lines).expect("can be written");
    let field = |name: &str, kind| Field::new(name, kind, false);
    let schema = Arc::new(Schema::new(vec![
        field("time", DataType::Int64),
        field("name", DataType::Utf8),
        field("labels", DataType::Utf8),
        field("value", DataType::Float64),
    ]));
    let labels = StringArray::from(vec![r#"{"service.name": "plant"}"#; all.len()]);
    let columns: Vec<arrow_array::ArrayRef> = vec![
        Arc::new(Int64Array::from(times)),
        Arc::new(StringArray::from(names)),
        Arc::new(labels),
        Arc::new(Float64Array::from(all)),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns fit");
    let file = fs::File::create(path("parquet")).expect("can be written");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, None).expect("can be written");
    writer.write(&rows).expect("can be written");
    writer.close().expect("can be written");
    ["csv", "jsonl", "parquet"].map(path)
}

#[test]
fn what_a_recording_is_written_in_makes_no_difference() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let [csv, lines, parquet] = write_all(directory.path()).map(|path| replayed(&path));
    let found = |result: &Value| result["anomalies"].clone();
    assert!(found(&csv).as_array().is_some_and(|all| all.len() >= 3), "{csv:#}");
    assert_eq!(found(&csv), found(&lines));
    assert_eq!(found(&csv), found(&parquet));
    assert_eq!(csv["counts"]["judged"], 2 * STEPS);
    let rung = |i: usize| csv["thresholds"][i]["anomalies"].as_u64();
    assert_eq!(rung(0), found(&csv).as_array().map(|all| all.len() as u64));
    assert!(rung(7) < rung(0), "a higher threshold gives fewer");
}

#[test]
fn every_fault_is_named_with_its_place_and_the_rest_is_replayed() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.csv"), "time,load\n1767600000,1\nyesterday,2\n1767600020,many\n1767600030,4\n1767600040\n")
        .expect("can be written");
    fs::write(path("b.jsonl"), "{\"resourceMetrics\": []}\nnonsense\n{\"resourceSpans\": 7}\n")
        .expect("can be written");
    fs::write(path("c.pb"), [0, 0, 0, 9, 1]).expect("can be written");
    fs::write(path("d.parquet"), "PAR1").expect("can be written");
    let names = ["a.csv", "b.jsonl", "c.pb", "d.parquet", "none.csv", "e.txt"].map(path);
    let report = path("report.html");
    let mut arguments =
        vec![OsStr::new("--report"), report.as_os_str(), OsStr::new("--format=json"), OsStr::new("--input")];
    arguments.extend(names.iter().map(|name| name.as_os_str()));
    let output = backtest(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let result = said(&output);
    assert_eq!(result["counts"]["judged"], 2, "{result:#}");
    let faults: Vec<String> = result["faults"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|fault| {
            let file = Path::new(fault["file"].as_str().unwrap_or_default()).file_name().unwrap_or_default();
            format!(
                "{} {} {} {}",
                file.display(),
                fault["line"],
                fault["field"],
                fault["message"].as_str().unwrap_or_default()
            )
        })
        .collect();
    for expected in [
        "a.csv 3 \"time\" expected a time, got `yesterday`",
        "a.csv 4 \"load\" expected a number, got `many`",
        "a.csv 6 null has 1 fields; expected 2",
        "b.jsonl 2 null expected a JSON object",
        "b.jsonl 3 null ",
        "c.pb 1 null request 1 is cut off",
        "d.parquet null null is no Parquet file",
        "none.csv null null cannot be read",
        "e.txt null null expected a name that ends in",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
    }
    let page = fs::read_to_string(&report).expect("was written");
    assert!(page.contains("Not read") && !page.contains("<script"), "{page}");
    arguments.push(OsStr::new("--strict"));
    let strict = backtest(&arguments);
    assert_eq!(strict.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&strict.stderr).contains("d.parquet: is no Parquet file"),
        "the first that is opened"
    );
    let nothing = backtest(&[OsStr::new("--input"), path("none.csv").as_os_str()]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("none.csv: cannot be read"));
}

#[test]
fn the_page_shows_series_band_anomalies_and_alerts_without_needing_anything() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let [csv, ..] = write_all(directory.path());
    let rules = directory.path().join("rules.yaml");
    let rule = "groups:\n  - name: plant\n    interval: 10s\n    rules:\n      - alert: Cold\n        expr: temperature < 30\n";
    fs::write(&rules, rule).expect("can be written");
    let report = directory.path().join("report.html");
    let arguments: [&OsStr; 7] = [
        OsStr::new("--input"),
        csv.as_os_str(),
        OsStr::new("--rules"),
        rules.as_os_str(),
        OsStr::new("--report"),
        report.as_os_str(),
        OsStr::new("--strict"),
    ];
    let output = backtest(&arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 alert fired") && text.contains("Cold (warning) plant"), "{text}");
    let page = fs::read_to_string(&report).expect("was written");
    for part in
        ["polyline class=\"observed\"", "polygon class=\"band\"", "rect class=\"interval\"", "Cold", "Score above"]
    {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!page.contains("<script") && !page.contains("src=\"http") && !page.contains("<link"), "needs nothing else");
}
