//! When an endpoint may be asked, and for how long an answer is waited for: what is known of it from what it
//! did before. All of it is forgotten with the process, and learned again from a few attempts.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::Backoff;

/// Failures in a row after which an endpoint is left alone for a while.
const TRIP: u32 = 5;
/// What is waited for an answer at least. Below it a pause of the receiver's garbage collector would be taken for
/// a failure, and the notification arrive twice.
const FLOOR: Duration = Duration::from_secs(2);

/// What is known of one endpoint.
#[derive(Debug)]
pub(super) struct Gate {
    backoff: Backoff,
    latency: Latency,
    /// In a row, as long as the breaker is closed.
    failures: u32,
    /// When the breaker was opened last, and how often since the last success.
    opened: Option<(Instant, u32)>,
    /// Nothing is sent before: the receiver has asked for it, or the breaker is open.
    closed_until: Option<Instant>,
    pace: Pace,
}

impl Gate {
    pub(super) fn new(backoff: Backoff, ceiling: Duration, rates: Vec<(usize, Duration)>) -> Self {
        let pace = Pace { rates, sent: VecDeque::new() };
        Self { backoff, latency: Latency::new(ceiling), failures: 0, opened: None, closed_until: None, pace }
    }

    /// How long an attempt may take.
    pub(super) fn timeout(&self) -> Duration {
        self.latency.timeout()
    }

    /// How many notifications may be sent at once, of which `in_flight` already are; or how long there is none.
    pub(super) fn room(&mut self, now: Instant, most: usize, in_flight: usize) -> Result<usize, Duration> {
        if let Some(wait) = self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|w| !w.is_zero())
        {
            return Err(wait);
        }
        // Half open: one is let through, to see what becomes of it.
        let most = if self.is_tripped() { 1 } else { most };
        let room = most.saturating_sub(in_flight);
        let paced = self.pace.room(now)?;
        Ok(room.min(paced))
    }

    /// This rate holds from now on, in place of those before.
    pub(super) fn allow(&mut self, rate: Option<(usize, Duration)>) {
        self.pace.rates = Vec::from_iter(rate);
    }

    /// Notes that a notification is sent.
    pub(super) fn sends(&mut self, now: Instant) {
        self.pace.sends(now);
    }

    /// Notes that one was sent so long ago, by an earlier process.
    pub(super) fn has_sent(&mut self, at: Instant) {
        self.pace.sent.push_back(at);
    }

    /// Notes an answer that is no failure of the endpoint, after `took`; whether it had been left alone.
    pub(super) fn answered(&mut self, took: Duration) -> bool {
        self.latency.measured(took);
        self.failures = 0;
        self.opened.take().is_some()
    }

    /// Notes the failure of an attempt that `began` then; `fraction` in [0, 1) is the jitter. Whether this one opened
    /// the breaker.
    pub(super) fn failed(&mut self, began: Instant, now: Instant, is_timeout: bool, fraction: f64) -> bool {
        if is_timeout {
            self.latency.timed_out();
        }
        self.failures = self.failures.saturating_add(1);
        let times = match self.opened {
            None if self.failures < TRIP => return false,
            None => 1,
            // One of many that were on their way when it was opened tells nothing new.
            Some((at, _)) if began <= at => return false,
            Some((_, times)) => times.saturating_add(1),
        };
        self.opened = Some((now, times));
        // Between half of it and all: soon enough, and not in step with others.
        self.close(now + self.backoff.ceiling(times).mul_f64(0.5 + fraction / 2.0));
        times == 1
    }

    /// Sends nothing for as long as the receiver has asked.
    pub(super) fn pause(&mut self, now: Instant, wait: Duration) {
        self.close(now + wait);
    }

    fn is_tripped(&self) -> bool {
        self.opened.is_some()
    }

    fn close(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(Some(until));
    }
}

/// How long answers take, as TCP estimates it (RFC 6298): smoothed time plus four times its deviation, doubled
/// by each timeout, between [`FLOOR`] and a ceiling.
#[derive(Debug)]
struct Latency {
    ceiling: Duration,
    smoothed: Option<(f64, f64)>,
    timeout: Duration,
}

impl Latency {
    fn new(ceiling: Duration) -> Self {
        Self { ceiling, smoothed: None, timeout: ceiling }
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn measured(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let (mean, deviation) = match self.smoothed {
            None => (took, took / 2.0),
            Some((mean, deviation)) => {
                (mean + (took - mean) / 8.0, deviation + ((took - mean).abs() - deviation) / 4.0)
            }
        };
        self.smoothed = Some((mean, deviation));
        let wanted = Duration::from_secs_f64((mean + 4.0 * deviation).clamp(0.0, 1e6));
        self.timeout = wanted.max(FLOOR).min(self.ceiling);
    }

    fn timed_out(&mut self) {
        self.timeout = self.timeout.saturating_mul(2).min(self.ceiling);
    }
}

/// What was sent within the longest of the windows that count.
#[derive(Debug)]
struct Pace {
    rates: Vec<(usize, Duration)>,
    sent: VecDeque<Instant>,
}

impl Pace {
    fn room(&mut self, now: Instant) -> Result<usize, Duration> {
        let longest = self.rates.iter().map(|(_, window)| *window).max().unwrap_or_default();
        while self.sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= longest) {
            self.sent.pop_front();
        }
        let (mut room, mut wait) = (usize::MAX, Duration::ZERO);
        for (most, window) in &self.rates {
            let within = self.sent.iter().rev().take_while(|at| now.saturating_duration_since(**at) < *window).count();
            if within < *most {
                room = room.min(most - within);
            } else {
                // When the oldest of those that count has left the window, there is room for one.
                let oldest = self.sent[self.sent.len() - most];
                wait = wait.max((oldest + *window).saturating_duration_since(now));
            }
        }
        if wait.is_zero() { Ok(room) } else { Err(wait) }
    }

    fn sends(&mut self, now: Instant) {
        if !self.rates.is_empty() {
            self.sent.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(rates: &[(usize, Duration)]) -> (Gate, Instant) {
        (Gate::new(Backoff::default(), Duration::from_secs(15), rates.to_vec()), Instant::now())
    }

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_timeout_follows_what_was_measured_between_floor_and_ceiling() {
        let (mut gate, now) = gate(&[]);
        assert_eq!(gate.timeout(), secs(15), "nothing is known yet");
        for _ in 0..50 {
            gate.answered(Duration::from_millis(5));
        }
        assert_eq!(gate.timeout(), FLOOR);
        gate.failed(now, now, true, 0.0);
        assert_eq!(gate.timeout(), secs(4), "a timeout measures nothing, and gives more time");
        for _ in 0..50 {
            gate.answered(secs(3));
        }
        let settled = gate.timeout();
        assert!((secs(3)..secs(4)).contains(&settled), "{settled:?}");
        gate.answered(secs(14));
        assert_eq!(gate.timeout(), secs(15));
    }

    #[test]
    fn failures_in_a_row_close_the_gate_and_one_success_opens_it() {
        let (mut gate, now) = gate(&[]);
        let opened: Vec<bool> = (0..5).map(|_| gate.failed(now, now, false, 0.0)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        for _ in 0..60 {
            assert!(!gate.failed(now, now + secs(15), true, 0.0), "those that were on their way change nothing");
        }
        assert_eq!(gate.room(now, 64, 0), Err(Duration::from_millis(500)));
        let later = now + secs(1);
        assert_eq!(gate.room(later, 64, 0), Ok(1), "one is tried");
        assert_eq!(gate.room(later, 64, 1), Ok(0));
        assert!(!gate.failed(later, later, false, 0.999));
        assert!(gate.room(later, 64, 0).is_err_and(|wait| wait > secs(1)), "the next wait is longer");
        assert!(gate.answered(secs(1)));
        assert_eq!(gate.room(later + secs(600), 64, 0), Ok(64));
    }

    #[test]
    fn what_the_receiver_asks_for_is_waited_for() {
        let (mut gate, now) = gate(&[]);
        gate.pause(now, secs(30));
        gate.answered(secs(1));
        assert_eq!(gate.room(now + secs(29), 1, 0), Err(secs(1)));
        assert_eq!(gate.room(now + secs(30), 1, 0), Ok(1));
    }

    #[test]
    fn every_rate_holds_in_every_window() {
        const RATES: &[(usize, Duration)] = &[(2, secs(1)), (3, secs(10))];
        let (mut gate, start) = gate(RATES);
        let mut sent: Vec<Duration> = Vec::new();
        let mut now = start;
        while sent.len() < 12 {
            match gate.room(now, 64, 0) {
                Ok(room) => {
                    assert!(room > 0);
                    gate.sends(now);
                    sent.push(now - start);
                }
                Err(wait) => now += wait,
            }
        }
        for (most, window) in RATES {
            for run in sent.windows(most + 1) {
                assert!(run[*most] - run[0] >= *window, "{most} in {window:?}: {sent:?}");
            }
        }
        assert_eq!(sent[3], secs(10), "and not later than needed");
    }
}
