//! Pins: levels set by people, on disk before they are confirmed.

use std::sync::Arc;

use detect::{Pin, UnixNanos};
use rusqlite::params;
use serde::Serialize;

use super::{
    Reader,
    body::{from_json, to_json},
    levels::scope,
    store::Store,
};
use crate::LedgerError;

/// A pin, and what it applies to.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
        let (scope, body) = (scope(pin.service.as_deref()), to_json(&pin.pin));
        self.store.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO pins (scope, service, created_at, expires_at, body) VALUES (?, ?, ?, ?, ?)",
                params![scope, pin.service, pin.created_at.0, pin.pin.expires_at.0, body],
            )?;
            Ok(())
        })
    }

    /// Removes the pin of a scope; `false` when there was none.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn clear_pin(&self, service: Option<&str>) -> Result<bool, LedgerError> {
        self.store
            .write(|transaction| Ok(transaction.execute("DELETE FROM pins WHERE scope = ?", [scope(service)])? > 0))
    }
}

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
    if pin.pin.expires_at <= pin.created_at {
        return refused("expiresAt", "a time after createdAt", pin.pin.expires_at.to_string());
    }
    Ok(())
}

impl Reader {
    /// All pins, by scope, also expired ones that have not been pruned.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn pins(&self) -> Result<Vec<ServicePin>, LedgerError> {
        self.store.read(|connection| {
            let sql = "SELECT scope, service, created_at, body FROM pins ORDER BY scope";
            let mut statement = connection.prepare(sql)?;
            let pins = statement.query_and_then([], |row| {
                let (scope, body): (String, String) = (row.get("scope")?, row.get("body")?);
                let created_at = UnixNanos(row.get("created_at")?);
                Ok(ServicePin { service: row.get("service")?, created_at, pin: from_json(&scope, &body)? })
            })?;
            pins.collect()
        })
    }
}
