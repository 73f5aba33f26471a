//! Kills while checkpoints are written: at every file that is renamed, deleted or synced for one.

use std::{ffi::OsString, process::Command};

use crate::{
    is_full,
    kit::has_strace,
    pause,
    service::{Outcome, Service},
};

/// A call that the keeper makes, and how many of them are counted through. Each checkpoint renames its
/// chunk file, its state and what was merged, deletes what was merged, and syncs files and directories.
const CALLS: [(&str, usize, usize); 3] =
    [("?rename,?renameat,?renameat2", 9, 2), ("?unlink,?unlinkat", 6, 2), ("fsync", 18, 5)];
/// Enough for these checkpoints, of which there is one a second.
const LONG_ENOUGH: u64 = 6_000;

fn killed_at(call: &str, at: usize) -> Vec<OsString> {
    let words = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e"].map(OsString::from);
    let fault = [format!("trace={call}"), "-e".into(), format!("inject={call}:signal=KILL:when={at}")];
    words.into_iter().chain(fault.map(OsString::from)).collect()
}

/// What `bellwether repair` finds, without changing anything.
fn faults(service: &Service) -> String {
    let mut repair = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    let done = repair.args(["repair", "--dry-run", "--data-dir"]).arg(service.directory().join("data")).output();
    String::from_utf8_lossy(&done.expect("cargo has built the binary").stdout).into_owned()
}

// C2
#[tokio::test]
async fn a_kill_while_a_checkpoint_is_written_loses_nothing_and_damages_nothing() {
    if !has_strace() {
        return;
    }
    let mut service = Service::new("checkpoint_every: 1s\nhistory: {enabled: false}");
    for (call, most, step) in CALLS {
        let step = if is_full() { 1 } else { step };
        let mut killed = 0;
        for at in (1..=most).step_by(step) {
            // It may be killed while it starts.
            if service.start_through(&killed_at(call, at)) {
                service.load(pause(LONG_ENOUGH)).await;
            }
            killed += usize::from(service.binary.take().is_none_or(|mut binary| binary.has_ended()));
            let found = faults(&service);
            assert!(found.ends_with("no damage\n"), "{call}, {at}: {found}");
        }
        assert!(killed > 1, "{call}: it was killed {killed} times");
    }
    service.start();
    assert!(service.count(Outcome::Acknowledged) > 100, "there was load");
    service.settle("kills during checkpoints").await;
}
