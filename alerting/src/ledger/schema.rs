//! The tables, and how a file comes from an older schema to this one.
//!
//! Columns exist for what is filtered, ordered or pruned by; everything else of a decision stands in
//! its JSON body. Times are nanoseconds since the epoch. Bodies of anomalies live in a table of their
//! own, so that filtering a million anomalies reads narrow rows.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::LedgerError;

/// Marks the file as ours ("BELW"); SQLite keeps it in the header.
const APPLICATION_ID: i64 = 0x4245_4c57;

/// Step `i` brings a file from schema `i` to `i + 1`. Steps that were released are never changed.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE anomalies (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        seq INTEGER NOT NULL,
        service TEXT NOT NULL,
        metric TEXT NOT NULL,
        detector TEXT NOT NULL,
        severity TEXT NOT NULL,
        pattern TEXT NOT NULL,
        starts_at INTEGER NOT NULL,
        ends_at INTEGER,
        points INTEGER NOT NULL,
        score REAL,
        series_key TEXT
    ) STRICT;
    CREATE INDEX anomalies_by_seq ON anomalies (seq, starts_at, ends_at, score);
    CREATE INDEX anomalies_by_service ON anomalies (service, seq);
    CREATE INDEX anomalies_by_metric ON anomalies (metric, seq);
    CREATE INDEX anomalies_by_detector ON anomalies (detector, seq);
    CREATE INDEX anomalies_by_severity ON anomalies (severity, seq);
    CREATE INDEX anomalies_by_pattern ON anomalies (pattern, seq);
    CREATE INDEX anomalies_open ON anomalies (seq) WHERE ends_at IS NULL;
    CREATE INDEX anomalies_ended ON anomalies (ends_at) WHERE ends_at IS NOT NULL;
    CREATE TABLE anomaly_bodies (
        row INTEGER PRIMARY KEY REFERENCES anomalies (row) ON DELETE CASCADE,
        body TEXT NOT NULL
    ) STRICT;

    CREATE TABLE alerts (
        row INTEGER PRIMARY KEY,
        episode TEXT NOT NULL UNIQUE,
        fingerprint TEXT NOT NULL,
        name TEXT NOT NULL,
        service TEXT,
        severity TEXT NOT NULL,
        state TEXT NOT NULL,
        fired_at INTEGER,
        resolved_at INTEGER,
        changed_at INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX alerts_by_state ON alerts (state, row);
    CREATE INDEX alerts_by_service ON alerts (service, row);
    CREATE INDEX alerts_by_fingerprint ON alerts (fingerprint, row);
    CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE state = 'resolved';
    CREATE TABLE alert_transitions (
        row INTEGER PRIMARY KEY,
        episode TEXT NOT NULL REFERENCES alerts (episode) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
        from_state TEXT NOT NULL,
        to_state TEXT NOT NULL,
        at INTEGER NOT NULL,
        UNIQUE (episode, at, from_state, to_state)
    ) STRICT;

    CREATE TABLE outbox (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        receiver TEXT NOT NULL,
        episode TEXT NOT NULL,
        announced TEXT NOT NULL,
        payload TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
        attempts INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        next_attempt_at INTEGER NOT NULL,
        last_attempt_at INTEGER,
        finished_at INTEGER,
        last_status INTEGER,
        last_error TEXT
    ) STRICT;
    CREATE INDEX outbox_due ON outbox (receiver, next_attempt_at) WHERE state = 'pending';
    CREATE INDEX outbox_in_order ON outbox (receiver, episode, row) WHERE state = 'pending';
    CREATE INDEX outbox_by_state ON outbox (state, row);
    CREATE INDEX outbox_by_receiver ON outbox (receiver, row);
    CREATE INDEX outbox_finished ON outbox (finished_at) WHERE finished_at IS NOT NULL;

    CREATE TABLE levels (
        scope TEXT PRIMARY KEY,
        at INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE level_changes (
        row INTEGER PRIMARY KEY,
        scope TEXT NOT NULL,
        at INTEGER NOT NULL,
        from_level INTEGER NOT NULL,
        to_level INTEGER NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (scope, at, from_level, to_level)
    ) STRICT;
    CREATE INDEX level_changes_by_scope ON level_changes (scope, row);
    CREATE INDEX level_changes_by_time ON level_changes (at);
    CREATE TABLE pins (
        scope TEXT PRIMARY KEY,
        service TEXT,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
",
    ENDPOINTS,
    GROUPS,
    INCIDENTS,
    FEEDBACK,
    FLAPPING,
    DEPENDENTS,
    TOLD,
    WITHDRAWN,
];

/// Alerts that flap, and of which alerts receivers were told that they do.
const FLAPPING: &str = "
    CREATE TABLE flapping (
        fingerprint TEXT PRIMARY KEY,
        since INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        changes INTEGER NOT NULL
    ) STRICT;
    ALTER TABLE group_alerts ADD COLUMN flapping INTEGER NOT NULL DEFAULT 0;
";

/// What people said of anomalies, and what was changed for it.
const FEEDBACK: &str = "
    CREATE TABLE feedback (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        anomaly TEXT NOT NULL,
        undone_at INTEGER,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX feedback_in_force ON feedback (row) WHERE undone_at IS NULL;
";

/// Anomalies are found by their incident.
const INCIDENTS: &str = "
    ALTER TABLE anomalies ADD COLUMN incident TEXT;
    UPDATE anomalies SET incident =
        (SELECT b.body ->> '$.incidentId' FROM anomaly_bodies b WHERE b.row = anomalies.row);
    CREATE INDEX anomalies_by_incident ON anomalies (incident) WHERE incident IS NOT NULL;
";

/// Alerts are told in groups; people silence and acknowledge them.
const GROUPS: &str = "
    CREATE TABLE groups (
        row INTEGER PRIMARY KEY,
        node TEXT NOT NULL,
        receiver TEXT NOT NULL,
        identity TEXT NOT NULL,
        labels TEXT NOT NULL,
        next_flush INTEGER,
        flushed_at INTEGER,
        notified_at INTEGER,
        UNIQUE (node, receiver, identity)
    ) STRICT;
    CREATE INDEX groups_due ON groups (next_flush) WHERE next_flush IS NOT NULL;
    CREATE TABLE group_alerts (
        group_row INTEGER NOT NULL REFERENCES groups (row) ON DELETE CASCADE,
        episode TEXT NOT NULL,
        told TEXT CHECK (told = 'firing'),
        PRIMARY KEY (group_row, episode)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX group_alerts_by_episode ON group_alerts (episode);
    CREATE TABLE silences (
        id TEXT PRIMARY KEY,
        ends_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE external_alerts (
        episode TEXT PRIMARY KEY REFERENCES alerts (episode) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL UNIQUE,
        ends_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX external_alerts_by_end ON external_alerts (ends_at);
    CREATE TABLE acknowledgements (
        episode TEXT PRIMARY KEY REFERENCES alerts (episode) ON DELETE CASCADE,
        author TEXT NOT NULL,
        comment TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
";

/// Receivers have integrations, each of which is told by itself. What was called `name/1` was the second webhook
/// of `name`.
const ENDPOINTS: &str = "
    ALTER TABLE outbox ADD COLUMN integration TEXT NOT NULL DEFAULT 'webhook/0';
    ALTER TABLE outbox ADD COLUMN retried_from INTEGER;
    ALTER TABLE outbox ADD COLUMN stands_in_for TEXT;
    ALTER TABLE outbox ADD COLUMN handed_over INTEGER NOT NULL DEFAULT 0;
    UPDATE outbox SET
        integration = 'webhook/' || substr(receiver, -1), receiver = substr(receiver, 1, length(receiver) - 2)
        WHERE receiver GLOB '?*/[1-9]';
    DROP INDEX outbox_due;
    DROP INDEX outbox_in_order;
    CREATE INDEX outbox_due ON outbox (receiver, integration, next_attempt_at) WHERE state = 'pending';
    CREATE INDEX outbox_threads ON outbox (receiver, integration, episode, row);
    CREATE INDEX outbox_stuck ON outbox (receiver, integration, row) WHERE handed_over = 0 AND state != 'delivered';
    CREATE TABLE endpoints (
        receiver TEXT NOT NULL,
        integration TEXT NOT NULL,
        digest TEXT NOT NULL,
        disabled_at INTEGER,
        PRIMARY KEY (receiver, integration)
    ) STRICT;
";

/// Alerts inhibit others by who depends on whom.
const DEPENDENTS: &str = "
    CREATE INDEX alerts_with_dependents ON alerts (row)
        WHERE state IN ('firing', 'stale') AND body ->> '$.dependents' <> '[]';
";

/// What receivers were told, for peers that ask; and which of them has told it.
const TOLD: &str = "
    ALTER TABLE outbox ADD COLUMN told_by TEXT;
    CREATE TABLE told (
        row INTEGER PRIMARY KEY,
        notification INTEGER NOT NULL REFERENCES outbox (row) ON DELETE CASCADE,
        receiver TEXT NOT NULL,
        integration TEXT NOT NULL,
        alert TEXT NOT NULL,
        episode TEXT NOT NULL,
        announced TEXT NOT NULL,
        flapping INTEGER NOT NULL,
        starts_at INTEGER NOT NULL,
        ends_at INTEGER,
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX told_of_alert ON told (receiver, integration, alert, starts_at);
    CREATE INDEX told_by_notification ON told (notification);
";

/// Acknowledgements and pins that were taken back are kept for nodes that still know of them.
const WITHDRAWN: &str = "
    ALTER TABLE acknowledgements ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE pins ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
";

/// Brings the file to the newest schema, each step in one transaction.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful of steps");
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    claim(connection, path, found)?;
    if found > known {
        return Err(LedgerError::NewerSchema { path: path.to_owned(), found, known });
    }
    for (step, sql) in (0..).zip(MIGRATIONS) {
        if step >= found {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", step + 1)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

/// Refuses the database of another program, which must not get our tables.
fn claim(connection: &Connection, path: &Path, version: i64) -> Result<(), LedgerError> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let untouched = application == 0 && version == 0 && tables == 0;
    if application == APPLICATION_ID || untouched {
        return Ok(());
    }
    let reason = format!("it is an SQLite database of another program (application id {application})");
    Err(LedgerError::NotALedger { path: path.to_owned(), reason })
}

#[cfg(test)]
pub(super) mod testing {
    use super::{APPLICATION_ID, Connection, MIGRATIONS};

    /// Gives an empty file the first schema.
    pub(in super::super) fn as_version_1(connection: &Connection) {
        connection.execute_batch(MIGRATIONS[0]).expect("is SQL");
        connection.pragma_update(None, "application_id", APPLICATION_ID).expect("writes");
        connection.pragma_update(None, "user_version", 1).expect("writes");
    }
}
