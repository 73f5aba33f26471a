//! The line between the doors (many tasks) and the pipeline (one thread): bounded in bytes.
//!
//! Shares are given at the doors, among those who are active. A tenant that is alone has all, so the last tenth of the
//! queue is kept for tenants that have less than a tenth in it: who comes next finds room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{Batch, KnownSeries, KnownTenants, Rejections, Request, Tenant};

const KIB: usize = 1024;
/// One part in so many is kept for those who have less than such a part in the queue.
const KEPT: usize = 10;
/// A bound in requests as well, since an empty request weighs nothing.
const MAX_REQUESTS: usize = 4096;

/// A batch on its way to the pipeline, and where to answer.
#[derive(Debug)]
pub struct Submission {
    /// Whose rows they are.
    pub tenant: Tenant,
    /// The rows.
    pub batch: Batch,
    /// The request that they were read from, where it has to be written down to read them again.
    pub request: Option<Request>,
    /// Takes the final account of what was refused, once the rows are in the window and judged; or why
    /// they were not taken.
    pub reply: oneshot::Sender<Result<Rejections, Refused>>,
    _held: Option<Held>,
}

/// A place in the queue, which is given back when it is dropped.
#[derive(Debug)]
struct Held {
    _permit: OwnedSemaphorePermit,
    tenant: Tenant,
    kib: usize,
    waiting: Arc<Waiting>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(of_it) = waiting.get_mut(&self.tenant) {
            *of_it = of_it.saturating_sub(self.kib);
            if *of_it == 0 {
                waiting.remove(&self.tenant);
            }
        }
    }
}

/// What each tenant has in the queue, in KiB; nothing of those that have nothing.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<Tenant, usize>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<Tenant, usize>> {
        // Whole between any two statements, so a thread that died has left no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Submission {
    /// Rows that were taken in before: nobody waits for an answer.
    #[must_use]
    pub fn of(tenant: Tenant, batch: Batch) -> Self {
        Self { tenant, batch, request: None, reply: oneshot::channel().0, _held: None }
    }

    /// Bytes that it occupies, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        weight(&self.batch, self.request.as_ref())
    }

    /// Ends it with this answer. The sender may have gone away meanwhile.
    pub fn answer(self, answer: Result<Rejections, Refused>) {
        let _ = self.reply.send(answer);
    }
    /// Whether nobody waits for the answer any more, because the sender's time has passed or it has
    /// gone. It was told nothing, so it will send the same again.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Why a batch was not taken. All of it is worth a retry by the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue holds as many bytes as it may.
    #[error("queue is full: {limit} bytes are waiting to be processed")]
    Full {
        /// The configured bound.
        limit: usize,
    },
    /// The log cannot be written, so that nothing would survive.
    #[error("data_dir cannot be written now: nothing is taken in before it can")]
    Storage,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Closed,
    /// What it was decoded with has changed meanwhile, or its tenant could not be set up.
    #[error("the rows could not be taken now")]
    Again,
    /// There is no room for another tenant.
    #[error("tenants.max: {limit} tenants are known already")]
    Tenants {
        /// The configured bound.
        limit: usize,
    },
}

/// The senders' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: mpsc::Sender<Submission>,
    bytes: Arc<Semaphore>,
    waiting: Arc<Waiting>,
    limit: usize,
    known: KnownTenants,
    keeps_requests: bool,
}

impl Queue {
    /// A queue that holds at most `limit` bytes of rows, and the receiver that drains it. What the
    /// pipeline knows of each tenant's series comes back to the decoders through `known`.
    #[must_use]
    pub fn new(limit: usize, known: KnownTenants) -> (Self, mpsc::Receiver<Submission>) {
        let (sender, receiver) = mpsc::channel(MAX_REQUESTS);
        let bytes = Arc::new(Semaphore::new(limit / KIB));
        (Self { sender, bytes, waiting: Arc::default(), limit, known, keeps_requests: false }, receiver)
    }

    /// The same queue, which keeps with the rows the requests that have to be written down.
    #[must_use]
    pub fn with_requests(self) -> Self {
        Self { keeps_requests: true, ..self }
    }

    /// Whether requests of spans and log records go with their rows.
    #[must_use]
    pub fn keeps_requests(&self) -> bool {
        self.keeps_requests
    }

    /// The series that the pipeline knows of `tenant`.
    ///
    /// # Errors
    /// [`Refused::Tenants`].
    pub fn known(&self, tenant: &Tenant) -> Result<Arc<KnownSeries>, Refused> {
        self.known.of(tenant)
    }

    /// How much of its bytes is taken, in percent.
    #[must_use]
    pub fn percent_taken(&self) -> u64 {
        let limit = (self.limit / KIB).max(1);
        let taken = limit.saturating_sub(self.bytes.available_permits());
        (taken.saturating_mul(100) / limit) as u64
    }

    /// A place of `kib` for `tenant`; `None` where there is no room for it.
    fn hold(&self, tenant: &Tenant, kib: usize) -> Option<Held> {
        let limit = self.limit / KIB;
        let mut waiting = self.waiting.lock();
        let of_it = waiting.get(tenant).copied().unwrap_or(0) + kib;
        let free = self.bytes.available_permits();
        let kept = if of_it <= limit / KEPT || free == limit { 0 } else { limit / KEPT };
        if free < kib + kept {
            return None;
        }
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(u32::try_from(kib).ok()?).ok()?;
        waiting.insert(tenant.clone(), of_it);
        Some(Held { _permit: permit, tenant: tenant.clone(), kib, waiting: Arc::clone(&self.waiting) })
    }

    /// Hands `batch` of `tenant` to the pipeline, with the request that it was read from if that has to be
    /// written down, and waits until it has been processed.
    ///
    /// A batch larger than the whole queue is taken when the queue is empty.
    ///
    /// # Errors
    /// [`Refused`], at once, when there is no room or the pipeline has stopped, or when it could not take
    /// the batch.
    pub async fn submit(&self, tenant: Tenant, batch: Batch, request: Option<Request>) -> Result<Rejections, Refused> {
        let wanted = (weight(&batch, request.as_ref()) / KIB + 1).min(self.limit / KIB);
        let full = Refused::Full { limit: self.limit };
        let held = self.hold(&tenant, wanted).ok_or(full)?;
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Submission { tenant, batch, request, reply, _held: Some(held) }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })?;
        answer.await.unwrap_or(Err(if self.sender.is_closed() { Refused::Closed } else { Refused::Again }))
    }
}

fn weight(batch: &Batch, request: Option<&Request>) -> usize {
    batch.bytes() + request.map_or(0, Request::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let (queue, mut receiver) = Queue::new(KIB, KnownTenants::new(1));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.submit(Tenant::default(), Batch::default(), None).await }
        });
        let first = receiver.recv().await.expect("was sent");
        assert!(queue.percent_taken() == 100 && !first.is_abandoned());
        assert_eq!(queue.submit(Tenant::default(), Batch::default(), None).await, Err(Refused::Full { limit: KIB }));
        let mut refused = Rejections::default();
        refused.add(2, || "because".into());
        first.reply.send(Ok(refused.clone())).expect("someone waits");
        assert_eq!(waiting.await.expect("no panic"), Ok(refused));
    }

    #[test]
    fn who_comes_next_finds_room_beside_one_who_takes_all() {
        let (queue, _receiver) = Queue::new(100 * KIB, KnownTenants::new(9));
        let [greedy, modest, third] = ["greedy", "modest", "third"].map(|name| Tenant::new(name).expect("is a name"));
        let taken: Vec<Held> = std::iter::from_fn(|| queue.hold(&greedy, 7)).collect();
        assert_eq!((taken.len(), queue.percent_taken()), (12, 84), "a tenth is left");
        let places = [queue.hold(&modest, 9), queue.hold(&modest, 2), queue.hold(&third, 7), queue.hold(&third, 1)];
        assert_eq!(places.each_ref().map(Option::is_some), [true, false, true, false]);
        drop((taken, places));
        assert_eq!((queue.percent_taken(), queue.waiting.lock().len()), (0, 0));
        assert!(queue.hold(&greedy, 100).is_some(), "the greatest is taken when nothing else waits");
    }

    #[tokio::test]
    async fn a_stopped_pipeline_is_said() {
        let (queue, receiver) = Queue::new(KIB, KnownTenants::new(1));
        drop(receiver);
        assert_eq!(queue.submit(Tenant::default(), Batch::default(), None).await, Err(Refused::Closed));
    }

    #[tokio::test]
    async fn a_batch_goes_with_its_tenant_and_may_have_to_come_again() {
        let (queue, mut receiver) = Queue::new(KIB, KnownTenants::new(1));
        let acme = Tenant::new("acme").expect("is a name");
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.submit(acme, Batch::default(), None).await }
        });
        let submission = receiver.recv().await.expect("was sent");
        assert_eq!(submission.tenant.as_str(), "acme");
        drop(submission);
        assert_eq!(waiting.await.expect("no panic"), Err(Refused::Again));
        let waiting = tokio::spawn(async move { queue.submit(Tenant::default(), Batch::default(), None).await });
        let submission = receiver.recv().await.expect("was sent");
        waiting.abort();
        assert!(waiting.await.is_err_and(|e| e.is_cancelled()) && submission.is_abandoned());
    }
}
