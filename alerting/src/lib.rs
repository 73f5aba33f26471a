//! What decisions do to the world: remembered in one SQLite file, announced to receivers.
//!
//! The pipeline hands its decisions to [`Ledger::record`], which writes the decisions and the
//! notifications that follow from them in one transaction. From there on the [`Deliverer`] works
//! from the file alone, so that a killed process forgets nothing: what was recorded is announced at
//! least once, under the same `webhook-id` each time. Sending straight from the pipeline would be
//! simpler and would lose a notification between the decision and the receiver's answer.
//!
//! This is an edge: wall time and I/O are allowed here, and SQL stops here.

mod backoff;
mod clock;
mod cluster;
mod delivery;
mod dispatcher;
mod error;
mod inhibition;
mod integration;
mod interval;
mod ledger;
mod matcher;
mod receiver;
mod route;
pub mod runbook;
#[cfg(test)]
mod testing;
mod webhook;

pub use backoff::Backoff;
pub use cluster::Cluster;
pub use delivery::{Counters, Deliverer, DeliveryConfig, Destinations, TestOutcome, notify_test};
pub use dispatcher::Dispatcher;
pub use error::{DeliveryError, LedgerError, ReceiverError};
pub use integration::{
    Alertmanager, Email, FileSink, Handshake, Integration, MailAuth, OwnTexts, PagerDuty, SigningKey, Slack, Smarthost,
    Target, Teams, Templates, TlsMode, Webhook, WebhookFormat,
};
pub use interval::{TimeInterval, Zone};
pub use ledger::{
    Acknowledgement, AlertFilter, AnomalyFilter, AnomalyState, Damping, Delivery, DeliveryFilter, DeliveryState,
    Feedback, Heartbeat, Incident, IncidentFilter, Ledger, LevelFilter, LevelHook, Listed, Muted, Operator, Order,
    Outbox, Page, PostedAlert, Pruned, Question, Reader, Recorded, Replay, Said, ServicePin, SharedAcknowledgement,
    SharedPage, SharedPin, SharedSilence, ShownAlert, ShownGroup, Silence, SilenceSpec, SilenceState, Transition,
};
pub use lettre::message::Mailbox;
pub use matcher::{Matcher, MatcherError, MatcherJson, all_match};
pub use receiver::{Fallback, Receiver, Redactor, Secret, WebhookUrl};
pub use route::{GroupBy, InhibitRule, Route, Routing};
