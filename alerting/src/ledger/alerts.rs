//! Alerts: the current state of each episode, and all of its transitions.

use detect::{Alert, AlertState, AlertTransition, Severity, UnixNanos};
use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;

use super::{
    Listed, Page, Reader,
    body::{from_json, to_json},
    rows::Conditions,
};
use crate::LedgerError;

/// Which alerts are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// In exactly this state.
    pub state: Option<AlertState>,
    /// Pending, firing or stale (`true`), or resolved (`false`).
    pub active: Option<bool>,
    /// Of this service, as [`Alert::service`] says it.
    pub service: Option<String>,
    /// With this `alertname`.
    pub name: Option<String>,
    /// With this severity.
    pub severity: Option<Severity>,
    /// All episodes of this alert.
    pub fingerprint: Option<String>,
}

impl AlertFilter {
    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        // A pending alert that went away was never said to anybody, so it is not among the resolved.
        conditions.must("NOT (state = 'resolved' AND fired_at IS NULL)");
        conditions.when(self.state.map(|s| s.as_str().to_owned()), "state = ?");
        match self.active {
            Some(true) => conditions.must(ACTIVE),
            Some(false) => conditions.must("state = 'resolved'"),
            None => {}
        }
        conditions.when(self.service.clone(), "service = ?");
        conditions.when(self.name.clone(), "name = ?");
        conditions.when(self.severity.map(|s| s.as_str().to_owned()), "severity = ?");
        conditions.when(self.fingerprint.clone(), "fingerprint = ?");
        conditions
    }
}

/// A step in an episode's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// State before; `None` at the beginning.
    pub from: Option<AlertState>,
    /// State after.
    pub to: AlertState,
    /// Event time of the change.
    pub at: UnixNanos,
}

const ACTIVE: &str = "state IN ('pending', 'firing', 'stale')";
const SELECT: &str = "SELECT row AS cursor, episode, body FROM alerts";

/// Writes the transition and the episode's new state; `false` when the transition was known.
pub(super) fn save(transaction: &Transaction<'_>, transition: &AlertTransition) -> Result<bool, LedgerError> {
    // What an episode is of, its labels, is part of its id: their indexes stay as they are.
    const UPSERT: &str = "
        INSERT INTO alerts
            (episode, fingerprint, name, service, severity, state, fired_at, resolved_at, changed_at, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (episode) DO UPDATE SET
            state = excluded.state, fired_at = excluded.fired_at, resolved_at = excluded.resolved_at,
            changed_at = excluded.changed_at, body = excluded.body
        WHERE excluded.changed_at >= alerts.changed_at";
    let AlertTransition { from, alert, at } = transition;
    let from = from.map_or("", AlertState::as_str);
    let insert =
        "INSERT INTO alert_transitions (episode, from_state, to_state, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let step = params![alert.episode, from, alert.state.as_str(), at.0];
    let inserted = transaction.prepare_cached(insert)?.execute(step)?;
    if inserted == 0 {
        return Ok(false);
    }
    let values = params![
        alert.episode,
        alert.fingerprint,
        alert.name(),
        alert.service(),
        alert.severity().as_str(),
        alert.state.as_str(),
        alert.fired_at.map(|at| at.0),
        alert.resolved_at.map(|at| at.0),
        at.0,
        to_json(alert),
    ];
    transaction.prepare_cached(UPSERT)?.execute(values)?;
    Ok(true)
}

fn read(row: &Row<'_>) -> Result<Alert, LedgerError> {
    let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    from_json(text("episode")?, text("body")?)
}

/// Writes what has changed of an alert whose state has not.
pub(super) fn refresh(transaction: &Transaction<'_>, alert: &Alert) -> Result<(), LedgerError> {
    let sql = "UPDATE alerts SET body = ? WHERE episode = ?";
    transaction.prepare_cached(sql)?.execute(params![to_json(alert), alert.episode])?;
    Ok(())
}

/// The alerts that fire, stale ones among them, oldest episode first.
pub(super) fn firing(connection: &Connection) -> Result<Vec<Alert>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE state IN ('firing', 'stale')"))?;
    let alerts = statement.query_and_then([], |row| Ok((row.get("cursor")?, read(row)?)))?;
    let mut alerts: Vec<(i64, Alert)> = alerts.collect::<Result<_, LedgerError>>()?;
    // SQLite would write them to a file to sort them. Those of one state come in order, so there is little to do.
    alerts.sort_by_key(|(row, _)| *row);
    Ok(alerts.into_iter().map(|(_, alert)| alert).collect())
}

/// Those of [`firing`] that name services which depend on theirs.
pub(super) fn firing_with_dependents(connection: &Connection) -> Result<Vec<Alert>, LedgerError> {
    // As the index has it.
    let sql = format!("{SELECT} WHERE state IN ('firing', 'stale') AND body ->> '$.dependents' <> '[]' ORDER BY row");
    connection.prepare_cached(&sql)?.query_and_then([], read)?.collect()
}

/// The alerts of a group that are over.
pub(super) fn over(connection: &Connection, group: i64) -> Result<Vec<Alert>, LedgerError> {
    let sql = format!(
        "{SELECT} WHERE state = 'resolved' AND episode IN (SELECT episode FROM group_alerts WHERE group_row = ?)"
    );
    connection.prepare_cached(&sql)?.query_and_then([group], read)?.collect()
}

fn state(text: &str) -> Option<AlertState> {
    use AlertState::{Firing, Pending, Resolved, Stale};
    [Pending, Firing, Stale, Resolved].into_iter().find(|state| state.as_str() == text)
}

impl Reader {
    /// The alerts that `filter` lets through, in the order in which their episodes began. Pending
    /// alerts that went away without firing are left out.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`], [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn alerts(&self, filter: &AlertFilter, page: Page) -> Result<Listed<Alert>, LedgerError> {
        self.store.read(|connection| filter.conditions().page(connection, SELECT, "row", page, read))
    }

    /// All pending, firing and stale alerts of our own, oldest episode first: what a restarted engine takes up
    /// again.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn active_alerts(&self) -> Result<Vec<Alert>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare(&format!(
                "{SELECT} WHERE {ACTIVE} AND episode NOT IN (SELECT episode FROM external_alerts) ORDER BY row"
            ))?;
            statement.query_and_then([], read)?.collect()
        })
    }

    /// The alert of this episode.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn alert(&self, episode: &str) -> Result<Option<Alert>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare(&format!("{SELECT} WHERE episode = ?"))?;
            let mut rows = statement.query([episode])?;
            rows.next()?.map(read).transpose()
        })
    }

    /// The steps of this episode in the order in which they were recorded; empty when it is unknown.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn transitions(&self, episode: &str) -> Result<Vec<Transition>, LedgerError> {
        self.store.read(|connection| {
            let sql = "SELECT from_state, to_state, at FROM alert_transitions WHERE episode = ? ORDER BY row";
            let mut statement = connection.prepare(sql)?;
            let steps = statement.query_map([episode], |row| {
                let (from, to): (String, String) = (row.get(0)?, row.get(1)?);
                let at = UnixNanos(row.get(2)?);
                Ok(state(&to).map(|to| Transition { from: state(&from), to, at }))
            })?;
            Ok(steps.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        })
    }
}
