//! Acknowledgements: somebody has taken an alert on, so that nobody is told again while it lasts.

use detect::UnixNanos;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{Operator, Reader};
use crate::{LedgerError, clock};

/// Bytes of an author, and of a comment.
const MOST_AUTHOR: usize = 200;
const MOST_COMMENT: usize = 2_000;

/// That somebody has taken an alert on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// Who; 1 to 200 bytes.
    pub author: String,
    /// Anything; at most 2,000 bytes.
    pub comment: String,
    /// When; wall time.
    pub at: UnixNanos,
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
        let sql = "INSERT OR REPLACE INTO acknowledgements (episode, author, comment, at)
            SELECT episode, ?2, ?3, ?4 FROM alerts WHERE episode = ?1 AND state != 'resolved'";
        self.store
            .write(|transaction| Ok(transaction.execute(sql, params![episode, author, comment, clock::now().0])? > 0))
    }

    /// Takes an acknowledgement back; `false` when there was none.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn unacknowledge(&self, episode: &str) -> Result<bool, LedgerError> {
        let sql = "DELETE FROM acknowledgements WHERE episode = ?";
        self.store.write(|transaction| Ok(transaction.execute(sql, [episode])? > 0))
    }
}

impl Reader {
    /// Who has acknowledged this episode.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn acknowledgement(&self, episode: &str) -> Result<Option<Acknowledgement>, LedgerError> {
        let sql = "SELECT author, comment, at FROM acknowledgements WHERE episode = ?";
        self.store.read(|connection| {
            let found = connection.query_row(sql, [episode], |row| {
                Ok(Acknowledgement { author: row.get(0)?, comment: row.get(1)?, at: UnixNanos(row.get(2)?) })
            });
            Ok(found.optional()?)
        })
    }
}
