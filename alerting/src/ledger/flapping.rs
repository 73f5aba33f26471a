//! Alerts that begin and cease to fire again and again: told once that they do, and then only when they have calmed.
//!
//! An alert is counted by its labels, over all of its episodes, in event time. While it flaps its receivers know that it
//! fires: they are told so with the mark when it fires for the first time after it was found to flap, and hear no more.
//! It has calmed when it has not changed for as long as the window is, by the wall clock; then they are told
//! once more where it is, so that for each of them `firing` comes first and `resolved` last, as for any other alert.

use std::{collections::BTreeMap, time::Duration};

use detect::{Alert, Labels, UnixNanos};
use rusqlite::{Connection, Transaction, params};

use super::groups::Desk;
use crate::LedgerError;

/// The annotation that says so to receivers.
const ANNOTATION: &str = "flapping";
const SUMMARY: &str = "summary";

/// When an alert flaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// More changes than this within the window. An episode is two: it begins to fire, and ceases to. Default 10.
    pub changes: u32,
    /// Event time in which they are counted; and wall time without a change after which it has calmed. Default 10 min.
    pub window: Duration,
}

impl Default for Damping {
    fn default() -> Self {
        Self { changes: 10, window: Duration::from_mins(10) }
    }
}

/// Those that flap, by fingerprint, with how often they have changed within the window.
pub(crate) type Flapping = BTreeMap<String, u32>;

/// Those that flap now.
pub(super) fn flapping(connection: &Connection) -> Result<Flapping, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT fingerprint, changes FROM flapping")?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// The alert's annotations, which say that it flaps.
pub(crate) fn marked(alert: &Alert, changes: u32) -> Labels {
    let said = format!("changed {changes} times lately; told again when it has calmed");
    let summary = alert.annotations.get(SUMMARY).unwrap_or(alert.name());
    alert.annotations.with(SUMMARY, &format!("Flapping: {summary}")).with(ANNOTATION, &said)
}

/// Whether [`marked`] has given the alert its annotations.
pub(crate) fn is_marked(alert: &Alert) -> bool {
    alert.annotations.get(ANNOTATION).is_some()
}

impl Desk<'_> {
    /// Counts a change of `alert`, which has just been recorded.
    pub(super) fn note_change(&self, transaction: &Transaction<'_>, alert: &Alert) -> Result<(), LedgerError> {
        const COUNT: &str = "
            SELECT count(*) FROM alerts a JOIN alert_transitions t ON t.episode = a.episode
            WHERE a.fingerprint = ?1 AND a.changed_at >= ?2 AND t.at >= ?2
                AND (t.to_state IN ('firing', 'stale')) != (t.from_state IN ('firing', 'stale'))";
        const NOTE: &str = "
            INSERT INTO flapping (fingerprint, since, changed_at, changes) VALUES (?1, ?2, ?2, ?3)
            ON CONFLICT (fingerprint) DO UPDATE SET changed_at = excluded.changed_at, changes = excluded.changes";
        let Some(damping) = self.routing.damping() else { return Ok(()) };
        let latest = "SELECT max(changed_at) FROM alerts WHERE fingerprint = ?";
        let latest: Option<i64> =
            transaction.prepare_cached(latest)?.query_row([&alert.fingerprint], |row| row.get(0))?;
        let from = UnixNanos(latest.unwrap_or(self.now.0)).minus(damping.window);
        let counted = params![alert.fingerprint, from.0];
        let changes: u32 = transaction.prepare_cached(COUNT)?.query_row(counted, |row| row.get(0))?;
        let flaps = "SELECT 1 FROM flapping WHERE fingerprint = ?";
        let flaps = transaction.prepare_cached(flaps)?.exists([&alert.fingerprint])?;
        if flaps || changes > damping.changes {
            transaction.prepare_cached(NOTE)?.execute(params![alert.fingerprint, self.now.0, changes])?;
        }
        if !flaps && changes > damping.changes {
            tracing::warn!(alert = alert.name(), fingerprint = alert.fingerprint, changes, "an alert flaps");
        }
        Ok(())
    }

    /// Lets go of those that have calmed, and has their groups looked at.
    pub(super) fn calm_down(&self, transaction: &Transaction<'_>) -> Result<(), LedgerError> {
        const WAKE: &str = "
            UPDATE groups SET next_flush = ?2 WHERE row IN (
                SELECT g.group_row FROM group_alerts g JOIN alerts a ON a.episode = g.episode WHERE a.fingerprint = ?1)";
        let window = self.routing.damping().map_or(Duration::ZERO, |damping| damping.window);
        let calm: Vec<String> = transaction
            .prepare_cached("SELECT fingerprint FROM flapping WHERE changed_at <= ?")?
            .query_map([self.now.minus(window).0], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for fingerprint in calm {
            transaction.prepare_cached(WAKE)?.execute(params![fingerprint, self.now.0])?;
            transaction.prepare_cached("DELETE FROM flapping WHERE fingerprint = ?")?.execute([&fingerprint])?;
        }
        Ok(())
    }

    /// When the next one may have calmed.
    pub(super) fn next_calm(&self, connection: &Connection) -> Result<Option<UnixNanos>, LedgerError> {
        let window = self.routing.damping().map_or(Duration::ZERO, |damping| damping.window);
        let mut statement = connection.prepare_cached("SELECT min(changed_at) FROM flapping")?;
        let first: Option<i64> = statement.query_row([], |row| row.get(0))?;
        Ok(first.map(|at| UnixNanos(at).plus(window)))
    }
}
