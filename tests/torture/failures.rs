//! A disk that fails, and one that is full.

use crate::{
    is_full,
    kit::{has_strace, judge, prepared, write_under},
};

// C4
#[test]
fn a_failed_sync_acknowledges_nothing_and_is_not_tried_again() {
    if !has_strace() {
        return;
    }
    let step = if is_full() { 1 } else { 4 };
    for call in ["fdatasync", "fsync"] {
        let mut refused = 0;
        for at in (1..=50).step_by(step) {
            let dir = prepared();
            let fault = format!("{call}:error=EIO:when={at}");
            assert!(!write_under(&dir, std::slice::from_ref(&fault)), "{fault}: it was killed");
            let notes = judge(&dir, &fault);
            assert!(notes.is_done || notes.is_shut, "{fault}: it did not come to its end");
            refused += notes.syncs.iter().filter(|went_well| !**went_well).count();
        }
        assert!(refused > 0, "{call} never failed where it matters");
    }
}

// C4
#[test]
fn while_every_sync_fails_nothing_is_acknowledged() {
    if !has_strace() {
        return;
    }
    // The second is the first after the start.
    for from in [2, 3, 9] {
        let dir = prepared();
        let fault = format!("fdatasync:error=EIO:when={from}+");
        write_under(&dir, std::slice::from_ref(&fault));
        let notes = judge(&dir, &fault);
        let first = notes.syncs.iter().position(|went_well| !went_well).expect("it fails");
        assert!(notes.syncs[first..].iter().all(|went_well| !went_well), "{fault}: {:?}", notes.syncs);
    }
}

// C5
#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    if !has_strace() {
        return;
    }
    for from in [2, 5, 11] {
        let dir = prepared();
        let fault = format!("writev:error=ENOSPC:when={from}..{}", from + 9);
        write_under(&dir, std::slice::from_ref(&fault));
        let notes = judge(&dir, &fault);
        let refused = notes.syncs.iter().filter(|went_well| !**went_well).count();
        assert!(refused > 1, "{fault}: {:?}", notes.syncs);
        assert_eq!(notes.syncs.last(), Some(&true), "{fault}: there is room again: {:?}", notes.syncs);
    }
}
