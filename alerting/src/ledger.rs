//! What was decided and who has to hear of it: one SQLite file in the data directory.
//!
//! Decisions and the notifications that follow from them are one transaction, so that a crash at any
//! moment leaves either both or neither. SQLite rather than files of our own: transactions, indexes
//! and a format that operators can open are worth more here than speed, since decisions are rare.
//!
//! Four handles share the file: [`Ledger`] belongs to the pipeline and records; [`Reader`] answers
//! questions; [`Operator`] writes what people decide; [`Outbox`] is the deliverer's.

mod acknowledgements;
mod alerts;
mod anomalies;
mod body;
mod check;
mod endpoints;
mod external;
mod feedback;
mod flapping;
mod groups;
mod heartbeat;
mod hooks;
mod incidents;
mod levels;
mod outbox;
mod pins;
mod rows;
mod schema;
mod shown;
mod silences;
mod store;
mod told;

use std::{collections::HashSet, path::Path, sync::Arc};

use detect::{Decision, UnixNanos};
use rusqlite::Transaction;

pub(crate) use self::endpoints::{Due, Endpoint, Room, Settlement, StandIn, Taken, Verdict};
pub(crate) use self::flapping::is_marked;
pub(crate) use self::groups::Desk;
pub(crate) use self::hooks::LEVEL_PATH;
pub(crate) use self::silences::Merged;
pub(crate) use self::store::Store;
pub(crate) use self::told::Asking;
pub use self::{
    acknowledgements::{Acknowledgement, SharedAcknowledgement},
    alerts::{AlertFilter, Transition},
    anomalies::{AnomalyFilter, AnomalyState},
    endpoints::{Outbox, Replay},
    external::PostedAlert,
    feedback::Feedback,
    flapping::Damping,
    groups::Muted,
    heartbeat::Heartbeat,
    hooks::LevelHook,
    incidents::{Incident, IncidentFilter},
    levels::LevelFilter,
    outbox::{Delivery, DeliveryFilter, DeliveryState},
    pins::{Operator, ServicePin, SharedPin},
    rows::{Listed, Order, Page},
    shown::{ShownAlert, ShownGroup},
    silences::{SharedPage, SharedSilence, Silence, SilenceSpec, SilenceState},
    told::{Question, Said},
};
use crate::{
    LedgerError, Receiver, clock,
    dispatcher::{Dispatcher, Plan, Planned},
    route::Routing,
    webhook::Origin,
};

/// The pipeline's handle: the only one that records decisions.
#[derive(Debug)]
pub struct Ledger {
    store: Arc<Store>,
    origin: Origin,
    /// `None` tells everybody everything.
    routing: Option<Routing>,
    /// Who is told of levels.
    hooks: Vec<LevelHook>,
    /// What dispatchers go by.
    plan: Plan,
}

/// What [`Ledger::record`] wrote. Decisions that were recorded before do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Anomalies written or brought up to date (again).
    pub anomalies: usize,
    /// New alert transitions.
    pub transitions: usize,
    /// New level changes.
    pub levels: usize,
    /// New notifications in the outbox.
    pub notifications: usize,
}

/// What [`Ledger::prune`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ended anomalies.
    pub anomalies: usize,
    /// Resolved alerts, each with its transitions.
    pub alerts: usize,
    /// Notifications that were delivered or given up.
    pub deliveries: usize,
    /// Level changes; the current levels stay.
    pub levels: usize,
    /// Whether there is more to delete: call again.
    pub more: bool,
}

impl Ledger {
    /// Rows of each kind that one call of [`Self::prune`] deletes at most, so that the pipeline never
    /// waits long for it.
    pub const PRUNE_BATCH: usize = 1000;

    /// Opens the ledger, creating the file and its directory when they do not exist, and bringing an
    /// older schema up to date.
    ///
    /// # Errors
    /// [`LedgerError::Unwritable`], [`LedgerError::InUse`], [`LedgerError::NotALedger`] or
    /// [`LedgerError::NewerSchema`], each with the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let store = Arc::new(Store::open(path.as_ref())?);
        let origin = Origin { external_url: "http://127.0.0.1:4320".to_owned(), tenant: None };
        Ok(Self { store, origin, routing: None, hooks: Vec::new(), plan: Plan::of_nobody() })
    }

    /// What is wrong with the ledger at `path`, in SQLite's words; `None` for a sound one, or where there
    /// is none. Nothing is changed.
    ///
    /// # Errors
    /// [`LedgerError::InUse`], or [`LedgerError::Unwritable`] where it cannot be looked at.
    pub fn fault(path: impl AsRef<Path>) -> Result<Option<String>, LedgerError> {
        check::fault(path.as_ref())
    }

    /// The same ledger, whose notifications link to `url`: this service as its receivers reach it.
    /// Default `http://127.0.0.1:4320`.
    #[must_use]
    pub fn with_external_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.origin.external_url);
        self
    }

    /// The same ledger, whose notifications say that they are of `tenant`: by a label and in their links.
    /// Default: nothing is said.
    #[must_use]
    pub fn with_tenant(mut self, tenant: &str) -> Self {
        self.origin.tenant = Some(tenant.to_owned());
        self
    }

    /// From now on `hooks` are told of each change of a level.
    pub fn follow_levels(&mut self, hooks: Vec<LevelHook>) {
        self.hooks = hooks;
    }

    /// From now on alerts go to `receivers` as `routing` says, also those that dispatchers tell; those that fire are
    /// placed anew. Without it every receiver is told of every alert, by itself and at once.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`]; nothing has changed then.
    pub fn route(&mut self, routing: Routing, receivers: &[Receiver]) -> Result<(), LedgerError> {
        // Nobody tells anything meanwhile.
        let mut plan = self.plan.replace();
        let desk = Desk { store: &self.store, routing: &routing, receivers, origin: &self.origin, now: clock::now() };
        self.store.write(|transaction| desk.replace_all(transaction))?;
        *plan = Planned { routing: routing.clone(), receivers: receivers.to_vec() };
        drop(plan);
        self.routing = Some(routing);
        self.store.replan();
        Ok(())
    }

    /// What tells groups when their time has come, once alerts are routed.
    #[must_use]
    pub fn dispatcher(&self, receivers: Vec<Receiver>) -> Dispatcher {
        let routing = self.routing_to(&receivers);
        *self.plan.replace() = Planned { routing, receivers };
        let (store, reader, origin) = (Arc::clone(&self.store), self.reader(), self.origin.clone());
        Dispatcher { store, reader, origin, plan: self.plan.clone() }
    }

    fn routing_to(&self, receivers: &[Receiver]) -> Routing {
        self.routing.clone().unwrap_or_else(|| Routing::to_all(receivers))
    }

    /// Writes `decisions`, places the alerts among them that began or ceased to fire in their groups, and adds the
    /// notifications of the groups that are due, in one transaction. When it returns, all of it survives the loss of
    /// power.
    ///
    /// Recording the same decisions again, in whole or in part, changes nothing and announces nothing:
    /// an anomaly never goes back to an earlier state, and a transition is known by its episode, states
    /// and time. This holds as long as they have not been pruned.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`]; nothing was written then, and the same call may be repeated.
    pub fn record(&mut self, decisions: &[Decision], receivers: &[Receiver]) -> Result<Recorded, LedgerError> {
        if decisions.is_empty() {
            return Ok(Recorded::default());
        }
        let recorded = self.store.write(|transaction| self.record_in(transaction, decisions, receivers))?;
        if recorded.notifications > 0 {
            self.store.ring();
        }
        if recorded.transitions > 0 {
            self.store.replan();
        }
        Ok(recorded)
    }

    fn record_in(
        &self,
        transaction: &Transaction<'_>,
        decisions: &[Decision],
        receivers: &[Receiver],
    ) -> Result<Recorded, LedgerError> {
        let routing = self.routing_to(receivers);
        let desk = Desk { store: &self.store, routing: &routing, receivers, origin: &self.origin, now: clock::now() };
        let mut recorded = Recorded::default();
        // Anomalies first: notifications quote them, wherever in the batch they stand.
        for decision in decisions {
            if let Decision::Anomaly(event) = decision {
                recorded.anomalies += usize::from(anomalies::save(transaction, event.anomaly())?);
            }
        }
        let (at_once, mut untold) = (routing.is_at_once(), HashSet::new());
        for decision in decisions {
            match decision {
                Decision::Anomaly(_) => {}
                Decision::Level(change) => {
                    if levels::save(transaction, change)? {
                        recorded.levels += 1;
                        recorded.notifications += hooks::tell(transaction, change, (&self.hooks, &desk))?;
                    }
                }
                Decision::Alert(transition) => {
                    let alert = &transition.alert;
                    // What began and ended meanwhile is told of both.
                    if at_once && transition.is_announced() && !untold.insert(alert.fingerprint.as_str()) {
                        recorded.notifications += desk.flush(transaction)?;
                        untold = HashSet::from([alert.fingerprint.as_str()]);
                    }
                    let is_new = alerts::save(transaction, transition)?;
                    recorded.transitions += usize::from(is_new);
                    if is_new && transition.is_announced() {
                        desk.place(transaction, alert)?;
                    }
                }
            }
        }
        if recorded.transitions > 0 {
            recorded.notifications += desk.flush(transaction)?;
        }
        Ok(recorded)
    }

    /// Deletes what was over before `before`, at most [`Self::PRUNE_BATCH`] rows of each kind: anomalies
    /// by their end, alerts by their resolution and level changes by their time (all event time),
    /// notifications by the wall time at which they were delivered or given up, and pins by their
    /// expiry. What is still open, active or pending stays, however old it is.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`]; nothing was deleted then.
    pub fn prune(&mut self, before: UnixNanos) -> Result<Pruned, LedgerError> {
        let delete = |transaction: &Transaction<'_>, table: &str, condition: &str| {
            let batch = Self::PRUNE_BATCH;
            let sql =
                format!("DELETE FROM {table} WHERE row IN (SELECT row FROM {table} WHERE {condition} LIMIT {batch})");
            transaction.execute(&sql, [before.0])
        };
        let pruned = self.store.write(|transaction| {
            let mut pruned = Pruned {
                anomalies: delete(transaction, "anomalies", "ends_at IS NOT NULL AND ends_at < ?")?,
                alerts: delete(transaction, "alerts", "state = 'resolved' AND resolved_at < ?")?,
                deliveries: delete(transaction, "outbox", "finished_at IS NOT NULL AND finished_at < ?")?,
                levels: delete(transaction, "level_changes", "at < ?")?,
                more: false,
            };
            transaction.execute("DELETE FROM pins WHERE expires_at < ?", [before.0])?;
            transaction.execute("DELETE FROM silences WHERE ends_at < ?", [before.0])?;
            let counts = [pruned.anomalies, pruned.alerts, pruned.deliveries, pruned.levels];
            pruned.more = counts.contains(&Self::PRUNE_BATCH);
            Ok(pruned)
        })?;
        self.store.silences_mut().forget(before);
        Ok(pruned)
    }

    /// A handle that answers questions.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { store: Arc::clone(&self.store) }
    }

    /// A handle that writes what people decide.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.store))
    }

    /// The deliverer's handle.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::new(Arc::clone(&self.store))
    }
}

/// Answers questions about the ledger. Cheap to clone; works beside the pipeline's writing, and sees
/// only whole transactions. Its methods block on the disk: from async code use [`Self::ask`].
#[derive(Clone, Debug)]
pub struct Reader {
    store: Arc<Store>,
}

impl Reader {
    /// Answers that there is nothing, for somebody who has no ledger. Kept in memory.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`] when there is no memory for it.
    pub fn of_nothing() -> Result<Self, LedgerError> {
        Ok(Self { store: Arc::new(Store::empty()?) })
    }

    /// Puts `question` to the ledger on a thread that may block.
    ///
    /// # Errors
    /// The question's own, and [`LedgerError::Interrupted`] when the runtime is shutting down.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let reader = self.clone();
        let answer = tokio::task::spawn_blocking(move || question(&reader)).await;
        answer.unwrap_or(Err(LedgerError::Interrupted))
    }
}

#[cfg(test)]
pub(super) mod tests;
