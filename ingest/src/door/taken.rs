//! How much was taken in, on the whole and of each tenant.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use proto::otlp::Signal;

use crate::Tenant;

/// What was taken, since the start; each count only grows.
#[derive(Debug, Default)]
pub struct Taken {
    accepted: [AtomicU64; 3],
    rejected: [AtomicU64; 3],
    bytes: [AtomicU64; 3],
}

impl Taken {
    /// Data points, spans or log records that were taken.
    #[must_use]
    pub fn accepted(&self, signal: Signal) -> u64 {
        self.accepted[signal as usize].load(Relaxed)
    }

    /// Data points, spans or log records that were rejected out of requests that were taken.
    #[must_use]
    pub fn rejected(&self, signal: Signal) -> u64 {
        self.rejected[signal as usize].load(Relaxed)
    }

    /// Bytes of bodies, as they came over the wire, of requests that were taken.
    #[must_use]
    pub fn bytes(&self, signal: Signal) -> u64 {
        self.bytes[signal as usize].load(Relaxed)
    }

    pub(super) fn add(&self, signal: Signal, accepted: u64, rejected: u64, bytes: u64) {
        self.accepted[signal as usize].fetch_add(accepted, Relaxed);
        self.rejected[signal as usize].fetch_add(rejected, Relaxed);
        self.bytes[signal as usize].fetch_add(bytes, Relaxed);
    }
}

/// The same by tenant: of those whose data the pipeline has taken, whose number it bounds.
#[derive(Debug, Default)]
pub(super) struct ByTenant(RwLock<HashMap<Tenant, Arc<Taken>>>);

impl ByTenant {
    /// What was taken of `tenant`; `None` when there was nothing yet.
    pub(super) fn find(&self, tenant: &Tenant) -> Option<Arc<Taken>> {
        // Whole between any two statements, so a thread that died has left no harm.
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// Begins to count for `tenant`, which the pipeline knows.
    pub(super) fn meet(&self, tenant: &Tenant) {
        if self.find(tenant).is_none() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(tenant.clone()).or_default();
        }
    }
}
