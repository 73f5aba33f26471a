//! What both doors do with a request once its bytes are there: decode, hand over, account.

mod counters;
mod expand;
mod pace;
mod receive;
mod refusal;
mod returns;
mod taken;

use std::{
    num::NonZero,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proto::otlp::{DecodeError, Encoding, Load, PartialSuccess, Signal};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) use self::pace::InFlight;
pub use self::{
    counters::{Counters, Outcome, Transport},
    taken::Taken,
};
pub(crate) use self::{
    expand::Coding,
    receive::{Held, Received, Room},
    refusal::{Refusal, unknown_coding},
};
use self::{pace::Pace, returns::Returns};
use crate::{
    Access, Config, Denied, KnownSeries, Queue, Refused, Request, SourceScore, Tenant,
    admission::{Admission, Ticket},
    decode::{Decoded, Decoder},
};

/// Requests below this are decoded where they arrive, in well under a millisecond; handing them to
/// another thread would cost more than it saves.
const INLINE_BYTES: usize = 1024 * 1024;
/// Compressed requests below this, which cannot expand to more than some 4 MiB.
const INLINE_PACKED_BYTES: usize = 4 * 1024;
/// How many of the largest requests may be on their way in at once.
const BODIES_AT_ONCE: usize = 4;
/// How long a body may take to arrive; OTLP clients give up after 10 s.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a restart takes at least.
const RESTART: Duration = Duration::from_secs(3);
/// Longest part of a stranger's header that is repeated in an answer.
const MAX_ECHO: usize = 64;

/// A request's body as it came.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) tenant: Tenant,
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Encoding,
    pub(crate) coding: Coding,
    /// Keeps the room that the bytes take.
    pub(crate) _held: Option<Held>,
}

/// What was read of a request, the request itself where it is to be kept, and leave to go on with it.
type Read = (Decoded, Option<Request>, Ticket);

/// Who decides at the doors whether somebody may come in, and can be told to decide by other settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Doorkeeper {
    access: Arc<Access>,
    admission: Admission,
}

impl Doorkeeper {
    pub(crate) fn new(config: &Config, counters: &Arc<Counters>) -> Self {
        let access = Arc::new(Access::new(&config.access));
        Self { access, admission: Admission::new(&config.admission, Arc::clone(counters)) }
    }

    /// Who is let in, for other doors of the same house.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    /// Goes by the credentials and the limits of tenants in `config` from now on. What has been let in stays.
    ///
    /// # Panics
    /// When the system has no random numbers to give.
    pub fn reconfigure(&self, config: &Config) {
        self.admission.reconfigure(&config.admission);
        self.access.reconfigure(&config.access);
    }
}

/// The way in, shared by both doors. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) transport: Transport,
    pub(crate) max_request_bytes: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) room: Room,
    access: Arc<Access>,
    admission: Admission,
    pace: Arc<Pace>,
    returns: Arc<Returns>,
    decoder: Arc<Decoder>,
    queue: Queue,
    /// Bounds how many large requests are in decoded form at once, and with the limit for one of
    /// them, their memory.
    large: Arc<Semaphore>,
    /// Bounds how many small ones are decoded at once when there are many.
    turns: Arc<Semaphore>,
    /// How many processors there are, and at least two.
    at_once: usize,
    started: Instant,
}

impl Door {
    pub(crate) fn new(config: &Config, keeper: Doorkeeper, counters: Arc<Counters>, queue: Queue) -> Self {
        let Doorkeeper { access, admission } = keeper;
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get).max(2);
        Self {
            transport: Transport::Grpc,
            max_request_bytes: config.max_request_bytes,
            room: Room::new(config.max_request_bytes.saturating_mul(BODIES_AT_ONCE)),
            access,
            admission,
            counters,
            pace: Arc::new(Pace::new()),
            returns: Arc::default(),
            decoder: Arc::new(Decoder::new(config.limits.clone())),
            queue,
            large: Arc::new(Semaphore::new(at_once)),
            turns: Arc::new(Semaphore::new(at_once)),
            at_once,
            started: Instant::now(),
        }
    }

    /// The same way in for another transport's account.
    pub(crate) fn of(&self, transport: Transport) -> Self {
        Self { transport, ..self.clone() }
    }

    /// Whose data a request with these headers brings, if its source may send now.
    pub(crate) fn identify(&self, headers: &http::HeaderMap, extensions: &http::Extensions) -> Result<Tenant, Refusal> {
        if let Some(source) = extensions.get::<SourceScore>() {
            self.admission.meet(*source, self.queue.percent_taken())?;
        }
        self.access.tenant(headers).map_err(|denied| match denied {
            Denied::Unauthenticated { challenge, .. } => {
                Refusal::new(Outcome::Unauthenticated, denied.to_string()).with_header("www-authenticate", challenge)
            }
            Denied::Forbidden { .. } => Refusal::new(Outcome::Forbidden, denied.to_string()),
            Denied::Tenant(_) => Refusal::new(Outcome::Refused, denied.to_string()),
        })
    }

    /// Takes a request once `body` has come: answers when its rows are in the window and judged. Its
    /// outcome is counted, also when the sender goes away. Nothing is done after `deadline`.
    pub(crate) async fn take(
        &self,
        signal: Signal,
        deadline: Option<tokio::time::Instant>,
        body: impl Future<Output = Result<Body, Refusal>>,
    ) -> Result<PartialSuccess, Refusal> {
        let mut outcome = Counted { door: self, signal, outcome: Outcome::Abandoned };
        let late = || Refusal::new(Outcome::Abandoned, "the sender's time limit has passed");
        let work = async {
            let body = body.await?;
            // The timer below is asked only when there is something to wait for.
            if deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now()) {
                return Err(late());
            }
            let tenant = body.tenant.clone();
            let processed = self.process(signal, body).await.map_err(|refusal| refusal.of(tenant.clone()))?;
            self.returns.note_taken(&tenant, || self.started.elapsed());
            Ok(processed)
        };
        let result = match deadline {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(late())),
        };
        outcome.outcome = match &result {
            Ok(partial) if partial.rejected == 0 => Outcome::Ok,
            Ok(_) => Outcome::Partial,
            Err(refusal) => refusal.outcome,
        };
        match &result {
            Ok(_) => self.pace.note_taken(),
            Err(refusal) => {
                let transport = self.transport.as_str();
                tracing::debug!(%signal, transport, reason = refusal.message, "request refused");
            }
        }
        result
    }

    /// Waits until `refusal` may be said to a request with these extensions; as it is said then, with the time after
    /// which to come again.
    pub(crate) async fn until_said(&self, refusal: Refusal, extensions: &http::Extensions) -> Refusal {
        let Some(least) = refusal.retry_after else { return refusal };
        self.pace.turn(extensions.get().copied().unwrap_or(InFlight(1))).await;
        let wait = self.returns.wait(refusal.tenant.as_ref(), least, self.started.elapsed());
        refusal.not_before(wait)
    }

    async fn process(&self, signal: Signal, body: Body) -> Result<PartialSuccess, Refusal> {
        let (wire_bytes, tenant) = (body.bytes.len() as u64, body.tenant.clone());
        let known = self.queue.known(&tenant).map_err(not_now)?;
        let at_least = Load { items: 0, bytes: wire_bytes };
        let queue_percent = self.queue.percent_taken();
        let mut ticket = self.admission.enter(&tenant, (signal, at_least), queue_percent, self.started.elapsed())?;
        self.look(&body, &mut ticket)?;
        let (decoded, request, ticket) = self.decode(signal, body, known, ticket).await?;
        let items = decoded.items;
        let is_empty = decoded.batch.is_empty() && decoded.batch.feeds.is_empty();
        let rejected = if is_empty {
            decoded.batch.rejected
        } else {
            let rejected = self.queue.submit(tenant.clone(), decoded.batch, request).await.map_err(not_now)?;
            self.counters.meet(&tenant);
            rejected
        };
        ticket.finish(self.started.elapsed());
        self.counters.items(&tenant, signal, items.saturating_sub(rejected.count), rejected.count, wire_bytes);
        Ok(PartialSuccess { rejected: rejected.count, message: rejected.message() })
    }

    async fn decode(
        &self,
        signal: Signal,
        body: Body,
        known: Arc<KnownSeries>,
        ticket: Ticket,
    ) -> Result<Read, Refusal> {
        let inline = if body.coding == Coding::Identity { INLINE_BYTES } else { INLINE_PACKED_BYTES };
        if body.bytes.len() < inline {
            let _turn = self.turn().await;
            return self.decode_body(signal, &body, &known, ticket);
        }
        let failed = || Refusal::new(Outcome::Failed, "the request could not be processed");
        let permit = Arc::clone(&self.large).acquire_owned().await.map_err(|_| failed())?;
        // Dropped together with this future, when nobody waits for the answer any more.
        let waiting = Arc::new(());
        let (door, awaited) = (self.clone(), Arc::downgrade(&waiting));
        let decoding = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            if awaited.strong_count() == 0 {
                return Err(Refusal::new(Outcome::Abandoned, "the sender has gone"));
            }
            door.decode_body(signal, &body, &known, ticket)
        });
        let decoded = decoding.await.map_err(|error| {
            tracing::error!(%error, "decoder stopped");
            // Without a panic the work was not started, because the service is shutting down.
            if error.is_panic() { failed() } else { not_now(Refused::Closed) }
        })?;
        drop(waiting);
        decoded
    }

    /// Looks which class a request has, if that is worth it and quickly done. It must not wait for its turn
    /// among those that matter most only because it is not known better.
    fn look(&self, body: &Body, ticket: &mut Ticket) -> Result<(), Refusal> {
        if body.encoding != Encoding::Protobuf || body.bytes.len() > INLINE_BYTES || !ticket.wants_look() {
            return Ok(());
        }
        let now = self.started.elapsed();
        match body.coding {
            Coding::Identity => ticket.look(&body.bytes, now),
            // What is wrong with it, or that it is large, is said later.
            coding => expand::expand(coding, &body.bytes, INLINE_BYTES.min(self.max_request_bytes))
                .map_or(Ok(()), |plain| ticket.look(&plain, now)),
        }
    }

    /// Waits for a turn to decode. When there is much to do, requests would otherwise wait among the tasks
    /// that are ready to run, in front of those that look at the sockets: nobody would see that their
    /// senders have gone, and all that would be done for nobody.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if self.counters.in_flight() <= self.at_once as u64 {
            return None;
        }
        let turn = self.turns.acquire().await.ok();
        // The runtime looks at the sockets before it comes back.
        tokio::task::yield_now().await;
        turn
    }

    fn decode_body(
        &self,
        signal: Signal,
        body: &Body,
        known: &KnownSeries,
        mut ticket: Ticket,
    ) -> Result<Read, Refusal> {
        let limit = self.max_request_bytes;
        let plain: Bytes = match body.coding {
            Coding::Identity => body.bytes.clone(),
            coding => expand::expand(coding, &body.bytes, limit)?.into(),
        };
        if plain.len() > limit {
            return Err(Refusal::too_large(limit));
        }
        let refused = |e: DecodeError| match e {
            DecodeError::Malformed { .. } => Refusal::malformed(e.to_string()),
            DecodeError::TooCostly { .. } => Refusal::new(Outcome::TooLarge, e.to_string()),
        };
        let measured = self.decoder.measure(signal, body.encoding, &plain).map_err(refused)?;
        ticket.weigh(&measured.request, measured.load, self.started.elapsed())?;
        let decoded = self.decoder.decode(&measured, known).map_err(refused)?;
        let is_kept = self.queue.keeps_requests() && signal != Signal::Metrics;
        let request = is_kept.then(|| Request::new(signal, measured.into_body(&plain)));
        Ok((decoded, request, ticket))
    }
}

/// Counts how a request ended, when it is dropped.
struct Counted<'a> {
    door: &'a Door,
    signal: Signal,
    outcome: Outcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.door.counters.request(self.signal, self.door.transport, self.outcome);
    }
}

/// Why the queue does not take it; a service that ends comes back no sooner than it has started again.
fn not_now(refused: Refused) -> Refusal {
    let refusal = |outcome| Refusal::new(outcome, refused.to_string());
    match refused {
        Refused::Full { .. } | Refused::Again | Refused::Storage | Refused::Tenants { .. } => refusal(Outcome::Busy),
        Refused::Closed => refusal(Outcome::Busy).not_before(RESTART),
    }
}

/// Waits for a body that `read` reads, not forever.
pub(crate) async fn in_time<T>(read: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = |_| Refusal::malformed(format!("body did not arrive within {} s", BODY_TIME.as_secs()));
    tokio::time::timeout(BODY_TIME, read).await.map_err(late)?
}

/// A header's text for an answer.
pub(crate) fn shown(value: Option<&http::HeaderValue>) -> String {
    let text = value.map(|v| String::from_utf8_lossy(v.as_bytes())).unwrap_or_default();
    format!("{:?}", proto::otlp::cut(&text, MAX_ECHO))
}

#[cfg(test)]
mod tests;
