//! Any bytes as a JSON request of each signal, and whatever prost reads in them written as JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellwether_fuzz::json(bytes));
