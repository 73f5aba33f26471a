//! Follows a degradation level of Bellwether in front of any `tower` service.
//!
//! [`follow`] listens to the level's stream and keeps it in a [`Followed`], which costs a request one atomic read
//! and a look at the clock. [`DegradationLayer`] puts the level on each answer and refuses what the level turns
//! off: writes from level 3, everything but the paths that are kept at level 4. It fails open: when nothing is
//! heard, the last known level holds for a bounded time, and then level 0.

mod feed;
mod layer;
mod level;

pub use feed::follow;
pub use layer::{Degradation, DegradationFuture, DegradationLayer, Policy};
pub use level::{DEFAULT_MAX_AGE, Followed, LEVELS};
