//! How soon a refusal is said. Reading and refusing a request costs a good part of taking it, so that
//! senders who come again at once would leave no time for anything else: ten times what can be done, and
//! all of it goes into saying no. A refusal therefore waits for its turn, of which the requests that are
//! taken give a few, and at most a second. Who waits for an answer sends nothing meanwhile, and who obeys
//! `Retry-After` does not notice. A connection on which much else is in flight is not kept waiting: its
//! streams are bounded, and those that wait would keep out those that could be taken.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Semaphore;

/// Requests that are taken for each refusal that is said without waiting.
const TAKEN_PER_TURN: u64 = 4;
/// Refusals that are said without waiting when there were none for a while.
const BURST: usize = 16;
/// The longest wait: far below the 10 s after which exporters give up, and no longer than the least time
/// that a refusal tells them to wait.
const LONGEST: Duration = Duration::from_secs(1);

/// Requests in flight on a connection up to which refusals wait: a quarter of its streams.
const MOST_IN_FLIGHT: usize = 32;

/// Requests in flight on the connection of one, itself among them: an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight(pub(crate) usize);

/// The turns of refusals, of all senders together.
#[derive(Debug)]
pub(super) struct Pace {
    turns: Semaphore,
    taken: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(BURST), taken: AtomicU64::new(0) }
    }

    /// A request was taken.
    pub(super) fn note_taken(&self) {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        if taken.is_multiple_of(TAKEN_PER_TURN) && self.turns.available_permits() < BURST {
            self.turns.add_permits(1);
        }
    }

    /// Waits until a refusal may be said. Nothing of its request may be held meanwhile.
    pub(super) async fn turn(&self, in_flight: InFlight) {
        if in_flight.0 > MOST_IN_FLIGHT {
            return;
        }
        if let Ok(Ok(permit)) = tokio::time::timeout(LONGEST, self.turns.acquire()).await {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{task::JoinSet, time::Instant};

    use super::*;

    async fn spent() -> Arc<Pace> {
        let pace = Arc::new(Pace::new());
        for _ in 0..BURST {
            pace.turn(InFlight(1)).await;
        }
        pace
    }

    async fn wait(pace: Arc<Pace>) -> Instant {
        pace.turn(InFlight(1)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_refused_at_once_and_the_rest_after_a_second() {
        let started = Instant::now();
        let pace = spent().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        let rest: JoinSet<Instant> = (0..1_000).map(|_| wait(Arc::clone(&pace))).collect();
        for said in rest.join_all().await {
            assert_eq!(said - started, LONGEST);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_gives_turns_to_those_that_wait_longest() {
        let pace = spent().await;
        let started = Instant::now();
        let first = tokio::spawn(wait(Arc::clone(&pace)));
        tokio::task::yield_now().await;
        let second = tokio::spawn(wait(Arc::clone(&pace)));
        tokio::task::yield_now().await;
        (0..TAKEN_PER_TURN).for_each(|_| pace.note_taken());
        assert_eq!(first.await.expect("does not fail") - started, Duration::ZERO);
        assert_eq!(second.await.expect("does not fail") - started, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_much_in_flight_is_not_kept_waiting() {
        let pace = spent().await;
        let started = Instant::now();
        pace.turn(InFlight(MOST_IN_FLIGHT + 1)).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        pace.turn(InFlight(MOST_IN_FLIGHT)).await;
        assert_eq!(started.elapsed(), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_not_saved_up() {
        let pace = Pace::new();
        (0..1_000).for_each(|_| pace.note_taken());
        assert_eq!(pace.turns.available_permits(), BURST);
    }
}
