//! Black-box tests of the public API; one binary, so that they link once.

#[path = "promql/consistency.rs"]
mod consistency;
#[path = "promql/histograms.rs"]
mod histograms;
#[path = "promql/hostile.rs"]
mod hostile;
#[path = "promql/past.rs"]
mod past;
#[path = "promql/recall.rs"]
mod recall;
#[path = "promql/script.rs"]
mod script;
#[path = "promql/support.rs"]
mod support;
