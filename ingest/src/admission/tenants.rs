//! What each tenant has in flight and owes, and its share.

use std::{collections::HashMap, time::Duration};

use proto::otlp::Load;

use super::{
    AdmissionConfig, TenantLimits,
    class::Class,
    rate::{Cell, Rate},
};
use crate::Tenant;

/// For so long after its last request a tenant keeps its share.
const ACTIVE: Duration = Duration::from_secs(10);
/// Of requests that would have to be refused unless they turn out to be of a class of which there is none in
/// flight, a tenant has one looked at in this time.
const TRIAL: Duration = Duration::from_millis(100);
/// A queue that is full to so many percent is short.
pub(super) const QUEUE_PERCENT: u64 = 90;
/// Time between two looks for tenants that can be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Why somebody was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// The service is full, and nobody else is active.
    Service,
    /// The service is nearly full, and what room there is, is kept for what matters more.
    Class(Class),
    /// More tenants than are kept.
    Tenants {
        /// How many are.
        limit: usize,
    },
    /// The service is full, and the tenant has its share.
    Share,
    /// Over a rate.
    Rate {
        /// Of what.
        what: &'static str,
        /// The configured one.
        rate: Rate,
        /// When so much will be taken.
        wait: Duration,
    },
}

/// The words for why somebody was turned away.
pub(crate) const REASONS: [&str; 6] = ["service", "tenants", "share", "rate", "criticality", "source"];
/// Which of them is that one address sends far more than others.
pub(super) const SOURCE: usize = 5;

impl Turned {
    /// Which of [`REASONS`] it is.
    pub(super) fn reason(self) -> usize {
        match self {
            Self::Service => 0,
            Self::Tenants { .. } => 1,
            Self::Share => 2,
            Self::Rate { .. } => 3,
            Self::Class(_) => 4,
        }
    }
}

/// What there is for all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes that may be in flight.
    pub(super) limit: u64,
    /// How much of the queue behind is taken.
    pub(super) queue_percent: u64,
}

/// The tenants that have something in flight, were active lately, or owe something.
#[derive(Debug)]
pub(super) struct Tenants {
    known: HashMap<Tenant, Account, foldhash::fast::RandomState>,
    limits: Vec<TenantLimits>,
    named: HashMap<Tenant, u32, foldhash::fast::RandomState>,
    max: usize,
    /// Bytes in flight of all.
    held: u64,
    /// Sum of the weights of those that are active.
    active_weight: u64,
    /// When a request of each class came last, as far as that was seen.
    seen: [Option<Duration>; Class::COUNT],
    swept: Duration,
}

/// One tenant's state; its limits are kept once for all that share them.
#[derive(Clone, Copy, Debug)]
struct Account {
    items: Cell,
    bytes: Cell,
    /// Bytes in flight.
    held: u64,
    /// Requests in flight, by class.
    requests: [u32; Class::COUNT],
    /// When a request was let in on trial last, for each pair of classes in doubt, in turns of [`TRIAL`].
    tried: [u32; 2],
    limits: u32,
    /// In milliseconds, so that the account stays small.
    last_seen: u64,
}

/// A request that is in, once it is known which class it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The class as which it came in.
    pub(super) was: Class,
    /// The class that it has.
    pub(super) is: Class,
    /// Whether it came in on trial.
    pub(super) is_trial: bool,
    /// Bytes that it has in flight.
    pub(super) held: u64,
}

impl Account {
    /// Whether a request of `class` is in flight.
    fn has(&self, class: Class) -> bool {
        self.requests[class as usize] > 0
    }

    fn is_active(&self, now: Duration) -> bool {
        self.requests != [0; Class::COUNT] || millis(now).saturating_sub(self.last_seen) < millis(ACTIVE)
    }
}

impl Tenants {
    pub(super) fn new(config: &AdmissionConfig) -> Self {
        let mut tenants = Self {
            known: HashMap::default(),
            limits: Vec::new(),
            named: HashMap::default(),
            max: 0,
            held: 0,
            active_weight: 0,
            seen: [None; Class::COUNT],
            swept: Duration::ZERO,
        };
        tenants.reconfigure(config);
        tenants
    }

    /// Gives everybody the limits of `config`. Nobody is forgotten for that.
    pub(super) fn reconfigure(&mut self, config: &AdmissionConfig) {
        self.limits = vec![config.default.clone()];
        self.named.clear();
        for (tenant, of_it) in &config.tenants {
            let index = u32::try_from(self.limits.len()).expect("a configuration file has far fewer lines");
            self.named.insert(tenant.clone(), index);
            self.limits.push(of_it.clone());
        }
        self.max = config.max_tenants;
        for (tenant, account) in &mut self.known {
            account.limits = self.named.get(tenant).copied().unwrap_or(0);
        }
        // The next request counts anew who is active, by the new weights.
        self.swept = Duration::ZERO;
    }

    /// Bytes in flight.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes `cost` bytes into flight for `tenant`, if its share or free room allows it; says whether
    /// it is in on trial.
    pub(super) fn enter(
        &mut self,
        tenant: &Tenant,
        class: Class,
        cost: u64,
        room: Room,
        now: Duration,
    ) -> Result<bool, Turned> {
        if now.saturating_sub(self.swept) >= SWEEP {
            self.sweep(now);
        }
        let (account, weight) = self.account(tenant, now)?;
        // So much is known before it is looked at.
        let at_least = class.in_doubt().map_or(class, |(below, _)| below);
        self.seen[at_least as usize] = Some(now);
        let mut is_trial = false;
        if account.has(class) || class.in_doubt().is_some_and(|(below, _)| account.has(below)) {
            let fits = self.fits(account, weight, (class, cost), room, now);
            is_trial = fits.is_err() && self.may_try(tenant, class, now);
            if !is_trial {
                fits?;
            }
        }
        let account = self.known.get_mut(tenant).expect("was found or made above");
        account.held += cost;
        account.requests[class as usize] += 1;
        self.held += cost;
        Ok(is_trial)
    }

    /// Whether a request that does not fit as one of `class` is looked at all the same, since it may be
    /// the only one of its class that the tenant has in flight, this one or the one below: one in [`TRIAL`].
    fn may_try(&mut self, tenant: &Tenant, class: Class, now: Duration) -> bool {
        let (Some((below, pair)), Some(account)) = (class.in_doubt(), self.known.get_mut(tenant)) else { return false };
        let turn = u32::try_from(millis(now) / millis(TRIAL)).unwrap_or(u32::MAX);
        let is_possible = !account.has(below) || !account.has(class);
        let may = is_possible && account.tried[pair] != turn;
        if may {
            account.tried[pair] = turn;
        }
        may
    }

    /// Counts a request of `tenant` that is in as one of the class that it has, if it may be in as one.
    pub(super) fn look(&mut self, tenant: &Tenant, seen: Seen, room: Room, now: Duration) -> Result<(), Turned> {
        let Seen { was, is, is_trial, held } = seen;
        self.seen[is as usize] = Some(now);
        let Some(mut account) = self.known.get(tenant).copied() else { return Ok(()) };
        account.requests[was as usize] = account.requests[was as usize].saturating_sub(1);
        if account.has(is) && (was != is || is_trial) {
            let weight = u64::from(self.limits[account.limits as usize].weight);
            let others = Account { held: account.held.saturating_sub(held), ..account };
            self.held = self.held.saturating_sub(held);
            let fits = self.fits(others, weight, (is, held), room, now);
            self.held += held;
            fits?;
        }
        account.requests[is as usize] += 1;
        self.known.insert(tenant.clone(), account);
        Ok(())
    }

    /// Takes `more` bytes for a request of `tenant` that is in, and `load` from its rates.
    pub(super) fn weigh(
        &mut self,
        tenant: &Tenant,
        (class, more): (Class, u64),
        load: Load,
        limit: u64,
        now: Duration,
    ) -> Result<(), Turned> {
        let Some(mut account) = self.known.get(tenant).copied() else { return Ok(()) };
        let limits = &self.limits[account.limits as usize];
        if account.requests[class as usize] > 1 && more > 0 {
            // What has come past a queue is not turned away by it for its size.
            let room = Room { limit, queue_percent: 0 };
            self.fits(account, u64::from(limits.weight), (class, more), room, now)?;
        }
        if let Some(rate) = limits.items {
            let turned = |wait| Turned::Rate { what: "items", rate, wait };
            account.items = account.items.take(rate, load.items, now).map_err(turned)?;
        }
        if let Some(rate) = limits.bytes {
            let turned = |wait| Turned::Rate { what: "decoded bytes", rate, wait };
            account.bytes = account.bytes.take(rate, load.bytes, now).map_err(turned)?;
        }
        account.held += more;
        self.held += more;
        self.known.insert(tenant.clone(), account);
        Ok(())
    }

    /// Gives back what a request held.
    pub(super) fn leave(&mut self, tenant: &Tenant, class: Class, held: u64) {
        self.held = self.held.saturating_sub(held);
        if let Some(account) = self.known.get_mut(tenant) {
            account.held = account.held.saturating_sub(held);
            let requests = &mut account.requests[class as usize];
            *requests = requests.saturating_sub(1);
        }
    }

    /// The account of `tenant`, made if it is new, and its weight; it is active from now on.
    fn account(&mut self, tenant: &Tenant, now: Duration) -> Result<(Account, u64), Turned> {
        if !self.known.contains_key(tenant) {
            if self.known.len() >= self.max {
                self.sweep(now);
            }
            if self.known.len() >= self.max {
                return Err(Turned::Tenants { limit: self.max });
            }
        }
        let limits = self.named.get(tenant).copied().unwrap_or(0);
        let weight = u64::from(self.limits[limits as usize].weight);
        let account = self.known.entry(tenant.clone()).or_insert_with(|| {
            self.active_weight += weight;
            let (items, bytes) = (Cell::default(), Cell::default());
            let (requests, tried) = ([0; Class::COUNT], [0; 2]);
            Account { items, bytes, held: 0, requests, tried, limits, last_seen: millis(now) }
        });
        if !account.is_active(now) {
            self.active_weight += weight;
        }
        account.last_seen = millis(now);
        Ok((*account, weight))
    }

    /// Whether `cost` more of `class` fits: into free room, or else into the tenant's share of what there
    /// is for this class and those below it.
    fn fits(
        &self,
        account: Account,
        weight: u64,
        (class, cost): (Class, u64),
        room: Room,
        now: Duration,
    ) -> Result<(), Turned> {
        let percent = self.percent_for(class, now);
        let part = |whole: u64| u128::from(whole) * u128::from(percent) / 100;
        let is_short = room.queue_percent * 100 >= QUEUE_PERCENT * percent;
        if !is_short && u128::from(self.held) + u128::from(cost) <= part(room.limit) {
            return Ok(());
        }
        // When the queue cannot take more, what is in flight is all that can be done at once.
        let whole = if is_short { room.limit.min(self.held) } else { room.limit };
        let share = |whole: u128| whole * u128::from(weight) / u128::from(self.active_weight.max(weight));
        let wanted = u128::from(account.held) + u128::from(cost);
        if wanted <= share(part(whole)) {
            return Ok(());
        }
        Err(match (wanted <= share(whole.into()), self.active_weight > weight) {
            (true, _) => Turned::Class(class),
            (false, true) => Turned::Share,
            (false, false) => Turned::Service,
        })
    }

    /// What `class` and those below it may take, in percent. Nothing is kept for what is not sent.
    fn percent_for(&self, class: Class, now: Duration) -> u64 {
        let above = &self.seen[class as usize + 1..];
        let is_sent = |seen: &Option<Duration>| seen.is_some_and(|at| now.saturating_sub(at) < ACTIVE);
        if above.iter().any(is_sent) { class.percent() } else { 100 }
    }

    /// Forgets who is idle and owes nothing, and counts anew who is active.
    fn sweep(&mut self, now: Duration) {
        self.swept = now;
        let (limits, mut active_weight) = (&self.limits, 0);
        self.known.retain(|_, account| {
            if account.is_active(now) {
                active_weight += u64::from(limits[account.limits as usize].weight);
                return true;
            }
            !(account.items.is_idle(now) && account.bytes.is_idle(now))
        });
        self.active_weight = active_weight;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_state_is_small() {
        assert!(size_of::<Account>() <= 64, "{}", size_of::<Account>());
    }
}
