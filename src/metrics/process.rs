//! The process as the kernel sees it, under the names that Prometheus's client libraries use. Where
//! there is no `/proc`, these metrics are absent.

use std::fs;

use detect::UnixNanos;

use super::text::Text;

/// Clock ticks per second in `/proc/<pid>/stat`: 100 on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn write(text: &mut Text, started_at: UnixNanos) {
    text.gauge("process_start_time_seconds", "When the service started, in Unix seconds.");
    text.sample(&[], started_at.as_secs_f64());
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
        text.counter("process_cpu_seconds_total", "Processor time used, user and system.");
        text.sample(&[], seconds);
    }
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status)) {
        text.gauge("process_resident_memory_bytes", "Memory in use.");
        text.count(&[], bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Open file descriptors.");
        text.size(&[], open.count());
    }
}

/// From `/proc/<pid>/stat`: fields 14 and 15, counted behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// From `/proc/<pid>/status`, which says it in KiB whatever the page size is.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 5 0 0 0 250 50 0 0 20 0 3 0 100 1 1";
        assert!(cpu_seconds(stat).is_some_and(|s| (s - 3.0).abs() < 1e-9));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!((cpu_seconds(""), resident_bytes("VmRSS: much")), (None, None));
    }
}
