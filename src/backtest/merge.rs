//! Several files as one stream: what is older comes first, each file keeps its own order.

use std::path::PathBuf;

use detect::UnixNanos;

use super::{
    input::{Fault, Recorded, Source},
    replay::Replay,
};

/// What comes next.
pub(super) enum Next {
    /// A request of the file with this number.
    Request(usize, Recorded),
    /// A fault in the file with this number.
    Fault(usize, Fault),
}

/// The files, and the next request of each.
pub(super) struct Merge {
    sources: Vec<Source>,
    waiting: Vec<Option<(UnixNanos, Recorded)>>,
    /// Where each file has come to: one that goes back in time has to wait for nobody.
    reached: Vec<UnixNanos>,
    /// Files to be read on.
    hungry: Vec<usize>,
}

impl Merge {
    pub(super) fn of(sources: Vec<Source>) -> Self {
        let count = sources.len();
        Self {
            sources,
            waiting: (0..count).map(|_| None).collect(),
            reached: vec![UnixNanos::MIN; count],
            hungry: (0..count).rev().collect(),
        }
    }

    pub(super) fn path(&self, file: usize) -> PathBuf {
        self.sources.get(file).map(|source| source.path.clone()).unwrap_or_default()
    }

    /// The next request or fault; `None` when all files have ended.
    pub(super) fn next(&mut self, replay: &Replay) -> Option<Next> {
        while let Some(file) = self.hungry.pop() {
            match self.sources.get_mut(file)?.requests.next() {
                Some(Ok(recorded)) if self.sources.len() == 1 => {
                    self.hungry.push(file);
                    return Some(Next::Request(file, recorded));
                }
                Some(Ok(recorded)) => {
                    // What has no time, or is none, is told at once.
                    let newest = recorded.newest.or_else(|| replay.newest(&recorded)).unwrap_or(UnixNanos::MIN);
                    self.reached[file] = self.reached[file].max(newest);
                    self.waiting[file] = Some((self.reached[file], recorded));
                }
                Some(Err(fault)) => {
                    self.hungry.push(file);
                    return Some(Next::Fault(file, fault));
                }
                None => {}
            }
        }
        let (_, file) = self.waiting.iter().enumerate().filter_map(|(i, w)| Some((w.as_ref()?.0, i))).min()?;
        let (_, recorded) = self.waiting.get_mut(file)?.take()?;
        self.hungry.push(file);
        Some(Next::Request(file, recorded))
    }
}
