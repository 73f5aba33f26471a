//! Random requests: what JSON becomes is what prost would have written for the same structs.

use std::fmt::Debug;

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};
use prost::Message;
use serde_json::Value;

use super::{Signal, arbitrary, arbitrary::Source, to_protobuf, writer::Writer};

const CASES: u32 = 1500;
/// Bytes of choices for a request: enough for all its lists to be full now and then.
const CHOICES: usize = 3000;

/// Compares as bytes, since NaN differs from itself. Equal lengths before decoding mean that nothing was
/// written that prost leaves out.
fn check<T: Message + Default + Debug>(
    signal: Signal,
    make: impl Fn(&mut Source<'_>) -> T,
    write: impl Fn(&mut Writer<'_>, &T) -> Value,
) {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Config::default()
    });
    let choices = (vec(any::<u8>(), 0..CHOICES), vec(any::<u8>(), 0..200));
    let result = runner.run(&choices, |(content, notation)| {
        let request = make(&mut Source(&content));
        let value = write(&mut Writer(Source(&notation)), &request);
        let text = if notation.len() % 2 == 0 { value.to_string() } else { format!("{value:#}") };
        let bytes = to_protobuf(signal, text.as_bytes(), usize::MAX)
            .map_err(|fault| TestCaseError::fail(format!("{fault} in {text}")))?;
        let decoded = T::decode(&*bytes).map_err(|e| TestCaseError::fail(format!("{e} from {text}")))?;
        if decoded.encode_to_vec() != request.encode_to_vec() || bytes.len() != request.encoded_len() {
            return Err(TestCaseError::fail(format!("{decoded:?} is not {request:?} from {text}")));
        }
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.err().map_or_else(String::new, |e| e.to_string()));
}

#[test]
fn random_metrics_are_what_prost_writes() {
    check(Signal::Metrics, arbitrary::metrics, |writer, request| writer.metrics(request));
}

#[test]
fn random_traces_are_what_prost_writes() {
    check(Signal::Traces, arbitrary::traces, |writer, request| writer.traces(request));
}

#[test]
fn random_logs_are_what_prost_writes() {
    check(Signal::Logs, arbitrary::logs, |writer, request| writer.logs(request));
}
