//! Silences: alerts of which nobody is told for a time, as people have said.
//!
//! All of them are in memory as well, by a label that their alerts must have, so that an alert is looked up among a
//! hundred thousand silences by its labels and not by trying each.

mod shared;

pub(crate) use shared::Merged;
pub(super) use shared::is_time;
pub use shared::{SharedPage, SharedSilence};

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use detect::{Labels, UnixNanos};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{Operator, Reader};
use crate::{
    LedgerError, clock,
    matcher::{Matcher, MatcherJson, all_match},
};

/// Matchers of one silence.
const MOST_MATCHERS: usize = 100;
/// Bytes of a comment or an author.
const MOST_BYTES: usize = 4 * 1024;
/// Silences that are kept at most, expired ones among them.
const MOST_SILENCES: usize = 1_000_000;

/// What somebody wants to be silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceSpec {
    /// All of them have to match. 1 to 100, one of which does not match the empty text.
    pub matchers: Vec<MatcherJson>,
    /// Wall time from which on it holds.
    pub starts_at: UnixNanos,
    /// Wall time at which it ends, after its start.
    pub ends_at: UnixNanos,
    /// Who wants it. At most 4 KiB, as is the comment.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// What it says.
    pub spec: SilenceSpec,
    /// When it was written last.
    pub updated_at: UnixNanos,
}

/// Whether a silence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceState {
    /// Not yet.
    Pending,
    /// Now.
    Active,
    /// Not any more.
    Expired,
}

impl SilenceState {
    /// Alertmanager's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

impl Silence {
    /// Whether it holds at `now`. It cannot be earlier than when it was written: what had begun or was over by then
    /// stays so when the clock is set back.
    #[must_use]
    pub fn state(&self, now: UnixNanos) -> SilenceState {
        let now = now.max(self.updated_at);
        if now >= self.spec.ends_at {
            SilenceState::Expired
        } else if now >= self.spec.starts_at {
            SilenceState::Active
        } else {
            SilenceState::Pending
        }
    }
}

/// One silence, ready to be asked.
#[derive(Debug)]
struct Entry {
    silence: Silence,
    matchers: Vec<Matcher>,
    /// The number of the change that brought it.
    change: u64,
}

/// All silences of a ledger.
#[derive(Debug, Default)]
pub(super) struct Silences {
    by_id: BTreeMap<String, Arc<Entry>>,
    /// Those with a label that has to have one value, by its name and that.
    by_label: HashMap<String, HashMap<String, Vec<Arc<Entry>>>>,
    others: Vec<Arc<Entry>>,
    /// By the number of the last change of each.
    by_change: BTreeMap<u64, Arc<Entry>>,
    changes: u64,
    /// The number of the last change of anything else that people say: acknowledgements and pins.
    others_changed: u64,
    /// By which numbers of changes can be told from those of another process.
    instance: u64,
}

impl Silences {
    pub(super) fn load(connection: &Connection) -> Result<Self, LedgerError> {
        let mut silences = Self { instance: fastrand::u64(..), ..Self::default() };
        let mut statement = connection.prepare("SELECT id, updated_at, body FROM silences")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, updated_at, body): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let spec: SilenceSpec = serde_json::from_str(&body).map_err(|source| LedgerError::Row {
                table: "silences",
                id: id.clone(),
                source,
            })?;
            let silence = Silence { id, spec, updated_at: UnixNanos(updated_at) };
            match compile(&silence.spec.matchers) {
                Ok(matchers) => silences.put(silence, matchers),
                Err(error) => tracing::error!(id = silence.id, %error, "a silence cannot be used"),
            }
        }
        silences.note_others();
        Ok(silences)
    }

    /// Notes that acknowledgements or pins have changed.
    pub(super) fn note_others(&mut self) {
        self.changes += 1;
        self.others_changed = self.changes;
    }

    fn put(&mut self, silence: Silence, matchers: Vec<Matcher>) {
        self.remove(&silence.id);
        self.changes += 1;
        let entry = Arc::new(Entry { silence, matchers, change: self.changes });
        self.by_change.insert(entry.change, Arc::clone(&entry));
        self.by_id.insert(entry.silence.id.clone(), Arc::clone(&entry));
        match index_of(&entry.matchers) {
            Some((name, value)) => self.by_label.entry(name).or_default().entry(value).or_default().push(entry),
            None => self.others.push(entry),
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(entry) = self.by_id.remove(id) else { return };
        self.by_change.remove(&entry.change);
        let is_other = |other: &Arc<Entry>| other.silence.id != id;
        match index_of(&entry.matchers) {
            Some((name, value)) => {
                let Some(values) = self.by_label.get_mut(&name) else { return };
                if let Some(entries) = values.get_mut(&value) {
                    entries.retain(is_other);
                    if entries.is_empty() {
                        values.remove(&value);
                    }
                }
                if values.is_empty() {
                    self.by_label.remove(&name);
                }
            }
            None => self.others.retain(is_other),
        }
    }

    pub(super) fn forget(&mut self, before: UnixNanos) {
        let old: Vec<String> =
            self.by_id.values().filter(|e| e.silence.spec.ends_at < before).map(|e| e.silence.id.clone()).collect();
        old.iter().for_each(|id| self.remove(id));
    }

    /// The ids of the silences that hold for an alert with these labels.
    pub(super) fn holding(&self, labels: &Labels, now: UnixNanos) -> Vec<String> {
        let by_label = labels.iter().filter_map(|(name, value)| self.by_label.get(name)?.get(value));
        let holds = |entry: &&Arc<Entry>| {
            entry.silence.state(now) == SilenceState::Active && all_match(&entry.matchers, labels)
        };
        let mut ids: Vec<String> =
            by_label.flatten().chain(&self.others).filter(holds).map(|entry| entry.silence.id.clone()).collect();
        ids.sort();
        ids
    }
}

/// The most telling label is the last by name: `alertname` and the like are shared by many.
fn index_of(matchers: &[Matcher]) -> Option<(String, String)> {
    let exact = matchers.iter().filter_map(Matcher::exactly).max();
    exact.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn compile(matchers: &[MatcherJson]) -> Result<Vec<Matcher>, LedgerError> {
    let read = |json: &MatcherJson| Matcher::from_json(json).map_err(|e| refused("matchers", e.to_string()));
    matchers.iter().map(read).collect()
}

fn refused(field: &'static str, reason: impl Into<String>) -> LedgerError {
    LedgerError::Silence { field, reason: reason.into() }
}

fn check(spec: &SilenceSpec, now: UnixNanos) -> Result<Vec<Matcher>, LedgerError> {
    let matchers = within_bounds(spec)?;
    if spec.ends_at <= spec.starts_at {
        return Err(refused("endsAt", "expected a time after startsAt"));
    }
    if spec.ends_at <= now {
        return Err(refused("endsAt", "expected a time that has not passed"));
    }
    Ok(matchers)
}

/// Checks all but its times.
fn within_bounds(spec: &SilenceSpec) -> Result<Vec<Matcher>, LedgerError> {
    if !(1..=MOST_MATCHERS).contains(&spec.matchers.len()) {
        return Err(refused("matchers", format!("expected 1 to {MOST_MATCHERS}, got {}", spec.matchers.len())));
    }
    let matchers = compile(&spec.matchers)?;
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(refused("matchers", "expected one that does not match a label that is not there"));
    }
    for (field, text) in [("createdBy", &spec.created_by), ("comment", &spec.comment)] {
        if text.len() > MOST_BYTES {
            return Err(refused(field, format!("expected at most {MOST_BYTES} bytes, got {}", text.len())));
        }
    }
    Ok(matchers)
}

/// A random id in the form of a UUID of version 4.
fn new_id() -> String {
    let random = fastrand::u128(..);
    let marked = (random & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let hex = format!("{marked:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl Operator {
    /// Writes a silence and returns its id. With the `id` of one that has not expired, that one is changed; where
    /// other alerts are meant than before, it ends and a new one begins, so that the past stays told as it was.
    ///
    /// # Errors
    /// [`LedgerError::Silence`] names the field that is out of bounds, or says that there is no silence `id`;
    /// [`LedgerError::Sqlite`].
    pub fn set_silence(&self, id: Option<&str>, spec: SilenceSpec) -> Result<String, LedgerError> {
        let now = clock::now();
        let mut spec = spec;
        let mut silences = self.store.silences_mut();
        let before = match id.filter(|id| !id.is_empty()) {
            Some(id) => {
                let known = silences.by_id.get(id).ok_or_else(|| refused("id", "there is no such silence"))?;
                Some(known.silence.clone())
            }
            None => None,
        };
        let is_same = before.as_ref().is_some_and(|before| {
            before.state(now) != SilenceState::Expired
                && before.spec.matchers == spec.matchers
                && (before.state(now) == SilenceState::Pending
                    || seconds(before.spec.starts_at) == seconds(spec.starts_at))
        });
        if !is_same {
            // It cannot have held before it was said.
            spec.starts_at = spec.starts_at.max(now);
        }
        let matchers = check(&spec, now)?;
        if before.is_none() && silences.by_id.len() >= MOST_SILENCES {
            return Err(refused("silences", format!("there are {MOST_SILENCES} already")));
        }
        let id = before.as_ref().filter(|_| is_same).map_or_else(new_id, |before| before.id.clone());
        let updated_at = before.as_ref().filter(|_| is_same).map_or(now, |before| after(before, now));
        let silence = Silence { id: id.clone(), spec, updated_at };
        let ended = before.filter(|before| !is_same && before.state(now) != SilenceState::Expired).map(|mut before| {
            end(&mut before, now);
            before
        });
        self.write_silences(ended.iter().chain([&silence]), now)?;
        if let Some(ended) = ended {
            let matchers = compile(&ended.spec.matchers)?;
            silences.put(ended, matchers);
        }
        silences.put(silence, matchers);
        drop(silences);
        self.store.replan();
        Ok(id)
    }

    /// Ends a silence now; `false` when there is none with this id.
    ///
    /// # Errors
    /// [`LedgerError::Silence`] when it has ended already; [`LedgerError::Sqlite`].
    pub fn expire_silence(&self, id: &str) -> Result<bool, LedgerError> {
        let now = clock::now();
        let mut silences = self.store.silences_mut();
        let Some(entry) = silences.by_id.get(id) else { return Ok(false) };
        let mut silence = entry.silence.clone();
        if silence.state(now) == SilenceState::Expired {
            return Err(refused("id", "this silence has expired already"));
        }
        end(&mut silence, now);
        self.write_silences([&silence], now)?;
        let matchers = compile(&silence.spec.matchers)?;
        silences.put(silence, matchers);
        drop(silences);
        self.store.replan();
        Ok(true)
    }

    /// Writes them, and lets the groups be looked at again whose alerts may have been silent.
    fn write_silences<'a>(
        &self,
        silences: impl IntoIterator<Item = &'a Silence>,
        now: UnixNanos,
    ) -> Result<(), LedgerError> {
        self.store.write(|transaction| {
            for silence in silences {
                let body = serde_json::to_string(&silence.spec).expect("plain data under fixed names serialises");
                transaction.execute(
                    "INSERT OR REPLACE INTO silences (id, ends_at, updated_at, body) VALUES (?, ?, ?, ?)",
                    params![silence.id, silence.spec.ends_at.0, silence.updated_at.0, body],
                )?;
            }
            super::groups::wake_untold(transaction, now)
        })
    }
}

/// Clients give back the start that they were shown, which is cut to milliseconds.
fn seconds(time: UnixNanos) -> i64 {
    time.0.div_euclid(1_000_000_000)
}

/// Ends a silence at `now`; one that has not begun was never there.
fn end(silence: &mut Silence, now: UnixNanos) {
    silence.updated_at = after(silence, now);
    silence.spec.starts_at = silence.spec.starts_at.min(now);
    silence.spec.ends_at = now;
}

/// When it is written anew at `now`: later than before, also by the clock of a node that is behind, so that the newer
/// word holds on all of them.
fn after(before: &Silence, now: UnixNanos) -> UnixNanos {
    now.max(UnixNanos(before.updated_at.0.saturating_add(1)))
}

impl Reader {
    /// All silences, those that end last first, expired ones that have not been pruned at the end.
    #[must_use]
    pub fn silences(&self) -> Vec<Silence> {
        let mut all: Vec<Silence> = self.store.silences().by_id.values().map(|entry| entry.silence.clone()).collect();
        let now = clock::now();
        all.sort_by_key(|s| (s.state(now) == SilenceState::Expired, std::cmp::Reverse(s.spec.ends_at), s.id.clone()));
        all
    }

    /// The silence with this id.
    #[must_use]
    pub fn silence(&self, id: &str) -> Option<Silence> {
        self.store.silences().by_id.get(id).map(|entry| entry.silence.clone())
    }
}
