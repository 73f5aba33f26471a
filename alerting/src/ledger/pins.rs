//! Pins: levels set by people, on disk before they are confirmed.

use std::sync::Arc;

use detect::{Pin, UnixNanos};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{
    Reader,
    body::{from_json, to_json},
    levels::scope,
    silences::is_time,
    store::Store,
};
use crate::{LedgerError, clock};

/// A pin, and what it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePin {
    /// The service; `None` for the level of everything. At most 1,000 bytes.
    pub service: Option<String>,
    /// When it was set.
    pub created_at: UnixNanos,
    /// Level, author (1 to 200 bytes), reason (at most 2,000 bytes) and expiry (after `created_at`).
    #[serde(flatten)]
    pub pin: Pin,
}

/// Writes what people decide. Cheap to clone. Its methods block on the disk: from async code call them
/// on a thread that may block.
#[derive(Clone, Debug)]
pub struct Operator {
    pub(super) store: Arc<Store>,
}

/// A pin as nodes give it to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedPin {
    /// The pin. When it was set, or taken back, is said by the clock of that node; the later word holds.
    #[serde(flatten)]
    pub pin: ServicePin,
    /// Whether it was taken back then.
    pub withdrawn: bool,
}

impl Operator {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Writes the pin; it replaces an earlier one of the same scope.
    ///
    /// # Errors
    /// [`LedgerError::Pin`] names the field that is out of bounds; [`LedgerError::Sqlite`].
    pub fn set_pin(&self, pin: &ServicePin) -> Result<(), LedgerError> {
        check(pin)?;
        if pin.pin.expires_at <= pin.created_at {
            let (expected, actual) = ("a time after createdAt", pin.pin.expires_at.to_string());
            return Err(LedgerError::Pin { field: "expiresAt", expected, actual });
        }
        let (scope, body) = (scope(pin.service.as_deref()), to_json(&pin.pin));
        // Later than what it replaces, also where that was set by a node whose clock is ahead.
        let sql = "INSERT INTO pins (scope, service, created_at, expires_at, body) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (scope) DO UPDATE SET created_at = max(excluded.created_at, created_at + 1),
                expires_at = excluded.expires_at, body = excluded.body, withdrawn = 0";
        self.store.write(|transaction| {
            transaction.execute(sql, params![scope, pin.service, pin.created_at.0, pin.pin.expires_at.0, body])?;
            Ok(())
        })?;
        self.note_others(true);
        Ok(())
    }

    /// Removes the pin of a scope; `false` when there was none.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn clear_pin(&self, service: Option<&str>) -> Result<bool, LedgerError> {
        // It is kept as one that does not hold, until it would have expired, for nodes that still know of it.
        let sql =
            "UPDATE pins SET created_at = max(?2, created_at + 1), withdrawn = 1 WHERE scope = ?1 AND withdrawn = 0";
        let cleared = self
            .store
            .write(|transaction| Ok(transaction.execute(sql, params![scope(service), clock::now().0])? > 0))?;
        self.note_others(cleared);
        Ok(cleared)
    }

    /// Takes from another node what is newer there; those pins, also ones that were taken back.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub(super) fn merge_pins(&self, heard: Vec<SharedPin>) -> Result<Vec<SharedPin>, LedgerError> {
        let sql = "INSERT INTO pins (scope, service, created_at, expires_at, body, withdrawn) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (scope) DO UPDATE SET created_at = excluded.created_at, expires_at = excluded.expires_at,
                body = excluded.body, withdrawn = excluded.withdrawn WHERE excluded.created_at > created_at";
        if heard.is_empty() {
            return Ok(Vec::new());
        }
        let mut newer = Vec::new();
        self.store.write(|transaction| {
            for shared in heard.into_iter().filter(|s| check(&s.pin).is_ok() && is_time(s.pin.created_at)) {
                let ServicePin { service, created_at, pin } = &shared.pin;
                let (scope, body) = (scope(service.as_deref()), to_json(pin));
                let row = params![scope, service, created_at.0, pin.expires_at.0, body, shared.withdrawn];
                if transaction.execute(sql, row)? > 0 {
                    newer.push(shared);
                }
            }
            Ok(())
        })?;
        self.note_others(!newer.is_empty());
        Ok(newer)
    }
}

/// Checks all but its times, which are those of another clock in what a peer says.
fn check(pin: &ServicePin) -> Result<(), LedgerError> {
    let refused = |field, expected, actual| Err(LedgerError::Pin { field, expected, actual });
    let bytes = |length: usize| format!("{length} bytes");
    if pin.service.as_ref().is_some_and(|s| !(1..=1000).contains(&s.len())) {
        return refused("service", "1 to 1000 bytes", bytes(pin.service.as_ref().map_or(0, String::len)));
    }
    if !(1..=200).contains(&pin.pin.author.len()) {
        return refused("author", "1 to 200 bytes", bytes(pin.pin.author.len()));
    }
    if pin.pin.reason.len() > 2000 {
        return refused("reason", "at most 2000 bytes", bytes(pin.pin.reason.len()));
    }
    Ok(())
}

impl Reader {
    /// All pins, by scope, also expired ones that have not been pruned.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn pins(&self) -> Result<Vec<ServicePin>, LedgerError> {
        let sql = "SELECT scope, service, created_at, body, withdrawn FROM pins WHERE withdrawn = 0 ORDER BY scope";
        Ok(self.store.read(|connection| list(connection, sql))?.into_iter().map(|shared| shared.pin).collect())
    }

    /// At most `most` pins, the newest, also those that were taken back.
    pub(super) fn shared_pins(&self, most: usize) -> Result<Vec<SharedPin>, LedgerError> {
        let columns = "scope, service, created_at, body, withdrawn";
        let sql = format!("SELECT {columns} FROM pins ORDER BY created_at DESC, scope LIMIT {most}");
        self.store.read(|connection| list(connection, &sql))
    }
}

fn list(connection: &Connection, sql: &str) -> Result<Vec<SharedPin>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let pins = statement.query_and_then([], |row| {
        let (scope, body): (String, String) = (row.get("scope")?, row.get("body")?);
        let created_at = UnixNanos(row.get("created_at")?);
        let pin = ServicePin { service: row.get("service")?, created_at, pin: from_json(&scope, &body)? };
        Ok(SharedPin { pin, withdrawn: row.get("withdrawn")? })
    })?;
    pins.collect()
}
