//! The conformance suite: what OTLP asks of a receiver and what ours promises under load and attack,
//! shown on the real binary. A comment above each test names its row of the reliability checklist.
//!
//! The counts fit continuous integration; `BELLWETHER_CONFORMANCE=full` asks for those of the
//! checklist.

mod kit;

mod amplification;
mod capacity;
mod cardinality;
mod configuration;
mod corpus;
mod criticality;
mod empties;
mod encodings;
mod floods;
mod future;
mod given_up;
mod histograms;
mod hostile;
mod http_matrix;
mod identity;
mod json_matrix;
mod lateness;
mod malformed;
mod memory;
mod openapi;
mod overload;
mod oversize;
mod partial;
mod recovery;
mod routes;
mod sources;
mod streams;
mod tenants;

#[path = "../support/api.rs"]
mod api;
#[path = "../support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;
