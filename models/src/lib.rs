//! The mathematics of detection: numbers in, scores out.
//!
//! Pure and seeded: no clock, no environment, no I/O, so that the same input gives the same scores
//! in a live run, after a restart and in a replay. What a score means for people is `detect`'s work.

pub mod forest;
pub mod joint;
mod known;
pub mod novelty;
pub mod passage;
mod quantile;
mod record;
pub mod rolling;
pub mod season;
pub mod shape;
pub mod tail;
pub mod zscore;

pub use forest::{Forest, ForestParams};
pub use joint::Joint;
pub use novelty::Novelty;
pub use passage::{Course, Pace};
pub use quantile::{Quantile, exact_quantile};
pub use rolling::Rolling;
pub use season::Season;
pub use shape::Shape;
pub use tail::Tail;
pub use zscore::ZScore;
