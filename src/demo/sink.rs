//! The demonstration's webhook receiver: a real HTTP server that notes what it is sent.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
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
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::diary::Diary;

/// A notification as it arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Received {
    /// The `webhook-id` header.
    pub(super) id: String,
    /// The body.
    pub(super) body: serde_json::Value,
}

/// What was received, in memory and on disk.
#[derive(Debug)]
struct Notes {
    received: Vec<Received>,
    /// Those that an earlier process has noted. They may come again, since it may have been killed before
    /// it said so; a receiver knows them by their id.
    before: HashSet<String>,
    file: File,
}

impl Notes {
    fn take(&mut self, notification: Received) -> io::Result<()> {
        if self.before.contains(&notification.id) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(&notification)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.received.push(notification);
        Ok(())
    }
}

type Shared = Arc<Mutex<Notes>>;

/// The receiver.
#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    notes: Shared,
}

impl Sink {
    /// Listens on a free port of this machine until the process ends, and notes in `diary` what it is sent.
    pub(super) async fn open(diary: &Diary) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (received, file) = diary.received()?;
        let before = received.iter().map(|notification| notification.id.clone()).collect();
        let notes = Arc::new(Mutex::new(Notes { received, before, file }));
        let router = Router::new().route("/alerts", post(take)).with_state(Arc::clone(&notes));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, notes })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// What has arrived so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).received.clone()
    }
}

async fn take(State(notes): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = headers.get("webhook-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    match notes.lock().unwrap_or_else(PoisonError::into_inner).take(Received { id, body }) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INSUFFICIENT_STORAGE,
    }
}
