//! The wire: OTLP requests and answers, and the `google.rpc.Status` that carries refusals.
//!
//! Everything here is about bytes that a stranger sent. Readers bound what they allocate before
//! they allocate it ([`otlp::DecodeError::TooCostly`]), never panic, and say what they expected.

pub mod base64;
pub mod degradation;
pub mod json;
pub mod otlp;
pub mod rpc;
pub mod wire;
