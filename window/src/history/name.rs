//! What a file's name says about it: everything that must be known before it is opened.
//!
//! `5m_<from>_<to>_<epoch>_<a|r>_<first>_<last>_<rows>_<hash>.parquet`: the resolution; the start of the
//! oldest and the end of the newest bucket in seconds; which run of the service wrote it; whether it
//! adds to what earlier runs left of its time or replaces that; the numbers of the first and the last
//! flush that are in it; its rows; and XXH3 of its bytes. The hash stands in the name so that the file
//! is plain Parquet for everyone else, and is checked before anything is parsed.

use crate::{Resolution, UnixNanos};

const NANOS: i64 = 1_000_000_000;
/// Files of 5 min hold an hour at most, files of 1 h a day.
const HOUR: i64 = 3_600 * NANOS;
const DAY: i64 = 24 * HOUR;

/// A file's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    pub(super) resolution: Resolution,
    /// Start of the oldest bucket.
    pub(super) from: UnixNanos,
    /// End of the newest bucket.
    pub(super) to: UnixNanos,
    /// Which run wrote it.
    pub(super) epoch: u32,
    /// Whether it replaces what earlier runs wrote for its hour.
    pub(super) replaces: bool,
    /// Numbers of the flushes in it.
    pub(super) flushes: (u64, u64),
    pub(super) rows: u64,
    pub(super) hash: u64,
}

/// The number of the hour or the day whose file holds the bucket that ends at `end`.
pub(super) fn partition(resolution: Resolution, end: UnixNanos) -> i64 {
    let length = match resolution {
        Resolution::FiveMinutes => HOUR,
        Resolution::Hour => DAY,
    };
    end.0.saturating_sub(1).div_euclid(length)
}

/// The day in which an hour lies.
pub(super) fn day_of(hour: i64) -> i64 {
    hour.div_euclid(24)
}

/// The end of a day.
pub(super) fn day_end(day: i64) -> UnixNanos {
    UnixNanos(day.saturating_add(1).saturating_mul(DAY))
}

/// The end of an hour.
pub(super) fn hour_end(hour: i64) -> UnixNanos {
    UnixNanos(hour.saturating_add(1).saturating_mul(HOUR))
}

impl FileName {
    /// The hour or day that it belongs to.
    pub(super) fn partition(&self) -> i64 {
        partition(self.resolution, self.to)
    }

    /// The day that it belongs to.
    pub(super) fn day(&self) -> i64 {
        partition(Resolution::Hour, self.to)
    }

    /// Whether `other` holds all that is in this file, or is meant instead of it.
    pub(super) fn is_superseded_by(&self, other: &Self) -> bool {
        if self.resolution != other.resolution || self.partition() != other.partition() || self == other {
            return false;
        }
        let (ours, theirs) = (self.flushes, other.flushes);
        match self.resolution {
            // Made from all that there was at that time: the newest one is meant.
            Resolution::Hour => (theirs.1, theirs.0, other.hash) > (ours.1, ours.0, self.hash),
            Resolution::FiveMinutes => {
                let holds = theirs.0 <= ours.0 && ours.1 <= theirs.1;
                let is_other = ours != theirs || other.hash > self.hash;
                (holds && is_other) || (other.replaces && other.epoch > self.epoch)
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let Self { resolution, from, to, epoch, replaces, flushes: (first, last), rows, hash } = self;
        let (resolution, kind) = (resolution.as_str(), if *replaces { 'r' } else { 'a' });
        let (from, to) = (from.0.div_euclid(NANOS), to.0.div_euclid(NANOS));
        format!("{resolution}_{from}_{to}_{epoch}_{kind}_{first}_{last}_{rows}_{hash:016x}.parquet")
    }

    /// `None` for what this service does not call a file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".parquet")?.split('_');
        let mut next = || parts.next();
        let word = next()?;
        let resolution = Resolution::ALL.into_iter().find(|r| r.as_str() == word)?;
        let mut seconds = || next()?.parse::<i64>().ok()?.checked_mul(NANOS).map(UnixNanos);
        let (from, to) = (seconds()?, seconds()?);
        let epoch = next()?.parse().ok()?;
        let replaces = match next()? {
            "r" => true,
            "a" => false,
            _ => return None,
        };
        let mut number = || next()?.parse::<u64>().ok();
        let (flushes, rows) = ((number()?, number()?), number()?);
        let hash = u64::from_str_radix(next()?, 16).ok()?;
        let this = Self { resolution, from, to, epoch, replaces, flushes, rows, hash };
        // There is one spelling of each name.
        (parts.next().is_none() && from < to && flushes.0 <= flushes.1 && this.text() == text).then_some(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(epoch: u32, replaces: bool, flushes: (u64, u64)) -> FileName {
        let (from, to) = (UnixNanos(-300 * NANOS), UnixNanos(0));
        FileName { resolution: Resolution::FiveMinutes, from, to, epoch, replaces, flushes, rows: 3, hash: flushes.1 }
    }

    #[test]
    fn a_name_is_read_back_and_others_are_not_names() {
        let name = file(2, true, (3, 4));
        assert_eq!(name.text(), "5m_-300_0_2_r_3_4_3_0000000000000004.parquet");
        assert_eq!(FileName::parse(&name.text()), Some(name));
        for other in [
            "",
            "bellwether.db",
            "5m_-300_0_2_r_3_4_3_0000000000000004.parquet.tmp",
            "2m_-300_0_2_r_3_4_3_0000000000000004.parquet",
            "5m_0_-300_2_r_3_4_3_0000000000000004.parquet",
            "5m_-300_0_2_r_4_3_3_0000000000000004.parquet",
            "5m_-300_0_2_x_3_4_3_0000000000000004.parquet",
            "5m_-300_0_2_r_3_4_3_4.parquet",
            "5m_-300_0_2_r_3_4_3_0000000000000004_.parquet",
            "5m_9999999999999999_99999999999999999_2_r_3_4_3_0000000000000004.parquet",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_merged_file_and_a_later_run_supersede() {
        let old = file(1, false, (3, 3));
        assert!(old.is_superseded_by(&file(1, true, (2, 5))), "it is among those that were merged");
        assert!(old.is_superseded_by(&file(2, true, (9, 9))), "a later run has rebuilt the hour");
        assert!(!old.is_superseded_by(&file(2, false, (9, 9))), "a later run has added to the hour");
        assert!(!old.is_superseded_by(&file(1, true, (4, 5))) && !old.is_superseded_by(&old));
        let next_hour = FileName { to: UnixNanos(HOUR), from: UnixNanos(0), ..file(2, true, (1, 9)) };
        assert!(!old.is_superseded_by(&next_hour));
    }
}
