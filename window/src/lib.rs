//! The rolling windows: what was received lately, as Arrow chunks, readable by everyone at once.
//!
//! One owner appends to a head; [`Window::seal`] turns the head into immutable chunks; readers hold
//! a [`Snapshot`], which is a handful of `Arc`s and never blocks the writer. A database would give
//! the same picture at a hundred times the cost per point; a plain `Vec` per series would need a
//! lock or a copy for every reader.
//!
//! Schemas and memory arithmetic: `window/README.md`.

pub mod columns;
mod events;
pub mod files;
mod histograms;
mod history;
mod labels;
mod ledger;
mod log;
mod numbers;
mod rows;
mod runs;
mod series;
mod snapshot;
mod state;
mod store;
mod tables;

mod time;

pub use events::{BatchFull, Dictionary, LogChunk, LogColumns, SpanChunk, SpanColumns, SpanOutline, SpanView};
pub use histograms::{Buckets, BucketsView, ExpBuckets, ExpBucketsView, HistogramChunk, HistogramRow, HistogramView};
pub use history::{
    Ask, Filter, Historian, History, HistoryConfig, HistoryError, HistoryStats, Past, Resolution, Rollup, RollupRow,
};
pub use labels::Labels;
pub use ledger::Budget;
pub use log::{
    Damage, Log, LogCheck, LogConfig, LogError, Position, Record, Recovery, Replay, Torn, check_log, is_log, repair_log,
};
pub use numbers::{BYTES_PER_POINT, Climb, NumberChunk};
pub use rows::{Exemplar, LogRow, Point, STALE_NAN_BITS, Sample, SpanKind, SpanRow, SpanStatus, is_stale};
pub use series::{
    AMBIGUOUS_LABEL, Membership, Registry, RegistryView, Series, SeriesId, SeriesKey, SeriesKind, SeriesLimit,
    Temporality,
};
pub use snapshot::{Between, Snapshot};
pub use state::{BadState, WindowState};
pub use store::{Config, Stats, Window};
pub use tables::Tables;
pub use time::UnixNanos;
