//! Where telemetry comes from: resource and instrumentation scope.

use std::borrow::Cow;

use super::value::{KeyValue, Repeated};
use crate::wire::{Fields, Malformed, Run, Text};

/// Takes what the items of a request share.
pub trait OriginVisitor {
    /// A resource begins: what follows comes from it.
    fn resource(&mut self, resource: &Resource<'_>);
    /// A scope of that resource begins.
    fn scope(&mut self, scope: &Scope<'_>);
}

/// `opentelemetry.proto.resource.v1.Resource`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource<'a> {
    /// `attributes`; each is well formed.
    pub attributes: Repeated<'a>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
}

/// `opentelemetry.proto.common.v1.InstrumentationScope`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope<'a> {
    /// `name`.
    pub name: Text<'a>,
    /// `version`.
    pub version: Text<'a>,
    /// `attributes`; each is well formed.
    pub attributes: Repeated<'a>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
}

impl<'a> Resource<'a> {
    /// Reads a message that may have been sent in parts, which protobuf joins.
    pub(super) fn read(parts: &[&'a [u8]]) -> Result<Self, Malformed> {
        let mut resource = Self::default();
        let mut attributes = Joined::default();
        for part in parts {
            let mut fields = Fields::new("Resource", part);
            let mut run = Run::default();
            while let Some(field) = fields.next()? {
                match field.number {
                    1 => {
                        KeyValue::read(fields.bytes(field.value)?)?;
                        run.note(&fields);
                    }
                    2 => resource.dropped_attributes = fields.int32(field.value)?.cast_unsigned(),
                    3 => entity_ref(fields.bytes(field.value)?)?,
                    _ => {}
                }
            }
            attributes.add(run.of(1, &fields));
        }
        resource.attributes = Repeated::new(attributes.0);
        Ok(resource)
    }
}

impl<'a> Scope<'a> {
    /// Reads a message that may have been sent in parts, which protobuf joins.
    pub(super) fn read(parts: &[&'a [u8]]) -> Result<Self, Malformed> {
        let mut scope = Self::default();
        let mut attributes = Joined::default();
        for part in parts {
            let mut fields = Fields::new("InstrumentationScope", part);
            let mut run = Run::default();
            while let Some(field) = fields.next()? {
                match field.number {
                    1 => scope.name = fields.text(field.value)?,
                    2 => scope.version = fields.text(field.value)?,
                    3 => {
                        KeyValue::read(fields.bytes(field.value)?)?;
                        run.note(&fields);
                    }
                    4 => scope.dropped_attributes = fields.int32(field.value)?.cast_unsigned(),
                    _ => {}
                }
            }
            attributes.add(run.of(3, &fields));
        }
        scope.attributes = Repeated::new(attributes.0);
        Ok(scope)
    }
}

/// `EntityRef` is not used, but it has to be one.
fn entity_ref(bytes: &[u8]) -> Result<(), Malformed> {
    let mut fields = Fields::new("EntityRef", bytes);
    while let Some(field) = fields.next()? {
        if matches!(field.number, 1..=4) {
            fields.text(field.value)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Joined<'a>(Cow<'a, [u8]>);

impl<'a> Joined<'a> {
    fn add(&mut self, part: Cow<'a, [u8]>) {
        if self.0.is_empty() {
            self.0 = part;
        } else {
            self.0.to_mut().extend_from_slice(&part);
        }
    }
}
