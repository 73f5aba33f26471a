//! What the three requests share: items within scopes within resources.

use super::origin::{Resource, Scope};
use crate::wire::{Fields, Malformed};

/// The messages of one request, in their own words for faults.
pub(super) struct Names {
    pub(super) request: &'static str,
    pub(super) resource: &'static str,
    pub(super) scope: &'static str,
}

/// Takes what is shared, and the items.
pub(super) trait Walk {
    /// A resource begins.
    fn resource(&mut self, resource: &Resource<'_>);
    /// A scope of that resource begins.
    fn scope(&mut self, scope: &Scope<'_>);
    /// A span, a log record or a metric of that scope.
    fn item(&mut self, bytes: &[u8]) -> Result<(), Malformed>;
}

/// Walks a request. Fields may come in any order, so each level is looked through twice: once for
/// what is shared, once for what shares it.
pub(super) fn walk(names: &Names, request: &[u8], walker: &mut impl Walk) -> Result<(), Malformed> {
    let mut fields = Fields::new(names.request, request);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            resource(names, fields.bytes(field.value)?, walker)?;
        }
    }
    Ok(())
}

fn resource(names: &Names, bytes: &[u8], walker: &mut impl Walk) -> Result<(), Malformed> {
    let mut parts = Vec::new();
    let mut fields = Fields::new(names.resource, bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => parts.push(fields.bytes(field.value)?),
            3 => drop(fields.text(field.value)?),
            _ => {}
        }
    }
    walker.resource(&Resource::read(&parts)?);
    let mut fields = Fields::new(names.resource, bytes);
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            scope(names, fields.bytes(field.value)?, walker)?;
        }
    }
    Ok(())
}

fn scope(names: &Names, bytes: &[u8], walker: &mut impl Walk) -> Result<(), Malformed> {
    let mut parts = Vec::new();
    let mut fields = Fields::new(names.scope, bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => parts.push(fields.bytes(field.value)?),
            3 => drop(fields.text(field.value)?),
            _ => {}
        }
    }
    walker.scope(&Scope::read(&parts)?);
    let mut fields = Fields::new(names.scope, bytes);
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            walker.item(fields.bytes(field.value)?)?;
        }
    }
    Ok(())
}
