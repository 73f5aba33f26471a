//! What the three requests share: items within scopes within resources.

use super::origin::{OriginVisitor, Resource, Scope};
use crate::wire::{Fields, Malformed};

/// The messages of one request, in their own words for faults.
pub(super) struct Names {
    pub(super) request: &'static str,
    pub(super) resource: &'static str,
    pub(super) scope: &'static str,
}

/// Walks a request. Fields may come in any order, so each level is looked through twice: once for
/// what is shared, once for what shares it. `item` reads a span, a log record or a metric.
pub(super) fn walk<'a, V: OriginVisitor>(
    names: &Names,
    request: &'a [u8],
    visitor: &mut V,
    mut item: impl FnMut(&mut V, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Fields::new(names.request, request);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            let begin_resource = |visitor: &mut V, parts: &[&[u8]]| Resource::read(parts).map(|r| visitor.resource(&r));
            let begin_scope = |visitor: &mut V, parts: &[&[u8]]| Scope::read(parts).map(|s| visitor.scope(&s));
            level(names.resource, fields.bytes(field.value)?, visitor, begin_resource, |visitor, scope| {
                level(names.scope, scope, visitor, begin_scope, &mut item)
            })?;
        }
    }
    Ok(())
}

/// A message that says in field 1, which may come in parts, what the messages in its field 2 share.
fn level<'a, V>(
    message: &'static str,
    bytes: &'a [u8],
    visitor: &mut V,
    begin: impl FnOnce(&mut V, &[&[u8]]) -> Result<(), Malformed>,
    mut inner: impl FnMut(&mut V, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut parts = Vec::new();
    let mut fields = Fields::new(message, bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => parts.push(fields.bytes(field.value)?),
            3 => drop(fields.text(field.value)?),
            _ => {}
        }
    }
    begin(visitor, &parts)?;
    let mut fields = Fields::new(message, bytes);
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            inner(visitor, fields.bytes(field.value)?)?;
        }
    }
    Ok(())
}
