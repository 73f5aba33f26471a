//! A disk that fails when told to, and forgets at a power cut what was not synced.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::*;

/// A step that fails once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Create,
    /// A part is written before it fails.
    Write,
    /// A part is written, which is no failure.
    ShortWrite,
    Sync,
    Cut,
    Remove,
    Rename,
    Reuse,
    SyncDir,
}

/// Shared by the log and the test.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    armed: Vec<Fault>,
    pub(super) is_full: bool,
    /// What was withdrawn is still in its file.
    pub(super) has_failed_to_cut: bool,
    files: BTreeMap<PathBuf, Tracked>,
    /// Deletions that a power cut may undo.
    removed: Vec<(PathBuf, Vec<u8>)>,
    /// New names, each with the one before, that a power cut may undo.
    renamed: Vec<(PathBuf, PathBuf)>,
}

#[derive(Debug, Default)]
struct Tracked {
    synced: u64,
    /// How many bytes were written from the beginning on; `None` for a file that was there.
    written: Option<u64>,
    /// What was there before it was written over: of what was not synced, a power cut may bring it back.
    old: Vec<u8>,
    /// Whether the directory knows it for certain.
    is_linked: bool,
    /// Bytes whose cutting a power cut may undo.
    cut_off: Vec<u8>,
    /// A write or sync has failed: nobody may write or sync it again.
    is_dead: bool,
}

impl Tracked {
    fn wrote(&mut self, bytes: usize) {
        self.written = self.written.map(|written| written + bytes as u64);
    }
}

impl FaultyDisk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn arm(&self, fault: Fault) {
        self.state().armed.push(fault);
    }

    /// The process ends: faults go, what the system has in memory stays.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.armed.clear();
        state.is_full = false;
        state.files.values_mut().for_each(|f| (f.is_dead, f.written) = (false, None));
    }

    /// The power fails: of what was not synced, `random` decides what is kept.
    pub(super) fn power_cut(&self, mut random: impl FnMut(u64) -> u64) {
        self.kill();
        let mut state = self.state();
        for (path, contents) in std::mem::take(&mut state.removed) {
            if random(2) == 0 {
                fs::write(&path, contents).expect("writable");
            }
        }
        let mut renamed = std::mem::take(&mut state.renamed);
        for (path, tracked) in std::mem::take(&mut state.files) {
            let Ok(mut bytes) = fs::read(&path) else { continue };
            let is_renamed = renamed.iter().any(|(_, to)| *to == path);
            if !tracked.is_linked && !is_renamed && random(2) == 0 {
                fs::remove_file(&path).expect("it was read");
                continue;
            }
            if random(2) == 0 {
                bytes.extend(tracked.cut_off);
            }
            let synced = usize::try_from(tracked.synced).expect("small");
            forget(&mut bytes, synced, &tracked.old, &mut random);
            fs::write(&path, bytes).expect("writable");
        }
        while let Some((from, to)) = renamed.pop() {
            if to.exists() && random(2) == 0 {
                fs::rename(to, from).expect("it was renamed");
            }
        }
    }
}

/// Damages `bytes` behind the first `synced` as a power cut may.
fn forget(bytes: &mut Vec<u8>, synced: usize, old: &[u8], random: &mut impl FnMut(u64) -> u64) {
    let mut somewhere = |from: usize, to: usize| from + usize::try_from(random((to - from) as u64 + 1)).expect("small");
    let from = somewhere(synced, bytes.len());
    let to = somewhere(from, bytes.len());
    match somewhere(0, 4) {
        4 => {
            let to = to.min(old.len()).max(from);
            bytes[from..to].copy_from_slice(old.get(from..to).unwrap_or_default());
        }
        0 => bytes.truncate(from),
        1 => bytes[from..to].fill(0),
        2 => bytes[from..to].iter_mut().for_each(|b| *b ^= 0x5a),
        _ => {}
    }
}

impl State {
    fn take(&mut self, fault: Fault) -> bool {
        let at = self.armed.iter().position(|f| *f == fault);
        at.map(|at| self.armed.remove(at)).is_some()
    }

    fn fail_if(&mut self, fault: Fault) -> io::Result<()> {
        if self.take(fault) { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    /// What is known of a file; one that is new to us has been there for long.
    fn tracked(&mut self, path: &Path) -> &mut Tracked {
        self.files.entry(path.to_owned()).or_insert_with(|| {
            let synced = fs::metadata(path).map_or(0, |m| m.len());
            Tracked { synced, is_linked: true, ..Tracked::default() }
        })
    }

    fn living(&mut self, path: &Path) -> &mut Tracked {
        let tracked = self.tracked(path);
        assert!(!tracked.is_dead, "{} is written or synced again after a failure", path.display());
        tracked
    }
}

impl Disk for FaultyDisk {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        let mut state = self.state();
        state.fail_if(Fault::Create)?;
        let file = RealDisk.create(path)?;
        state.files.insert(path.to_owned(), Tracked { written: Some(0), ..Tracked::default() });
        Ok(file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.fail_if(Fault::Rename)?;
        RealDisk.rename(from, to)?;
        let tracked = state.files.remove(from);
        state.files.extend(tracked.map(|tracked| (to.to_owned(), tracked)));
        state.renamed.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn reuse(&mut self, from: &Path, to: &Path) -> io::Result<File> {
        let mut state = self.state();
        state.fail_if(Fault::Reuse)?;
        let is_settled = state.renamed.iter().all(|(_, name)| name != from);
        assert!(is_settled, "{} is written over while it may have its old name", from.display());
        let old = fs::read(from)?;
        let file = RealDisk.reuse(from, to)?;
        state.files.remove(from);
        let tracked = Tracked { written: Some(0), old, ..Tracked::default() };
        state.files.insert(to.to_owned(), tracked);
        state.renamed.push((from.to_owned(), to.to_owned()));
        Ok(file)
    }

    fn write(&mut self, path: &Path, file: &mut File, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        state.living(path);
        let fails = state.take(Fault::Write);
        if !fails && !state.is_full && !state.take(Fault::ShortWrite) {
            let written = RealDisk.write(path, file, parts)?;
            state.tracked(path).wrote(written);
            return Ok(written);
        }
        let joined: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        let written = RealDisk.write(path, file, &[IoSlice::new(&joined[..joined.len().div_ceil(2)])])?;
        state.tracked(path).wrote(written);
        if fails || state.is_full {
            state.living(path).is_dead = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(written)
    }

    fn sync(&mut self, path: &Path, file: &File) -> io::Result<()> {
        let mut state = self.state();
        let fails = state.take(Fault::Sync);
        let tracked = state.living(path);
        if fails {
            tracked.is_dead = true;
            return Err(io::Error::other("input/output error"));
        }
        tracked.synced = tracked.written.unwrap_or(file.metadata()?.len());
        tracked.cut_off.clear();
        Ok(())
    }

    fn cut(&mut self, path: &Path, file: &File, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if let Err(error) = state.fail_if(Fault::Cut) {
            state.has_failed_to_cut = true;
            return Err(error);
        }
        let bytes = fs::read(path)?;
        let at = usize::try_from(len).expect("small").min(bytes.len());
        let tracked = state.tracked(path);
        tracked.cut_off = bytes[at..].to_vec();
        tracked.synced = tracked.synced.min(len);
        tracked.written = tracked.written.map(|written| written.min(len));
        RealDisk.cut(path, file, len)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.fail_if(Fault::Remove)?;
        let contents = fs::read(path)?;
        state.files.remove(path);
        state.removed.push((path.to_owned(), contents));
        RealDisk.remove(path)
    }

    fn sync_dir(&mut self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.fail_if(Fault::SyncDir)?;
        state.files.values_mut().for_each(|f| f.is_linked = true);
        state.removed.clear();
        state.renamed.clear();
        Ok(())
    }
}
