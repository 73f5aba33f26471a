//! Any bytes as a traces request in protobuf, judged by prost.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellwether_fuzz::protobuf(proto::otlp::Signal::Traces, bytes));
