//! Resources that were seen lately: a sender says who it is with every request, in the same bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use proto::otlp::Resource;
use xxhash_rust::xxh3::xxh3_128;

use super::{Limits, sender::Sender};

/// Bytes of resources that are remembered, as they were sent; what they become is of that order.
const REMEMBERED: usize = 16 << 20;
/// What a remembered sender takes apart from its texts.
const ENTRY_BYTES: usize = 1024;

/// Bounded in bytes; when full it begins anew, since asking again costs a few microseconds.
#[derive(Debug, Default)]
pub(in crate::decode) struct Senders(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    senders: HashMap<u128, Arc<Sender>, foldhash::fast::RandomState>,
    bytes: usize,
}

impl Senders {
    /// Who sends as `resource`.
    pub(in crate::decode) fn of(&self, resource: &Resource<'_>, limits: &Limits) -> Arc<Sender> {
        let raw = resource.attributes.raw();
        let key = xxh3_128(raw);
        // Whole between any two statements, so a thread that died here has left no harm.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = seen.senders.get(&key) {
            return Arc::clone(sender);
        }
        let sender = Arc::new(Sender::new(resource, limits));
        seen.bytes += ENTRY_BYTES + 2 * raw.len();
        if seen.bytes > REMEMBERED {
            *seen = Seen { bytes: ENTRY_BYTES + 2 * raw.len(), ..Seen::default() };
        }
        seen.senders.insert(key, Arc::clone(&sender));
        sender
    }
}
