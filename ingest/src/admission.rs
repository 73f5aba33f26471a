//! Who may come in now: one decision per request, before anything is decoded or allocated for it.
//!
//! Three limits, in this order.
//! 1. **The whole service**: the work in flight stays under a limit that is learned from how long work
//!    takes ([`gradient`]). Work is counted in units of [`UNIT`] of memory once decoded, and a request
//!    is at least one: the time from admission to answer is one of queueing and of handling, and only
//!    the second grows with the size, so a small request counts whole and a large one by its size.
//!    The limit is fed with seconds per unit, summed over a tenth of a second: a change of the mix of
//!    sizes from one step to the next then looks like no change of speed.
//! 2. **Fair shares**: while there is room, anyone has it. When there is none (or the queue is nearly
//!    full), a tenant comes in as long as what it has in flight is less than its share of the limit, by
//!    weight, among the tenants that are active. One that floods the service is thus held at its share
//!    within the time of one answer, and the others do not wait for it.
//! 3. **Rates** ([`rate`]), where they are configured: items and decoded bytes per second.
//!
//! What matters less is shed first ([`class`]): logs up to `DEBUG`, other logs, spans, metrics, and last the
//! metrics that rules and the level read. Of the limit, of a share of it and of the queue, each class
//! leaves a part to those above it, as long as they are sent. The class by signal is known before a
//! request is decompressed; only when the service is nearly full is its content looked at for more.
//! REST, health and the level are not behind this admission.
//!
//! The door is never wholly shut: a request passes 1 and 2 when its tenant has nothing of its class in
//! flight; where that is not known before, some are looked at. Time is an argument.

mod class;
mod gradient;
mod rate;
mod tenants;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

pub(crate) use self::{class::Class, tenants::REASONS};
pub use self::{
    class::UsedMetrics,
    rate::{Cell, Rate},
};
use proto::otlp::{Load, Signal};

use self::{
    gradient::Gradient,
    tenants::{Room, Seen, Tenants, Turned},
};
use crate::{
    Counters, SourceScore, Tenant,
    door::{Outcome, Refusal},
};

/// One unit of work: so many bytes once decoded.
const UNIT: u64 = 1024 * 1024;
/// What handling one item costs in terms of bytes: rows without attributes are not free.
const ITEM_BYTES: u64 = 256;

/// What a request costs in one number, in bytes.
fn cost(load: Load) -> u64 {
    load.bytes.max(load.items.saturating_mul(ITEM_BYTES))
}

/// What one tenant may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Its share of an overloaded service, relative to the others'. Default 1; 1 to 1000.
    pub weight: u32,
    /// Data points, spans and log records. Default: no limit.
    pub items: Option<Rate>,
    /// Bytes once decompressed and decoded, by the estimate that is made before. Default: no limit.
    pub bytes: Option<Rate>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self { weight: 1, items: None, bytes: None }
    }
}

/// Who may take what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Tenants that are known at the same time; one more is told to come again. Default 100.
    /// Here those that are idle and owe nothing are forgotten; the pipeline keeps each one's windows.
    pub max_tenants: usize,
    /// Limits of a tenant that `tenants` does not name.
    pub default: TenantLimits,
    /// Limits of single tenants.
    pub tenants: BTreeMap<Tenant, TenantLimits>,
    /// What is refused last. Default: nothing before other metrics.
    pub used: UsedMetrics,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            max_tenants: 100,
            default: TenantLimits::default(),
            tenants: BTreeMap::new(),
            used: UsedMetrics::default(),
        }
    }
}

/// The decision, shared by both doors. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    counters: Arc<Counters>,
    used: RwLock<Arc<UsedMetrics>>,
}

struct State {
    gradient: Gradient,
    tenants: Tenants,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Admission").field("limit", &state.gradient.limit()).finish_non_exhaustive()
    }
}

impl Admission {
    pub(crate) fn new(config: &AdmissionConfig, counters: Arc<Counters>) -> Self {
        let state = State { gradient: Gradient::new(), tenants: Tenants::new(config) };
        let used = RwLock::new(Arc::new(config.used.clone()));
        let admission = Self(Arc::new(Shared { state: Mutex::new(state), counters, used }));
        admission.0.show(&admission.0.lock());
        admission
    }

    /// Goes by `config` from now on. What is in flight, and what tenants owe, stays.
    pub(crate) fn reconfigure(&self, config: &AdmissionConfig) {
        *self.0.used.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.used.clone());
        self.0.lock().tenants.reconfigure(config);
    }

    /// Turns an address away that sends far more than others, while there is too much to do for all of the lowest
    /// class. Of the queue that comes behind, `queue_percent` are taken.
    ///
    /// # Errors
    /// A refusal that asks the sender to come again.
    pub(crate) fn meet(&self, source: SourceScore, queue_percent: u64) -> Result<(), Refusal> {
        if source.score <= 1.0 {
            return Ok(());
        }
        let (state, least) = (self.0.lock(), Class::DebugLogs.percent());
        let is_short =
            state.tenants.held() * 100 > state.limit() * least || queue_percent * 100 > least * tenants::QUEUE_PERCENT;
        drop(state);
        if !is_short {
            return Ok(());
        }
        self.0.counters.count_turned_away(tenants::SOURCE);
        let message = "the service is short, and this address sends far more than others";
        Err(Refusal::new(Outcome::Limited, message))
    }

    /// Lets a request of `tenant` in that weighs at least `load`, as far as is known before it is
    /// decompressed. Of the queue that comes behind, `queue_percent` are taken.
    ///
    /// # Errors
    /// A refusal that asks the sender to come again.
    pub(crate) fn enter(
        &self,
        tenant: &Tenant,
        (signal, load): (Signal, Load),
        queue_percent: u64,
        now: Duration,
    ) -> Result<Ticket, Refusal> {
        let class = Class::at_best(signal, &self.0.used());
        let mut state = self.0.lock();
        let room = Room { limit: state.limit(), queue_percent };
        let held = cost(load).max(UNIT);
        let entered = state.tenants.enter(tenant, class, held, room, now);
        self.0.show(&state);
        drop(state);
        let is_trial = entered.map_err(|turned| self.0.refusal(tenant, turned))?;
        let (shared, tenant) = (Arc::clone(&self.0), tenant.clone());
        Ok(Ticket { shared, tenant, signal, class, is_trial, is_known: false, held, queue_percent, entered: now })
    }
}

impl State {
    /// In bytes, as the tenants count.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a limit is 20 to 200 units")]
    fn limit(&self) -> u64 {
        self.gradient.limit() as u64 * UNIT
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> Arc<UsedMetrics> {
        Arc::clone(&self.used.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, state: &State) {
        self.counters.admission(state.limit() / UNIT, state.tenants.held().div_ceil(UNIT), state.tenants.len());
    }

    fn refusal(&self, tenant: &Tenant, turned: Turned) -> Refusal {
        self.counters.count_turned_away(turned.reason());
        match turned {
            Turned::Service => Refusal::new(Outcome::Busy, "the service has as much in flight as it can handle"),
            Turned::Class(class) => {
                let message = format!("the service has as much in flight as it can handle of {}", class.as_str());
                Refusal::new(Outcome::Busy, message)
            }
            Turned::Tenants { limit } => {
                let message = format!("the service knows {limit} tenants already, which is as many as it may");
                Refusal::new(Outcome::Busy, message)
            }
            Turned::Share => {
                let message = format!("the service is busy and tenant {tenant} has its share of it in flight");
                Refusal::new(Outcome::Limited, message)
            }
            Turned::Rate { what, rate, wait } => {
                let Rate { per_second, burst } = rate;
                let message =
                    format!("tenant {tenant} is over its rate of {per_second} {what} per second (burst {burst})");
                Refusal::new(Outcome::Limited, message).not_before(wait)
            }
        }
    }
}

/// Work of `bytes` in units; a request is at least one.
#[expect(clippy::cast_precision_loss, reason = "requests are far below 2^52 bytes")]
fn units(bytes: u64) -> f64 {
    bytes as f64 / UNIT as f64
}

/// A request that is in. What it holds is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    tenant: Tenant,
    signal: Signal,
    class: Class,
    /// Whether it is in to see which class it has.
    is_trial: bool,
    /// Whether it was looked at for its class.
    is_known: bool,
    held: u64,
    /// When it came in.
    queue_percent: u64,
    entered: Duration,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Ticket {
    /// Whether the class of the request is worth a look: it is not known from the signal alone, and so
    /// much is taken that some class has to wait.
    pub(crate) fn wants_look(&self) -> bool {
        if self.is_known || self.class.in_doubt().is_none() {
            return false;
        }
        let state = self.shared.lock();
        let least = Class::DebugLogs.percent();
        self.is_trial
            || state.tenants.held() * 100 > state.limit() * least
            || self.queue_percent * 100 > least * tenants::QUEUE_PERCENT
    }

    /// Settles which class the request, in protobuf, has, if that is worth a look.
    ///
    /// # Errors
    /// A refusal that asks the sender to come again.
    pub(crate) fn look(&mut self, request: &[u8], now: Duration) -> Result<(), Refusal> {
        if !self.wants_look() {
            return Ok(());
        }
        let is = Class::of(self.signal, request, &self.shared.used());
        let seen = Seen { was: self.class, is, is_trial: self.is_trial, held: self.held };
        let mut state = self.shared.lock();
        let room = Room { limit: state.limit(), queue_percent: self.queue_percent };
        let looked = state.tenants.look(&self.tenant, seen, room, now);
        drop(state);
        looked.map_err(|turned| self.shared.refusal(&self.tenant, turned))?;
        (self.class, self.is_known) = (is, true);
        Ok(())
    }

    /// Settles what the request, in protobuf, really weighs, once it is known, and takes that from the
    /// tenant's rates.
    ///
    /// # Errors
    /// A refusal that asks the sender to come again; nothing is taken from the rates then.
    pub(crate) fn weigh(&mut self, request: &[u8], load: Load, now: Duration) -> Result<(), Refusal> {
        self.look(request, now)?;
        let mut state = self.shared.lock();
        let limit = state.limit();
        let more = cost(load).saturating_sub(self.held);
        let weighed = state.tenants.weigh(&self.tenant, (self.class, more), load, limit, now);
        if weighed.is_ok() {
            self.held += more;
        }
        self.shared.show(&state);
        drop(state);
        weighed.map_err(|turned| self.shared.refusal(&self.tenant, turned))
    }

    /// The request is answered: its time is a sample for the limit.
    pub(crate) fn finish(self, now: Duration) {
        let mut state = self.shared.lock();
        let in_flight = units(state.tenants.held());
        state.gradient.sample(now.saturating_sub(self.entered), units(self.held), in_flight, now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.tenants.leave(&self.tenant, self.class, self.held);
        self.shared.show(&state);
    }
}

#[cfg(test)]
mod tests;
