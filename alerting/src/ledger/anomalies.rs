//! Anomalies: one row each, brought up to date as they develop.

use detect::{Anomaly, DetectorKind, Pattern, Severity, UnixNanos};
use rusqlite::{OptionalExtension, Transaction, params, params_from_iter};

use super::{
    Listed, Page, Reader,
    body::{anomaly_columns, read_anomaly, to_json},
    rows::Conditions,
};
use crate::{LedgerError, webhook::Cause};

/// Whether an anomaly lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnomalyState {
    /// It has no end yet.
    Active,
    /// The series came back, or is gone.
    Ended,
}

/// Which anomalies are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnomalyFilter {
    /// Exactly this service.
    pub service: Option<String>,
    /// Exactly this metric.
    pub metric: Option<String>,
    /// Found by this detector.
    pub detector: Option<DetectorKind>,
    /// Exactly this severity.
    pub severity: Option<Severity>,
    /// Exactly this pattern.
    pub pattern: Option<Pattern>,
    /// Lasting or over.
    pub state: Option<AnomalyState>,
    /// Not over before this event time.
    pub from: Option<UnixNanos>,
    /// Begun at this event time at the latest.
    pub to: Option<UnixNanos>,
    /// At least this score. NaN matches nothing.
    pub min_score: Option<f64>,
}

impl AnomalyFilter {
    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        conditions.when(self.service.clone(), "a.service = ?");
        conditions.when(self.metric.clone(), "a.metric = ?");
        conditions.when(self.detector.map(|d| d.as_str().to_owned()), "a.detector = ?");
        conditions.when(self.severity.map(|s| s.as_str().to_owned()), "a.severity = ?");
        conditions.when(self.pattern.map(|p| p.as_str().to_owned()), "a.pattern = ?");
        match self.state {
            Some(AnomalyState::Active) => conditions.must("a.ends_at IS NULL"),
            // The plus keeps SQLite from walking, and then sorting, all ended rows by their end.
            Some(AnomalyState::Ended) => conditions.must("+a.ends_at IS NOT NULL"),
            None => {}
        }
        conditions.when(self.from.map(|at| at.0), "(+a.ends_at IS NULL OR +a.ends_at >= ?)");
        conditions.when(self.to.map(|at| at.0), "a.starts_at <= ?");
        conditions.when(self.min_score, "a.score >= ?");
        conditions
    }
}

/// CROSS JOIN fixes the order: filter the narrow rows, then fetch the bodies of those that remain.
pub(super) const SELECT: &str = "SELECT a.seq AS cursor, a.id, a.seq, a.series_key, b.body \
    FROM anomalies a CROSS JOIN anomaly_bodies b ON b.row = a.row";

/// Writes the anomaly unless a later state of it is already there. `seq` is set once.
pub(super) fn save(transaction: &Transaction<'_>, anomaly: &Anomaly) -> Result<bool, LedgerError> {
    const UPSERT: &str = "
        INSERT INTO anomalies
            (id, seq, service, metric, detector, severity, pattern, starts_at, ends_at, points, score, series_key, incident)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET
            service = excluded.service, metric = excluded.metric, detector = excluded.detector,
            severity = excluded.severity, pattern = excluded.pattern, starts_at = excluded.starts_at,
            ends_at = excluded.ends_at, points = excluded.points, score = excluded.score,
            series_key = excluded.series_key, incident = excluded.incident
        WHERE (excluded.ends_at IS NOT NULL, excluded.points) >= (anomalies.ends_at IS NOT NULL, anomalies.points)
        RETURNING row";
    let columns = params_from_iter(anomaly_columns(anomaly));
    let row: Option<i64> = transaction.prepare_cached(UPSERT)?.query_row(columns, |row| row.get(0)).optional()?;
    let Some(row) = row else { return Ok(false) };
    let body =
        "INSERT INTO anomaly_bodies (row, body) VALUES (?, ?) ON CONFLICT (row) DO UPDATE SET body = excluded.body";
    transaction.prepare_cached(body)?.execute(params![row, to_json(anomaly)])?;
    Ok(true)
}

/// The anomaly as a receiver is told of it, as far as it is known.
pub(super) fn cause(transaction: &Transaction<'_>, id: &str) -> Result<Cause, LedgerError> {
    let sql = "SELECT b.body ->> '$.explanation', a.incident, b.body -> '$.attributes' \
        FROM anomalies a CROSS JOIN anomaly_bodies b ON b.row = a.row WHERE a.id = ?";
    let read = |row: &rusqlite::Row<'_>| {
        let attributes: Option<String> = row.get(2)?;
        // Those that were written before there were any have none.
        let attributes = attributes.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        Ok(Cause { id: id.to_owned(), explanation: row.get(0)?, incident_id: row.get(1)?, attributes })
    };
    let known = transaction.prepare_cached(sql)?.query_row([id], read).optional()?;
    Ok(known.unwrap_or_else(|| Cause { id: id.to_owned(), ..Cause::default() }))
}

impl Reader {
    /// The anomalies that `filter` lets through, by `seq`, which is also the cursor.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`], [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn anomalies(&self, filter: &AnomalyFilter, page: Page) -> Result<Listed<Anomaly>, LedgerError> {
        self.store.read(|connection| filter.conditions().page(connection, SELECT, "a.seq", page, read_anomaly))
    }

    /// The anomaly with this id.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn anomaly(&self, id: &str) -> Result<Option<Anomaly>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare(&format!("{SELECT} WHERE a.id = ?"))?;
            let mut rows = statement.query([id])?;
            rows.next()?.map(read_anomaly).transpose()
        })
    }

    /// All anomalies that last, by `seq`: what a restarted detector takes up again. As many as there
    /// are disturbed series.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn open_anomalies(&self) -> Result<Vec<Anomaly>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare(&format!("{SELECT} WHERE a.ends_at IS NULL ORDER BY a.seq"))?;
            statement.query_and_then([], read_anomaly)?.collect()
        })
    }

    /// The greatest `seq` that was recorded; 0 in an empty ledger.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn greatest_seq(&self) -> Result<u64, LedgerError> {
        let sql = "SELECT coalesce(max(seq), 0) FROM anomalies";
        let seq: i64 = self.store.read(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))?;
        Ok(u64::try_from(seq).unwrap_or(0))
    }
}
