//! Questions to the REST interface.

use std::{future::Future, time::Duration};

use serde_json::Value;

/// Between two questions when an answer is awaited.
const AGAIN: Duration = Duration::from_millis(200);

/// Asks one running binary.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    /// Asks the binary at `base` (`http://host:port`).
    pub(crate) fn new(base: &str) -> Self {
        // An error says that another test has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
        Self { base: base.to_owned(), client: client.expect("the defaults are valid") }
    }

    /// The JSON under `path` (with its query, encoded); the answer must be a 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("REST answers JSON")
    }

    /// What is under `path`, as text; the answer must be a 200.
    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.expect("the binary answers");
        let status = answer.status();
        let body = answer.text().await.expect("the answer has an end");
        assert_eq!(status.as_u16(), 200, "GET {path}: {body}");
        body
    }

    /// The `items` of the list under `path`.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path).await;
        let items = answer["items"].as_array();
        assert!(items.is_some(), "GET {path}: expected items, got {answer}");
        items.cloned().unwrap_or_default()
    }

    /// The value of a PromQL expression that gives exactly one series; NaN when it gives none or several.
    pub(crate) async fn value_of(&self, expression: &str) -> f64 {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(expression))).await;
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let text = series.first().and_then(|one| one["value"][1].as_str());
        text.filter(|_| series.len() == 1).and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }
}

/// Asks until the answer is `Some`, or `None` when `limit` has passed.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(limit: Duration, ask: impl Fn() -> F) -> Option<T> {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::time::timeout(limit, asking).await.ok()
}

/// Percent-encoded for a query value.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
