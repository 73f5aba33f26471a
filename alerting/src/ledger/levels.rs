//! Levels: the current one per scope, and every change.

use detect::{LevelChange, UnixNanos};
use rusqlite::{Row, Transaction, params};

use super::{
    Listed, Page, Reader,
    body::{from_json, to_json},
    rows::Conditions,
};
use crate::LedgerError;

/// Which level changes are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelFilter {
    /// Of this scope: `Some(None)` is the level of everything, `Some(Some(name))` a service's.
    pub service: Option<Option<String>>,
    /// At this event time or later.
    pub from: Option<UnixNanos>,
    /// At this event time or earlier.
    pub to: Option<UnixNanos>,
}

/// The key of a scope: a service can be called anything, also "all".
pub(super) fn scope(service: Option<&str>) -> String {
    service.map_or_else(|| "all".to_owned(), |name| format!("service:{name}"))
}

/// Writes the change, and the scope's new level; `false` when the change was known.
pub(super) fn save(transaction: &Transaction<'_>, change: &LevelChange) -> Result<bool, LedgerError> {
    let (scope, body) = (scope(change.service.as_deref()), to_json(change));
    let inserted = transaction.execute(
        "INSERT INTO level_changes (scope, at, from_level, to_level, body) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT DO NOTHING",
        params![scope, change.at.0, change.from.number(), change.to.number(), body],
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    transaction.execute(
        "INSERT INTO levels (scope, at, body) VALUES (?, ?, ?) \
         ON CONFLICT (scope) DO UPDATE SET at = excluded.at, body = excluded.body WHERE excluded.at >= levels.at",
        params![scope, change.at.0, body],
    )?;
    Ok(true)
}

fn read(row: &Row<'_>) -> Result<LevelChange, LedgerError> {
    let (scope, body): (String, String) = (row.get("scope")?, row.get("body")?);
    from_json(&scope, &body)
}

impl Reader {
    /// The last change of each scope, whose `to` is the current level. A scope that never changed is
    /// not listed: it has full service.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn levels(&self) -> Result<Vec<LevelChange>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare("SELECT scope, body FROM levels ORDER BY scope")?;
            statement.query_and_then([], read)?.collect()
        })
    }

    /// The level changes that `filter` lets through, in the order in which they were recorded.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`], [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn level_history(&self, filter: &LevelFilter, page: Page) -> Result<Listed<LevelChange>, LedgerError> {
        let mut conditions = Conditions::default();
        conditions.when(filter.service.as_ref().map(|service| scope(service.as_deref())), "scope = ?");
        conditions.when(filter.from.map(|at| at.0), "+at >= ?");
        conditions.when(filter.to.map(|at| at.0), "+at <= ?");
        let select = "SELECT row AS cursor, scope, body FROM level_changes";
        self.store.read(|connection| conditions.page(connection, select, "row", page, read))
    }
}
