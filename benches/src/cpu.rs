//! A process's CPU time and memory, from the outside.

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
    parse_time(&stat).with_context(|| format!("{path} has no CPU times"))
}

/// Time that this thread has been running so far. Giving way brings the kernel's count up to now, which else is as
/// old as its last tick.
pub(crate) fn time_of_thread() -> Result<Duration> {
    std::thread::yield_now();
    let path = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let nanos = text.split_whitespace().next().and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(nanos.with_context(|| format!("{path} has no time"))?))
}

/// The most resident memory that the process has had so far, in bytes.
pub(crate) fn peak_memory_of(pid: u32) -> Result<u64> {
    memory_of(pid, "VmHWM:")
}

/// The resident memory that the process has now, in bytes.
pub(crate) fn resident_memory_of(pid: u32) -> Result<u64> {
    memory_of(pid, "VmRSS:")
}

fn memory_of(pid: u32, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_memory(&status, key).with_context(|| format!("{path} has no {key}"))
}

fn parse_time(stat: &str) -> Option<Duration> {
    // The name may hold anything, parentheses and spaces included, so the last one ends it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(UTIME).map(|f| f.parse::<u64>().ok());
    let ticks = times.next()?? + times.next()??;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn parse_memory(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 8 0";
        assert_eq!(parse_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_time("42 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(parse_memory("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n", "VmHWM:"), Some(2 << 20));
        assert_eq!(parse_memory("VmPeak:\t 9 kB\n", "VmHWM:"), None);
    }

    #[test]
    fn our_own_figures_can_be_read() {
        assert!(time_of(std::process::id()).is_ok());
        assert!(peak_memory_of(std::process::id()).is_ok_and(|bytes| bytes > 0));
    }
}
