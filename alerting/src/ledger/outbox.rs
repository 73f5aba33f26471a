//! The outbox: what receivers still have to be told, and what they have been told.

use std::time::Duration;

use detect::{Alert, UnixNanos};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::{Listed, Page, Reader, anomalies, rows::Conditions};
use crate::{LedgerError, webhook};

/// Anomalies that one notification names at most; the alert itself has them all.
const MOST_CAUSES: usize = 20;

/// Where a notification is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be delivered, for the first time or again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// Given up: the receiver is gone for good, or was not reached for too long.
    Failed,
}

impl DeliveryState {
    /// The word used in answers and query parameters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// From the word used in query parameters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed].into_iter().find(|state| state.as_str() == name)
    }
}

/// A notification, and how its delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The notification's `webhook-id`, the same in every attempt.
    pub id: String,
    /// The receiver's name.
    pub receiver: String,
    /// Which of its integrations: kind and number, as in `webhook/0`.
    pub integration: String,
    /// The receiver that was to be told, where this one is told in its place.
    pub stands_in_for: Option<String>,
    /// The alert's episode, or `group:` and an id for a group of alerts.
    pub episode: String,
    /// `firing` or `resolved`.
    pub announced: String,
    /// Where it is.
    pub state: DeliveryState,
    /// Attempts that got an answer, or an error.
    pub attempts: u32,
    /// Wall time at which it was recorded.
    pub created_at: UnixNanos,
    /// Wall time of the next attempt; `None` unless pending.
    pub next_attempt_at: Option<UnixNanos>,
    /// Wall time of the last attempt.
    pub last_attempt_at: Option<UnixNanos>,
    /// Wall time at which it was delivered or given up.
    pub finished_at: Option<UnixNanos>,
    /// HTTP status of the last answer, if the receiver answered.
    pub last_status: Option<u16>,
    /// What went wrong last, without secrets; kept after a later success.
    pub last_error: Option<String>,
    /// The peer that has told it, if this node has not.
    pub told_by: Option<String>,
}

/// Which notifications are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// In this state.
    pub state: Option<DeliveryState>,
    /// For this receiver.
    pub receiver: Option<String>,
}

/// The anomalies behind an alert, as receivers are told of them.
pub(super) fn causes(transaction: &Transaction<'_>, alert: &Alert) -> Result<Vec<webhook::Cause>, LedgerError> {
    let ids = alert.anomalies.iter().take(MOST_CAUSES);
    ids.map(|id| anomalies::cause(transaction, id)).collect()
}

/// A notification that is to be added.
pub(super) struct Addition<'a> {
    pub(super) id: &'a str,
    pub(super) receiver: &'a str,
    pub(super) integration: &'a str,
    /// What keeps its order: an episode, or a group.
    pub(super) thread: &'a str,
    /// `firing` or `resolved`.
    pub(super) announced: &'a str,
    pub(super) payload: &'a str,
    pub(super) stands_in_for: Option<&'a str>,
    /// How long peers have to tell it before this node does.
    pub(super) turn: Duration,
}

impl Addition<'_> {
    /// Adds it to the outbox, due when its turn has come; 0 when there is one with this id.
    pub(super) fn add(&self, transaction: &Transaction<'_>, now: UnixNanos) -> Result<usize, LedgerError> {
        const INSERT: &str = "
            INSERT INTO outbox
                (id, receiver, integration, episode, announced, payload, created_at, next_attempt_at, stands_in_for)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?9, ?8) ON CONFLICT DO NOTHING";
        let Self { id, receiver, integration, thread, announced, payload, stands_in_for, turn } = self;
        let due = now.plus(*turn).0;
        let values = params![id, receiver, integration, thread, announced, payload, now.0, stands_in_for, due];
        Ok(transaction.prepare_cached(INSERT)?.execute(values)?)
    }
}

/// Whether there is a notification of this thread with this id.
pub(super) fn is_of(transaction: &Transaction<'_>, id: &str, thread: &str) -> Result<bool, LedgerError> {
    Ok(transaction.prepare_cached("SELECT 1 FROM outbox WHERE id = ? AND episode = ?")?.exists([id, thread])?)
}

/// The id of the first notification of a thread to an integration of a receiver.
pub(super) fn first_of(
    transaction: &Transaction<'_>,
    [receiver, integration]: [&str; 2],
    thread: &str,
) -> Result<Option<String>, LedgerError> {
    let sql = "SELECT id FROM outbox WHERE receiver = ? AND integration = ? AND episode = ? ORDER BY row LIMIT 1";
    let found = transaction.prepare_cached(sql)?.query_row([receiver, integration, thread], |row| row.get(0));
    Ok(found.optional()?)
}

/// The same notification gets the same id in every attempt, process and replay. A hash, since names
/// may hold what a header may not. Two tenants may well have an episode in common, but no notification.
pub(super) fn notification_id(tenant: Option<&str>, receiver: &str, integration: &str, what: [&str; 2]) -> String {
    // As it was before receivers had integrations, so that nothing is announced again.
    let integration = Some(integration).filter(|key| *key != "webhook/0");
    hashed([receiver].into_iter().chain(what).chain(tenant).chain(integration))
}

/// An id made of `parts`.
pub(super) fn hashed<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(&[0xff]);
    }
    format!("msg_{:032x}", hash.digest128())
}

const SELECT: &str = "SELECT row AS cursor, id, receiver, integration, stands_in_for, episode, announced, state, \
     attempts, created_at, next_attempt_at, last_attempt_at, finished_at, last_status, last_error, \
     told_by FROM outbox";

fn read_delivery(row: &Row<'_>) -> Result<Delivery, LedgerError> {
    let name: String = row.get("state")?;
    let state = DeliveryState::from_name(&name).unwrap_or(DeliveryState::Pending);
    let time = |column: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixNanos));
    let next_attempt_at = time("next_attempt_at")?.filter(|_| state == DeliveryState::Pending);
    Ok(Delivery {
        id: row.get("id")?,
        receiver: row.get("receiver")?,
        integration: row.get("integration")?,
        stands_in_for: row.get("stands_in_for")?,
        episode: row.get("episode")?,
        announced: row.get("announced")?,
        state,
        attempts: row.get("attempts")?,
        created_at: UnixNanos(row.get("created_at")?),
        next_attempt_at,
        last_attempt_at: time("last_attempt_at")?,
        finished_at: time("finished_at")?,
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
        told_by: row.get("told_by")?,
    })
}

impl Reader {
    /// The notifications that `filter` lets through, in the order in which they were recorded.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`] or [`LedgerError::Sqlite`].
    pub fn deliveries(&self, filter: &DeliveryFilter, page: Page) -> Result<Listed<Delivery>, LedgerError> {
        let mut conditions = Conditions::default();
        conditions.when(filter.state.map(|state| state.as_str().to_owned()), "state = ?");
        conditions.when(filter.receiver.clone(), "receiver = ?");
        self.store.read(|connection| conditions.page(connection, SELECT, "row", page, read_delivery))
    }

    /// The notification with this id.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn delivery(&self, id: &str) -> Result<Option<Delivery>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare(&format!("{SELECT} WHERE id = ?"))?;
            statement.query_and_then([id], read_delivery)?.next().transpose()
        })
    }

    /// The body that was, or will be, sent for a notification.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn payload(&self, id: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT payload FROM outbox WHERE id = ?";
        self.store.read(|connection| Ok(connection.query_row(sql, [id], |row| row.get(0)).optional()?))
    }

    /// How many notifications are in this state.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn delivery_count(&self, state: DeliveryState) -> Result<u64, LedgerError> {
        let sql = "SELECT count(*) FROM outbox WHERE state = ?";
        let count: i64 =
            self.store.read(|connection| Ok(connection.query_row(sql, [state.as_str()], |row| row.get(0))?))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
