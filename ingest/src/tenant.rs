//! Whose data it is.

use std::{fmt, sync::Arc};

/// Longest name in bytes.
const MAX_BYTES: usize = 150;
/// What a name may have beside ASCII letters and digits.
const MARKS: &str = "!-_.*'()";

/// A tenant's name. Cheap to clone.
///
/// 1 to 150 ASCII letters, digits and ``!-_.*'()``, and neither `.` nor `..`: the set that Mimir takes,
/// safe in paths and in URLs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// The text is no tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX_BYTES} letters, digits or {MARKS}, and neither . nor ..")]
pub struct TenantError;

impl Tenant {
    /// The tenant of who does not name one.
    pub const DEFAULT: &'static str = "default";

    /// The tenant of that name.
    ///
    /// # Errors
    /// [`TenantError`] when the text is no such name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || MARKS.contains(c);
        let is_name = (1..=MAX_BYTES).contains(&name.len()) && name.chars().all(is_allowed);
        if is_name && !matches!(name, "." | "..") { Ok(Self(name.into())) } else { Err(TenantError) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_safe_set() {
        for name in ["default", "a", "Team-7_(eu).prod*!'", "...", &"x".repeat(150)] {
            assert_eq!(Tenant::new(name).as_ref().map(Tenant::as_str), Ok(name));
        }
        for name in ["", ".", "..", "a/b", "a b", "a|b", "é", "a\0", &"x".repeat(151)] {
            assert_eq!(Tenant::new(name), Err(TenantError), "{name:?}");
        }
    }
}
