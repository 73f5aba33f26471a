//! The outbox: what receivers still have to be told, and what they have been told.

use std::{sync::Arc, time::Duration};

use detect::{Alert, UnixNanos};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use tokio::sync::watch;

use super::{Listed, Page, Reader, anomalies, rows::Conditions, store::Store};
use crate::{LedgerError, Receiver, webhook};

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
    /// The alert's episode.
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
}

/// Which notifications are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// In this state.
    pub state: Option<DeliveryState>,
    /// For this receiver.
    pub receiver: Option<String>,
}

/// An alert that began or ceased to fire.
pub(super) struct Announcement<'a> {
    pub(super) alert: &'a Alert,
    /// Wall time.
    pub(super) now: UnixNanos,
}

impl Announcement<'_> {
    /// Adds a notification for each receiver that wants to know; returns how many are new.
    pub(super) fn enqueue(
        &self,
        transaction: &Transaction<'_>,
        receivers: &[Receiver],
        origin: &webhook::Origin,
    ) -> Result<usize, LedgerError> {
        let status = webhook::status(self.alert);
        let mut added = 0;
        let mut causes = None;
        for receiver in receivers {
            if !self.alert.state.is_firing() && !receiver.config().send_resolved {
                continue;
            }
            if causes.is_none() {
                causes = Some(self.causes(transaction)?);
            }
            let causes = causes.as_deref().unwrap_or_default();
            let payload = webhook::payload(self.alert, receiver.name(), origin, causes);
            added += transaction.execute(
                "INSERT INTO outbox (id, receiver, episode, announced, payload, created_at, next_attempt_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT DO NOTHING",
                params![
                    notification_id(origin.tenant.as_deref(), receiver.name(), &self.alert.episode, status),
                    receiver.name(),
                    self.alert.episode,
                    status,
                    payload,
                    self.now.0,
                ],
            )?;
        }
        Ok(added)
    }

    fn causes(&self, transaction: &Transaction<'_>) -> Result<Vec<webhook::Cause>, LedgerError> {
        let ids = self.alert.anomalies.iter().take(MOST_CAUSES);
        ids.map(|id| Ok(webhook::Cause { id: id.clone(), explanation: anomalies::explanation(transaction, id)? }))
            .collect()
    }
}

/// The same notification gets the same id in every attempt, process and replay. A hash, since names
/// may hold what a header may not. Two tenants may well have an episode in common, but no notification.
fn notification_id(tenant: Option<&str>, receiver: &str, episode: &str, status: &str) -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for part in [receiver, episode, status].into_iter().chain(tenant) {
        hash.update(part.as_bytes());
        hash.update(&[0xff]);
    }
    format!("msg_{:032x}", hash.digest128())
}

/// A notification whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) id: String,
    pub(crate) payload: String,
    pub(crate) attempts: u32,
    pub(crate) created_at: UnixNanos,
}

/// What a receiver's worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Deliver this.
    Now(Due),
    /// Look again after this long.
    In(Duration),
    /// Nothing is pending.
    Nothing,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered { status: u16 },
    Retry { status: Option<u16>, error: String, at: UnixNanos },
    GiveUp { status: Option<u16>, error: String },
}

/// The deliverer's handle: takes due notifications and writes down how they fared.
#[derive(Clone, Debug)]
pub struct Outbox {
    store: Arc<Store>,
}

impl Outbox {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Hears of new notifications.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.store.bell()
    }

    /// The receiver's next notification, never one whose episode has an earlier one pending. A wait
    /// longer than `longest` means that the clock was set back meanwhile, and counts as over.
    pub(crate) fn next(&self, receiver: &str, now: UnixNanos, longest: Duration) -> Result<Next, LedgerError> {
        const SQL: &str = "
            SELECT id, payload, attempts, created_at, next_attempt_at FROM outbox AS this
            WHERE receiver = ?1 AND state = 'pending' AND NOT EXISTS (
                SELECT 1 FROM outbox AS earlier
                WHERE earlier.receiver = ?1 AND earlier.state = 'pending'
                    AND earlier.episode = this.episode AND earlier.row < this.row)
            ORDER BY next_attempt_at LIMIT 1";
        let read = |row: &Row<'_>| {
            let created_at = UnixNanos(row.get("created_at")?);
            let due =
                Due { id: row.get("id")?, payload: row.get("payload")?, attempts: row.get("attempts")?, created_at };
            Ok((due, UnixNanos(row.get("next_attempt_at")?)))
        };
        let first = self.store.read(|connection| Ok(connection.query_row(SQL, [receiver], read).optional()?))?;
        Ok(match first {
            None => Next::Nothing,
            Some((due, at)) => match at.since(now) {
                wait if wait.is_zero() || wait > longest => Next::Now(due),
                wait => Next::In(wait),
            },
        })
    }

    /// Writes down how an attempt ended at wall time `now`.
    pub(crate) fn settle(&self, id: &str, verdict: &Verdict, now: UnixNanos) -> Result<(), LedgerError> {
        let (state, status, error, next) = match verdict {
            Verdict::Delivered { status } => (DeliveryState::Delivered, Some(*status), None, None),
            Verdict::Retry { status, error, at } => (DeliveryState::Pending, *status, Some(error), Some(at.0)),
            Verdict::GiveUp { status, error } => (DeliveryState::Failed, *status, Some(error), None),
        };
        let finished = (state != DeliveryState::Pending).then_some(now.0);
        self.store.write(|transaction| {
            transaction.execute(
                "UPDATE outbox SET state = ?2, attempts = attempts + 1, last_attempt_at = ?3, finished_at = ?4,
                    last_status = ?5, last_error = coalesce(?6, last_error),
                    next_attempt_at = coalesce(?7, next_attempt_at)
                 WHERE id = ?1 AND state = 'pending'",
                params![id, state.as_str(), now.0, finished, status, error, next],
            )?;
            Ok(())
        })
    }

    /// Gives up notifications recorded before `before` whose receiver is not among `known`: nobody
    /// will ever deliver them. Returns how many.
    pub(crate) fn give_up_orphans(
        &self,
        known: &[String],
        before: UnixNanos,
        now: UnixNanos,
    ) -> Result<usize, LedgerError> {
        let known = serde_json::Value::from(known).to_string();
        self.store.write(|transaction| {
            Ok(transaction.execute(
                "UPDATE outbox SET state = 'failed', finished_at = ?3,
                    last_error = 'no receiver of this name is configured'
                 WHERE state = 'pending' AND created_at < ?2
                    AND receiver NOT IN (SELECT value FROM json_each(?1))",
                params![known, before.0, now.0],
            )?)
        })
    }
}

fn read_delivery(row: &Row<'_>) -> Result<Delivery, LedgerError> {
    let name: String = row.get("state")?;
    let state = DeliveryState::from_name(&name).unwrap_or(DeliveryState::Pending);
    let time = |column: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixNanos));
    let next_attempt_at = time("next_attempt_at")?.filter(|_| state == DeliveryState::Pending);
    Ok(Delivery {
        id: row.get("id")?,
        receiver: row.get("receiver")?,
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
        let select = "SELECT row AS cursor, id, receiver, episode, announced, state, attempts, created_at, \
            next_attempt_at, last_attempt_at, finished_at, last_status, last_error FROM outbox";
        self.store.read(|connection| conditions.page(connection, select, "row", page, read_delivery))
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
