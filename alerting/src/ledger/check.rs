//! Whether a ledger's file is sound, asked without changing it.

use std::path::Path;

use rusqlite::ErrorCode;

use super::store;
use crate::LedgerError;

/// What is wrong with the ledger at `path`; `None` for a sound one, or where there is none.
pub(super) fn fault(path: &Path) -> Result<Option<String>, LedgerError> {
    if !path.exists() {
        return Ok(None);
    }
    let _lock = store::lock(path)?;
    let asked = store::open_reader(path)
        .and_then(|connection| connection.pragma_query_value(None, "integrity_check", |row| row.get::<_, String>(0)));
    match asked {
        Ok(answer) => Ok((answer != "ok").then_some(answer)),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(Some(error.to_string())),
            _ => Err(store::explained(error.into(), path)),
        },
    }
}
