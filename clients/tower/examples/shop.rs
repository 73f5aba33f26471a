//! A shop that follows a level: `cargo run -p bellwether-tower --example shop -- http://127.0.0.1:4320 [SERVICE]`.
//!
//! Try `curl -i 127.0.0.1:8080/quotes` and `curl -i -X POST 127.0.0.1:8080/orders` while the level is pinned.

use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    routing::{get, post},
};
use bellwether_tower::{DegradationLayer, Followed, Policy, follow};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| "http://127.0.0.1:4320".to_owned());
    let mut url = reqwest::Url::parse(&base)?.join("/api/v1/degradation/stream")?;
    if let Some(service) = arguments.next() {
        url.query_pairs_mut().append_pair("service", &service);
    }
    // The features of reqwest that are chosen here leave the cryptography to the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let followed = Followed::default();
    let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
    tokio::spawn(follow(client, url, followed.clone()));

    let policy = Policy::default().keep("/quotes").keep_writes("/emergency");
    let shop = Router::new()
        .route("/quotes", get(async || "a quote\n"))
        .route("/orders", post(async || "ordered\n").get(async || "orders\n"))
        .route("/emergency", post(async || "somebody will call\n"))
        .layer(DegradationLayer::new(followed, policy));
    let listener = TcpListener::bind("127.0.0.1:8080").await.context("cannot listen on 127.0.0.1:8080")?;
    axum::serve(listener, shop).await?;
    Ok(())
}
