//! Whether the doors still take connections, for those who have to know that telemetry can come in.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::Transport;

/// How often a door that waits for a connection says that it does.
const PERIOD: Duration = Duration::from_millis(250);

/// The pulse of both doors. One that has ended, that is stuck, or that the system gives no connections to has none.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    /// Milliseconds from the beginning to the last beat of each door.
    doors: [AtomicU64; 2],
}

impl Default for Pulse {
    /// Both doors have just been heard of.
    fn default() -> Self {
        Self { began: Instant::now(), doors: Default::default() }
    }
}

impl Pulse {
    /// How long ago the door was heard of that has been silent for longer. Below a second while both work.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let last = self.doors.iter().map(|door| door.load(Relaxed)).min().unwrap_or(0);
        self.began.elapsed().saturating_sub(Duration::from_millis(last))
    }

    fn beat(&self, door: Transport) {
        let place = match door {
            Transport::Grpc => 0,
            Transport::Http => 1,
        };
        self.doors[place].store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// What comes of `waiting`, which the door is not dead for.
    pub(super) async fn while_waiting<T>(&self, door: Transport, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut waiting => return done,
                () = tokio::time::sleep(PERIOD) => self.beat(door),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_silence_is_that_of_the_door_that_is_silent_for_longer() {
        let pulse = Pulse::default();
        tokio::time::sleep(Duration::from_millis(20)).await;
        pulse.beat(Transport::Grpc);
        assert!(pulse.silence() >= Duration::from_millis(20), "the other one says nothing");
        let waits = pulse.while_waiting(Transport::Http, tokio::time::sleep(4 * PERIOD));
        waits.await;
        let http = Duration::from_millis(pulse.doors[1].load(Relaxed));
        assert!(http >= PERIOD, "it was heard of while it waited");
    }
}
