//! Where the fuzzers begin: a few small requests that hold every kind of data.

use std::{fs, io, path::Path};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
    trace::v1::Span,
};

use crate::{
    build::{self, Payload},
    json_of,
};

/// An hour into the year 2020: the same seeds at any time.
const TIME: u64 = 1_577_840_400_000_000_000;

/// Writes the seeds to a folder for each target under `directory`.
///
/// # Errors
/// When a folder or a file cannot be written.
pub fn write(directory: &Path) -> io::Result<()> {
    for (target, payload) in ["metrics", "traces", "logs"].into_iter().zip(build::varied("seed", TIME)) {
        save(directory, target, "varied", &payload.protobuf())?;
        save(directory, "json", &format!("{target}.json"), json_of::of(&payload).to_string().as_bytes())?;
        // For the second half of that target, which begins with protobuf.
        save(directory, "json", &format!("{target}.pb"), &payload.protobuf())?;
        save(directory, target, "small", &small(target).protobuf())?;
    }
    for (target, payload) in
        [("traces", build::traces("a", spans_alike())), ("logs", build::logs("a", records_alike()))]
    {
        save(directory, target, "alike", &payload.protobuf())?;
    }
    Ok(())
}

fn small(target: &str) -> Payload {
    match target {
        "metrics" => build::metrics("a", vec![build::gauge("g", vec![build::point(TIME, 1.0, &[("k", "v")])])]),
        "traces" => build::traces("a", vec![build::a_span("s", TIME, TIME + 1)]),
        _ => build::logs("a", vec![build::record(TIME, "b")]),
    }
}

/// Attributes of items that follow each other: the same names, other values, one that is missing.
fn alike() -> impl Iterator<Item = Vec<KeyValue>> {
    let of = |route: &str, status: i64, cached: bool| {
        vec![
            build::attribute("http.route", build::text(route)),
            build::attribute("status", build::any(Any::IntValue(status))),
            build::attribute("cached", build::any(Any::BoolValue(cached))),
        ]
    };
    let missing = vec![of("/b", 200, true).remove(0), of("/b", 200, true).remove(2)];
    [of("/a", 200, true), of("/a", 200, true), of("/long/er", 404, false), missing, of("/\u{e4}", -1, true)].into_iter()
}

fn spans_alike() -> Vec<Span> {
    alike().map(|attributes| Span { attributes, ..build::a_span("s", TIME, TIME + 1) }).collect()
}

fn records_alike() -> Vec<LogRecord> {
    alike().map(|attributes| LogRecord { attributes, ..build::record(TIME, "b") }).collect()
}

fn save(directory: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = directory.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}
