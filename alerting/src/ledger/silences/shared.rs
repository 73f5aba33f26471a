//! What people say as nodes give it to each other: what has changed, of which the newer word is taken.

use detect::UnixNanos;
use serde::{Deserialize, Serialize};

use super::{MOST_SILENCES, Operator, Reader, Silence, SilenceSpec, SilenceState, within_bounds};
use crate::{LedgerError, SharedAcknowledgement, SharedPin, clock, ledger::told::nanos};

/// Bytes of silences in one page, about: the last of them may be beyond. No silence is longer.
const PAGE_BYTES: usize = 1 << 20;
/// Acknowledgements in one page, and pins: the newest.
const MOST_OTHERS: usize = 1_000;
/// Characters of an id: those of a UUID.
const ID_CHARS: usize = 36;

/// A silence as nodes give it to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedSilence {
    /// Its id, the same on all nodes.
    pub id: String,
    /// Wall time of the node on which it was written last, the later of which holds.
    #[serde(with = "nanos")]
    pub updated_at: UnixNanos,
    /// What it says.
    pub spec: SilenceSpec,
}

/// Changes of silences, in the order in which this node came to know of them, and the little else that people say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedPage {
    /// Which process counts: the numbers of another one mean nothing to it.
    pub instance: String,
    /// What to ask after next.
    pub next: u64,
    /// Whether there is more already.
    pub has_more: bool,
    /// What has changed, each silence once at most.
    pub silences: Vec<SharedSilence>,
    /// All of alerts that are not over, at most 1,000, where any has changed.
    pub acknowledgements: Vec<SharedAcknowledgement>,
    /// All pins, at most 1,000, also those that were taken back, where any has changed.
    pub pins: Vec<SharedPin>,
}

impl SharedPage {
    /// Bytes of a page as JSON at most, if not all of it is control characters.
    pub const MOST_BYTES: usize = 8 * PAGE_BYTES;
}

/// What was newer on another node.
#[derive(Debug, PartialEq)]
pub(crate) struct Merged {
    /// How many silences.
    pub(crate) silences: usize,
    /// How many alerts are acknowledged otherwise than before.
    pub(crate) acknowledgements: usize,
    /// Pins that have to be put in force.
    pub(crate) pins: Vec<SharedPin>,
}

impl Reader {
    /// What has changed after the change `after` of the process `instance`; everything if that is another process.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn what_people_say(&self, instance: &str, after: u64) -> Result<SharedPage, LedgerError> {
        let silences = self.store.silences();
        let own = format!("{:016x}", silences.instance);
        let after = if instance == own { after.min(silences.changes) } else { 0 };
        let mut page = SharedPage {
            instance: own,
            next: after,
            has_more: false,
            silences: Vec::new(),
            acknowledgements: Vec::new(),
            pins: Vec::new(),
        };
        let mut bytes = 0;
        for (change, entry) in silences.by_change.range(after.saturating_add(1)..) {
            if bytes >= PAGE_BYTES {
                page.has_more = true;
                break;
            }
            page.next = *change;
            let Silence { id, spec, updated_at } = entry.silence.clone();
            bytes += size_of(&spec);
            page.silences.push(SharedSilence { id, updated_at, spec });
        }
        let others_changed = silences.others_changed;
        drop(silences);
        if after < others_changed && (others_changed <= page.next || !page.has_more) {
            page.next = page.next.max(others_changed);
            page.acknowledgements = self.shared_acknowledgements(MOST_OTHERS)?;
            page.pins = self.shared_pins(MOST_OTHERS)?;
        }
        Ok(page)
    }
}

/// Bytes as JSON, about.
fn size_of(spec: &SilenceSpec) -> usize {
    let matchers: usize = spec.matchers.iter().map(|m| m.name.len() + m.value.len() + 60).sum();
    200 + matchers + spec.created_by.len() + spec.comment.len()
}

/// Whether a peer can mean this time: as with silences, none for which no later one could be written.
pub(in super::super) fn is_time(time: UnixNanos) -> bool {
    (0..9_000_000_000_000_000_000).contains(&time.0)
}

impl Operator {
    /// Notes that acknowledgements or pins have changed, if they have.
    pub(in super::super) fn note_others(&self, have_changed: bool) {
        if have_changed {
            self.store.silences_mut().note_others();
        }
    }

    /// Takes from another node what is newer there: silences, acknowledgements of alerts that are known here, and pins.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub(crate) fn merge(&self, page: SharedPage) -> Result<Merged, LedgerError> {
        let silences = self.merge_silences(page.silences)?;
        let acknowledgements = self.merge_acknowledgements(&page.acknowledgements)?;
        Ok(Merged { silences, acknowledgements, pins: self.merge_pins(page.pins)? })
    }

    /// Takes from another node what is newer there; how many that are. What nobody here could have said is left out,
    /// with a word in the log, and so is what has ended before it was known here.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    fn merge_silences(&self, heard: Vec<SharedSilence>) -> Result<usize, LedgerError> {
        let now = clock::now();
        let mut silences = self.store.silences_mut();
        let mut newer = Vec::new();
        for SharedSilence { id, updated_at, spec } in heard {
            let silence = Silence { id, spec, updated_at };
            let is_news = match silences.by_id.get(&silence.id) {
                Some(known) => known.silence.updated_at < silence.updated_at,
                None => silence.state(now) != SilenceState::Expired && silences.by_id.len() < MOST_SILENCES,
            };
            if !is_news {
                continue;
            }
            match within_bounds(&silence.spec) {
                Ok(matchers) if is_id(&silence.id) => newer.push((silence, matchers)),
                Ok(_) => tracing::warn!("a silence of a peer has no id of ours"),
                Err(error) => tracing::warn!(id = silence.id, %error, "a silence of a peer cannot be used"),
            }
        }
        if newer.is_empty() {
            return Ok(0);
        }
        self.write_silences(newer.iter().map(|(silence, _)| silence), now)?;
        let count = newer.len();
        for (silence, matchers) in newer {
            silences.put(silence, matchers);
        }
        drop(silences);
        self.store.replan();
        Ok(count)
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
#[path = "shared/tests.rs"]
mod tests;
