//! Pages, cursors and conditions: what all listings have in common.

use rusqlite::{Connection, Row, params_from_iter, types::Value};

use crate::LedgerError;

/// From which end a list is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    Ascending,
    /// The newest first.
    #[default]
    Descending,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Cursor after which to go on, in `order`; `None` to start at the end that comes first.
    pub after: Option<u64>,
    /// From which end.
    pub order: Order,
    /// Items at most: 1 to [`Self::MAX_LIMIT`]; anything else is refused. Default 100.
    pub limit: u32,
}

impl Page {
    /// The greatest `limit`.
    pub const MAX_LIMIT: u32 = 1000;
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, order: Order::default(), limit: 100 }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// The items, in the order asked for.
    pub items: Vec<T>,
    /// Cursor for the next page; `None` when this was the last one.
    pub next: Option<u64>,
}

/// For SQLite, whose integers are signed. Saturates: no counter gets there.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A `WHERE` clause that grows with the filters that are set.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition without a value.
    pub(super) fn must(&mut self, sql: &str) {
        self.text.push_str(if self.text.is_empty() { " WHERE " } else { " AND " });
        self.text.push_str(sql);
    }

    /// Adds a condition with one `?`, if there is a value for it.
    pub(super) fn when(&mut self, value: Option<impl Into<Value>>, sql: &str) {
        if let Some(value) = value {
            self.must(sql);
            self.values.push(value.into());
        }
    }

    /// Runs `select` under these conditions for one page, ordered by `cursor`, an increasing integer
    /// column which must be among the selected ones under the name `cursor`.
    pub(super) fn page<T>(
        mut self,
        connection: &Connection,
        select: &str,
        cursor: &str,
        page: Page,
        read: impl Fn(&Row<'_>) -> Result<T, LedgerError>,
    ) -> Result<Listed<T>, LedgerError> {
        if !(1..=Page::MAX_LIMIT).contains(&page.limit) {
            return Err(LedgerError::PageLimit { actual: page.limit });
        }
        let (beyond, direction) = match page.order {
            Order::Ascending => (">", "ASC"),
            Order::Descending => ("<", "DESC"),
        };
        self.when(page.after.map(integer), &format!("{cursor} {beyond} ?"));
        // One more than asked for tells whether there is a next page.
        let sql = format!("{select}{} ORDER BY {cursor} {direction} LIMIT {}", self.text, page.limit + 1);
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(self.values))?;
        let (mut items, mut last, mut next) = (Vec::new(), None, None);
        while let Some(row) = rows.next()? {
            if items.len() == page.limit as usize {
                next = last;
                break;
            }
            last = u64::try_from(row.get::<_, i64>("cursor")?).ok();
            items.push(read(row)?);
        }
        Ok(Listed { items, next })
    }
}
