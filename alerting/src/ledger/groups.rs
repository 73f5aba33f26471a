//! Groups: which alerts are told together, to whom, and when next. On disk, so that no timer ends with the process.
//!
//! An alert that begins or ceases to fire is placed in a group of each node of the tree of routes that it comes to.
//! A group is flushed when its time has come: what its receiver has not been told yet goes into the outbox, in the
//! same transaction that notes that it was told. So for each alert and receiver the messages are `firing`, perhaps
//! again, and then `resolved`, whatever was killed in between.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use detect::{Alert, Labels, UnixNanos};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{
    PostedAlert, alerts,
    body::from_json,
    external,
    flapping::{self, Flapping},
    outbox::{self, Addition},
    store::Store,
};
use crate::{
    LedgerError, Receiver,
    inhibition::{Inhibitors, Source},
    route::{GroupBy, Matched, Route, Routing},
    webhook::{self, Origin},
};

/// When an alert that may not be told now is looked at again, where its group's interval is shorter.
const RECHECK: Duration = Duration::from_secs(10);
/// Bytes of one message; what is longer becomes several. A flush is one message, as in Alertmanager, which knows no
/// bound: this one is far from what receivers take, and from what groups come to (10,000 alerts are some 7 MB), and is
/// there since SQLite holds no row of a gigabyte. Otherwise a group that grew to that could never be told at all.
const MOST_BYTES: usize = 64 << 20;

/// What a flush looks at.
pub(crate) struct Desk<'a> {
    pub(crate) store: &'a Store,
    pub(crate) routing: &'a Routing,
    pub(crate) receivers: &'a [Receiver],
    pub(crate) origin: &'a Origin,
    /// Wall time.
    pub(crate) now: UnixNanos,
}

/// Why an alert is not told at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// Ids of the silences that hold for it.
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
    /// Whether it flaps: it is told that it does, and then no more before it has calmed.
    pub is_flapping: bool,
}

impl Muted {
    /// Whether it is not told.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        !self.silenced_by.is_empty() || !self.inhibited_by.is_empty() || self.is_flapping
    }
}

struct Group {
    row: i64,
    node: String,
    receiver: String,
    identity: String,
    labels: Labels,
    notified_at: Option<UnixNanos>,
}

struct Member {
    alert: Alert,
    labels: Labels,
    was_told: bool,
    /// Whether it was told as one that flaps.
    was_told_of_flapping: bool,
    is_acknowledged: bool,
    /// How often it has changed lately, if it flaps.
    flaps: Option<u32>,
}

/// The episodes of each alert in a group, by its fingerprint, oldest first.
type Kin<'a> = HashMap<&'a str, Vec<&'a Member>>;

fn kin(members: &[Member]) -> Kin<'_> {
    let mut kin = Kin::new();
    for member in members {
        kin.entry(&member.alert.fingerprint).or_default().push(member);
    }
    kin
}

impl Member {
    /// Whether the receiver knows that the alert flaps, of this episode or of one before.
    fn is_known_to_flap(&self, kin: &Kin<'_>) -> bool {
        self.flaps.is_some() && kin[self.alert.fingerprint.as_str()].iter().any(|other| other.was_told_of_flapping)
    }

    /// Whether the end of this episode is none for the receiver, since the alert has flapped: a later one was told
    /// without it, or is about to be, as those of `firing` are.
    fn is_superseded(&self, kin: &Kin<'_>, firing: &HashSet<&str>) -> bool {
        let fingerprint = self.alert.fingerprint.as_str();
        let later = kin[fingerprint].iter().skip_while(|member| member.alert.episode != self.alert.episode).skip(1);
        later.into_iter().any(|other| other.was_told) || (self.was_told_of_flapping && firing.contains(fingerprint))
    }

    /// The alert as it is told.
    fn shown(&self) -> Cow<'_, Alert> {
        match self.flaps {
            Some(changes) if self.alert.state.is_firing() => {
                Cow::Owned(Alert { annotations: flapping::marked(&self.alert, changes), ..self.alert.clone() })
            }
            _ => Cow::Borrowed(&self.alert),
        }
    }
}

impl Group {
    /// Lets go of an alert.
    fn leave(&self, transaction: &Transaction<'_>, episode: &str) -> Result<(), LedgerError> {
        let sql = "DELETE FROM group_alerts WHERE group_row = ? AND episode = ?";
        transaction.prepare_cached(sql)?.execute(params![self.row, episode])?;
        Ok(())
    }
}

/// A group that an alert is in.
struct Place {
    row: i64,
    node: String,
    receiver: String,
}

impl Place {
    fn is_of(&self, matched: &Matched<'_>) -> bool {
        self.node == matched.key && self.receiver == matched.receiver
    }
}

/// The groups that an episode is in.
fn places(connection: &Connection, episode: &str) -> Result<Vec<Place>, LedgerError> {
    const PLACES: &str = "
        SELECT g.row, g.node, g.receiver FROM group_alerts m JOIN groups g ON g.row = m.group_row WHERE m.episode = ?";
    let read = |row: &Row<'_>| Ok(Place { row: row.get(0)?, node: row.get(1)?, receiver: row.get(2)? });
    let mut statement = connection.prepare_cached(PLACES)?;
    let places = statement.query_map([episode], read)?.collect::<Result<_, _>>()?;
    Ok(places)
}

/// Which group of a node an alert that begins belongs to: its identity and labels.
fn group_of(
    transaction: &Transaction<'_>,
    route: &Route,
    alert: &Alert,
    labels: &Labels,
) -> Result<(String, Labels), LedgerError> {
    let incident = incident_of(transaction, route, alert)?;
    let group_labels = route.group_labels(labels, incident.as_deref());
    let identity = match &route.group_by {
        GroupBy::Each(_) if incident.is_none() => alert.fingerprint.clone(),
        _ => group_labels.to_string(),
    };
    Ok((identity, group_labels))
}

/// The incident of the first of the alert's anomalies that is of one, where it is grouped by that.
fn incident_of(connection: &Connection, route: &Route, alert: &Alert) -> Result<Option<String>, LedgerError> {
    if !route.group_by_incident {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT incident FROM anomalies WHERE id = ?")?;
    for id in &alert.anomalies {
        let found: Option<Option<String>> = statement.query_row([id], |row| row.get(0)).optional()?;
        if let Some(Some(incident)) = found {
            return Ok(Some(incident));
        }
    }
    Ok(None)
}

/// Lets the groups be looked at again in which somebody has not been told of an alert.
pub(super) fn wake_untold(transaction: &Transaction<'_>, now: UnixNanos) -> Result<(), LedgerError> {
    transaction.execute(
        "UPDATE groups SET next_flush = ?1 WHERE (next_flush IS NULL OR next_flush > ?1) AND flushed_at IS NOT NULL \
         AND EXISTS (SELECT 1 FROM group_alerts WHERE group_row = groups.row AND told IS NULL)",
        [now.0],
    )?;
    Ok(())
}

/// When the next group is due; `None` when none waits.
fn next_flush(connection: &Connection) -> Result<Option<UnixNanos>, LedgerError> {
    let sql = "SELECT min(next_flush) FROM groups WHERE next_flush IS NOT NULL";
    Ok(connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0))?.map(UnixNanos))
}

impl Store {
    /// Tells what is due at the wall time; how many notifications are new, and when the next group is due.
    pub(crate) fn flush(&self, desk: &Desk<'_>) -> Result<(usize, Option<UnixNanos>), LedgerError> {
        let due = self.read(|connection| next(connection, desk))?;
        if due.is_none_or(|due| due > desk.now) {
            return Ok((0, due));
        }
        self.write(|transaction| {
            desk.end_what_is_over(transaction)?;
            Ok((desk.flush(transaction)?, next(transaction, desk)?))
        })
    }

    /// Takes up alerts of others, and tells what is due; what is wrong with some of them.
    pub(crate) fn post(
        &self,
        desk: &Desk<'_>,
        posted: &[PostedAlert],
        resolve_at: UnixNanos,
    ) -> Result<(usize, Vec<LedgerError>), LedgerError> {
        self.write(|transaction| {
            let faults = desk.post(transaction, posted, resolve_at)?;
            Ok((desk.flush(transaction)?, faults))
        })
    }
}

fn next(connection: &Connection, desk: &Desk<'_>) -> Result<Option<UnixNanos>, LedgerError> {
    let (flush, end) = (next_flush(connection)?, external::next_end(connection)?);
    Ok(flush.into_iter().chain(end).chain(desk.next_calm(connection)?).min())
}

impl Desk<'_> {
    /// Places an alert that begins to fire, or has the groups looked at in which it is. It stays where it was placed when
    /// it began, also when its anomalies have come to be of an incident, so that its end is told where its beginning was.
    pub(super) fn place(&self, transaction: &Transaction<'_>, alert: &Alert) -> Result<(), LedgerError> {
        self.note_change(transaction, alert)?;
        let placed = places(transaction, &alert.episode)?;
        for place in &placed {
            let route = self.routing.node(&place.node, &place.receiver);
            self.wake(transaction, place.row, route.map_or(Duration::ZERO, |route| route.group_interval))?;
        }
        if alert.state.is_firing() {
            let labels = self.origin.labels(alert);
            for matched in self.missing(&labels, &placed) {
                self.place_at(transaction, matched, alert, &labels, false)?;
            }
        }
        Ok(())
    }

    /// Where an alert with these labels comes to and is not `placed`, one group of each node and receiver. A group that it
    /// was told in and does not come to any more is in place of another of its receiver, who has heard of it.
    fn missing(&self, labels: &Labels, placed: &[Place]) -> Vec<Matched<'_>> {
        let all = self.routing.matching(labels);
        let is_left = |place: &&Place| !all.iter().any(|matched| place.is_of(matched));
        let mut left: Vec<&str> = placed.iter().filter(is_left).map(|place| place.receiver.as_str()).collect();
        let mut missing: Vec<Matched<'_>> = Vec::new();
        for matched in &all {
            let is_same = |other: &Matched<'_>| other.key == matched.key && other.receiver == matched.receiver;
            if placed.iter().any(|place| place.is_of(matched)) || missing.iter().any(is_same) {
                continue;
            }
            match left.iter().position(|receiver| *receiver == matched.receiver) {
                Some(at) => drop(left.swap_remove(at)),
                None => missing.push(*matched),
            }
        }
        missing
    }

    /// Has a group looked at that has changed, at its interval.
    fn wake(&self, transaction: &Transaction<'_>, group: i64, interval: Duration) -> Result<(), LedgerError> {
        // Written only where it changes something: a storm is of many alerts of few groups.
        const WAKE: &str = "
            UPDATE groups SET next_flush = max(?2, coalesce(flushed_at + ?3, next_flush))
            WHERE row = ?1 AND (next_flush IS NULL OR next_flush > max(?2, coalesce(flushed_at + ?3, next_flush)))";
        transaction.prepare_cached(WAKE)?.execute(params![group, self.now.0, nanos(interval)])?;
        Ok(())
    }

    fn place_at(
        &self,
        transaction: &Transaction<'_>,
        Matched { route, key, receiver }: Matched<'_>,
        alert: &Alert,
        labels: &Labels,
        was_told: bool,
    ) -> Result<(), LedgerError> {
        const KNOWN: &str = "SELECT row, labels FROM groups WHERE node = ? AND receiver = ? AND identity = ?";
        const ADD: &str = "INSERT INTO groups (node, receiver, identity, labels, next_flush) VALUES (?, ?, ?, ?, ?)";
        let (identity, group_labels) = group_of(transaction, route, alert, labels)?;
        let json = serde_json::to_string(&group_labels).expect("labels always serialise");
        let known: Option<(i64, String)> = transaction
            .prepare_cached(KNOWN)?
            .query_row([key, receiver, &identity], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let row = match known {
            Some((row, known)) => {
                if known != json {
                    // That of one alert, of which other labels are told than before.
                    transaction.execute("UPDATE groups SET labels = ? WHERE row = ?", params![json, row])?;
                }
                self.wake(transaction, row, route.group_interval)?;
                row
            }
            None => {
                let values = params![key, receiver, identity, json, self.now.plus(route.group_wait).0];
                transaction.prepare_cached(ADD)?.insert(values)?
            }
        };
        let insert = "INSERT INTO group_alerts (group_row, episode, told) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let told = was_told.then_some("firing");
        transaction.prepare_cached(insert)?.execute(params![row, alert.episode, told])?;
        Ok(())
    }

    /// Tells what is due; how many notifications are new.
    pub(super) fn flush(&self, transaction: &Transaction<'_>) -> Result<usize, LedgerError> {
        const DUE: &str = "
            SELECT row, node, receiver, identity, labels, notified_at FROM groups WHERE next_flush <= ?
            ORDER BY next_flush, row";
        self.calm_down(transaction)?;
        let groups: Vec<Group> = transaction
            .prepare_cached(DUE)?
            .query_and_then([self.now.0], |row| {
                let labels: String = row.get(4)?;
                Ok::<_, LedgerError>(Group {
                    row: row.get(0)?,
                    node: row.get(1)?,
                    receiver: row.get(2)?,
                    identity: row.get(3)?,
                    labels: serde_json::from_str(&labels).unwrap_or_default(),
                    notified_at: row.get::<_, Option<i64>>(5)?.map(UnixNanos),
                })
            })?
            .collect::<Result<_, _>>()?;
        if groups.is_empty() {
            return Ok(0);
        }
        let sources = self.sources(transaction)?;
        let flapping = flapping::flapping(transaction)?;
        let mut added = 0;
        for group in &groups {
            added += self.flush_one(transaction, group, &sources, &flapping)?;
        }
        Ok(added)
    }

    /// By which of the alerts that fire others are inhibited. Those are read that rules may go by.
    fn sources(&self, transaction: &Transaction<'_>) -> Result<Inhibitors, LedgerError> {
        let rules = self.routing.inhibit();
        let firing = if rules.is_empty() {
            Vec::new()
        } else if rules.iter().all(|rule| rule.dependents) {
            alerts::firing_with_dependents(transaction)?
        } else {
            alerts::firing(transaction)?
        };
        Ok(sources(self.routing, self.origin, &firing))
    }

    fn flush_one(
        &self,
        transaction: &Transaction<'_>,
        group: &Group,
        sources: &Inhibitors,
        flapping: &Flapping,
    ) -> Result<usize, LedgerError> {
        let receiver = self.receivers.iter().find(|receiver| receiver.name() == group.receiver);
        let (Some(route), Some(receiver)) = (self.routing.node(&group.node, &group.receiver), receiver) else {
            // Of another configuration: what is in it was placed anew at the start.
            transaction.execute("DELETE FROM groups WHERE row = ?", [group.row])?;
            return Ok(0);
        };
        let members = self.members(transaction, group, flapping)?;
        let kin = kin(&members);
        let is_open = self.routing.is_open(route, self.now);
        let (mut firing, mut resolved, mut waits, mut is_new, mut is_repeatable) =
            (vec![], vec![], false, false, false);
        for member in &members {
            if !member.alert.state.is_firing() {
                resolved.push(member);
            } else if !is_open || self.is_muted(member, sources) {
                // What the receiver knows is not told again, and need not be waited for.
                waits |= !member.was_told;
            } else if member.is_known_to_flap(&kin) {
                // Only beside others, as it was told.
                firing.extend(Some(member).filter(|member| member.was_told));
            } else {
                // One that was told to flap and does no more is told anew.
                is_new |= !member.was_told || member.was_told_of_flapping != member.flaps.is_some();
                is_repeatable |= !member.is_acknowledged;
                firing.push(member);
            }
        }
        // The end of an episode is not told while the alert flaps, nor when it fires once more after that.
        let fires: HashSet<&str> = firing.iter().map(|member| member.alert.fingerprint.as_str()).collect();
        let is_over = |m: &&Member| m.was_told && m.flaps.is_none() && !m.is_superseded(&kin, &fires);
        let over: Vec<&Member> = resolved.iter().copied().filter(is_over).collect();
        let is_over_told = is_open && !over.is_empty();
        let repeat_at = group.notified_at.zip(route.repeat_interval).map(|(at, interval)| at.plus(interval));
        let is_repeat = is_repeatable && repeat_at.is_some_and(|at| at <= self.now);
        let mut added = 0;
        if is_new || is_over_told || is_repeat {
            let mut told = firing.clone();
            if is_over_told {
                told.extend(&over);
            }
            let slot = route.repeat_interval.map_or(0, |interval| self.now.0 / nanos(interval).max(1));
            added = self.tell(transaction, (group, slot), receiver, &told, is_new || is_repeat)?;
            // The others are known as they are.
            for member in firing.iter().filter(|m| !m.was_told || m.was_told_of_flapping != m.flaps.is_some()) {
                let sql = "UPDATE group_alerts SET told = 'firing', flapping = ? WHERE group_row = ? AND episode = ?";
                let flaps = member.flaps.is_some();
                transaction.prepare_cached(sql)?.execute(params![flaps, group.row, member.alert.episode])?;
            }
        }
        let mut leaving = resolved.iter().filter(|m| !m.was_told || (is_open && m.flaps.is_none()));
        if leaving.clone().count() == members.len() {
            transaction.prepare_cached("DELETE FROM groups WHERE row = ?")?.execute([group.row])?;
            return Ok(added);
        }
        leaving.try_for_each(|member| group.leave(transaction, &member.alert.episode))?;
        let notified_at = if added > 0 { Some(self.now) } else { group.notified_at };
        let recheck =
            (waits || (!is_open && !over.is_empty())).then(|| self.now.plus(route.group_interval.max(RECHECK)));
        let repeat = notified_at.zip(route.repeat_interval).filter(|_| is_repeatable);
        let repeat = repeat.map(|(at, interval)| at.plus(interval).max(self.now.plus(Duration::from_secs(1))));
        let next = recheck.into_iter().chain(repeat).min();
        transaction
            .prepare_cached("UPDATE groups SET next_flush = ?, flushed_at = ?, notified_at = ? WHERE row = ?")?
            .execute(params![next.map(|at| at.0), self.now.0, notified_at.map(|at| at.0), group.row])?;
        Ok(added)
    }

    /// Adds the notifications of one flush. Integrations that do not want to hear of what is over hear of what began
    /// only, if anything did. `slot` tells repetitions from each other.
    fn tell(
        &self,
        transaction: &Transaction<'_>,
        (group, slot): (&Group, i64),
        receiver: &Receiver,
        members: &[&Member],
        has_firing: bool,
    ) -> Result<usize, LedgerError> {
        let mut told = Vec::with_capacity(members.len());
        for member in members {
            told.push((member.shown(), outbox::causes(transaction, &member.alert)?));
        }
        let group_key = format!("{}:{}", group.node, group.labels);
        let mut added = 0;
        for integration in receiver.integrations() {
            let wanted: Vec<_> =
                told.iter().filter(|(a, _)| a.state.is_firing() || integration.send_resolved).collect();
            if wanted.is_empty() || (!integration.send_resolved && !has_firing) {
                continue;
            }
            let (thread, is_first) = match &wanted[..] {
                // An alert by itself. Its group goes by how it was placed, and not by how others are now.
                [(alert, _)] if group.identity == alert.fingerprint => {
                    let knows = members.iter().any(|m| m.was_told && m.alert.episode == alert.episode);
                    (alert.episode.clone(), !knows || !alert.state.is_firing())
                }
                _ => (format!("group:{}", outbox::hashed([group.node.as_str(), &group.identity])), false),
            };
            let alerts: Vec<_> = wanted.iter().map(|(alert, causes)| (&**alert, causes.as_slice())).collect();
            let message = webhook::Message {
                receiver: receiver.name(),
                group_key: &group_key,
                group_labels: &group.labels,
                alerts: &alerts,
                origin: self.origin,
            };
            for (part, (message, payload)) in message.within(MOST_BYTES).into_iter().enumerate() {
                let announced = message.status();
                let news = news(members, message.alerts, slot);
                // What is told by itself has the id that it would have without groups; its end follows from its beginning,
                // which a peer may have given another id.
                let endpoint = [receiver.name(), integration.key()];
                let begun = (announced == "resolved").then(|| outbox::first_of(transaction, endpoint, &thread));
                let begun = begun.transpose()?.flatten();
                let what = match message.alerts[..] {
                    [(alert, _)] if is_first => [&*begun.unwrap_or_else(|| identity(alert)), announced],
                    _ => [group.node.as_str(), &news],
                };
                let tenant = self.origin.tenant.as_deref();
                let id = |what| outbox::notification_id(tenant, receiver.name(), integration.key(), what);
                let addition = Addition {
                    id: &id(what),
                    receiver: receiver.name(),
                    integration: integration.key(),
                    thread: &thread,
                    announced,
                    payload: &payload,
                    stands_in_for: None,
                    turn: self.routing.turn(),
                };
                let mut count = addition.add(transaction, self.now)?;
                if count == 0 && !(is_first && outbox::is_of(transaction, addition.id, &thread)?) {
                    // Not the same notification: an alert that flapped and has calmed, or another rule's with these labels.
                    let again = id([&news, &format!("{}/{part}", self.now.0)]);
                    count = Addition { id: &again, ..addition }.add(transaction, self.now)?;
                }
                added += count;
            }
        }
        Ok(added)
    }

    fn members(
        &self,
        transaction: &Transaction<'_>,
        group: &Group,
        flapping: &Flapping,
    ) -> Result<Vec<Member>, LedgerError> {
        const MEMBERS: &str = "
            SELECT g.episode, g.told, a.body, k.episode IS NOT NULL, g.flapping FROM group_alerts g
            LEFT JOIN alerts a ON a.episode = g.episode
            LEFT JOIN acknowledgements k ON k.episode = g.episode AND k.withdrawn = 0
            WHERE g.group_row = ? ORDER BY a.row";
        let mut members = Vec::new();
        let mut statement = transaction.prepare_cached(MEMBERS)?;
        let mut rows = statement.query([group.row])?;
        let mut lost = Vec::new();
        while let Some(row) = rows.next()? {
            let (episode, told, body): (String, Option<String>, Option<String>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(body) = body else {
                lost.push(episode);
                continue;
            };
            let alert: Alert = from_json(&episode, &body)?;
            let labels = self.origin.labels(&alert);
            let flaps = flapping.get(&alert.fingerprint).copied();
            let (was_told, is_acknowledged, was_told_of_flapping) = (told.is_some(), row.get(3)?, row.get(4)?);
            members.push(Member { alert, labels, was_told, was_told_of_flapping, is_acknowledged, flaps });
        }
        for episode in lost {
            group.leave(transaction, &episode)?;
        }
        Ok(members)
    }

    fn is_muted(&self, member: &Member, sources: &Inhibitors) -> bool {
        muted(self.store, self.routing, &member.labels, sources, self.now).is_muted()
    }

    /// Places every alert that fires where the present tree has it, and lets go of groups of another tree. What a
    /// receiver was told of an alert it stays told, and is told the end of: where its beginning was told, if the tree
    /// still has that node, however alerts are grouped there now, since it is by its group that a receiver knows it.
    pub(super) fn replace_all(&self, transaction: &Transaction<'_>) -> Result<(), LedgerError> {
        // What was told before there were groups.
        const TOLD: &str = "
            SELECT receiver, episode FROM outbox o WHERE announced = 'firing' AND NOT EXISTS (
                SELECT 1 FROM group_alerts m JOIN groups g ON g.row = m.group_row
                WHERE m.episode = o.episode AND g.receiver = o.receiver)";
        const TOLD_IN: &str = "SELECT episode FROM group_alerts WHERE group_row = ? AND told IS NOT NULL";
        let mut alerts = alerts::firing(transaction)?;
        let is_ours = |node: &str, receiver: &str| {
            self.routing.node(node, receiver).is_some() && self.receivers.iter().any(|r| r.name() == receiver)
        };
        let groups: Vec<Place> = transaction
            .prepare("SELECT row, node, receiver FROM groups")?
            .query_map([], |row| Ok(Place { row: row.get(0)?, node: row.get(1)?, receiver: row.get(2)? }))?
            .collect::<Result<_, _>>()?;
        let others: Vec<&Place> = groups.iter().filter(|group| !is_ours(&group.node, &group.receiver)).collect();
        if alerts.is_empty() && others.is_empty() {
            return Ok(());
        }
        let mut told: BTreeSet<(String, String)> = transaction
            .prepare(TOLD)?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for Place { row, receiver, .. } in others {
            alerts.extend(alerts::over(transaction, *row)?);
            let mut statement = transaction.prepare_cached(TOLD_IN)?;
            let episodes = statement.query_map([row], |row| row.get(0))?;
            for episode in episodes {
                told.insert((receiver.clone(), episode?));
            }
            transaction.prepare_cached("DELETE FROM groups WHERE row = ?")?.execute([row])?;
        }
        transaction.execute("DELETE FROM group_alerts WHERE told IS NULL", [])?;
        for alert in &alerts {
            let labels = self.origin.labels(alert);
            let placed = places(transaction, &alert.episode)?;
            for matched in self.missing(&labels, &placed) {
                // Told once, it is told in one group.
                let was_told = told.remove(&(matched.receiver.to_owned(), alert.episode.clone()));
                if was_told || alert.state.is_firing() {
                    self.place_at(transaction, matched, alert, &labels, was_told)?;
                }
            }
        }
        let empty = "DELETE FROM groups WHERE NOT EXISTS (SELECT 1 FROM group_alerts WHERE group_row = groups.row)";
        transaction.execute(empty, [])?;
        Ok(())
    }
}

/// What an episode is called wherever it is decided, whatever the files of rules are called there.
fn identity(alert: &Alert) -> String {
    format!("{}-{}", alert.fingerprint, alert.fired_at.unwrap_or(alert.active_at).0)
}

/// What is new in a message with these alerts, or else that they are told again. The same wherever the same is decided,
/// whenever that is told.
fn news(members: &[&Member], alerts: &[(&Alert, &[webhook::Cause])], slot: i64) -> String {
    let is_new = |member: &Member| {
        !member.was_told || member.was_told_of_flapping != member.flaps.is_some() || !member.alert.state.is_firing()
    };
    let new: HashSet<&str> =
        members.iter().filter(|member| is_new(member)).map(|member| member.alert.episode.as_str()).collect();
    let is_again = !alerts.iter().any(|(alert, _)| new.contains(alert.episode.as_str()));
    let mut said: Vec<String> = alerts
        .iter()
        .filter(|(alert, _)| is_again || new.contains(alert.episode.as_str()))
        .map(|(alert, _)| {
            let state = if alert.state.is_firing() { "firing" } else { "resolved" };
            let mark = if flapping::is_marked(alert) { "/flapping" } else { "" };
            format!("{}/{state}{mark}", identity(alert))
        })
        .collect();
    said.sort_unstable();
    said.extend(is_again.then(|| slot.to_string()));
    said.join("\n")
}

/// Those of the alerts that fire by which others may be inhibited: none without a rule.
pub(super) fn sources(routing: &Routing, origin: &Origin, firing: &[Alert]) -> Inhibitors {
    if routing.inhibit().is_empty() {
        return Inhibitors::default();
    }
    let source = |alert: &Alert| {
        let (fingerprint, labels) = origin.identity(alert);
        Source { fingerprint, labels, dependents: alert.dependents.clone() }
    };
    Inhibitors::new(routing.inhibit(), &firing.iter().map(source).collect::<Vec<_>>())
}

/// Why an alert with these labels is not told.
pub(super) fn muted(store: &Store, routing: &Routing, labels: &Labels, sources: &Inhibitors, now: UnixNanos) -> Muted {
    let silenced_by = store.silences().holding(labels, now);
    Muted { silenced_by, inhibited_by: sources.of(routing.inhibit(), labels), is_flapping: false }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests;
