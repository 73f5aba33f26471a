//! The service as the kernel sees it.

use std::{fs, process::Command, sync::mpsc, thread, time::Duration};

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

    /// Takes the processors from it, until [`Watched::resume`].
    pub(crate) fn pause(self) {
        self.signal("-STOP");
    }

    /// Gives them back.
    pub(crate) fn resume(self) {
        self.signal("-CONT");
    }

    /// Lets it run for `running` of every `period` only, as long as the answer lives.
    pub(crate) fn slow_down(self, running: Duration, period: Duration) -> Slowed {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let is_over = |wait| stopped.recv_timeout(wait) != Err(mpsc::RecvTimeoutError::Timeout);
            loop {
                self.pause();
                let ends = is_over(period.saturating_sub(running));
                self.resume();
                if ends || is_over(running) {
                    return;
                }
            }
        });
        Slowed { stop: Some(stop), thread: Some(thread) }
    }

    fn signal(self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the child lives");
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let kib: Option<u64> = line.trim().strip_suffix(" kB").and_then(|n| n.parse().ok());
        kib.expect("the child lives and the kernel knows its size") * KIB
    }
}

/// A process that does not get all the time that it wants. Runs freely again once this is dropped.
#[derive(Debug)]
pub(crate) struct Slowed {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Slowed {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It fails only when the process has ended, which its test will find out.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}
