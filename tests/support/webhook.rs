//! A real HTTP receiver of notifications.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// Each with the id of its notification.
type Bodies = Arc<Mutex<Vec<(String, Value)>>>;

/// Takes notifications until the test ends.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    address: SocketAddr,
    bodies: Bodies,
}

impl Webhook {
    /// Listens on a free port.
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let bodies = Bodies::default();
        let router = Router::new().route("/alerts", post(take)).with_state(Arc::clone(&bodies));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, bodies }
    }

    /// Where to send notifications.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The alerts received so far, in order of arrival: each entry of `alerts` of each message.
    pub(crate) fn alerts(&self) -> Vec<Value> {
        let all = self.notifications();
        all.iter().flat_map(|(_, body)| body["alerts"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// Notifications received so far, in order of arrival: id and body.
    pub(crate) fn notifications(&self) -> Vec<(String, Value)> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(bodies): State<Bodies>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(body) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    bodies.lock().unwrap_or_else(PoisonError::into_inner).push((id, body));
    StatusCode::OK
}
