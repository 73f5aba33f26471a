//! The demonstration's webhook receiver: a real HTTP server that notes what it is sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use tokio::net::TcpListener;

/// A notification as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// The `webhook-id` header.
    pub(super) id: String,
    /// The body.
    pub(super) body: serde_json::Value,
}

type Shared = Arc<Mutex<Vec<Received>>>;

/// The receiver.
#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    received: Shared,
}

impl Sink {
    /// Listens on a free port of this machine until the process ends.
    pub(super) async fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let received = Shared::default();
        let router = Router::new().route("/alerts", post(take)).with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, received })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// What has arrived so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(received): State<Shared>, headers: HeaderMap, body: Bytes) {
    let id = headers.get("webhook-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    received.lock().unwrap_or_else(PoisonError::into_inner).push(Received { id, body });
}
