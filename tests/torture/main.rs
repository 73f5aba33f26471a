//! The torture suite: what is left after kills at every step, failing disks and damaged files. A comment
//! above each test names its row of the reliability checklist.
//!
//! The counts fit continuous integration; `BELLWETHER_TORTURE=full` asks for all of them. Without strace,
//! libfaketime or the right to mount, the tests that need it say that they are skipped, and fail where `CI=true`.
//!
//! `README.md` beside this file says which test is for which row, how many cases it has and how all of them are run.

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
