//! Files that are written from a data directory.

use std::{collections::BTreeMap, ffi::OsStr, fs::File, path::Path};

use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{Float64Type, UInt64Type},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::{Service, export, now, resource};

/// Two hosts, a point every 10 s for an hour that ended a quarter of an hour ago.
const POINTS: u64 = 360;

async fn fill(service: &Service, end: u64) {
    let points: Vec<Value> = (0..POINTS)
        .flat_map(|i| ["a", "b"].map(|host| (i, host)))
        .map(|(i, host)| {
            let attributes = [json!({"key": "host", "value": {"stringValue": host}})];
            let time = (end - 10 * (POINTS - 1 - i)) * 1_000_000_000;
            json!({"timeUnixNano": time.to_string(), "asDouble": i as f64 / 4.0, "attributes": attributes})
        })
        .collect();
    let scope = [json!({"metrics": [{"name": "load", "gauge": {"dataPoints": points}}]})];
    service.send("metrics", &json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": scope}]})).await;
    let span = json!({
        "traceId": format!("{:032x}", 7), "spanId": format!("{:016x}", 7), "name": "price",
        "startTimeUnixNano": (end * 1_000_000_000).to_string(), "endTimeUnixNano": (end * 1_000_000_000).to_string(),
    });
    let scope = [json!({"spans": [span]})];
    service.send("traces", &json!({"resourceSpans": [{"resource": resource(), "scopeSpans": scope}]})).await;
}

/// The table in a Parquet file.
fn read(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).expect("was written");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    reader.expect("is Parquet").collect::<Result<_, _>>().expect("is Parquet")
}

fn floats(batches: &[RecordBatch], column: &str) -> Vec<f64> {
    let values = |batch: &RecordBatch| {
        let column = batch.column_by_name(column).expect("is there");
        column.as_primitive::<Float64Type>().values().to_vec()
    };
    batches.iter().flat_map(values).collect()
}

/// Every file below a directory with its bytes.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("is there") {
        let path = entry.expect("is readable").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.display().to_string(), std::fs::read(&path).expect("is readable"));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_is_in_the_files() {
    let service = Service::start_with("detect: {enabled: false}\n");
    let end = now() - 900;
    fill(&service, end).await;
    let Service { binary, data, directory, .. } = service;
    assert!(binary.stop().success());
    let before = contents(&data);
    let file = directory.path().join("out");
    let write = |arguments: &[&str]| {
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        all.extend([OsStr::new("--output"), file.as_os_str()]);
        let output = export(&data, &all);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let total: f64 = (0..POINTS).map(|i| i as f64 / 2.0).sum();

    let said = write(&["--from", &(end - 1_000_000).to_string(), "--to", &end.to_string()]);
    assert!(said.starts_with(&file.display().to_string()) && said.ends_with(" rows"), "{said}");
    let rows = read(&file);
    let loads: Vec<f64> = rows
        .iter()
        .flat_map(|batch| {
            let names = batch.column_by_name("name").expect("is there").as_string::<i64>().clone();
            let values = floats(std::slice::from_ref(batch), "value");
            (0..values.len()).filter(|row| names.value(*row) == "load").map(|row| values[row]).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!((loads.len() as u64, loads.iter().sum::<f64>()), (2 * POINTS, total));

    write(&["--format", "csv", "--from", &(end - 15).to_string(), "--to", &end.to_string()]);
    let text = std::fs::read_to_string(&file).expect("is text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time,name,service,labels,value,kind,unit,series_id"));
    assert_eq!(lines.filter(|line| line.contains(",load,shop/pricing,")).count(), 4, "{text}");

    for (table, least) in [("metrics_5m", 24), ("metrics_1h", 2)] {
        write(&["--table", table]);
        let rows = read(&file);
        let counts = |batch: &RecordBatch| {
            let column = batch.column_by_name("count").expect("is there");
            column.as_primitive::<UInt64Type>().values().iter().sum::<u64>()
        };
        let (rollups, count) =
            (rows.iter().map(RecordBatch::num_rows).sum::<usize>(), rows.iter().map(counts).sum::<u64>());
        assert!(rollups >= least, "{table}: {rollups}");
        // Of the span, its rate, duration and errors are there as well.
        assert!(count >= 2 * POINTS && floats(&rows, "sum").iter().sum::<f64>() >= total, "{table}: {count}");
    }
    assert_eq!(write(&["--table", "spans", "--format", "csv"]), format!("{}: 1 rows", file.display()));
    assert!(std::fs::read_to_string(&file).expect("is text").contains(&format!("{:032x}", 7)));
    assert_eq!(write(&["--table", "logs"]), format!("{}: 0 rows", file.display()));
    assert_eq!(read(&file).iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert_eq!(contents(&data), before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_can_be_exported_from() {
    let service = Service::start_with("detect: {enabled: false}\ncheckpoint_every: 1s\nlevel: {assess_every: 1s}\n");
    fill(&service, now() - 900).await;
    let file = service.directory.path().join("out");
    let written = super::api::eventually(std::time::Duration::from_secs(30), || async {
        let output = export(&service.data, &[OsStr::new("--output"), file.as_os_str()]);
        (output.status.success() && !floats(&read(&file), "value").is_empty()).then_some(())
    });
    written.await.expect("a checkpoint is made");
    let statement = "SELECT count(*) FROM metrics WHERE name = 'load'";
    assert_eq!(service.ask(statement).await.json()["rows"], json!([[2 * POINTS]]));
}

#[test]
fn what_cannot_be_exported_is_said_and_leaves_no_file() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (data, file) = (directory.path().join("data"), directory.path().join("out"));
    let check = |arguments: &[&str], said: &str| {
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        all.extend([OsStr::new("--output"), file.as_os_str()]);
        let output = export(&data, &all);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
        assert_eq!(
            std::fs::read_dir(directory.path())
                .expect("is there")
                .filter(|e| e.as_ref().is_ok_and(|e| e.path() != data))
                .count(),
            0
        );
    };
    check(&[], "cannot read");
    std::fs::create_dir(&data).expect("can be made");
    check(&[], "there is no checkpoint yet");
    check(&["--from", "noon"], "--from: expected a time as RFC 3339 or Unix seconds, got \"noon\"");
    check(&["--tenant", "a/b"], "tenant");
    check(&["--table", "everything"], "metrics_5m");
}
