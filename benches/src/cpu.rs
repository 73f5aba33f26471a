//! A process's CPU time, from the outside.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// Linux counts in these for user space, whatever its own clock does.
const TICKS_PER_SECOND: u64 = 100;
/// Behind the name in parentheses: the fields `utime` and `stime` of proc(5).
const UTIME: usize = 11;

/// User and system time that the process has spent so far, all its threads together.
pub(crate) fn time_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&stat).with_context(|| format!("{path} has no CPU times"))
}

fn parse(stat: &str) -> Option<Duration> {
    // The name may hold anything, parentheses and spaces included, so the last one ends it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(UTIME).map(|f| f.parse::<u64>().ok());
    let ticks = times.next()?? + times.next()??;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 8 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("42 (a) S 1"), None);
    }

    #[test]
    fn our_own_time_can_be_read() {
        assert!(time_of(std::process::id()).is_ok());
    }
}
