//! OTLP's JSON mapping, read straight into the structs.
//!
//! `opentelemetry-proto`'s own serde support cannot be used: its flattened optional enums turn any
//! type error into an absent value, so that a point given as `"asDouble": "NaN"` vanishes and the
//! sender is told that all went well. Here a value that is not what its field wants is an error
//! that names the field. Unknown keys are ignored and `null` means unset, as ProtoJSON asks.

mod messages;
mod scalars;

use std::{cell::Cell, fmt, marker::PhantomData, mem::size_of};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::cost::MAX_DEPTH;

/// Why a text was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not such a request.
    Malformed(String),
    /// It would take more than the budget.
    TooCostly,
}

/// Reads the one message that `text` holds, taking at most about `budget` bytes of memory.
pub(crate) fn read<T: Message>(text: &[u8], budget: usize) -> Result<T, Fault> {
    let budget = Budget { left: Cell::new(Some(budget)), levels: Cell::new(MAX_DEPTH), is_placed: Cell::new(false) };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let message = T::read(&mut deserializer, &budget).and_then(|message| deserializer.end().map(|()| message));
    message.map_err(|e| if budget.left.get().is_none() { Fault::TooCostly } else { Fault::Malformed(e.to_string()) })
}

/// What the reader carries along: memory and depth that are still allowed.
pub(crate) struct Budget {
    /// `None` once it has been exceeded.
    left: Cell<Option<usize>>,
    levels: Cell<usize>,
    /// Whether the error on its way up says already at which key it happened.
    is_placed: Cell<bool>,
}

impl Budget {
    fn charge<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        self.left.set(self.left.get().and_then(|left| left.checked_sub(bytes)));
        self.left.get().map(|_| ()).ok_or_else(|| E::custom("over the budget"))
    }
}

/// A value that can be read from JSON. Not serde's `Deserialize`, because the types are foreign and
/// the budget has to come along.
pub(crate) trait Json: Sized {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error>;
}

/// A JSON object with known keys.
pub(crate) trait Message: Default {
    /// Reads the value of `key` by one of the methods of `fields`; a key that is not known is left.
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error>;
}

/// The value that stands at the current key of an object.
pub(crate) struct Fields<'a, A> {
    map: &'a mut A,
    budget: &'a Budget,
    key: &'a str,
    is_read: bool,
}

impl<'de, A: MapAccess<'de>> Fields<'_, A> {
    /// The value, or `None` where it is null.
    fn read<T: Json>(&mut self) -> Result<Option<T>, A::Error> {
        self.is_read = true;
        let value = self.map.next_value_seed(Seed::<Option<T>>(self.budget, PhantomData));
        value.map_err(|e| {
            let was_placed = self.budget.is_placed.replace(true);
            if was_placed { e } else { A::Error::custom(format_args!("{}: {e}", self.key)) }
        })
    }

    /// Puts the value into `slot`, which stays as it is where the value is null.
    fn set<T: Json>(&mut self, slot: &mut T) -> Result<(), A::Error> {
        if let Some(value) = self.read()? {
            *slot = value;
        }
        Ok(())
    }

    /// Puts `wrap` of the value into `slot`, which stays as it is where the value is null.
    fn set_some<T: Json, U>(&mut self, slot: &mut Option<U>, wrap: impl FnOnce(T) -> U) -> Result<(), A::Error> {
        if let Some(value) = self.read()? {
            *slot = Some(wrap(value));
        }
        Ok(())
    }
}

struct Seed<'b, T>(&'b Budget, PhantomData<T>);

impl<'de, T: Json> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer, self.0)
    }
}

struct MessageVisitor<'b, T>(&'b Budget, PhantomData<T>);

impl<'de, T: Message> Visitor<'de> for MessageVisitor<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut message = T::default();
        while let Some(key) = map.next_key::<String>()? {
            let mut fields = Fields { map: &mut map, budget: self.0, key: &key, is_read: false };
            message.field(&key, &mut fields)?;
            if !fields.is_read {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(message)
    }
}

impl<T: Message> Json for T {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error> {
        let levels = budget.levels.get();
        let below =
            levels.checked_sub(1).ok_or_else(|| D::Error::custom(format!("nests deeper than {MAX_DEPTH} levels")))?;
        budget.levels.set(below);
        let message = deserializer.deserialize_map(MessageVisitor(budget, PhantomData))?;
        budget.levels.set(levels);
        Ok(message)
    }
}

impl<T: Json> Json for Option<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error> {
        struct OptionVisitor<'b, T>(&'b Budget, PhantomData<T>);

        impl<'de, T: Json> Visitor<'de> for OptionVisitor<'_, T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or null")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                T::read(deserializer, self.0).map(Some)
            }
        }

        deserializer.deserialize_option(OptionVisitor(budget, PhantomData))
    }
}

impl<T: Json> Json for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error> {
        struct ListVisitor<'b, T>(&'b Budget, PhantomData<T>);

        impl<'de, T: Json> Visitor<'de> for ListVisitor<'_, T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element_seed(Seed::<Option<T>>(self.0, PhantomData))? {
                    // The first element pays for the four places that are allocated with it.
                    self.0.charge(if list.is_empty() { 4 * size_of::<T>() } else { size_of::<T>() })?;
                    list.extend(element);
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(ListVisitor(budget, PhantomData))
    }
}

#[cfg(test)]
mod tests;
