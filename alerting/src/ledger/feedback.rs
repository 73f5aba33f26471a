//! What people said of anomalies, what was changed for it, and what was taken back: a list that only grows.

use detect::{Change, Correction, SeriesKey, Trial, UnixNanos, Verdict};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::{Listed, Operator, Page, Reader, body::Body, body::from_json, body::to_json, rows::Conditions};
use crate::LedgerError;

/// What somebody said of an anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feedback {
    /// By which it is undone.
    pub id: String,
    /// The anomaly.
    pub anomaly_id: String,
    /// What it was said to be.
    pub verdict: Verdict,
    /// Who said so.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Wall time at which it was said.
    pub at: UnixNanos,
    /// Whose baseline was changed; `None` where nothing was.
    pub series: Option<SeriesKey>,
    /// What was changed.
    pub change: Change,
    /// The change in words.
    pub description: String,
    /// What the change did to the recent window when it was tried.
    pub trial: Trial,
    /// Wall time at which it was taken back; `None` while it is in force.
    pub undone_at: Option<UnixNanos>,
}

impl Body for Feedback {
    const TABLE: &'static str = "feedback";
}

const SELECT: &str = "SELECT row AS cursor, id, undone_at, body FROM feedback";

fn read(row: &Row<'_>) -> Result<Feedback, LedgerError> {
    let (id, body): (String, String) = (row.get("id")?, row.get("body")?);
    let undone_at = row.get::<_, Option<i64>>("undone_at")?.map(UnixNanos);
    Ok(Feedback { undone_at, ..from_json(&id, &body)? })
}

impl Operator {
    /// Writes what somebody said.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn add_feedback(&self, feedback: &Feedback) -> Result<(), LedgerError> {
        self.store.write(|transaction| {
            transaction.execute(
                "INSERT INTO feedback (id, anomaly, body) VALUES (?, ?, ?)",
                params![feedback.id, feedback.anomaly_id, to_json(feedback)],
            )?;
            Ok(())
        })
    }

    /// Notes that it was taken back at `at`; `None` when there is nothing with this id. What was taken back before
    /// stays as it is.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn undo_feedback(&self, id: &str, at: UnixNanos) -> Result<Option<Feedback>, LedgerError> {
        self.store.write(|transaction| {
            transaction
                .execute("UPDATE feedback SET undone_at = ? WHERE id = ? AND undone_at IS NULL", params![at.0, id])?;
            let mut statement = transaction.prepare(&format!("{SELECT} WHERE id = ?"))?;
            let mut rows = statement.query([id])?;
            rows.next()?.map(read).transpose()
        })
    }
}

impl Reader {
    /// Everything that was said, by its cursor; of one anomaly if one is given.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`], [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn feedback(&self, anomaly: Option<String>, page: Page) -> Result<Listed<Feedback>, LedgerError> {
        self.store.read(|connection| {
            let mut conditions = Conditions::default();
            conditions.when(anomaly, "anomaly = ?");
            conditions.page(connection, SELECT, "row", page, read)
        })
    }

    /// The changes that are in force, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn corrections(&self) -> Result<Vec<Correction>, LedgerError> {
        self.store.read(|connection| {
            let mut statement = connection.prepare(&format!("{SELECT} WHERE undone_at IS NULL ORDER BY row"))?;
            let said = statement.query_and_then([], read)?;
            let changes = said.filter_map(|said| {
                said.map(|said| {
                    let series = said.series.filter(|_| said.change != Change::None)?;
                    Some(Correction { id: said.id, series, change: said.change })
                })
                .transpose()
            });
            changes.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Order, ledger::tests::Fixture, testing::at};

    fn said(id: &str, change: Change) -> Feedback {
        Feedback {
            id: id.into(),
            anomaly_id: "a1".into(),
            verdict: Verdict::FalsePositive,
            author: "ada".into(),
            comment: String::new(),
            at: at(1),
            series: Some(SeriesKey(u128::MAX)),
            change,
            description: "less".into(),
            trial: Trial::default(),
            undone_at: None,
        }
    }

    #[test]
    fn what_was_said_is_listed_and_can_be_taken_back_once() {
        let fixture = Fixture::new();
        let operator = fixture.ledger.operator();
        let changes = [Change::Threshold { factor: 0.5 }, Change::None, Change::Exclusion { from: 0, until: 3_600 }];
        for (id, change) in ["f1", "f2", "f3"].into_iter().zip(changes) {
            operator.add_feedback(&said(id, change)).expect("writes");
        }
        let reader = fixture.ledger.reader();
        let in_force = || reader.corrections().expect("reads").into_iter().map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(in_force(), ["f1", "f3"], "what changes nothing needs not be in force");
        let undone = operator.undo_feedback("f1", at(9)).expect("writes").expect("is there");
        assert_eq!((undone.undone_at, undone.change), (Some(at(9)), changes[0]));
        let again = operator.undo_feedback("f1", at(10)).expect("writes").expect("is there");
        assert_eq!(again.undone_at, Some(at(9)));
        assert_eq!(operator.undo_feedback("f9", at(9)).expect("writes"), None);
        assert_eq!(in_force(), ["f3"]);
        let page = Page { order: Order::Ascending, limit: 2, after: None };
        let listed = reader.feedback(Some("a1".into()), page).expect("reads");
        assert_eq!((listed.items.len(), listed.next), (2, Some(2)));
        assert_eq!(listed.items[0], undone);
        assert_eq!(reader.feedback(Some("a2".into()), page).expect("reads").items, []);
        let rest = reader.feedback(None, Page { after: listed.next, ..page }).expect("reads");
        assert_eq!((rest.items, rest.next), (vec![said("f3", changes[2])], None));
    }
}
