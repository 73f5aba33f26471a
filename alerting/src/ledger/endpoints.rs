//! The deliverer's side of the outbox: what is due for an endpoint, how attempts ended, and who is told instead.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use detect::UnixNanos;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use tokio::sync::watch;

use super::{
    Operator,
    outbox::{Addition, DeliveryState, hashed},
    store::Store,
    told::{self, Said},
};
use crate::{LedgerError, Receiver};

/// Notifications that are handed over to a fallback in one transaction.
const HANDED_TOGETHER: usize = 500;
/// What was given up longer ago is not handed over any more: it is known, or was given up before there was a
/// fallback.
const HANDED_WITHIN: Duration = Duration::from_hours(24);

/// One integration of one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) receiver: String,
    pub(crate) integration: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.receiver, self.integration)
    }
}

/// Who is told when an endpoint does not take a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StandIn {
    /// Each with whether it is told of ends.
    endpoints: Vec<(Endpoint, bool)>,
    after: Duration,
    /// How long peers have to tell it.
    turn: Duration,
}

impl StandIn {
    /// All integrations of `receiver`, for what was pending for so long; peers have `turn` to tell them.
    pub(crate) fn new(receiver: &Receiver, after: Duration, turn: Duration) -> Self {
        let endpoint = |key: &str| Endpoint { receiver: receiver.name().to_owned(), integration: key.to_owned() };
        let endpoints = receiver.integrations().iter().map(|i| (endpoint(i.key()), i.send_resolved)).collect();
        Self { endpoints, after, turn }
    }
}

/// A notification whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) id: String,
    /// What its messages have in common: they come one after the other.
    pub(crate) episode: String,
    pub(crate) payload: String,
    pub(crate) attempts: u32,
    /// Wall time since which it is tried.
    pub(crate) since: UnixNanos,
    /// Wall time at which it was recorded.
    pub(crate) created: UnixNanos,
}

/// How much more may be on its way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    /// Of their payloads; the last one may go beyond it.
    pub(crate) bytes: usize,
}

/// What is due for an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) due: Vec<Due>,
    /// When to look again if nothing is said before; `None` when nothing else is pending.
    pub(crate) wait: Option<Duration>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered {
        status: Option<u16>,
    },
    /// A peer has told it.
    Told {
        by: String,
    },
    Retry {
        status: Option<u16>,
        error: String,
        at: UnixNanos,
    },
    GiveUp {
        status: Option<u16>,
        error: String,
    },
}

/// How an attempt ended, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) id: String,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) stand_in: Option<Arc<StandIn>>,
    pub(crate) verdict: Verdict,
    pub(crate) at: UnixNanos,
    /// The endpoint takes nothing any more.
    pub(crate) disables: bool,
    /// The endpoint has recovered: what waits because it failed need not wait any longer.
    pub(crate) releases: bool,
    /// The notification was given up for its age, and so is what has been tried since before this time: an endpoint that is
    /// left alone is not asked about each of them.
    pub(crate) gives_up: Option<UnixNanos>,
    /// What the notification says, where peers ask for that.
    pub(crate) said: Vec<Said>,
}

/// What became of the wish to send a notification again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is pending again.
    Pending,
    /// It was not given up: it is in this state.
    NotFailed(DeliveryState),
    /// There is none with this id.
    Unknown,
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

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Who writes what people decide in the same ledger.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.store))
    }

    /// Hears of new notifications.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.store.bell()
    }

    /// Takes an endpoint up: one that is not where it was is not disabled any more. When notifications were sent to
    /// it since wall time `since`, as far as that is known.
    pub(crate) fn begin(
        &self,
        endpoint: &Endpoint,
        digest: &str,
        since: UnixNanos,
        now: UnixNanos,
    ) -> Result<Vec<UnixNanos>, LedgerError> {
        let Endpoint { receiver, integration } = endpoint;
        self.store.write(|transaction| {
            transaction.execute(
                "INSERT INTO endpoints (receiver, integration, digest) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET
                    disabled_at = CASE WHEN digest = excluded.digest THEN disabled_at END, digest = excluded.digest",
                params![receiver, integration, digest],
            )?;
            if since >= now {
                return Ok(Vec::new());
            }
            let mut sent = transaction.prepare(
                "SELECT last_attempt_at FROM outbox WHERE receiver = ?1 AND integration = ?2 AND last_attempt_at > ?3
                 ORDER BY last_attempt_at",
            )?;
            let sent = sent.query_map(params![receiver, integration, since.0], |row| Ok(UnixNanos(row.get(0)?)))?;
            Ok(sent.collect::<Result<_, _>>()?)
        })
    }

    /// What is due for the endpoint at wall time `now`, as far as there is `room`: never one of a thread that is
    /// among `busy` or has an earlier one pending. A wait longer than `longest` means that the clock was set back
    /// meanwhile, and counts as over.
    pub(crate) fn take(
        &self,
        endpoint: &Endpoint,
        busy: &[String],
        room: Room,
        now: UnixNanos,
        longest: Duration,
    ) -> Result<Taken, LedgerError> {
        const SQL: &str = "
            SELECT id, episode, payload, attempts, created_at, coalesce(retried_from, created_at) AS since, next_attempt_at
            FROM outbox AS this
            WHERE receiver = ?1 AND integration = ?2 AND state = 'pending'
                AND episode NOT IN (SELECT value FROM json_each(?3))
                AND NOT EXISTS (
                    SELECT 1 FROM outbox AS earlier
                    WHERE earlier.receiver = ?1 AND earlier.integration = ?2 AND earlier.episode = this.episode
                        AND earlier.row < this.row AND earlier.state = 'pending')
            ORDER BY next_attempt_at, row LIMIT ?4";
        let Endpoint { receiver, integration } = endpoint;
        if self.is_disabled(endpoint)? {
            self.refuse_all(endpoint, now)?;
            return Ok(Taken::default());
        }
        let busy = serde_json::Value::from(busy).to_string();
        let limit = i64::try_from(room.messages.saturating_add(1)).unwrap_or(i64::MAX);
        self.store.read(|connection| {
            let (mut taken, mut left) = (Taken::default(), room.bytes);
            let mut statement = connection.prepare_cached(SQL)?;
            let mut rows = statement.query(params![receiver, integration, busy, limit])?;
            while let Some(row) = rows.next()? {
                // What is not taken for want of room is asked for when there is some.
                if taken.due.len() == room.messages || left == 0 {
                    taken.wait = None;
                    break;
                }
                let wait = UnixNanos(row.get("next_attempt_at")?).since(now);
                if !wait.is_zero() && wait <= longest {
                    taken.wait = Some(wait);
                    break;
                }
                let due = due(row)?;
                left = left.saturating_sub(due.payload.len());
                taken.due.push(due);
            }
            Ok(taken)
        })
    }

    fn is_disabled(&self, endpoint: &Endpoint) -> Result<bool, LedgerError> {
        let sql = "SELECT disabled_at IS NOT NULL FROM endpoints WHERE receiver = ?1 AND integration = ?2";
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row(params![endpoint.receiver, endpoint.integration], |row| row.get(0));
            Ok(found.optional()?.unwrap_or(false))
        })
    }

    /// Gives up all that is pending for an endpoint that takes nothing any more. Whether it still is one is asked in
    /// the same transaction: what a replay has put there meanwhile stays pending.
    fn refuse_all(&self, endpoint: &Endpoint, now: UnixNanos) -> Result<(), LedgerError> {
        self.store.write(|transaction| {
            transaction.execute(
                "UPDATE outbox SET state = 'failed', finished_at = ?3,
                    last_error = 'not sent: the endpoint has said that it is gone (410)'
                 WHERE receiver = ?1 AND integration = ?2 AND state = 'pending' AND EXISTS (
                    SELECT 1 FROM endpoints
                    WHERE receiver = ?1 AND integration = ?2 AND disabled_at IS NOT NULL)",
                params![endpoint.receiver, endpoint.integration, now.0],
            )?;
            Ok(())
        })
    }

    /// Writes down how attempts ended, in one transaction.
    pub(crate) fn settle(&self, settlements: &[Settlement]) -> Result<(), LedgerError> {
        let handed = self.store.write(|transaction| {
            let mut handed = 0;
            for settlement in settlements {
                handed += settlement.write(transaction)?;
            }
            Ok(handed)
        })?;
        if handed > 0 {
            self.store.ring();
        }
        Ok(())
    }

    /// What would be handed over for having been pending too long: a peer may have told it meanwhile. It may be on its way
    /// at the moment, and keeps its id.
    pub(crate) fn late(
        &self,
        endpoint: &Endpoint,
        stand_in: &StandIn,
        now: UnixNanos,
    ) -> Result<Vec<Due>, LedgerError> {
        let sql = format!(
            "SELECT id, episode, payload, max(attempts, 1) AS attempts, created_at,
                coalesce(retried_from, created_at) AS since
             FROM outbox WHERE receiver = ?1 AND integration = ?2 AND handed_over = 0 AND state = 'pending'
                AND stands_in_for IS NULL AND created_at < ?3
             ORDER BY row LIMIT {HANDED_TOGETHER}"
        );
        let values = params![endpoint.receiver, endpoint.integration, now.minus(stand_in.after).0];
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(values, due)?.collect::<Result<_, _>>()?)
        })
    }

    /// Hands over to the fallback what has been pending for too long or was given up, and what follows in a
    /// thread of which it was told the beginning. Returns how many.
    pub(crate) fn hand_over(
        &self,
        endpoint: &Endpoint,
        stand_in: &StandIn,
        now: UnixNanos,
    ) -> Result<usize, LedgerError> {
        let sql = format!(
            "SELECT row FROM outbox AS this
             WHERE receiver = ?1 AND integration = ?2 AND handed_over = 0 AND state != 'delivered'
                AND stands_in_for IS NULL AND coalesce(finished_at, ?3) > ?4
                AND (state = 'failed' OR created_at < ?5 OR {FOLLOWS})
             ORDER BY row LIMIT {HANDED_TOGETHER}"
        );
        let (too_old, too_long) = (now.minus(HANDED_WITHIN), now.minus(stand_in.after));
        let values = params![endpoint.receiver, endpoint.integration, now.0, too_old.0, too_long.0];
        let rows: Vec<i64> = self.store.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        if rows.is_empty() {
            return Ok(0);
        }
        self.store.write(|transaction| rows.iter().try_for_each(|row| stand_in.take(transaction, *row, now)))?;
        self.store.ring();
        Ok(rows.len())
    }

    /// The messages of what goes on for an Alertmanager: of each thread the last that it took, unless that one
    /// said before `resolved_since` that all is over. Signs of life are not among them: they count when they come.
    pub(crate) fn standing(&self, endpoint: &Endpoint, resolved_since: UnixNanos) -> Result<Vec<String>, LedgerError> {
        const SQL: &str = "
            SELECT payload FROM outbox AS this
            WHERE receiver = ?1 AND integration = ?2 AND state = 'delivered'
                AND (announced != 'resolved' OR finished_at > ?3) AND episode NOT GLOB 'heartbeat:*'
                AND NOT EXISTS (
                    SELECT 1 FROM outbox AS later
                    WHERE later.receiver = ?1 AND later.integration = ?2 AND later.episode = this.episode
                        AND later.row > this.row AND later.state = 'delivered'
                        -- Not another part of the same.
                        AND NOT (later.created_at = this.created_at AND later.announced = this.announced))
            ORDER BY row";
        let values = params![endpoint.receiver, endpoint.integration, resolved_since.0];
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(SQL)?;
            Ok(statement.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }

    /// Gives up notifications recorded before `before` whose endpoint is not among `known`: nobody
    /// will ever deliver them. Returns how many.
    pub(crate) fn give_up_orphans(
        &self,
        known: &[Endpoint],
        before: UnixNanos,
        now: UnixNanos,
    ) -> Result<usize, LedgerError> {
        let mut integrations = BTreeMap::<&str, Vec<&str>>::new();
        for endpoint in known {
            integrations.entry(&endpoint.receiver).or_default().push(&endpoint.integration);
        }
        let known = serde_json::to_string(&integrations).expect("texts always serialise");
        self.store.write(|transaction| {
            Ok(transaction.execute(
                "UPDATE outbox SET state = 'failed', finished_at = ?3,
                    last_error = 'no receiver of this name is configured'
                 WHERE state = 'pending' AND created_at < ?2 AND NOT EXISTS (
                    SELECT 1 FROM json_each(?1) AS known, json_each(known.value) AS key
                    WHERE known.key = outbox.receiver AND key.value = outbox.integration)",
                params![known, before.0, now.0],
            )?)
        })
    }
}

fn due(row: &Row<'_>) -> Result<Due, rusqlite::Error> {
    Ok(Due {
        id: row.get("id")?,
        episode: row.get("episode")?,
        payload: row.get("payload")?,
        attempts: row.get("attempts")?,
        since: UnixNanos(row.get("since")?),
        created: UnixNanos(row.get("created_at")?),
    })
}

/// Whether the message before it in its thread was handed over, and did not say that all is over.
const FOLLOWS: &str = "(
    SELECT before.handed_over AND before.announced != 'resolved' FROM outbox AS before
    WHERE before.receiver = this.receiver AND before.integration = this.integration
        AND before.episode = this.episode AND before.row < this.row
    ORDER BY before.row DESC LIMIT 1)";

impl Settlement {
    /// Returns how many notifications were handed over with it.
    fn write(&self, transaction: &Transaction<'_>) -> Result<usize, LedgerError> {
        let by = match &self.verdict {
            Verdict::Told { by } => Some(by),
            _ => None,
        };
        let (state, status, error, next) = match &self.verdict {
            Verdict::Told { .. } => (DeliveryState::Delivered, None, None, None),
            Verdict::Delivered { status } => (DeliveryState::Delivered, *status, None, None),
            Verdict::Retry { status, error, at } => (DeliveryState::Pending, *status, Some(error), Some(at.0)),
            Verdict::GiveUp { status, error } => (DeliveryState::Failed, *status, Some(error), None),
        };
        let finished = (state != DeliveryState::Pending).then_some(self.at.0);
        let settled = transaction
            .prepare_cached(
                "UPDATE outbox SET state = ?2, attempts = attempts + (?8 IS NULL), told_by = ?8,
                    last_attempt_at = iif(?8 IS NULL, ?3, last_attempt_at), finished_at = ?4,
                    last_status = iif(?8 IS NULL, ?5, last_status),
                    last_error = coalesce(?6, last_error), next_attempt_at = coalesce(?7, next_attempt_at)
                 WHERE id = ?1 AND state = 'pending'",
            )?
            .execute(params![self.id, state.as_str(), self.at.0, finished, status, error, next, by])?;
        if settled > 0 && state == DeliveryState::Delivered {
            told::note(transaction, &self.id, &self.said)?;
        }
        let Endpoint { receiver, integration } = &*self.endpoint;
        if self.disables {
            transaction.execute(
                "UPDATE endpoints SET disabled_at = ?3 WHERE receiver = ?1 AND integration = ?2",
                params![receiver, integration, self.at.0],
            )?;
        }
        if let Some(before) = self.gives_up {
            transaction.execute(
                "UPDATE outbox SET state = 'failed', finished_at = ?3,
                    last_error = coalesce(last_error, 'given up with others: the endpoint was not reached for too long')
                 WHERE receiver = ?1 AND integration = ?2 AND state = 'pending'
                    AND coalesce(retried_from, created_at) < ?4",
                params![receiver, integration, self.at.0, before.0],
            )?;
        }
        if self.releases {
            // Not what the receiver itself has put off, nor what waits for its turn among peers.
            transaction.execute(
                "UPDATE outbox SET next_attempt_at = ?3
                 WHERE receiver = ?1 AND integration = ?2 AND state = 'pending' AND next_attempt_at > ?3
                    AND attempts > 0 AND coalesce(last_status, 0) NOT IN (429, 503)",
                params![receiver, integration, self.at.0],
            )?;
        }
        match (&self.stand_in, state) {
            // What was given up is found by `hand_over`; what was delivered is not looked at again.
            (Some(stand_in), DeliveryState::Delivered) => self.follow(transaction, stand_in),
            _ => Ok(0),
        }
    }

    fn follow(&self, transaction: &Transaction<'_>, stand_in: &StandIn) -> Result<usize, LedgerError> {
        let sql = format!(
            "SELECT row FROM outbox AS this
             WHERE id = ?1 AND handed_over = 0 AND stands_in_for IS NULL AND {FOLLOWS}"
        );
        let row = transaction.prepare_cached(&sql)?.query_row([&self.id], |row| row.get(0)).optional()?;
        let Some(row) = row else { return Ok(0) };
        stand_in.take(transaction, row, self.at)?;
        Ok(1)
    }
}

impl StandIn {
    /// Adds the notification in `row` for the fallback: once, however many integrations of the receiver failed.
    fn take(&self, transaction: &Transaction<'_>, row: i64, now: UnixNanos) -> Result<(), LedgerError> {
        let (receiver, episode, announced, payload): (String, String, String, String) = transaction.query_row(
            "SELECT receiver, episode, announced, payload FROM outbox WHERE row = ?",
            [row],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        for (endpoint, send_resolved) in &self.endpoints {
            if announced == "resolved" && !send_resolved {
                continue;
            }
            let Endpoint { receiver: other, integration } = endpoint;
            let id = hashed(["fallback", &receiver, other, integration, &episode, &announced, &payload]);
            let addition = Addition {
                id: &id,
                receiver: other,
                integration,
                thread: &episode,
                announced: &announced,
                payload: &payload,
                stands_in_for: Some(&receiver),
                turn: self.turn,
            };
            addition.add(transaction, now)?;
        }
        transaction.execute("UPDATE outbox SET handed_over = 1 WHERE row = ?", [row])?;
        Ok(())
    }
}

impl Operator {
    /// Sends a notification that was given up again, from wall time `now` on and as persistently as a new one. An
    /// endpoint that had said that it is gone is asked again, too.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn replay(&self, id: &str, now: UnixNanos) -> Result<Replay, LedgerError> {
        let replayed = self.store.write(|transaction| {
            let found = "SELECT state, receiver, integration FROM outbox WHERE id = ?";
            let read =
                |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
            let Some((state, receiver, integration)) = transaction.query_row(found, [id], read).optional()? else {
                return Ok(Replay::Unknown);
            };
            let state = DeliveryState::from_name(&state).unwrap_or(DeliveryState::Pending);
            if state != DeliveryState::Failed {
                return Ok(Replay::NotFailed(state));
            }
            transaction.execute(
                "UPDATE outbox SET state = 'pending', next_attempt_at = ?2, retried_from = ?2, finished_at = NULL
                 WHERE id = ?1",
                params![id, now.0],
            )?;
            transaction.execute(
                "UPDATE endpoints SET disabled_at = NULL WHERE receiver = ?1 AND integration = ?2",
                params![receiver, integration],
            )?;
            Ok(Replay::Pending)
        })?;
        if replayed == Replay::Pending {
            self.store.ring();
        }
        Ok(replayed)
    }
}

#[cfg(test)]
pub(super) mod tests;
