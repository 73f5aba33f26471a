//! The service as the kernel sees it.

use std::fs;

/// Clock ticks per second in `/proc/<pid>/stat` on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// What bounds on memory are counted in.
const KIB: u64 = 1024;

/// A process whose use of memory and time is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pid: u32,
}

impl Watched {
    /// Watches the process with this number.
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Bytes in memory now.
    pub(crate) fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most bytes that were in memory at once since [`Watched::forget_peak`].
    pub(crate) fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Begins the measurement of the peak anew.
    pub(crate) fn forget_peak(self) {
        // 5 is the kernel's word for this; see proc(5), clear_refs.
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").expect("the child is ours");
    }

    /// Processor seconds used so far, user and system.
    pub(crate) fn cpu_seconds(self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
        let ticks = fields.split(' ').skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let kib: Option<u64> = line.trim().strip_suffix(" kB").and_then(|n| n.parse().ok());
        kib.expect("the child lives and the kernel knows its size") * KIB
    }
}
