//! The tables that a statement may name, and their columns: described for people in `docs/sql.md`.

use polars::prelude::{DataFrame, DataType, Field, Schema, TimeUnit, TimeZone};

/// Points of all series in the windows.
pub(super) const METRICS: &str = "metrics";
/// Spans in the windows.
pub(super) const SPANS: &str = "spans";
/// Log records in the windows.
pub(super) const LOGS: &str = "logs";
/// Anomalies in the ledger.
pub(super) const ANOMALIES: &str = "anomalies";
/// Alerts in the ledger.
pub(super) const ALERTS: &str = "alerts";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nanoseconds since 1970, UTC.
    Time,
    Text,
    Number,
    /// A dense number.
    Small,
    Count,
}

/// A table, with its columns in the order of `SELECT *`.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// All of them.
pub(super) const TABLES: [Table; 5] = [
    Table {
        name: METRICS,
        columns: &[
            ("time", Kind::Time),
            ("name", Kind::Text),
            ("service", Kind::Text),
            ("labels", Kind::Text),
            ("value", Kind::Number),
            ("kind", Kind::Text),
            ("unit", Kind::Text),
            ("series_id", Kind::Small),
        ],
    },
    Table {
        name: SPANS,
        columns: &[
            ("time", Kind::Time),
            ("end_time", Kind::Time),
            ("duration_seconds", Kind::Number),
            ("trace_id", Kind::Text),
            ("span_id", Kind::Text),
            ("parent_span_id", Kind::Text),
            ("service", Kind::Text),
            ("name", Kind::Text),
            ("kind", Kind::Text),
            ("status", Kind::Text),
            ("attributes", Kind::Text),
            ("resource", Kind::Text),
        ],
    },
    Table {
        name: LOGS,
        columns: &[
            ("time", Kind::Time),
            ("observed_time", Kind::Time),
            ("service", Kind::Text),
            ("severity", Kind::Text),
            ("severity_number", Kind::Small),
            ("body", Kind::Text),
            ("trace_id", Kind::Text),
            ("span_id", Kind::Text),
            ("event_name", Kind::Text),
            ("attributes", Kind::Text),
            ("resource", Kind::Text),
        ],
    },
    Table {
        name: ANOMALIES,
        columns: &[
            ("seq", Kind::Count),
            ("id", Kind::Text),
            ("detector", Kind::Text),
            ("service", Kind::Text),
            ("metric", Kind::Text),
            ("labels", Kind::Text),
            ("starts_at", Kind::Time),
            ("ends_at", Kind::Time),
            ("emitted_at", Kind::Time),
            ("direction", Kind::Text),
            ("pattern", Kind::Text),
            ("severity", Kind::Text),
            ("score", Kind::Number),
            ("observed", Kind::Number),
            ("expected", Kind::Number),
            ("lower", Kind::Number),
            ("upper", Kind::Number),
            ("z", Kind::Number),
            ("threshold", Kind::Number),
            ("scale", Kind::Number),
            ("contributors", Kind::Text),
            ("attributes", Kind::Text),
            ("sample_count", Kind::Count),
            ("baseline_span_seconds", Kind::Number),
            ("points", Kind::Count),
            ("exemplars", Kind::Text),
            ("incident_id", Kind::Text),
            ("runbook_url", Kind::Text),
            ("explanation", Kind::Text),
        ],
    },
    Table {
        name: ALERTS,
        columns: &[
            ("episode", Kind::Text),
            ("fingerprint", Kind::Text),
            ("name", Kind::Text),
            ("service", Kind::Text),
            ("severity", Kind::Text),
            ("state", Kind::Text),
            ("labels", Kind::Text),
            ("annotations", Kind::Text),
            ("value", Kind::Number),
            ("source", Kind::Text),
            ("active_at", Kind::Time),
            ("starts_at", Kind::Time),
            ("last_true_at", Kind::Time),
            ("ends_at", Kind::Time),
            ("anomalies", Kind::Text),
            ("argued_level", Kind::Small),
        ],
    },
];

impl Table {
    /// The table of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// The table without rows.
    pub(super) fn empty(&self) -> DataFrame {
        let schema: Schema = self.columns.iter().map(|(name, kind)| Field::new((*name).into(), kind.dtype())).collect();
        DataFrame::empty_with_schema(&schema)
    }

    /// Its columns as a list for people.
    pub(super) fn listed(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("{} has {}", self.name, columns.join(", "))
    }
}

/// The names of all tables as a list for people.
pub(super) fn names() -> String {
    TABLES.map(|table| table.name).join(", ")
}

impl Kind {
    fn dtype(self) -> DataType {
        match self {
            Self::Time => DataType::Datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC)),
            Self::Text => DataType::String,
            Self::Number => DataType::Float64,
            Self::Small => DataType::UInt32,
            Self::Count => DataType::UInt64,
        }
    }
}
