//! Judgement that waits, so that the order in which a tenant's rows come does not matter.
//!
//! Rows are held until the tenant's newest time is past theirs by the lateness. Then they go on as if
//! they had come in the order of time, and of the identity of their series within a time: into the
//! window, into rates and quantiles, to the detectors. Spans and logs are in their buckets at once,
//! and a bucket is closed when its end is that far back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::{HistogramRow, SeriesId, UnixNanos, Window};

use super::{
    Applied, Intake, Origin,
    held::{Held, Row},
};
use crate::{DerivedPoint, Feed, NumberRow};

/// How long judgement waits for rows that come late.
///
/// Of what comes within the lateness, the order, the batches and repetitions make no difference. Of
/// several rows for the same series and time the one with the greatest value is taken. Beyond it a row
/// is treated as without a lateness: a number is judged if it is the newest of its series, spans and
/// logs are kept and counted as late. All senders of a tenant have to be within the lateness of each
/// other. Limits (of series, operations and services) are filled in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatenessConfig {
    /// Event time that judgement, the window's numbers and rules stay behind the newest row. Default 0:
    /// everything is judged as it comes.
    pub lateness: Duration,
    /// Bytes of rows that wait; beyond it the oldest go on early and are counted. Default 64 MiB.
    pub max_bytes: usize,
    /// When nobody is waited for any longer.
    pub idle: Idle,
}

impl Default for LatenessConfig {
    fn default() -> Self {
        Self { lateness: Duration::ZERO, max_bytes: 64 << 20, idle: Idle::Auto }
    }
}

/// After how much time without news, by the wall clock, what waits is judged, and buckets of spans and
/// logs are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// The lateness, a bucket and its grace.
    Auto,
    /// So long.
    After(Duration),
    /// Never: what comes next may come at any speed, as in a replay.
    Off,
}

/// How far it has come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) held: Held,
    /// Everything up to this time has gone on.
    released: UnixNanos,
    /// Greatest time that was taken.
    newest: UnixNanos,
    /// Wall time of the newest arrival.
    arrived: UnixNanos,
}

impl Default for Progress {
    fn default() -> Self {
        Self { held: Held::default(), released: UnixNanos::MIN, newest: UnixNanos::MIN, arrived: UnixNanos::MIN }
    }
}

impl Progress {
    pub(super) fn clock_was_set(&mut self, by: i64) {
        self.arrived.0 = self.arrived.0.saturating_add(by);
    }
}

impl Intake {
    /// Whether rows are held.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        !self.config.lateness.lateness.is_zero() || !self.state.progress.held.is_empty()
    }

    /// How much time by the wall clock makes idle; `None` for none.
    pub(super) fn idle_after(&self) -> Option<Duration> {
        let red = &self.config.red;
        match self.config.lateness.idle {
            Idle::Auto => Some(self.config.lateness.lateness + red.bucket + red.grace),
            Idle::After(time) => Some(time),
            Idle::Off => None,
        }
    }

    /// Up to which event time everything has been judged, while something waits: decisions that look at
    /// several series are not to be made for later times. [`UnixNanos::MIN`] before anything was judged.
    #[must_use]
    pub fn judged_until(&self) -> Option<UnixNanos> {
        self.first_held().map(|_| self.state.progress.released)
    }

    /// Notes that rows up to `newest` have come at wall time `now`.
    pub(super) fn came(&mut self, newest: Option<UnixNanos>, now: Option<UnixNanos>) {
        let progress = &mut self.state.progress;
        if let Some(newest) = newest {
            progress.newest = progress.newest.max(newest);
            progress.arrived = progress.arrived.max(now.unwrap_or(UnixNanos::MIN));
        }
    }

    /// Takes a number: at once, or when its time has come.
    #[inline]
    pub(super) fn admit(&mut self, id: SeriesId, row: &NumberRow, window: &mut Window, applied: &mut Applied) {
        let NumberRow { time, start, value, .. } = *row;
        if !self.waits() || time <= self.state.progress.released {
            self.take(id, time, start, value, Origin::Sent, window, applied);
            return;
        }
        window.registry_mut().touch(id, time);
        self.state.progress.held.push(time, Row::Number { series: id, start, value });
    }

    /// Takes a histogram's point: at once, or when its time has come.
    pub(super) fn admit_histogram(&mut self, row: HistogramRow, window: &mut Window, applied: &mut Applied) {
        if !self.waits() || row.time <= self.state.progress.released {
            self.take_histogram(row, window, applied);
            return;
        }
        window.registry_mut().touch(row.series, row.time);
        self.state.progress.held.push(row.time, Row::Histogram(Box::new(row)));
    }

    /// The first time at which something waits.
    fn first_held(&self) -> Option<UnixNanos> {
        if !self.waits() {
            return None;
        }
        [self.state.progress.held.first(), self.state.red.first_end()].into_iter().flatten().min()
    }

    /// The next step of what waits: everything up to the event time `due` of the next evaluation, or up
    /// to the next row if that is later, as far as the lateness has passed. `None` when there is nothing
    /// to do until something comes, or time passes. `now` is the wall clock, as in [`Intake::apply`].
    ///
    /// Between two steps the caller evaluates what is due by [`Intake::judged_until`], so that what is
    /// evaluated does not depend on how much was sent at once.
    pub fn release(&mut self, window: &mut Window, now: Option<UnixNanos>, due: Option<UnixNanos>) -> Option<Applied> {
        let first = self.first_held()?;
        let before_first = UnixNanos(first.0.saturating_sub(1));
        let horizon = self.horizon(now);
        let mut until = match due {
            Some(due) => due.max(before_first).min(horizon),
            // The first evaluation is that of the first row.
            None if first <= horizon => first,
            None => UnixNanos::MIN,
        };
        let is_early = until < first && self.bytes() > self.config.lateness.max_bytes;
        if is_early {
            until = first;
        }
        if until <= self.state.progress.released && until < first {
            return None;
        }
        let mut applied = Applied::default();
        let count = self.go_on(until, window, &mut applied);
        if is_early {
            self.state.passed.early += count as u64;
        }
        self.state.progress.released = self.state.progress.released.max(until);
        self.state.red.closed_until(self.state.progress.released);
        Some(applied)
    }

    /// What the rows that wait take, and what is remembered of spans to know them again.
    fn bytes(&self) -> usize {
        self.state.progress.held.bytes() + self.state.red.seen_bytes()
    }

    /// Up to which time nothing is waited for any more.
    fn horizon(&self, now: Option<UnixNanos>) -> UnixNanos {
        let Progress { newest, arrived, .. } = self.state.progress;
        let lateness = self.config.lateness.lateness;
        let is_idle = now.zip(self.idle_after()).is_some_and(|(now, after)| now.since(arrived) >= after);
        if is_idle || lateness.is_zero() {
            // The last bucket ends after all that is in it.
            return newest.plus(self.config.red.bucket);
        }
        // One sender with a fast clock does not make all others late.
        newest.min(now.unwrap_or(UnixNanos::MAX)).minus(lateness)
    }

    /// Lets everything up to `until` go on, in order; returns how many rows that were.
    fn go_on(&mut self, until: UnixNanos, window: &mut Window, applied: &mut Applied) -> usize {
        let mut heard = BTreeSet::new();
        let mut count = 0;
        let mut end = self.state.red.first_end();
        loop {
            let time = self.state.progress.held.first();
            let Some(next) = [time, end].into_iter().flatten().min().filter(|next| *next <= until) else { break };
            if time == Some(next) {
                count += self.go_on_with_rows(window, &mut heard, applied);
            } else {
                count += self.go_on_with_buckets(next, window, &mut heard, applied);
                end = self.state.red.first_end();
            }
        }
        let feed = |(time, service)| (Feed { service, instance: "".into() }, time);
        applied.feeds = heard.into_iter().map(feed).collect();
        count
    }

    fn go_on_with_rows(
        &mut self,
        window: &mut Window,
        heard: &mut BTreeSet<(UnixNanos, Arc<str>)>,
        applied: &mut Applied,
    ) -> usize {
        let Some((time, rows, count)) = self.state.progress.held.pop(window.registry()) else { return 0 };
        self.state.passed.repeated += (count - rows.len()) as u64;
        for row in rows {
            let id = match row {
                Row::Number { series, start, value } => {
                    self.take(series, time, start, value, Origin::Sent, window, applied);
                    series
                }
                Row::Histogram(row) => {
                    let series = row.series;
                    self.take_histogram(*row, window, applied);
                    series
                }
            };
            heard.extend(window.registry().get(id).map(|series| (time, series.service.clone())));
        }
        count
    }

    fn go_on_with_buckets(
        &mut self,
        end: UnixNanos,
        window: &mut Window,
        heard: &mut BTreeSet<(UnixNanos, Arc<str>)>,
        applied: &mut Applied,
    ) -> usize {
        let mut derived = Vec::new();
        self.state.red.close_at(end, &mut derived);
        heard.extend(derived.iter().map(|DerivedPoint { series, .. }| (end, series.service.clone())));
        let count = derived.len();
        self.take_derived(derived, window, applied);
        count
    }
}
