//! The line between the doors (many tasks) and the pipeline (one thread): bounded in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{Batch, KnownSeries, Rejections};

const KIB: usize = 1024;
/// A bound in requests as well, since an empty request weighs nothing.
const MAX_REQUESTS: usize = 4096;

/// A batch on its way to the pipeline, and where to answer.
#[derive(Debug)]
pub struct Submission {
    /// The rows.
    pub batch: Batch,
    /// Takes the final account of what was refused, once the rows are in the window and judged.
    pub reply: oneshot::Sender<Rejections>,
    _held: OwnedSemaphorePermit,
}

/// Why a batch was not taken. Both are worth a retry by the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue holds as many bytes as it may.
    #[error("queue is full: {limit} bytes are waiting to be processed")]
    Full {
        /// The configured bound.
        limit: usize,
    },
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Closed,
}

/// The senders' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: mpsc::Sender<Submission>,
    bytes: Arc<Semaphore>,
    limit: usize,
    known: Arc<KnownSeries>,
}

impl Queue {
    /// A queue that holds at most `limit` bytes of rows, and the receiver that drains it. What the
    /// pipeline knows of series comes back to the decoders through `known`.
    #[must_use]
    pub fn new(limit: usize, known: Arc<KnownSeries>) -> (Self, mpsc::Receiver<Submission>) {
        let (sender, receiver) = mpsc::channel(MAX_REQUESTS);
        (Self { sender, bytes: Arc::new(Semaphore::new(limit / KIB)), limit, known }, receiver)
    }

    /// The series that the pipeline knows.
    #[must_use]
    pub fn known(&self) -> Arc<KnownSeries> {
        Arc::clone(&self.known)
    }

    /// Hands `batch` to the pipeline and waits until it has been processed.
    ///
    /// A batch larger than the whole queue is taken when the queue is empty.
    ///
    /// # Errors
    /// [`Refused`], at once, when there is no room or the pipeline has stopped.
    pub async fn submit(&self, batch: Batch) -> Result<Rejections, Refused> {
        let wanted = (batch.bytes() / KIB + 1).min(self.limit / KIB);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let full = Refused::Full { limit: self.limit };
        let held = Arc::clone(&self.bytes).try_acquire_many_owned(wanted).map_err(|_| full)?;
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Submission { batch, reply, _held: held }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })?;
        answer.await.map_err(|_| Refused::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let (queue, mut receiver) = Queue::new(KIB, Arc::new(KnownSeries::new(1)));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.submit(Batch::default()).await }
        });
        let first = receiver.recv().await.expect("was sent");
        assert_eq!(queue.submit(Batch::default()).await, Err(Refused::Full { limit: KIB }));
        let mut refused = Rejections::default();
        refused.add(2, || "because".into());
        first.reply.send(refused.clone()).expect("someone waits");
        assert_eq!(waiting.await.expect("no panic"), Ok(refused));
    }

    #[tokio::test]
    async fn a_stopped_pipeline_is_said() {
        let (queue, receiver) = Queue::new(KIB, Arc::new(KnownSeries::new(1)));
        drop(receiver);
        assert_eq!(queue.submit(Batch::default()).await, Err(Refused::Closed));
    }
}
