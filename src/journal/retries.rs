//! Requests that were on disk when the process ended, and whose senders may not have heard so.
//!
//! Such a sender sends the same bytes again. Numbers may come twice: the second time changes nothing. But
//! a span that is counted twice is a wrong rate, so for a while after a start the requests that were read
//! from the log are recognised.

use std::{collections::HashSet, time::Duration};

use ingest::Request;
use window::UnixNanos;
use xxhash_rust::xxh3::xxh3_128;

/// Requests that are remembered: the newest of the log.
const MAX: usize = 1 << 16;
/// How long senders go on trying; OpenTelemetry's exporters give up after five minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// What may come again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    seen: HashSet<u128>,
    order: std::collections::VecDeque<u128>,
    last: UnixNanos,
}

impl Retries {
    /// Notes a request that was read from the log, of a batch that came at `now`.
    pub(super) fn note(&mut self, request: Option<&[u8]>, now: UnixNanos) {
        self.last = self.last.max(now);
        let Some(body) = request else { return };
        let hash = xxh3_128(body);
        if self.seen.insert(hash) {
            self.order.push_back(hash);
        }
        if self.order.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }

    /// Notes that the process has started at `now`: from here on retries may come.
    pub(super) fn started(&mut self, now: UnixNanos) {
        self.last = now;
    }

    /// Whether `request`, which comes at `now`, was read from the log.
    pub(super) fn is_known(&mut self, request: Option<&Request>, now: UnixNanos) -> bool {
        if self.seen.is_empty() {
            return false;
        }
        if now.since(self.last) > PATIENCE {
            *self = Self::default();
            return false;
        }
        request.is_some_and(|request| self.seen.contains(&xxh3_128(&request.body)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::otlp::Signal;

    use super::*;

    fn request(body: &'static [u8]) -> Option<Request> {
        Some(Request::new(Signal::Traces, Bytes::from_static(body)))
    }

    #[test]
    fn what_was_in_the_log_is_recognised_for_a_while() {
        let mut retries = Retries::default();
        let secs = |s: i64| UnixNanos(s * 1_000_000_000);
        retries.note(Some(b"a"), secs(1));
        retries.note(None, secs(1));
        retries.started(secs(1_000));
        let mut known = |body, at| retries.is_known(request(body).as_ref(), secs(at));
        assert!(known(b"a", 1_001) && !known(b"b", 1_001) && known(b"a", 1_600));
        assert!(!known(b"a", 1_601));
        assert!(!retries.is_known(None, secs(1)));
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut retries = Retries::default();
        for i in 0..=MAX as u64 {
            retries.note(Some(&i.to_le_bytes()), UnixNanos(0));
        }
        let mut known = |i: u64| {
            let body = Bytes::copy_from_slice(&i.to_le_bytes());
            retries.is_known(Some(&Request::new(Signal::Logs, body)), UnixNanos(0))
        };
        assert!(!known(0) && known(1) && known(MAX as u64));
    }
}
