//! A kill at every system call of the log.

use crate::{
    is_full,
    kit::{has_strace, judge, prepared, write_under},
};

/// The calls that the writer makes and strace looks at, and how many kills are tried where not all are.
pub(crate) const CALLS: [(&str, usize); 8] = [
    ("writev", 14),
    ("fdatasync", 12),
    ("fsync", 8),
    ("ftruncate", 3),
    ("?unlink", 4),
    ("?rename", 6),
    ("openat", 8),
    ("write", 8),
];
/// More kills than any call is made.
const MANY: usize = 400;

/// Kills the writer at the first, second, ... of these calls, until it comes to its end.
fn kill_at_each(call: &str, few: usize, other_faults: &[String]) -> usize {
    let mut killed = 0;
    // Small steps at first, where the start is, and longer ones later.
    let mut at = 1;
    while at < MANY {
        let dir = prepared();
        let faults = [other_faults, &[format!("{call}:signal=KILL:when={at}")]].concat();
        let was_killed = write_under(&dir, &faults);
        let notes = judge(&dir, &faults.join(" "));
        if !was_killed {
            assert!(notes.is_done || notes.is_shut, "{call} {at}: it ended by itself, but not at its end");
            break;
        }
        killed += 1;
        at += if is_full() || killed < few / 2 { 1 } else { 1 + at / 3 };
    }
    killed
}

// C2
#[test]
fn a_kill_at_any_call_loses_nothing_and_invents_nothing() {
    if !has_strace() {
        return;
    }
    for (call, few) in CALLS {
        let killed = kill_at_each(call, few, &[]);
        assert!(killed > 0, "{call} is never called");
    }
}

// C2, C4
#[test]
fn a_kill_while_a_failed_sync_is_withdrawn_brings_nothing_back() {
    if !has_strace() {
        return;
    }
    let failing = ["fdatasync:error=EIO:when=3+4".to_owned()];
    for (call, few) in CALLS.into_iter().filter(|(call, _)| *call != "fdatasync") {
        let killed = kill_at_each(call, few, &failing);
        assert!(killed > 0, "{call} is never called");
    }
}
