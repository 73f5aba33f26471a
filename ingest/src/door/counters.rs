//! What passed the doors, in numbers for `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use proto::otlp::Signal;

use super::taken::{ByTenant, Taken};
use crate::{Sources, Tenant, admission::REASONS};

/// By which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    /// The word used in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Every item was taken.
    Ok,
    /// Some items were rejected.
    Partial,
    /// The bytes are no such request.
    Malformed,
    /// Over the limit on the wire or decoded.
    TooLarge,
    /// No room now, or shutting down; the sender was told to come again.
    Busy,
    /// Its tenant is over its share or rate; the sender was told to come again.
    Limited,
    /// No credential, or a wrong one.
    Unauthenticated,
    /// A credential that may not write for this tenant.
    Forbidden,
    /// Not answered, because the sender's time had passed or it had gone.
    Abandoned,
    /// Method, content type, encoding or tenant that is not served.
    Refused,
    /// A fault of this service.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Ok,
        Self::Partial,
        Self::Malformed,
        Self::TooLarge,
        Self::Busy,
        Self::Limited,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Abandoned,
        Self::Refused,
        Self::Failed,
    ];
    const COUNT: usize = 11;

    /// The word used in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Limited => "limited",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Counts since the start; each only grows.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [[[AtomicU64; Outcome::COUNT]; 2]; 3],
    taken: Taken,
    by_tenant: ByTenant,
    turned_away: [AtomicU64; REASONS.len()],
    limit: AtomicU64,
    in_flight: AtomicU64,
    tenants: AtomicU64,
    sources: Sources,
}

impl Counters {
    /// Who sends how much more than others.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Requests of a signal by a transport that ended in this way.
    #[must_use]
    pub fn requests(&self, signal: Signal, transport: Transport, outcome: Outcome) -> u64 {
        self.requests[signal as usize][transport as usize][outcome as usize].load(Relaxed)
    }

    /// What was taken of all tenants together.
    #[must_use]
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// What was taken of `tenant`.
    #[must_use]
    pub fn taken_of(&self, tenant: &Tenant) -> Arc<Taken> {
        self.by_tenant.find(tenant).unwrap_or_default()
    }

    /// Requests turned away by admission, by reason.
    pub fn turned_away(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(&self.turned_away).map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    /// Units of work that may be in flight now. A request is one for each MiB that it takes once decoded,
    /// and at least one.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Units of work in flight now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Tenants that were active lately or owe something.
    #[must_use]
    pub fn tenants(&self) -> u64 {
        self.tenants.load(Relaxed)
    }

    pub(crate) fn count_turned_away(&self, reason: usize) {
        self.turned_away[reason].fetch_add(1, Relaxed);
    }

    pub(crate) fn admission(&self, limit: u64, in_flight: u64, tenants: usize) {
        self.limit.store(limit, Relaxed);
        self.in_flight.store(in_flight, Relaxed);
        self.tenants.store(tenants as u64, Relaxed);
    }

    pub(crate) fn request(&self, signal: Signal, transport: Transport, outcome: Outcome) {
        self.requests[signal as usize][transport as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    /// Begins to count for `tenant`, of which the pipeline has taken data and whose number it bounds.
    pub(crate) fn meet(&self, tenant: &Tenant) {
        self.by_tenant.meet(tenant);
    }

    /// Counts a request that was taken.
    pub(crate) fn items(&self, tenant: &Tenant, signal: Signal, accepted: u64, rejected: u64, bytes: u64) {
        self.taken.add(signal, accepted, rejected, bytes);
        if let Some(taken) = self.by_tenant.find(tenant) {
            taken.add(signal, accepted, rejected, bytes);
        }
    }
}
