//! Decisions as JSON, and back.
//!
//! JSON has no NaN and no infinity: both become `null`, and come back as NaN. Alerts of others have no value, and
//! a row must not make its whole page unreadable.

use detect::{Alert, Anomaly, LevelChange};
use rusqlite::types::Value;
use serde::{Serialize, de::DeserializeOwned};

use super::rows::integer;
use crate::LedgerError;

/// Something stored as JSON.
pub(super) trait Body: Serialize + DeserializeOwned + 'static {
    const TABLE: &'static str;
}

impl Body for Anomaly {
    const TABLE: &'static str = "anomalies";
}

impl Body for Alert {
    const TABLE: &'static str = "alerts";
}

impl Body for LevelChange {
    const TABLE: &'static str = "level_changes";
}

impl Body for detect::Pin {
    const TABLE: &'static str = "pins";
}

pub(super) fn to_json<T: Body>(item: &T) -> String {
    serde_json::to_string(item).expect("plain data under fixed names always serialises")
}

/// `id` is for the error.
pub(super) fn from_json<T: Body>(id: &str, body: &str) -> Result<T, LedgerError> {
    serde_json::from_str(body).map_err(|source| LedgerError::Row { table: T::TABLE, id: id.to_owned(), source })
}

/// Restores what an anomaly's JSON does not carry: the key is not for outsiders, and `seq` is the
/// one under which the anomaly was first said.
pub(super) fn read_anomaly(row: &rusqlite::Row<'_>) -> Result<Anomaly, LedgerError> {
    let (id, seq, key, body): (String, i64, Option<String>, String) =
        (row.get("id")?, row.get("seq")?, row.get("series_key")?, row.get("body")?);
    let mut anomaly: Anomaly = from_json(&id, &body)?;
    anomaly.seq = u64::try_from(seq).unwrap_or(0);
    if let Some(key) = key.and_then(|hex| u128::from_str_radix(&hex, 16).ok()) {
        // Through serde, because the key's type belongs to a crate that this one does not see.
        let unreadable = |source| LedgerError::Row { table: Anomaly::TABLE, id, source };
        anomaly.series_key = serde_json::from_str(&key.to_string()).map_err(unreadable)?;
    }
    Ok(anomaly)
}

/// The values of an anomaly's columns, in the order of the insert statement.
pub(super) fn anomaly_columns(anomaly: &Anomaly) -> [Value; 13] {
    let text = |text: &str| Value::Text(text.to_owned());
    [
        text(&anomaly.id),
        Value::Integer(integer(anomaly.seq)),
        text(&anomaly.service),
        text(&anomaly.metric),
        text(anomaly.detector.as_str()),
        text(anomaly.severity.as_str()),
        text(anomaly.pattern.as_str()),
        Value::Integer(anomaly.starts_at.0),
        anomaly.ends_at.map_or(Value::Null, |at| Value::Integer(at.0)),
        Value::Integer(integer(anomaly.points)),
        Value::Real(anomaly.score),
        anomaly.series_key.map_or(Value::Null, |key| text(&format!("{:032x}", key.0))),
        anomaly.incident_id.as_deref().map_or(Value::Null, text),
    ]
}
