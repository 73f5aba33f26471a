//! Acknowledgements: somebody has taken an alert on, so that nobody is told again while it lasts.

use detect::UnixNanos;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Operator, Reader, silences::is_time};
use crate::{LedgerError, clock};

/// Bytes of an author, and of a comment.
const MOST_AUTHOR: usize = 200;
const MOST_COMMENT: usize = 2_000;

/// That somebody has taken an alert on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// Who; 1 to 200 bytes.
    pub author: String,
    /// Anything; at most 2,000 bytes.
    pub comment: String,
    /// When; wall time.
    pub at: UnixNanos,
}

/// An acknowledgement as nodes give it to each other: which alert is meant, whose episodes have other names on each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedAcknowledgement {
    /// Of the alert.
    pub fingerprint: String,
    /// Who has said it, what, and when, or who had.
    #[serde(flatten)]
    pub acknowledgement: Acknowledgement,
    /// Whether it was taken back then.
    pub withdrawn: bool,
}

impl Operator {
    /// Acknowledges an alert until it is over: it is not repeated, while its end is told. A later acknowledgement
    /// replaces an earlier one. `false` when there is no such episode, or it is over.
    ///
    /// # Errors
    /// [`LedgerError::Pin`] names the field that is out of bounds; [`LedgerError::Sqlite`].
    pub fn acknowledge(&self, episode: &str, author: &str, comment: &str) -> Result<bool, LedgerError> {
        let refused = |field, expected, length: usize| {
            Err(LedgerError::Pin { field, expected, actual: format!("{length} bytes") })
        };
        if !(1..=MOST_AUTHOR).contains(&author.len()) {
            return refused("author", "1 to 200 bytes", author.len());
        }
        if comment.len() > MOST_COMMENT {
            return refused("comment", "at most 2000 bytes", comment.len());
        }
        // Later than what it replaces, also where that was said by a node whose clock is ahead.
        let sql = "INSERT INTO acknowledgements (episode, author, comment, at, withdrawn)
            SELECT episode, ?2, ?3, ?4, 0 FROM alerts WHERE episode = ?1 AND state != 'resolved'
            ON CONFLICT (episode) DO UPDATE SET author = excluded.author, comment = excluded.comment,
                at = max(excluded.at, at + 1), withdrawn = 0";
        let is_known = self.store.write(|transaction| {
            Ok(transaction.execute(sql, params![episode, author, comment, clock::now().0])? > 0)
        })?;
        self.note_others(is_known);
        Ok(is_known)
    }

    /// Takes an acknowledgement back; `false` when there was none.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn unacknowledge(&self, episode: &str) -> Result<bool, LedgerError> {
        // It is kept as one that does not hold, until its alert is forgotten, for nodes that still know the other word.
        let sql =
            "UPDATE acknowledgements SET withdrawn = 1, at = max(?2, at + 1) WHERE episode = ?1 AND withdrawn = 0";
        let was_there =
            self.store.write(|transaction| Ok(transaction.execute(sql, params![episode, clock::now().0])? > 0))?;
        self.note_others(was_there);
        Ok(was_there)
    }

    /// Takes from another node what is newer there, for alerts of the same fingerprint that have begun by then and are
    /// not over here; how many alerts that changes.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub(super) fn merge_acknowledgements(&self, heard: &[SharedAcknowledgement]) -> Result<usize, LedgerError> {
        let sql = "INSERT INTO acknowledgements (episode, author, comment, at, withdrawn)
            SELECT episode, ?2, ?3, ?4, ?5 FROM alerts
            WHERE fingerprint = ?1 AND state != 'resolved' AND body ->> '$.activeAt' <= ?4
            ON CONFLICT (episode) DO UPDATE SET author = excluded.author, comment = excluded.comment,
                at = excluded.at, withdrawn = excluded.withdrawn WHERE excluded.at > at";
        if heard.is_empty() {
            return Ok(0);
        }
        let sound = heard.iter().filter(|heard| {
            let Acknowledgement { author, comment, at } = &heard.acknowledgement;
            (1..=MOST_AUTHOR).contains(&author.len()) && comment.len() <= MOST_COMMENT && is_time(*at)
        });
        let changed = self.store.write(|transaction| {
            let mut statement = transaction.prepare_cached(sql)?;
            let mut changed = 0;
            for SharedAcknowledgement { fingerprint, acknowledgement, withdrawn } in sound {
                let Acknowledgement { author, comment, at } = acknowledgement;
                changed += statement.execute(params![fingerprint, author, comment, at.0, withdrawn])?;
            }
            Ok(changed)
        })?;
        self.note_others(changed > 0);
        Ok(changed)
    }
}

impl Reader {
    /// Who has acknowledged this episode.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn acknowledgement(&self, episode: &str) -> Result<Option<Acknowledgement>, LedgerError> {
        let sql = "SELECT author, comment, at FROM acknowledgements WHERE episode = ? AND withdrawn = 0";
        self.store.read(|connection| {
            let found = connection.query_row(sql, [episode], |row| {
                Ok(Acknowledgement { author: row.get(0)?, comment: row.get(1)?, at: UnixNanos(row.get(2)?) })
            });
            Ok(found.optional()?)
        })
    }

    /// What is said of alerts that are not over, newest first and at most `most`, also what was taken back.
    pub(super) fn shared_acknowledgements(&self, most: usize) -> Result<Vec<SharedAcknowledgement>, LedgerError> {
        let sql = "SELECT a.fingerprint, k.author, k.comment, k.at, k.withdrawn
            FROM acknowledgements k JOIN alerts a ON a.episode = k.episode
            WHERE a.state != 'resolved' ORDER BY k.at DESC LIMIT ?";
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
                let at = UnixNanos(row.get(3)?);
                let acknowledgement = Acknowledgement { author: row.get(1)?, comment: row.get(2)?, at };
                Ok(SharedAcknowledgement { fingerprint: row.get(0)?, acknowledgement, withdrawn: row.get(4)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
