//! Properties of the running service: many random inputs from a fixed seed.

use std::future::Future;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

/// Says what was measured, to who runs a test with `--nocapture`.
#[expect(clippy::print_stdout, reason = "figures are for people, and the harness shows them on demand only")]
pub(crate) fn figures(text: &str) {
    println!("{text}");
}

/// Checks `cases` values of `strategy`. Needs a runtime of several threads.
pub(crate) fn holds<S: Strategy, F>(cases: u32, strategy: S, check: impl Fn(S::Value) -> F)
where
    F: Future<Output = Result<(), TestCaseError>>,
{
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let runtime = tokio::runtime::Handle::current();
    let outcome = tokio::task::block_in_place(|| runner.run(&strategy, |value| runtime.block_on(check(value))));
    assert!(outcome.is_ok(), "{}", outcome.err().map(|e| e.to_string()).unwrap_or_default());
}
