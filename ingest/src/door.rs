//! What both doors do with a request once its bytes are there: decode, hand over, account.

mod counters;
mod gzip;
mod receive;

use std::{num::NonZero, sync::Arc, time::Duration};

use bytes::Bytes;
use proto::{
    otlp::{DecodeError, Encoding, PartialSuccess, Signal},
    rpc::{Code, Status},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::counters::{Counters, Outcome, Transport};
pub(crate) use self::receive::{Received, Room};
use crate::{
    Limits, Queue,
    decode::{Decoded, Decoder},
};

/// Requests below this are decoded where they arrive, in well under a millisecond; handing them to
/// another thread would cost more than it saves.
const INLINE_BYTES: usize = 1024 * 1024;
/// Compressed requests below this, which cannot expand to more than some 4 MiB.
const INLINE_GZIP_BYTES: usize = 4 * 1024;
/// How many of the largest requests may be on their way in at once.
const BODIES_AT_ONCE: usize = 4;
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 1..=5;
/// How long a body may take to arrive; OTLP clients give up after 10 s.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Longest part of a stranger's header that is repeated in an answer.
const MAX_ECHO: usize = 64;

/// A request's body as it came.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Encoding,
    pub(crate) is_gzip: bool,
    /// Keeps the room that the bytes take.
    pub(crate) _held: Option<OwnedSemaphorePermit>,
}

/// Why a request was not taken. The doors say it in their own codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    /// Set when the sender should try again, after this time.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        let retry_after = (outcome == Outcome::Busy).then(|| Duration::from_secs(fastrand::u64(RETRY_SECONDS)));
        Self { outcome, message: message.into(), retry_after }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            Outcome::TooLarge,
            format!("request is larger than {limit} bytes (uncompressed); send smaller batches"),
        )
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Outcome::Malformed, message)
    }

    pub(crate) fn code(&self) -> Code {
        match self.outcome {
            Outcome::Malformed | Outcome::Refused => Code::InvalidArgument,
            Outcome::TooLarge => Code::ResourceExhausted,
            Outcome::Busy => Code::Unavailable,
            Outcome::Ok | Outcome::Partial | Outcome::Failed => Code::Unknown,
        }
    }

    /// As the message that both transports carry.
    pub(crate) fn status(&self) -> Status {
        Status::new(self.code(), self.message.as_str(), self.retry_after)
    }
}

/// The way in, shared by both doors. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) transport: Transport,
    pub(crate) max_request_bytes: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) room: Room,
    decoder: Arc<Decoder>,
    queue: Queue,
    /// Bounds how many large requests are in decoded form at once, and with the limit for one of
    /// them, their memory.
    large: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(max_request_bytes: usize, limits: Limits, counters: Arc<Counters>, queue: Queue) -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get).max(2);
        Self {
            transport: Transport::Grpc,
            max_request_bytes,
            counters,
            room: Room::new(max_request_bytes.saturating_mul(BODIES_AT_ONCE)),
            decoder: Arc::new(Decoder::new(limits, queue.known())),
            queue,
            large: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// The same way in for another transport's account.
    pub(crate) fn of(&self, transport: Transport) -> Self {
        Self { transport, ..self.clone() }
    }

    /// Takes a request: answers when its rows are in the window and judged.
    pub(crate) async fn take(&self, signal: Signal, body: Body) -> Result<PartialSuccess, Refusal> {
        let wire_bytes = body.bytes.len() as u64;
        let decoded = self.decode(signal, body).await?;
        let items = decoded.items;
        let is_empty = decoded.batch.is_empty() && decoded.batch.feeds.is_empty();
        let rejected = if is_empty {
            decoded.batch.rejected
        } else {
            self.queue.submit(decoded.batch).await.map_err(|e| Refusal::new(Outcome::Busy, e.to_string()))?
        };
        self.counters.items(signal, items.saturating_sub(rejected.count), rejected.count, wire_bytes);
        Ok(PartialSuccess { rejected: rejected.count, message: rejected.message() })
    }

    /// [`Door::take`], with its outcome counted.
    pub(crate) async fn take_counted(
        &self,
        signal: Signal,
        body: Result<Body, Refusal>,
    ) -> Result<PartialSuccess, Refusal> {
        let result = match body {
            Ok(body) => self.take(signal, body).await,
            Err(refusal) => Err(refusal),
        };
        let outcome = match &result {
            Ok(partial) if partial.rejected == 0 => Outcome::Ok,
            Ok(_) => Outcome::Partial,
            Err(refusal) => refusal.outcome,
        };
        self.counters.request(signal, self.transport, outcome);
        if let Err(refusal) = &result {
            tracing::debug!(%signal, transport = self.transport.as_str(), reason = refusal.message, "request refused");
        }
        result
    }

    async fn decode(&self, signal: Signal, body: Body) -> Result<Decoded, Refusal> {
        let inline = if body.is_gzip { INLINE_GZIP_BYTES } else { INLINE_BYTES };
        if body.bytes.len() < inline {
            return decode_body(signal, &body, self.max_request_bytes, &self.decoder);
        }
        let failed = || Refusal::new(Outcome::Failed, "the request could not be processed");
        let permit = Arc::clone(&self.large).acquire_owned().await.map_err(|_| failed())?;
        let (decoder, max_bytes) = (Arc::clone(&self.decoder), self.max_request_bytes);
        let decoding = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            decode_body(signal, &body, max_bytes, &decoder)
        });
        decoding.await.map_err(|error| {
            tracing::error!(%error, "decoder stopped");
            failed()
        })?
    }
}

fn decode_body(signal: Signal, body: &Body, max_bytes: usize, decoder: &Decoder) -> Result<Decoded, Refusal> {
    let plain = if body.is_gzip { gzip::expand(&body.bytes, max_bytes)?.into() } else { body.bytes.clone() };
    if plain.len() > max_bytes {
        return Err(Refusal::too_large(max_bytes));
    }
    decoder.decode(signal, body.encoding, &plain).map_err(|e| match e {
        DecodeError::Malformed { .. } => Refusal::malformed(e.to_string()),
        DecodeError::TooCostly { .. } => Refusal::new(Outcome::TooLarge, e.to_string()),
    })
}

/// Waits for a body that `read` reads, not forever.
pub(crate) async fn in_time<T>(read: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = |_| Refusal::malformed(format!("body did not arrive within {} s", BODY_TIME.as_secs()));
    tokio::time::timeout(BODY_TIME, read).await.map_err(late)?
}

/// Refuses a tenant other than the default one: data of different tenants must not be mixed, and
/// there is one place for all data so far.
pub(crate) fn check_tenant(headers: &http::HeaderMap) -> Result<(), Refusal> {
    for tenant in headers.get_all("x-scope-orgid") {
        if tenant.as_bytes() != b"default" {
            let shown = String::from_utf8_lossy(tenant.as_bytes());
            let shown = proto::otlp::cut(&shown, MAX_ECHO);
            let message = format!(
                "header X-Scope-OrgID: expected \"default\" or no header, got {shown:?}; tenants are not supported"
            );
            return Err(Refusal::new(Outcome::Refused, message));
        }
    }
    Ok(())
}

/// A header's text for an answer.
pub(crate) fn shown(value: Option<&http::HeaderValue>) -> String {
    let text = value.map(|v| String::from_utf8_lossy(v.as_bytes())).unwrap_or_default();
    format!("{:?}", proto::otlp::cut(&text, MAX_ECHO))
}
