//! The end of the demonstration: an application that follows the level, while somebody turns it.
//!
//! The application is a server of its own on loopback, with the layer of `clients/tower` in front and the service's
//! stream as all it knows. Levels are pinned over REST, as people would.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, bail};
use axum::{
    Router,
    routing::{get, post},
};
use bellwether_tower::{DegradationLayer, Followed, Policy, follow};
use reqwest::{Client, Method, Url};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

/// How long a change may take to reach the application.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(20);
/// What is asked of the application: a path that is kept at every level, and two that are not.
const REQUESTS: [(Method, &str); 3] = [(Method::GET, "/quotes"), (Method::GET, "/orders"), (Method::POST, "/orders")];
/// Levels that are pinned, one after the other, and what the application then answers.
const STEPS: [(u8, &str, [u16; 3]); 4] = [
    (0, "full-service", [200, 200, 200]),
    (3, "read-only", [200, 200, 503]),
    (4, "emergency-mode", [200, 503, 503]),
    (0, "full-service", [200, 200, 200]),
];

/// What the application answered at each level.
#[derive(Debug, Default)]
pub(super) struct Drill {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    level: u8,
    name: &'static str,
    /// From the pin to the first answer that says the level.
    after: Option<Duration>,
    answers: [u16; 3],
    expected: [u16; 3],
}

impl Drill {
    /// Runs it against the service at `base`. The pin is gone afterwards.
    ///
    /// # Errors
    /// What kept it from running.
    pub(super) async fn run(base: &str) -> anyhow::Result<Self> {
        let base = Url::parse(base)?;
        // An error says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        let mut tasks = JoinSet::new();
        let application = application(&client, &base, &mut tasks).await.context("the application cannot open")?;
        let pin = base.join("/api/v1/degradation/pin")?;
        let mut drill = Self::default();
        for (level, name, expected) in STEPS {
            set(&client, &pin, level).await?;
            let (after, answers) = ask(&client, &application, level).await?;
            drill.rows.push(Row { level, name, after, answers, expected });
        }
        client.delete(pin).send().await?.error_for_status()?;
        Ok(drill)
    }

    /// Whether everything was refused and restored as the level said.
    pub(super) fn passed(&self) -> bool {
        self.rows.len() == STEPS.len() && self.rows.iter().all(|row| row.after.is_some() && row.answers == row.expected)
    }

    /// Its table.
    pub(super) fn table(&self) -> String {
        let mut out = String::from("\nAn application follows the level, which is pinned:\n\n");
        let [a, b, c] = REQUESTS.map(|(method, path)| format!("{method} {path}"));
        let _ = writeln!(out, "{:22}  {:>12}  {a:>11}  {b:>11}  {c:>12}", "level", "followed in");
        let _ = writeln!(out, "{}", "-".repeat(76));
        for row in &self.rows {
            let level = format!("{} {}", row.level, row.name);
            let after = row.after.map_or_else(|| "NEVER".to_owned(), |after| format!("{} ms", after.as_millis()));
            let [a, b, c] = [0, 1, 2].map(|i| {
                let (got, want) = (row.answers[i], row.expected[i]);
                if got == want { got.to_string() } else { format!("{got}, NOT {want}") }
            });
            let _ = writeln!(out, "{level:22}  {after:>12}  {a:>11}  {b:>11}  {c:>12}");
        }
        out
    }
}

/// Opens the application; its address.
async fn application(client: &Client, base: &Url, tasks: &mut JoinSet<()>) -> anyhow::Result<Url> {
    let followed = Followed::default();
    tasks.spawn(follow(client.clone(), base.join("/api/v1/degradation/stream")?, followed.clone()));
    let router = Router::new()
        .route("/quotes", get(async || "a quote\n"))
        .route("/orders", post(async || "ordered\n").get(async || "orders\n"))
        .layer(DegradationLayer::new(followed, Policy::default().keep("/quotes")));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        // It ends with the drill.
        let _ = axum::serve(listener, router).await;
    });
    Ok(Url::parse(&format!("http://{address}"))?)
}

async fn set(client: &Client, pin: &Url, level: u8) -> anyhow::Result<()> {
    let until = chrono::Utc::now() + chrono::TimeDelta::minutes(5);
    let body = json!({"level": level, "author": "demo", "reason": "a drill", "expiresAt": until.to_rfc3339()});
    let request = client.put(pin.clone()).header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await?;
    let status = answer.status();
    if !status.is_success() {
        bail!("the level could not be pinned: {status} {}", answer.text().await?);
    }
    Ok(())
}

/// Waits until the application says `level`, and asks it for everything.
async fn ask(client: &Client, application: &Url, level: u8) -> anyhow::Result<(Option<Duration>, [u16; 3])> {
    let began = tokio::time::Instant::now();
    let mut after = None;
    while after.is_none() && began.elapsed() < PATIENCE {
        let answer = client.get(application.join("/quotes")?).send().await?;
        let said = answer.headers().get("x-degradation-level").and_then(|value| value.to_str().ok()?.parse().ok());
        if said == Some(level) {
            after = Some(began.elapsed());
        } else {
            tokio::time::sleep(AGAIN).await;
        }
    }
    let mut answers = [0; 3];
    for (answer, (method, path)) in answers.iter_mut().zip(REQUESTS) {
        *answer = client.request(method, application.join(path)?).send().await?.status().as_u16();
    }
    Ok((after, answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_not_refused_fails_and_is_shown() {
        let row = |(level, name, expected): (u8, &'static str, [u16; 3])| Row {
            level,
            name,
            after: Some(Duration::from_millis(7)),
            answers: expected,
            expected,
        };
        let mut drill = Drill { rows: STEPS.map(row).into() };
        assert!(drill.passed() && !drill.table().contains("NOT"), "{}", drill.table());
        drill.rows[1].answers[2] = 200;
        assert!(!drill.passed() && drill.table().contains("200, NOT 503"), "{}", drill.table());
        drill.rows[1].answers[2] = 503;
        drill.rows[2].after = None;
        assert!(!drill.passed() && drill.table().contains("NEVER"));
        assert!(!Drill::default().passed(), "what did not run has not passed");
    }
}
