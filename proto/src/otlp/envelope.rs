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
pub(super) fn walk<V: OriginVisitor>(
    names: &Names,
    request: &[u8],
    visitor: &mut V,
    item: impl Fn(&mut V, &[u8]) -> Result<(), Malformed> + Copy,
) -> Result<(), Malformed> {
    let mut fields = Fields::new(names.request, request);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            resource(names, fields.bytes(field.value)?, visitor, item)?;
        }
    }
    Ok(())
}

fn resource<V: OriginVisitor>(
    names: &Names,
    bytes: &[u8],
    visitor: &mut V,
    item: impl Fn(&mut V, &[u8]) -> Result<(), Malformed> + Copy,
) -> Result<(), Malformed> {
    let mut parts = Vec::new();
    let mut fields = Fields::new(names.resource, bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => parts.push(fields.bytes(field.value)?),
            3 => drop(fields.text(field.value)?),
            _ => {}
        }
    }
    visitor.resource(&Resource::read(&parts)?);
    let mut fields = Fields::new(names.resource, bytes);
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            scope(names, fields.bytes(field.value)?, visitor, item)?;
        }
    }
    Ok(())
}

fn scope<V: OriginVisitor>(
    names: &Names,
    bytes: &[u8],
    visitor: &mut V,
    item: impl Fn(&mut V, &[u8]) -> Result<(), Malformed> + Copy,
) -> Result<(), Malformed> {
    let mut parts = Vec::new();
    let mut fields = Fields::new(names.scope, bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => parts.push(fields.bytes(field.value)?),
            3 => drop(fields.text(field.value)?),
            _ => {}
        }
    }
    visitor.scope(&Scope::read(&parts)?);
    let mut fields = Fields::new(names.scope, bytes);
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            item(visitor, fields.bytes(field.value)?)?;
        }
    }
    Ok(())
}
