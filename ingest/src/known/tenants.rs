//! What is known for each tenant: the doors ask for a tenant's series once per request.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::KnownSeries;
use crate::{Refused, Tenant};

/// The tenants that the pipeline serves, each with its own [`KnownSeries`]. Bounded; cheap to clone.
#[derive(Clone, Debug)]
pub struct KnownTenants {
    series: Arc<RwLock<HashMap<Tenant, Arc<KnownSeries>>>>,
    /// For a tenant that has no data yet.
    nothing: Arc<KnownSeries>,
    max: Arc<AtomicUsize>,
}

impl KnownTenants {
    /// Nobody known yet, of at most `max` tenants.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { series: Arc::default(), nothing: Arc::new(KnownSeries::new(0)), max: Arc::new(max.into()) }
    }

    /// From now on at most `max` tenants; those that are known stay.
    pub fn limit(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// What a request of `tenant` is decoded with. A tenant that is not known yet knows no series, and
    /// becomes known by [`Self::add`] only, so that a request that brings nothing takes nobody's place.
    ///
    /// # Errors
    /// [`Refused::Tenants`] when the tenant is not known and there is no room for one more.
    pub fn of(&self, tenant: &Tenant) -> Result<Arc<KnownSeries>, Refused> {
        // Whole between any two statements, so a thread that died has left no harm.
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let limit = self.max.load(Relaxed);
        match series.get(tenant) {
            Some(known) => Ok(Arc::clone(known)),
            None if series.len() < limit => Ok(Arc::clone(&self.nothing)),
            None => Err(Refused::Tenants { limit }),
        }
    }

    /// Makes `tenant` known, with `known` for its series from now on.
    ///
    /// # Errors
    /// [`Refused::Tenants`] when there is no room.
    pub fn add(&self, tenant: &Tenant, known: Arc<KnownSeries>) -> Result<(), Refused> {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let limit = self.max.load(Relaxed);
        if series.len() >= limit && !series.contains_key(tenant) {
            return Err(Refused::Tenants { limit });
        }
        series.insert(tenant.clone(), known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("is a name")
    }

    #[test]
    fn each_tenant_has_its_own_and_asking_takes_no_place() {
        let tenants = KnownTenants::new(2);
        let [a, b] = [(); 2].map(|()| Arc::new(KnownSeries::new(1)));
        for stranger in ["x", "y", "z"] {
            assert!(tenants.of(&tenant(stranger)).is_ok());
        }
        tenants.add(&tenant("a"), Arc::clone(&a)).expect("there is room");
        tenants.add(&tenant("b"), Arc::clone(&b)).expect("there is room");
        let of = |name| tenants.of(&tenant(name));
        assert!(Arc::ptr_eq(&of("a").expect("is known"), &a) && Arc::ptr_eq(&of("b").expect("is known"), &b));
        assert_eq!(of("c").expect_err("there is no room"), Refused::Tenants { limit: 2 });
        assert_eq!(tenants.add(&tenant("c"), Arc::clone(&a)), Err(Refused::Tenants { limit: 2 }));
        tenants.limit(3);
        assert_eq!(tenants.add(&tenant("c"), a), Ok(()));
    }
}
