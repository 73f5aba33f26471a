//! Any bytes as a logs request in protobuf, judged by prost.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellwether_fuzz::protobuf(proto::otlp::Signal::Logs, bytes));
