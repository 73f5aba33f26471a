//! How far a replay has come, on standard error: a line that is written over on a terminal, a line every few
//! seconds elsewhere.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::replay::Counts;
use crate::{rest::rfc3339, ui};

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Requests between two looks at the clock.
const LOOKS: u64 = 16;
const WIDTH: usize = 30;

/// The account of it.
#[derive(Debug)]
pub(super) struct Progress {
    read: Arc<AtomicU64>,
    all: u64,
    began: Instant,
    said: Instant,
    on_terminal: bool,
    looks: u64,
}

impl Progress {
    /// Of reading `all` bytes; `read` says how many were.
    pub(super) fn of(all: u64, read: Arc<AtomicU64>) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        Self { read, all, began: Instant::now(), said: Instant::now(), on_terminal, looks: 0 }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn tell(&mut self, counts: &Counts) {
        self.looks += 1;
        if !self.looks.is_multiple_of(LOOKS) {
            return;
        }
        let every = if self.on_terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.said.elapsed() >= every {
            self.said = Instant::now();
            say(&self.line(counts));
        }
    }

    /// Makes room for what is said next.
    pub(super) fn finish(&self) {
        if self.on_terminal {
            say("\r\x1b[K");
        }
    }

    fn line(&self, counts: &Counts) -> String {
        let read = self.read.load(Relaxed).min(self.all);
        let percent = read.saturating_mul(100) / self.all.max(1);
        let at = counts.to.map(rfc3339).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = counts.items as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let said = format!("{percent:>3} %  {} items, {}/s  {at}", counts.items, ui::number(rate.round()));
        if !self.on_terminal {
            return format!("{said}\n");
        }
        let full = usize::try_from(percent).unwrap_or_default() * WIDTH / 100;
        format!("\r\x1b[K[{}{}] {said}", "#".repeat(full), ".".repeat(WIDTH.saturating_sub(full)))
    }
}

fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    // Whoever does not listen misses nothing that is not said at the end.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
