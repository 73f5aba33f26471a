//! What is older than the windows: a day of old data is taken in fast, asked for as a whole, and asked for again
//! after a restart.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    api::{Api, encoded, eventually},
    binary::Binary,
};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

/// Seconds; a midnight long ago.
const MIDNIGHT: u64 = 1_700_006_400;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Between two points.
const STEP: u64 = 30;

fn start(directory: &Path) -> Binary {
    Binary::start_in(directory, "detect: {enabled: false}\n")
}

/// The value of a host at a time; whole, so that sums are exact in any order.
fn value(host: u64, time: u64) -> u64 {
    (time / STEP).wrapping_mul(2_654_435_761).wrapping_add(host * 40_503) % 1_000
}

/// Sends the points of an hour. `is_quiet` leaves out all hosts but the first, which is how a host goes away.
async fn send_hour(binary: &Binary, from: u64, is_quiet: bool) {
    let hosts = if is_quiet { 1 } else { 3_u64 };
    let points: Vec<Value> = (0..HOUR / STEP)
        .map(|i| from + (i + 1) * STEP)
        .flat_map(|time| (0..hosts).map(move |host| (host, time)))
        .map(|(host, time)| {
            let attributes = [json!({"key": "host", "value": {"stringValue": host.to_string()}})];
            let value = value(host, time).to_string();
            json!({"timeUnixNano": (time * 1_000_000_000).to_string(), "asInt": value, "attributes": attributes})
        })
        .collect();
    let metric = json!({"name": "load", "gauge": {"dataPoints": points}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new().post(format!("{}/v1/metrics", binary.http));
    let answer = client.header("content-type", "application/json").body(body.to_string()).send().await;
    let answer = answer.expect("the door is open");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.text().await.expect("has a body").trim(), "{}");
}

/// Host and time in seconds to value.
type Answer = BTreeMap<(String, u64), f64>;

async fn ask(api: &Api, query: &str) -> Answer {
    let (from, to) = (MIDNIGHT + HOUR, MIDNIGHT + DAY);
    let path = format!("/api/v1/query_range?query={}&start={from}&end={to}&step=3600", encoded(query));
    let answer = api.get(&path).await;
    let series = answer["data"]["result"].as_array().expect("is a matrix").clone();
    let sample = |host: &Value, sample: &Value| {
        let host = host.as_str().expect("has a host").to_owned();
        let value = sample[1].as_str().and_then(|v| v.parse().ok()).expect("is a number");
        ((host, sample[0].as_u64().expect("is whole")), value)
    };
    series
        .iter()
        .flat_map(|s| s["values"].as_array().expect("has values").iter().map(|v| sample(&s["metric"]["host"], v)))
        .collect()
}

/// What an hour's statistic must be, for all hosts and hours.
fn naive(statistic: fn(&[u64]) -> u64) -> Answer {
    let hours = (1..=24).map(|hour| MIDNIGHT + hour * HOUR);
    let of = |(host, end): (u64, u64)| {
        let values: Vec<u64> = (0..HOUR / STEP).map(|i| value(host, end - i * STEP)).collect();
        ((host.to_string(), end), f64::from(u32::try_from(statistic(&values)).expect("is small")))
    };
    hours.flat_map(|end| (0..3).map(move |host| (host, end))).map(of).collect()
}

async fn check(binary: &Binary) {
    let api = Api::new(&binary.api);
    let least = |v: &[u64]| v.iter().copied().min().expect("has values");
    let greatest = |v: &[u64]| v.iter().copied().max().expect("has values");
    assert_eq!(ask(&api, "sum_over_time(load[1h])").await, naive(|v| v.iter().sum()));
    assert_eq!(ask(&api, "avg_over_time(load[1h]) * 120").await, naive(|v| v.iter().sum()));
    assert_eq!(ask(&api, "min_over_time(load[1h])").await, naive(least));
    assert_eq!(ask(&api, "max_over_time(load[1h])").await, naive(greatest));
    assert_eq!(ask(&api, "count_over_time(load[1h])").await, naive(|v| v.len() as u64));
    assert_eq!(ask(&api, "load").await, naive(|v| v[0]));
    let (from, to) = (MIDNIGHT, MIDNIGHT + DAY);
    let hosts = api.get(&format!("/api/v1/label/host/values?start={from}&end={to}")).await;
    assert_eq!(hosts["data"], json!(["0", "1", "2"]), "also those that have gone");
    let series = api.get(&format!("/api/v1/series?match[]=load&start={from}&end={to}")).await;
    assert_eq!(series["data"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_day_of_old_data_is_answered_as_a_whole_and_again_after_a_restart() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let binary = start(directory.path());
    for hour in 0..30 {
        send_hour(&binary, MIDNIGHT + hour * HOUR, hour >= 24).await;
    }
    await_writing(&binary).await;
    check(&binary).await;
    assert!(binary.stop().success());
    let binary = start(directory.path());
    check(&binary).await;
    // It goes on where it was.
    send_hour(&binary, MIDNIGHT + 30 * HOUR, true).await;
    check(&binary).await;
    binary.kill();
    let binary = start(directory.path());
    check(&binary).await;
}

/// Waits until there are rows in files.
async fn await_writing(binary: &Binary) {
    let rows = || async {
        let text = reqwest::get(format!("{}/metrics", binary.api)).await.ok()?.text().await.ok()?;
        let line = text.lines().find(|line| line.starts_with("bellwether_history_rows "))?;
        line.split(' ').nth(1)?.parse::<f64>().ok().filter(|rows| *rows > 0.0)
    };
    let found = eventually(Duration::from_secs(20), rows).await;
    assert!(found.is_some(), "nothing was written:\n{}", binary.log());
}
