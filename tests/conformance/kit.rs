//! What the conformance tests are made with: clients that put exact bytes on the wire, builders of
//! requests, and questions to the running service. The protobuf side is prost, so that our own
//! readers never judge themselves.

mod answer;
mod build;
mod http1;
mod http2;
mod json;
mod process;
mod property;
mod service;
mod text;

pub(crate) use self::{
    answer::{Answer, Refusal},
    build::*,
    http1::{Framing, HttpAnswer, open, request as http1},
    http2::{Connection, GrpcAnswer, frame},
    json::of as json_of,
    process::Watched,
    property::{figures, holds},
    service::{Route, Service, cases, is_full},
    text::{gzip, gzip_members, zstd},
};
pub(crate) use crate::api::{encoded, eventually};
