//! What receivers were told by this node, for others that are fed the same and are about to tell it as well.
//!
//! Nodes decide the same at slightly different times, from slightly different numbers. So a notification is known by
//! what it says to whom: of which alerts it says that they fire, or fire no more. Episodes of an alert are the same
//! where they overlap in time, and groups need not be the same at all: what was told of an alert in one counts in any.
//! A question about a notification says under which id it is about to be sent. Who hears that sends the same under
//! that id, should it come to that.

use std::collections::{HashMap, HashSet, VecDeque};

use chrono::DateTime;
use detect::UnixNanos;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{
    Reader,
    endpoints::{Due, Endpoint, Outbox},
    store::Store,
};
use crate::{Cluster, LedgerError};

/// What was told of an alert that is looked at: the newest.
const MOST_ENTRIES: i64 = 64;
/// Ids of others that are remembered.
const MOST_CLAIMS: usize = 10_000;
const RESOLVED: &str = "resolved";
/// Threads of changes of a level, and of signs of life.
const LEVEL: &str = "level:";
const HEARTBEAT: &str = "heartbeat:";

/// What a notification says of one alert, or of the level of one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Said {
    /// Which alert: its fingerprint. Or the scope of a level.
    pub alert: String,
    /// `firing`, `resolved`, or the number of the level.
    pub announced: String,
    /// Whether it is told as one that flaps.
    #[serde(default)]
    pub flapping: bool,
    /// Event time since which it fires, or the level is that.
    #[serde(with = "nanos")]
    pub starts_at: UnixNanos,
    /// Event time at which that has ended, if it has.
    #[serde(default, with = "nanos::optional")]
    pub ends_at: Option<UnixNanos>,
    /// Event time at which something else that was told of it began or ended: only what began later is the same.
    #[serde(default, with = "nanos::optional")]
    pub after: Option<UnixNanos>,
    /// Wall time since which it has to have been told, for what is told again.
    #[serde(default, with = "nanos::optional")]
    pub since: Option<UnixNanos>,
    /// This node's name of it.
    #[serde(skip)]
    pub(crate) episode: String,
}

/// What another node is about to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// Which of the nodes asks.
    pub position: usize,
    /// The `webhook-id` under which it is sent, if nobody has told it.
    pub id: String,
    /// The receiver's name.
    pub receiver: String,
    /// Which of its integrations.
    pub integration: String,
    /// Wall time at which it was recorded.
    #[serde(with = "nanos")]
    pub created_at: UnixNanos,
    /// What is new in it: 1 to [`Self::MOST`]. Of more there are several questions.
    pub alerts: Vec<Said>,
}

impl Question {
    /// Alerts in one question.
    pub const MOST: usize = 1_000;
    /// Characters of a name.
    pub const MOST_CHARS: usize = 1_000;

    /// Whether it can have come from a node: an id of ours, and nothing too long.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_short = |text: &String| text.chars().count() <= Self::MOST_CHARS;
        let digits = self.id.strip_prefix("msg_").unwrap_or_default();
        let is_id = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let are_short = self.alerts.iter().all(|said| is_short(&said.alert) && is_short(&said.announced));
        let is_counted = (1..=Self::MOST).contains(&self.alerts.len());
        is_id
            && is_counted
            && self.position < Cluster::MOST
            && are_short
            && is_short(&self.receiver)
            && is_short(&self.integration)
    }

    /// The same of no alert yet.
    pub(crate) fn without_alerts(&self) -> Self {
        let Self { position, created_at, .. } = *self;
        let [id, receiver, integration] = [&self.id, &self.receiver, &self.integration].map(Clone::clone);
        Self { position, id, receiver, integration, created_at, alerts: Vec::new() }
    }

    /// What is said last of an alert to an endpoint is kept under this.
    fn key(&self, said: &Said) -> u128 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for part in [&self.receiver, &self.integration, &said.alert] {
            hash.update(part.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest128()
    }
}

/// A question about a notification, with all that it says. It may be of more alerts than one question may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) question: Question,
    pub(crate) said: Vec<Said>,
}

/// What was last about to be told of an alert by itself, and under which id: by others, or by this node.
///
/// Only the last of an alert is kept. So an id is taken over only for what receivers have heard last if they have heard
/// it at all: one that takes it for a repetition knows it already.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By receiver, integration and alert.
    claims: HashMap<u128, Question>,
    /// The oldest first.
    order: VecDeque<u128>,
}

impl Claims {
    fn note(&mut self, question: &Question) {
        for said in &question.alerts {
            let key = question.key(said);
            let [_] = &question.alerts[..] else {
                // The id of several is nobody's.
                self.claims.remove(&key);
                continue;
            };
            if self.claims.insert(key, question.clone()).is_none() {
                self.order.push_back(key);
            }
            // Keys of what was removed stand there, too.
            while self.order.len() > MOST_CLAIMS
                && let Some(oldest) = self.order.pop_front()
            {
                self.claims.remove(&oldest);
            }
        }
    }

    /// The id under which another node was about to send what `question` is about.
    fn of(&self, question: &Question) -> Option<String> {
        let [ours] = &question.alerts[..] else { return None };
        let claim = self.claims.get(&question.key(ours))?;
        let [theirs] = &claim.alerts[..] else { return None };
        let is_same = ours.announced == theirs.announced && ours.flapping == theirs.flapping;
        let is_again = ours.since.is_none_or(|since| claim.created_at >= since);
        (is_same && is_again && ours.is_of(theirs.starts_at, theirs.ends_at)).then(|| claim.id.clone())
    }
}

impl Said {
    /// Whether it is of a time that has something in common with this one, and of nothing that has ended before.
    fn is_of(&self, starts_at: UnixNanos, ends_at: Option<UnixNanos>) -> bool {
        let is_later = self.after.is_none_or(|after| starts_at > after);
        is_later && self.ends_at.is_none_or(|end| starts_at <= end) && ends_at.is_none_or(|end| self.starts_at <= end)
    }
}

impl Outbox {
    /// What peers are asked before `due` is sent; `None` for what each node tells by itself. It gets the id under which
    /// a peer was about to send it, unless it was tried already.
    pub(crate) fn asking(&self, endpoint: &Endpoint, due: &mut Due) -> Result<Option<Asking>, LedgerError> {
        let store = self.store();
        let Some(mut asking) = store.read(|connection| asking(connection, endpoint, due))? else { return Ok(None) };
        let claimed = store.claims().of(&asking.question).filter(|id| due.attempts == 0 && *id != due.id);
        if let Some(id) = claimed
            && store.write(|transaction| rename(transaction, &due.id, &id))?
        {
            asking.question.id.clone_from(&id);
            due.id = id;
        }
        store.claims().note(&asking.question);
        Ok(Some(asking))
    }
}

impl Reader {
    /// Whether the receiver was told what `question` is about. That somebody is about to tell it is remembered.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn was_told(&self, question: &Question) -> Result<bool, LedgerError> {
        self.store.claims().note(question);
        self.store.read(|connection| {
            for said in &question.alerts {
                if !was_told(connection, question, said)? {
                    return Ok(false);
                }
            }
            Ok(!question.alerts.is_empty())
        })
    }
}

/// Gives a notification that nobody was sent yet another id, which no other has.
fn rename(transaction: &Transaction<'_>, id: &str, other: &str) -> Result<bool, LedgerError> {
    let sql = "UPDATE OR IGNORE outbox SET id = ?2 WHERE id = ?1 AND state = 'pending' AND attempts = 0";
    Ok(transaction.execute(sql, [id, other])? == 1)
}

fn asking(connection: &Connection, endpoint: &Endpoint, due: &Due) -> Result<Option<Asking>, LedgerError> {
    const BEFORE: &str = "
        SELECT payload, created_at FROM outbox
        WHERE receiver = ?1 AND integration = ?2 AND episode = ?3 AND created_at = (
            SELECT max(created_at) FROM outbox
            WHERE receiver = ?1 AND integration = ?2 AND episode = ?3 AND created_at < ?4)";
    let Endpoint { receiver, integration } = endpoint;
    let Some(mut said) = read(&due.episode, &due.payload) else { return Ok(None) };
    let created = "SELECT created_at FROM outbox WHERE id = ?";
    let created: Option<i64> = connection.prepare_cached(created)?.query_row([&due.id], |row| row.get(0)).optional()?;
    let Some(created_at) = created.map(UnixNanos) else { return Ok(None) };
    let (mut known, mut before) = (Vec::new(), created_at);
    let mut statement = connection.prepare_cached(BEFORE)?;
    let mut rows = statement.query(params![receiver, integration, due.episode, created_at.0])?;
    while let Some(row) = rows.next()? {
        known.extend(read(&due.episode, &row.get::<_, String>(0)?).unwrap_or_default());
        before = UnixNanos(row.get(1)?);
    }
    // What is told again was told before: by others too, about then, and has to have been told since.
    let since = before.plus(created_at.since(before) / 2);
    let told: HashSet<_> = known.iter().map(|k| (k.episode.as_str(), k.announced.as_str())).collect();
    for said in &mut said {
        if said.announced != RESOLVED {
            said.ends_at = end(connection, &said.alert, &said.episode, said.starts_at)?.or(said.ends_at);
            said.after = before_it(connection, endpoint, said)?;
        }
        let is_again = told.contains(&(said.episode.as_str(), said.announced.as_str()));
        said.since = is_again.then_some(since);
    }
    let known: HashSet<_> = known.iter().map(|k| (&k.episode, &k.announced, k.flapping)).collect();
    let is_known = |said: &&Said| known.contains(&(&said.episode, &said.announced, said.flapping));
    let new: Vec<Said> = said.iter().filter(|said| !is_known(said)).cloned().collect();
    let alerts = if new.is_empty() { said.clone() } else { new };
    let question = Question {
        // Filled in by whoever asks.
        position: 0,
        id: due.id.clone(),
        receiver: receiver.clone(),
        integration: integration.clone(),
        created_at,
        alerts,
    };
    Ok(Some(Asking { question, said }))
}

/// When what the receiver was told before of this alert was so: that an episode had ended, or another level.
///
/// Another node may not have noticed, since it is not fed any more. What it has told is of the time before, then.
fn before_it(connection: &Connection, endpoint: &Endpoint, said: &Said) -> Result<Option<UnixNanos>, LedgerError> {
    const BEFORE: &str = "
        SELECT max(iif(announced = 'resolved', coalesce(ends_at, starts_at), starts_at)) FROM told
        WHERE receiver = ?1 AND integration = ?2 AND alert = ?3 AND starts_at < ?4 AND announced != ?5
            AND (announced != 'resolved' OR coalesce(ends_at, starts_at) < ?4)";
    let Endpoint { receiver, integration } = endpoint;
    let values = params![receiver, integration, said.alert, said.starts_at.0, said.announced];
    let found: Option<i64> = connection.prepare_cached(BEFORE)?.query_row(values, |row| row.get(0))?;
    Ok(found.map(UnixNanos))
}

/// When something that was told has ended, as it is known now.
fn end(
    connection: &Connection,
    alert: &str,
    episode: &str,
    starts_at: UnixNanos,
) -> Result<Option<UnixNanos>, LedgerError> {
    const OF_ALERT: &str = "SELECT resolved_at FROM alerts WHERE episode = ?1 AND state = 'resolved'";
    const OF_LEVEL: &str = "SELECT min(at) FROM level_changes WHERE scope = ?1 AND at > ?2";
    let read = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
    let found = match alert.strip_prefix(LEVEL) {
        Some(scope) => connection.prepare_cached(OF_LEVEL)?.query_row(params![scope, starts_at.0], read).optional()?,
        None => connection.prepare_cached(OF_ALERT)?.query_row([episode], read).optional()?,
    };
    Ok(found.flatten().map(UnixNanos))
}

fn was_told(connection: &Connection, question: &Question, asked: &Said) -> Result<bool, LedgerError> {
    const ENTRIES: &str = "
        SELECT announced, flapping, episode, starts_at, ends_at, created_at FROM told
        WHERE receiver = ?1 AND integration = ?2 AND alert = ?3 AND starts_at <= ?4
        ORDER BY starts_at DESC, row DESC LIMIT ?5";
    let latest = asked.ends_at.unwrap_or(UnixNanos::MAX);
    let Question { receiver, integration, .. } = question;
    let mut statement = connection.prepare_cached(ENTRIES)?;
    let mut rows = statement.query(params![receiver, integration, asked.alert, latest.0, MOST_ENTRIES])?;
    while let Some(row) = rows.next()? {
        let (announced, flapping, episode): (String, bool, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let starts_at = UnixNanos(row.get(3)?);
        let known: Option<i64> = row.get(4)?;
        let ends_at = end(connection, &asked.alert, &episode, starts_at)?.or(known.map(UnixNanos));
        if !asked.is_of(starts_at, ends_at) {
            continue;
        }
        let is_over = announced == RESOLVED;
        if asked.announced == RESOLVED {
            // An alert that has begun again meanwhile is not over.
            return Ok(is_over);
        }
        let is_later = asked.since.is_none_or(|since| row.get(5).is_ok_and(|at: i64| at >= since.0));
        // Who was told that it is over knows that it fired.
        let is_it = is_over || (announced == asked.announced && flapping >= asked.flapping);
        if is_it && is_later {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes what the receiver of the notification `id` was told with it.
pub(super) fn note(transaction: &Transaction<'_>, id: &str, said: &[Said]) -> Result<(), LedgerError> {
    const NOTE: &str = "
        INSERT INTO told
            (notification, receiver, integration, alert, episode, announced, flapping, starts_at, ends_at, created_at)
        SELECT row, receiver, integration, ?2, ?3, ?4, ?5, ?6, ?7, created_at FROM outbox WHERE id = ?1";
    for Said { alert, announced, flapping, starts_at, ends_at, episode, .. } in said {
        let values = params![id, alert, episode, announced, flapping, starts_at.0, ends_at.map(|at| at.0)];
        transaction.prepare_cached(NOTE)?.execute(values)?;
    }
    Ok(())
}

/// Alertmanager's message, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    alerts: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    status: String,
    starts_at: String,
    ends_at: String,
    fingerprint: String,
    bellwether: Extra,
}

#[derive(Deserialize)]
struct Extra {
    episode: String,
    #[serde(default)]
    flapping: bool,
}

/// That of a change of a level.
#[derive(Deserialize)]
struct Change {
    timestamp: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    level: u8,
}

/// What the message of a thread says; `None` for one that each node sends by itself.
fn read(thread: &str, payload: &str) -> Option<Vec<Said>> {
    if thread.starts_with(HEARTBEAT) {
        return None;
    }
    if thread.starts_with(LEVEL) {
        let Change { timestamp, data } = serde_json::from_str(payload).ok()?;
        let starts_at = time(&timestamp)?;
        let announced = data.level.to_string();
        let episode = format!("{thread}-{}", starts_at.0);
        let alert = thread.to_owned();
        return Some(vec![Said {
            alert,
            announced,
            flapping: false,
            starts_at,
            ends_at: None,
            after: None,
            since: None,
            episode,
        }]);
    }
    let message: Message = serde_json::from_str(payload).ok()?;
    let said = |entry: Entry| {
        let Entry { status, starts_at, ends_at, fingerprint, bellwether: Extra { episode, flapping } } = entry;
        let is_over = status == RESOLVED;
        Some(Said {
            alert: fingerprint,
            announced: status,
            flapping,
            starts_at: time(&starts_at)?,
            ends_at: time(&ends_at).filter(|_| is_over),
            after: None,
            since: None,
            episode,
        })
    };
    let said: Option<Vec<Said>> = message.alerts.into_iter().map(said).collect();
    said.filter(|said| !said.is_empty())
}

fn time(text: &str) -> Option<UnixNanos> {
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt().map(UnixNanos)
}

/// Times as text, which readers of JSON do not round.
pub(super) mod nanos {
    use detect::UnixNanos;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Digits of the greatest time, of which the first is below 9.
    const DIGITS: usize = 19;

    pub(in super::super) fn serialize<S: Serializer>(time: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.0)
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<UnixNanos, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = text.len() < DIGITS || (text.len() == DIGITS && !text.starts_with('9'));
        let digits = Some(&text).filter(|text| fits && text.bytes().all(|b| b.is_ascii_digit()));
        let time = digits.and_then(|text| text.parse().ok());
        time.map(UnixNanos).ok_or_else(|| D::Error::custom("expected nanoseconds since 1970 in digits"))
    }

    /// Those that may be missing.
    pub(super) mod optional {
        use super::{Deserialize, Deserializer, Serializer, UnixNanos};

        #[derive(Deserialize)]
        struct Time(#[serde(with = "super")] UnixNanos);

        #[expect(clippy::ref_option, reason = "serde calls it so")]
        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<UnixNanos>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(
            deserializer: D,
        ) -> Result<Option<UnixNanos>, D::Error> {
            Ok(Option::<Time>::deserialize(deserializer)?.map(|Time(time)| time))
        }
    }
}

impl Store {
    fn claims(&self) -> std::sync::MutexGuard<'_, Claims> {
        // Whole between any two statements.
        self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
