//! What stands in one record of the log: everything that changes state, with the wall time at which it came.
//!
//! A record is a head in postcard's format, and behind it the rows or the request as they are. Numbers
//! are written as rows, which take a fifteenth of what they take on the wire. Spans and log records are written
//! as the request that brought them, which is smaller than their rows and whose format outlives ours.
//!
//! Requests come compressed with Snappy (`ingest/src/request.rs`). Earlier versions used zstd; what they wrote is read.

use std::sync::Arc;

use bytes::Bytes;
use detect::{Correction, Pin, UnixNanos};
use ingest::{Batch, Decoder, KnownSeries, Request, Submission, Tenant};
use proto::otlp::{Encoding, Signal};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Work;
use crate::pipeline::Command;

/// No request is greater: `ingest.max_request_bytes` is far below.
const MAX_BODY: usize = 1 << 32;

/// A record that is none, or none of this version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    /// Its head or its rows cannot be read.
    #[error("is not a record of this version: {0}")]
    Format(#[from] postcard::Error),
    /// Its tenant has no name that a tenant may have.
    #[error("names no tenant: {0}")]
    Tenant(#[from] ingest::TenantError),
    /// Its request cannot be read.
    #[error("holds no request: {0}")]
    Request(String),
}

/// A record that was read.
#[derive(Debug)]
pub(super) struct Entry {
    /// Wall time at which it came.
    pub(super) now: UnixNanos,
    /// What it does. Nobody waits for an answer.
    pub(super) work: Work,
    /// The request from which its rows were read, if it holds one.
    pub(super) request: Option<Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    now: UnixNanos,
    #[serde(borrow)]
    what: What<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
enum What<'a> {
    Tick {
        cleans: bool,
    },
    Numbers {
        tenant: &'a str,
    },
    /// As it is, or, from earlier versions, compressed with zstd from so many bytes.
    Request {
        tenant: &'a str,
        signal: u8,
        unpacked: Option<usize>,
    },
    Pin {
        tenant: &'a str,
        service: Option<Arc<str>>,
        pin: Option<Pin>,
    },
    Start,
    ClockSet {
        by: i64,
    },
    Correct {
        tenant: &'a str,
        correction: Correction,
    },
    Undo {
        tenant: &'a str,
        correction: &'a str,
    },
    Packed {
        tenant: &'a str,
        signal: u8,
    },
}

/// A record that is ready to be written, in two parts.
#[derive(Debug)]
pub(crate) struct Written {
    head: Vec<u8>,
    body: Bytes,
}

impl Written {
    /// The parts of the record, in their order.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.body]
    }

    fn new(now: UnixNanos, what: What<'_>, body: Bytes) -> Result<Self, EntryError> {
        Ok(Self { head: postcard::to_stdvec(&Head { now, what })?, body })
    }

    /// A record that is all head.
    fn short(now: UnixNanos, what: What<'_>) -> Result<Self, EntryError> {
        Self::new(now, what, Bytes::new())
    }

    pub(crate) fn tick(now: UnixNanos, cleans: bool) -> Result<Self, EntryError> {
        Self::short(now, What::Tick { cleans })
    }

    pub(crate) fn start(now: UnixNanos) -> Result<Self, EntryError> {
        Self::short(now, What::Start)
    }

    pub(crate) fn clock_set(now: UnixNanos, by: i64) -> Result<Self, EntryError> {
        Self::short(now, What::ClockSet { by })
    }

    pub(crate) fn pin(
        now: UnixNanos,
        tenant: &Tenant,
        service: Option<Arc<str>>,
        pin: Option<Pin>,
    ) -> Result<Self, EntryError> {
        Self::short(now, What::Pin { tenant: tenant.as_str(), service, pin })
    }

    pub(crate) fn correct(now: UnixNanos, tenant: &Tenant, correction: Correction) -> Result<Self, EntryError> {
        Self::short(now, What::Correct { tenant: tenant.as_str(), correction })
    }

    pub(crate) fn undo(now: UnixNanos, tenant: &Tenant, correction: &str) -> Result<Self, EntryError> {
        Self::short(now, What::Undo { tenant: tenant.as_str(), correction })
    }

    /// The rows of `batch`, or the `request` that they were read from.
    pub(crate) fn rows(
        now: UnixNanos,
        tenant: &Tenant,
        batch: &Batch,
        request: Option<&Request>,
    ) -> Result<Self, EntryError> {
        let tenant = tenant.as_str();
        let Some(Request { signal, body, packed }) = request else {
            return Self::new(now, What::Numbers { tenant }, postcard::to_stdvec(batch)?.into());
        };
        let signal = *signal as u8;
        match packed {
            Some(packed) => Self::new(now, What::Packed { tenant, signal }, packed.clone()),
            None => Self::new(now, What::Request { tenant, signal, unpacked: None }, body.clone()),
        }
    }
}

impl Entry {
    /// Reads a record.
    ///
    /// # Errors
    /// [`EntryError`]; records of other versions are such.
    pub(super) fn read(record: &[u8], decoder: &Decoder) -> Result<Self, EntryError> {
        let (Head { now, what }, body) = postcard::take_from_bytes::<Head<'_>>(record)?;
        let rows =
            |tenant, batch| Ok::<_, EntryError>(Work::Rows(Box::new(Submission::of(Tenant::new(tenant)?, batch))));
        let mut request = None;
        let work = match what {
            What::Tick { cleans } => Work::Tick { cleans },
            What::Start => Work::Start,
            What::ClockSet { by } => Work::ClockSet { by },
            What::Pin { tenant, service, pin } => {
                let (done, _) = oneshot::channel();
                Work::Command(Command::Pin { tenant: Tenant::new(tenant)?, service, pin, done })
            }
            What::Correct { tenant, correction } => {
                let (done, _) = oneshot::channel();
                Work::Command(Command::Correct { tenant: Tenant::new(tenant)?, correction, done })
            }
            What::Undo { tenant, correction } => {
                let (done, _) = oneshot::channel();
                Work::Command(Command::Undo { tenant: Tenant::new(tenant)?, correction: correction.to_owned(), done })
            }
            What::Numbers { tenant } => rows(tenant, postcard::from_bytes(body)?)?,
            What::Request { tenant, signal, unpacked } => {
                let body = unpacked.map_or_else(|| Ok(body.to_vec()), |size| unpack_zstd(body, size))?;
                rows(tenant, decode(signal, request.insert(body), decoder)?)?
            }
            What::Packed { tenant, signal } => rows(tenant, decode(signal, request.insert(unpack(body)?), decoder)?)?,
        };
        Ok(Self { now, work, request })
    }
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, EntryError> {
    // Says how long it becomes in its first bytes, of which four gigabytes is the most.
    snap::raw::Decoder::new().decompress_vec(body).map_err(|e| EntryError::Request(e.to_string()))
}

fn unpack_zstd(body: &[u8], size: usize) -> Result<Vec<u8>, EntryError> {
    if size > MAX_BODY {
        return Err(EntryError::Request(format!("of {size} bytes; at most {MAX_BODY} are possible")));
    }
    zstd::bulk::decompress(body, size).map_err(|e| EntryError::Request(e.to_string()))
}

/// Reads spans and log records as the doors did; no series is named in them.
fn decode(signal: u8, body: &[u8], decoder: &Decoder) -> Result<Batch, EntryError> {
    let signal = Signal::ALL.into_iter().find(|s| *s as u8 == signal);
    let signal = signal.ok_or_else(|| EntryError::Request("of no known signal".into()))?;
    let fault = |e: proto::otlp::DecodeError| EntryError::Request(e.to_string());
    let measured = decoder.measure(signal, Encoding::Protobuf, body).map_err(fault)?;
    Ok(decoder.decode(&measured, &KnownSeries::new(0)).map_err(fault)?.batch)
}
