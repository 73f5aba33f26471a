//! How often the applications of a tenant may ask for flags.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use ingest::{Cell, Rate, Tenant};

use super::{Asked, Refusal};

/// Tenants of which is remembered how often they asked; above it those are forgotten that owe nothing.
const REMEMBERED: usize = 1_000;

/// What each tenant has asked, on a clock of its own.
#[derive(Debug)]
pub(in super::super) struct Quota {
    cells: Mutex<HashMap<Tenant, Cell>>,
    began: Instant,
}

impl Default for Quota {
    fn default() -> Self {
        Self { cells: Mutex::default(), began: Instant::now() }
    }
}

impl Quota {
    /// Counts one more question of `tenant` at `now`; else how long it should wait.
    fn take(&self, tenant: &Tenant, rate: Rate, now: Duration) -> Result<(), Duration> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get_mut(tenant) {
            *cell = cell.take(rate, 1, now)?;
            return Ok(());
        }
        if cells.len() >= REMEMBERED {
            cells.retain(|_, cell| !cell.is_idle(now));
        }
        cells.insert(tenant.clone(), Cell::default().take(rate, 1, now)?);
        Ok(())
    }
}

/// Counts a question for flags, which was read: else its connection would be closed, and who keeps it would not know.
///
/// # Errors
/// 429 with the seconds after which to come again: whole ones, since providers read nothing finer.
pub(super) fn take(asked: &Asked) -> Result<(), Refusal> {
    let rate = asked.shared.api.info.get().evaluations;
    let quota = &asked.shared.quota;
    quota.take(&asked.face.tenant, rate, quota.began.elapsed()).map_err(|wait| {
        let most = rate.per_second;
        let details = format!("expected at most {most} evaluations a second: listen.evaluations_per_second");
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "GENERAL", details);
        Refusal { retry_after: Some(seconds), ..refusal }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_refused_above_its_rate_and_no_other_is() {
        let quota = Quota::default();
        let [a, b] = ["a", "b"].map(|name| Tenant::new(name).expect("is a name"));
        let rate = Rate { per_second: 2, burst: 2 };
        let take = |tenant, millis| quota.take(tenant, rate, Duration::from_millis(millis));
        assert_eq!([take(&a, 0), take(&a, 0), take(&a, 0)], [Ok(()), Ok(()), Err(Duration::from_millis(500))]);
        assert_eq!([take(&b, 0), take(&a, 500), take(&a, 600)], [Ok(()), Ok(()), Err(Duration::from_millis(400))]);
    }

    #[test]
    fn tenants_that_owe_nothing_are_forgotten() {
        let quota = Quota::default();
        let rate = Rate { per_second: 1, burst: 1 };
        for i in 0..5_000_u64 {
            let tenant = Tenant::new(&format!("t{i}")).expect("is a name");
            quota.take(&tenant, rate, Duration::from_secs(i * 10)).expect("asks for the first time");
        }
        assert!(quota.cells.lock().expect("is whole").len() <= REMEMBERED);
    }
}
