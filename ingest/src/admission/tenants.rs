//! What each tenant has in flight and owes, and its share.

use std::{collections::HashMap, time::Duration};

use proto::otlp::Load;

use super::{
    AdmissionConfig, TenantLimits,
    rate::{Cell, Rate},
};
use crate::Tenant;

/// For so long after its last request a tenant keeps its share.
const ACTIVE: Duration = Duration::from_secs(10);
/// Time between two looks for tenants that can be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Why somebody was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// The service is full, and nobody else is active.
    Service,
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
pub(crate) const REASONS: [&str; 4] = ["service", "tenants", "share", "rate"];

impl Turned {
    /// Which of [`REASONS`] it is.
    pub(super) fn reason(self) -> usize {
        match self {
            Self::Service => 0,
            Self::Tenants { .. } => 1,
            Self::Share => 2,
            Self::Rate { .. } => 3,
        }
    }
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
    swept: Duration,
}

/// One tenant's state; its limits are kept once for all that share them.
#[derive(Clone, Copy, Debug)]
struct Account {
    items: Cell,
    bytes: Cell,
    /// Bytes in flight.
    held: u64,
    requests: u32,
    limits: u32,
    /// In milliseconds, so that the account stays small.
    last_seen: u64,
}

impl Account {
    fn is_active(&self, now: Duration) -> bool {
        self.requests > 0 || millis(now).saturating_sub(self.last_seen) < millis(ACTIVE)
    }
}

impl Tenants {
    pub(super) fn new(config: &AdmissionConfig) -> Self {
        let mut limits = vec![config.default.clone()];
        let mut named = HashMap::default();
        for (tenant, of_it) in &config.tenants {
            let index = u32::try_from(limits.len()).expect("a configuration file has far fewer lines");
            named.insert(tenant.clone(), index);
            limits.push(of_it.clone());
        }
        Self {
            known: HashMap::default(),
            limits,
            named,
            max: config.max_tenants,
            held: 0,
            active_weight: 0,
            swept: Duration::ZERO,
        }
    }

    /// Bytes in flight.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes `cost` bytes into flight for `tenant`, if its share of `limit` or free room allows it.
    pub(super) fn enter(
        &mut self,
        tenant: &Tenant,
        cost: u64,
        limit: u64,
        is_short: bool,
        now: Duration,
    ) -> Result<(), Turned> {
        if now.saturating_sub(self.swept) >= SWEEP {
            self.sweep(now);
        }
        let (account, weight) = self.account(tenant, now)?;
        if account.requests > 0 {
            self.room(account, weight, cost, limit, is_short)?;
        }
        let account = self.known.get_mut(tenant).expect("was found or made above");
        account.held += cost;
        account.requests += 1;
        self.held += cost;
        Ok(())
    }

    /// Takes `more` bytes for a request of `tenant` that is in, and `load` from its rates.
    pub(super) fn weigh(
        &mut self,
        tenant: &Tenant,
        load: Load,
        more: u64,
        limit: u64,
        now: Duration,
    ) -> Result<(), Turned> {
        let Some(mut account) = self.known.get(tenant).copied() else { return Ok(()) };
        let limits = &self.limits[account.limits as usize];
        if account.requests > 1 && more > 0 {
            self.room(account, u64::from(limits.weight), more, limit, false)?;
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
    pub(super) fn leave(&mut self, tenant: &Tenant, held: u64) {
        self.held = self.held.saturating_sub(held);
        if let Some(account) = self.known.get_mut(tenant) {
            account.held = account.held.saturating_sub(held);
            account.requests = account.requests.saturating_sub(1);
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
            Account { items, bytes, held: 0, requests: 0, limits, last_seen: millis(now) }
        });
        if !account.is_active(now) {
            self.active_weight += weight;
        }
        account.last_seen = millis(now);
        Ok((*account, weight))
    }

    /// Whether `cost` more fits: into free room, or else into the tenant's share.
    fn room(&self, account: Account, weight: u64, cost: u64, limit: u64, is_short: bool) -> Result<(), Turned> {
        if !is_short && self.held.saturating_add(cost) <= limit {
            return Ok(());
        }
        let share = u128::from(limit) * u128::from(weight) / u128::from(self.active_weight.max(weight));
        if u128::from(account.held) + u128::from(cost) <= share {
            return Ok(());
        }
        Err(if self.active_weight > weight { Turned::Share } else { Turned::Service })
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
