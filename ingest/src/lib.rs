//! The door: OTLP in, window rows out.
//!
//! Receivers decode on their own tasks into a [`Batch`]; the [`Queue`] carries it to the thread
//! that owns the window, where [`Intake`] admits, registers and derives.

mod access;
mod admission;
mod batch;
mod decode;
mod door;
#[cfg(test)]
mod fake;
mod grpc;
mod histograms;
mod http;
mod intake;
mod known;
mod queue;
mod rates;
mod red;
mod request;
mod server;
mod sketch;
mod sorted;
mod sources;
mod tenant;

pub use access::{Access, AccessConfig, Credential, Denied, Proof, Secret, TENANT_HEADER};
pub use admission::{AdmissionConfig, Cell, Rate, TenantLimits, UsedMetrics};
pub use batch::{Batch, DerivedPoint, ExemplarRow, Feed, NumberRow, Numbers, Rejections, SeriesRef, Stranger};
pub use decode::{Decoded, Decoder, Limits, Measured, attributes_as_json};
pub use door::{Counters, Doorkeeper, Outcome, Taken, Transport};
pub use histograms::{Derived, HistogramFault, Histograms, Interval, MAX_BUCKETS, check_histogram};
pub use intake::{Applied, Idle, Intake, IntakeConfig, IntakeState, LatenessConfig, Outdated, Passed};
pub use known::{KnownSeries, KnownTenants, WireKey};
pub use queue::{Queue, Refused, Submission};
pub use red::RedConfig;
pub use request::Request;
pub use server::{BindError, Config, ConnectionLimits, Pulse, ReceiverError, Receivers, TlsConfig, TlsError};
pub use sources::{SourceScore, Sources};
pub use tenant::{Tenant, TenantError};
