//! Names of chunk files, which say all that is known of a file without reading it.
//!
//! The checksum is in the name, so that a file is nothing but Arrow IPC, for every tool that reads it.

use crate::UnixNanos;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// Numbers.
    Numbers,
    /// Histograms with given bounds.
    Histograms,
    /// Exponential histograms.
    ExpHistograms,
    /// Spans.
    Spans,
    /// Log records.
    Logs,
    /// Exemplars.
    Exemplars,
}

impl Table {
    pub(crate) const ALL: [Self; 6] =
        [Self::Numbers, Self::Histograms, Self::ExpHistograms, Self::Spans, Self::Logs, Self::Exemplars];

    /// The name in file names.
    fn as_str(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Histograms => "histograms",
            Self::ExpHistograms => "exponential",
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Exemplars => "exemplars",
        }
    }
}

/// Extension of chunk files.
pub(super) const EXTENSION: &str = "arrow";

/// `table-first-last-part-newest-rows-checksum.arrow`, numbers in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    pub(super) table: Table,
    /// The checkpoints whose rows are in the file.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Of the files of one checkpoint and table, which one.
    pub(super) part: u64,
    /// Greatest event time in the file.
    pub(super) newest: UnixNanos,
    pub(super) rows: u64,
    /// XXH3 of all bytes.
    pub(super) checksum: u64,
}

impl FileName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut words = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split('-');
        let table = words.next()?;
        let table = Table::ALL.into_iter().find(|t| t.as_str() == table)?;
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let (first, last, part) = (number()?, number()?, number()?);
        let (newest, rows, checksum) = (UnixNanos(number()?.cast_signed()), number()?, number()?);
        let parsed = Self { table, first, last, part, newest, rows, checksum };
        // A name has one form, so that a changed letter is noticed.
        (parsed.to_string() == name).then_some(parsed)
    }

    /// Whether the rows of `other` are all in this file too: it was merged into this one.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let covers = self.first <= other.first && other.last <= self.last;
        self.table == other.table && covers && (self.first, self.last) != (other.first, other.last)
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, first, last, part, newest, rows, checksum } = *self;
        let (table, newest) = (table.as_str(), newest.0.cast_unsigned());
        write!(f, "{table}-{first:08x}-{last:08x}-{part:x}-{newest:016x}-{rows:x}-{checksum:016x}.{EXTENSION}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_a_changed_one_is_not() {
        let name = FileName {
            table: Table::ExpHistograms,
            first: 7,
            last: 0x1_0000_0000,
            part: 0,
            newest: UnixNanos(-5),
            rows: 12,
            checksum: 0xabc,
        };
        let text = name.to_string();
        assert_eq!(FileName::parse(&text), Some(name));
        assert_eq!(FileName::parse(&text.to_uppercase()), None);
        assert_eq!(FileName::parse(&text.replace("-c-", "-0c-")), None);
        assert_eq!(FileName::parse("numbers-1.arrow"), None);
    }

    #[test]
    fn a_merged_file_replaces_its_parts_but_not_its_like() {
        let file = |first, last, part| FileName {
            table: Table::Spans,
            first,
            last,
            part,
            newest: UnixNanos(0),
            rows: 1,
            checksum: 0,
        };
        assert!(file(1, 8, 0).replaces(&file(8, 8, 0)) && file(1, 8, 0).replaces(&file(1, 1, 3)));
        assert!(!file(1, 8, 0).replaces(&file(1, 8, 1)) && !file(1, 8, 0).replaces(&file(8, 9, 0)));
    }
}
