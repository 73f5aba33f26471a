//! The torture suite: what is left after kills at every step, failing disks and damaged files. A comment
//! above each test names its row of the reliability checklist.
//!
//! The counts fit continuous integration; `BELLWETHER_TORTURE=full` asks for all of them. Without strace
//! the tests that need it say that they are skipped, and fail where `CI=true`.

mod kit;

mod failures;
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

/// Whether every case is asked for.
fn is_full() -> bool {
    std::env::var("BELLWETHER_TORTURE").is_ok_and(|value| value == "full")
}
