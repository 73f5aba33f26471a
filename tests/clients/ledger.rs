//! A ledger: every entry that clients were told to send against every entry that is there.

use std::{collections::BTreeMap, ffi::OsStr, time::Duration};

use tempfile::TempDir;

use crate::{
    api::{Api, encoded, eventually},
    binary::Binary,
};

/// Entries that each client sends: a span, a series and a log record each. More than one batch of any
/// SDK, and within the limits of their queues (2,048) and of series per metric (2,000).
pub(crate) const ENTRIES: u32 = 1_000;
/// Spans and logs are summed up when their service has been silent for a bucket and the grace.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many differences a message names.
const SHOWN: usize = 5;

/// Without detectors, which say nothing here.
const CONFIG: &str = "
listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}
ingest: {span_bucket: 1s, span_grace: 5s, max_operations: 2000}
detect: {enabled: false}
";

/// A binary that nothing else is sent to.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) binary: Binary,
    api: Api,
    _directory: TempDir,
}

impl Ledger {
    /// Starts the binary.
    pub(crate) fn open() -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let config = directory.path().join("bellwether.yaml");
        std::fs::write(&config, CONFIG).expect("the directory is writable");
        let data = directory.path().join("data");
        let arguments = ["--config".as_ref(), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
        let binary = Binary::start(&arguments);
        Self { api: Api::new(&binary.api), binary, _directory: directory }
    }

    /// Every entry of each of the services is there, once, and nothing else; then stops the binary.
    pub(crate) async fn settle(self, services: &[&str]) {
        for service in services {
            let spans = (0..ENTRIES).map(|number| (format!("entry {number:04}"), 1.0)).collect();
            self.holds(&format!("traces_span_metrics_calls_total{{job=\"{service}\"}}"), "span_name", &spans).await;
            let points = (0..ENTRIES).map(|number| (format!("{number:04}"), f64::from(number + 1))).collect();
            self.holds(&format!("ledger_entries_total{{job=\"{service}\"}}"), "id", &points).await;
            let logs = BTreeMap::from([(service.to_string(), f64::from(ENTRIES))]);
            self.holds(&format!("sum by (job) (log_records_total{{job=\"{service}\"}})"), "job", &logs).await;
        }
        let counters = self.counters().await;
        let all = u64::from(ENTRIES) * services.len() as u64;
        for signal in ["traces", "logs"] {
            let name = format!("bellwether_ingest_items_total{{signal=\"{signal}\",outcome=\"accepted\"}}");
            assert_eq!(counters.get(&name), Some(&all.to_string()), "{name}");
        }
        for table in ["spans", "logs"] {
            let name = format!("bellwether_window_rows{{table=\"{table}\"}}");
            assert_eq!(counters.get(&name), Some(&all.to_string()), "{name}");
        }
        for signal in ["metrics", "traces", "logs"] {
            let name = format!("bellwether_ingest_items_total{{signal=\"{signal}\",outcome=\"rejected\"}}");
            assert_eq!(counters.get(&name).map(String::as_str), Some("0"), "{name}");
        }
        for name in ["bellwether_events_late_total", "bellwether_points_judged_total", "bellwether_evaluations_total"] {
            assert_eq!(counters.get(name).map(String::as_str), Some("0"), "{name}");
        }
        assert!(self.binary.stop().success(), "a stopped service exits with 0");
    }

    /// The expression comes to give exactly these values by this label.
    async fn holds(&self, expression: &str, label: &str, expected: &BTreeMap<String, f64>) {
        let complete = eventually(PATIENCE, || async {
            (self.values(expression, label).await.as_ref() == Some(expected)).then_some(())
        });
        if complete.await.is_some() {
            return;
        }
        let got = self.values(expression, label).await;
        assert!(got.is_some(), "{expression} gives a value of {label} twice");
        let got = got.unwrap_or_default();
        let wrong = expected.iter().filter(|(entry, value)| got.get(*entry) != Some(value));
        let wrong: Vec<_> = wrong.map(|(entry, value)| (entry, value, got.get(entry))).take(SHOWN).collect();
        let foreign: Vec<_> = got.iter().filter(|(entry, _)| !expected.contains_key(*entry)).take(SHOWN).collect();
        assert_eq!(
            &got,
            expected,
            "{expression} gives {} of {}; expected and got: {wrong:?}; not expected: {foreign:?}\n{}",
            got.len(),
            expected.len(),
            self.binary.log()
        );
    }

    /// What an expression gives, by a label; `None` when one value of the label comes twice.
    async fn values(&self, expression: &str, label: &str) -> Option<BTreeMap<String, f64>> {
        let answer = self.api.get(&format!("/api/v1/query?query={}", encoded(expression))).await;
        let mut values = BTreeMap::new();
        for series in answer["data"]["result"].as_array().into_iter().flatten() {
            let entry = series["metric"][label].as_str().unwrap_or_default();
            let value = series["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
            if values.insert(entry.to_owned(), value).is_some() {
                return None;
            }
        }
        Some(values)
    }

    /// What `/metrics` says, by name and labels.
    async fn counters(&self) -> BTreeMap<String, String> {
        let answer = reqwest::get(format!("{}/metrics", self.binary.api)).await.expect("the binary answers");
        let text = answer.text().await.expect("the answer has an end");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.into(), value.into())).collect()
    }
}
