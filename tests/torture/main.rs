//! The torture suite: what is left after kills at every step, failing disks and damaged files. A comment
//! above each test names its row of the reliability checklist.
//!
//! The counts fit continuous integration; `BELLWETHER_TORTURE=full` asks for all of them. Without strace,
//! libfaketime or the right to mount, the tests that need it say that they are skipped, and fail where `CI=true`.
//!
//! | row | what | in CI | full |
//! |---|---|---|---|
//! | C1 | kills under load, `acknowledged` and `interval` | 2 x 5 | 2 x 200 |
//! | C2 | kills at calls of the log, of the writer alone and of it while syncs fail | about 100 | each call |
//! | C2 | kills of the service at calls of the log, and at those of checkpoints | 9 and 12 | 50 and 33 |
//! | C3 | flipped bytes and cuts of a log of 256 KiB (`window/src/log/tests/torture.rs`) | 2,000 | 524,000 |
//! | C4 | syncs that fail once, of the writer; that go on failing, of writer and service | 26 and 4 | 100 and 4 |
//! | C5 | `ENOSPC` for a while; a small file system that is filled twice | 4 and 2 | the same |
//! | C6 | kills of a run that must decide as one that was left alone (`tests/resume.rs`) | 12 | 200 |
//! | C7 | downtime of 10 s to 2 d during an alert | 4 | the same |
//! | C8 | a log that an earlier version has written (`window/src/log/tests/golden.rs`) | 1 | the same |
//! | C11 | jumps of the wall clock, a third of them while the service is down; a start in 1970 | 12 and 1 | 120 and 1 |
//! | C12 | restarts under load | 3 | 100 |
//!
//! C9 and C10 are about receivers that there are not. Of C13 there are property tests of parts: the log against
//! a model of it, windows and intake against ones that never stopped.

mod kit;

mod checkpoints;
mod clocks;
mod failures;
mod full;
mod kills;
mod repair;
mod restarts;
mod service;
mod writer;

#[path = "../support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "../support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

#[path = "../support/webhook.rs"]
mod webhook;

fn pause(millis: u64) -> impl Future<Output = ()> {
    tokio::time::sleep(std::time::Duration::from_millis(millis))
}

/// Whether every case is asked for.
fn is_full() -> bool {
    std::env::var("BELLWETHER_TORTURE").is_ok_and(|value| value == "full")
}
