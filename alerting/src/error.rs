//! What can go wrong, by who has to act: the ledger's file, a receiver's configuration, delivery.

use std::path::PathBuf;

/// The ledger cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file, its directory or its lock file cannot be created or written.
    #[error("cannot write the ledger {}: {reason}", path.display())]
    Unwritable {
        /// The ledger's file.
        path: PathBuf,
        /// What the operating system or SQLite said.
        reason: String,
    },
    /// Another process has this ledger open.
    #[error("the ledger {} is in use by another Bellwether: stop it, or choose another data directory", path.display())]
    InUse {
        /// The ledger's file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} is not a Bellwether ledger: {reason}", path.display())]
    NotALedger {
        /// The ledger's file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The file was written by a newer version of this program.
    #[error("the ledger {} has schema {found}, this version knows schemas up to {known}: use the newer version", path.display())]
    NewerSchema {
        /// The ledger's file.
        path: PathBuf,
        /// Schema in the file.
        found: i64,
        /// Newest schema that this binary knows.
        known: i64,
    },
    /// SQLite failed: the disk is full, the file is damaged.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored row cannot be read back.
    #[error("ledger: {table} row {id:?} cannot be read: {source}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's id.
        id: String,
        /// What was wrong with its body.
        source: serde_json::Error,
    },
    /// A page was asked for with a size that is not allowed.
    #[error("limit: expected 1 to {max}, got {actual}", max = crate::Page::MAX_LIMIT)]
    PageLimit {
        /// What was asked for.
        actual: u32,
    },
    /// A pin that is not allowed.
    #[error("{field}: expected {expected}, got {actual}")]
    Pin {
        /// The field at fault.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        actual: String,
    },
    /// A silence that is not allowed.
    #[error("{field}: {reason}")]
    Silence {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A question was dropped because the runtime is shutting down.
    #[error("ledger: the question was dropped, the service is shutting down")]
    Interrupted,
}

/// A receiver that is not configured properly. Never repeats a URL, since URLs hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverError {
    /// The name is empty or too long.
    #[error("name: expected 1 to {max} characters, got {actual}")]
    Name {
        /// Characters allowed.
        max: usize,
        /// Characters given.
        actual: usize,
    },
    /// The webhook's URL cannot be used.
    #[error("webhook.url of receiver {receiver:?}: {reason}")]
    Url {
        /// The receiver.
        receiver: String,
        /// What is wrong.
        reason: String,
    },
    /// An integration's setting is out of range.
    #[error("{integration} of receiver {receiver:?}: {reason}")]
    Integration {
        /// The receiver.
        receiver: String,
        /// Which of its integrations.
        integration: String,
        /// What is wrong.
        reason: String,
    },
}

/// Delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Two receivers share a name, which is what tells their notifications apart.
    #[error("receivers: the name {name:?} is used twice")]
    DuplicateReceiver {
        /// The name.
        name: String,
    },
    /// The fallback of a receiver is no other receiver.
    #[error("fallback of receiver {receiver:?}: expected the name of another receiver")]
    Fallback {
        /// The receiver.
        receiver: String,
    },
    /// A setting is out of range.
    #[error("delivery.{field}: expected {expected}, got {actual:?}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        actual: std::time::Duration,
    },
    /// The HTTP client cannot be built.
    #[error("delivery: cannot set up the HTTP client: {0}")]
    Client(String),
}
