//! What a window needs to go on after a restart, beside its sealed chunks.

use serde::{Deserialize, Serialize};

use crate::{UnixNanos, series::SavedRegistry};

/// The state of a window right after a seal: see [`crate::Window::state`].
///
/// Written by serde, with any format. Equal windows give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    pub(crate) registry: SavedRegistry,
    pub(crate) watermark: Option<UnixNanos>,
    pub(crate) floor: UnixNanos,
    pub(crate) bytes_by_time: Vec<(i64, u64)>,
}

impl WindowState {
    /// Rows at or before this time are gone: files that hold no others are of no use to this state.
    #[must_use]
    pub fn floor(&self) -> UnixNanos {
        self.floor
    }
}

/// A state that contradicts itself: it was not written by [`crate::Window::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved {what} names {found}, of {known} known")]
pub struct BadState {
    /// Which part names something that there is not.
    pub what: &'static str,
    /// What it names.
    pub found: usize,
    /// How many there are.
    pub known: usize,
}
