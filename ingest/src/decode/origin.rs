//! Where spans and log records come from: read once for all of a resource and of a scope.

use std::sync::Arc;

use proto::{
    otlp::{Repeated, Resource, Scope},
    wire::{put_bytes, put_varint},
};

use super::{Context, Limits, keep::Keeper, sender::Feeds};
use crate::Batch;

/// The resource and the scope of the items that follow, as they are kept.
#[derive(Debug, Default)]
pub(super) struct Origin {
    keeper: Keeper,
    feeds: Feeds,
    service: Arc<str>,
    /// An encoded `Resource`.
    resource: Vec<u8>,
    /// An encoded `InstrumentationScope`.
    scope: Vec<u8>,
    resource_fault: Option<String>,
    scope_fault: Option<String>,
    /// Attributes of both whose name another one had already.
    repeated: u64,
}

impl Origin {
    pub(super) fn resource(&mut self, resource: &Resource<'_>, Context { limits, senders }: Context<'_>) {
        let sender = senders.of(resource, limits);
        self.feeds.note(&sender.feed);
        self.service = Arc::clone(&sender.feed.service);
        self.resource.clear();
        let kept = copy(&mut self.keeper, ("resource", 1), &resource.attributes, limits, &mut self.resource);
        self.resource_fault = sender.fault.clone().or_else(|| kept.as_ref().err().cloned());
        let (dropped, repeated) = kept.unwrap_or_default();
        self.repeated += repeated;
        put_count(2, resource.dropped_attributes.saturating_add(dropped), &mut self.resource);
    }

    pub(super) fn scope(&mut self, scope: &Scope<'_>, limits: &Limits) {
        self.scope.clear();
        put_text(1, scope.name.as_str(), &mut self.scope);
        put_text(2, scope.version.as_str(), &mut self.scope);
        let kept = copy(&mut self.keeper, ("scope", 3), &scope.attributes, limits, &mut self.scope);
        self.scope_fault = kept.as_ref().err().cloned();
        let (dropped, repeated) = kept.unwrap_or_default();
        self.repeated += repeated;
        put_count(4, scope.dropped_attributes.saturating_add(dropped), &mut self.scope);
    }

    /// Why nothing of this resource or scope is taken.
    #[inline]
    pub(super) fn fault(&self) -> Option<&str> {
        self.resource_fault.as_deref().or(self.scope_fault.as_deref())
    }

    /// Service, resource and scope for the columns.
    pub(super) fn parts(&self) -> (&str, &[u8], &[u8]) {
        (&self.service, &self.resource, &self.scope)
    }

    /// Adds to `batch` who sent it, and what was left out of resources and scopes.
    pub(super) fn finish(self, mut batch: Batch) -> Batch {
        batch.repeated_attributes += self.repeated;
        batch.feeds = self.feeds.into_list();
        batch
    }
}

/// How many attributes were dropped, and how many of these repeated a name; or why all is refused.
fn copy(
    keeper: &mut Keeper,
    (what, number): (&str, u8),
    sent: &Repeated<'_>,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<(u32, u64), String> {
    // The reader has looked at them already, so that they cannot be malformed here.
    let kept = keeper.copy(what, sent, number, limits, out).map_err(|fault| fault.to_string())??;
    Ok((kept.dropped, kept.repeated.into()))
}

/// Appends a number unless it is zero, as an encoder does.
pub(super) fn put_count(number: u32, count: u32, out: &mut Vec<u8>) {
    if count > 0 {
        put_varint(u64::from(number) << 3, out);
        put_varint(count.into(), out);
    }
}

/// Appends a text unless it is empty, as an encoder does.
pub(super) fn put_text(number: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_bytes(number, text.as_bytes(), out);
    }
}
