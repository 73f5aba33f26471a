//! Who is told that the level has changed: receivers with webhooks, by the way of all notifications.
//!
//! The body is that of Standard Webhooks: `type`, `timestamp` and `data`. Changes of one scope keep their order.

use chrono::{DateTime, SecondsFormat};
use detect::LevelChange;
use rusqlite::Transaction;
use serde_json::json;

use super::{
    groups::Desk,
    levels,
    outbox::{Addition, hashed},
};
use crate::{LedgerError, Target, webhook::Origin};

/// What the body says that it is.
const KIND: &str = "bellwether.degradation.changed";

/// Where the level is shown, below our own address.
pub(crate) const LEVEL_PATH: &str = "/api/v1/degradation";

/// Who is told of changes of the level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelHook {
    /// The receiver's name. Only its webhooks are told.
    pub receiver: String,
    /// Of this service only; `None` for all services and for everything.
    pub service: Option<String>,
}

impl LevelHook {
    fn wants(&self, change: &LevelChange) -> bool {
        self.service.is_none() || self.service.as_deref() == change.service.as_deref()
    }
}

/// Adds what `hooks` want to know of a `change` that is new. Returns how many notifications there are more.
pub(super) fn tell(
    transaction: &Transaction<'_>,
    change: &LevelChange,
    (hooks, desk): (&[LevelHook], &Desk<'_>),
) -> Result<usize, LedgerError> {
    let Desk { receivers, origin, now, .. } = *desk;
    let mut added = 0;
    let scope = levels::scope(change.service.as_deref());
    for hook in hooks.iter().filter(|hook| hook.wants(change)) {
        let Some(receiver) = receivers.iter().find(|receiver| receiver.name() == hook.receiver) else { continue };
        for integration in receiver.integrations().iter().filter(|i| matches!(i.target(), Target::Webhook(_))) {
            let what = format!("{}-{}-{}", change.at.0, change.from.number(), change.to.number());
            let tenant = origin.tenant.as_deref();
            let parts = ["level", receiver.name(), integration.key(), &scope, &what];
            let addition = Addition {
                id: &hashed(parts.into_iter().chain(tenant)),
                receiver: receiver.name(),
                integration: integration.key(),
                thread: &format!("level:{scope}"),
                announced: "firing",
                payload: &payload(change, origin),
                stands_in_for: None,
                turn: desk.routing.turn(),
            };
            added += addition.add(transaction, now)?;
        }
    }
    Ok(added)
}

fn payload(change: &LevelChange, origin: &Origin) -> String {
    let at = DateTime::from_timestamp_nanos(change.at.0).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let data = json!({
        "service": change.service,
        "tenant": origin.tenant,
        "from": change.from,
        "level": change.to,
        "name": change.to.as_str(),
        "health": change.health,
        "because": change.because,
        "url": format!("{}{LEVEL_PATH}", origin.external_url),
    });
    json!({"type": KIND, "timestamp": at, "data": data}).to_string()
}

#[cfg(test)]
mod tests {
    use detect::Level;

    use super::{super::tests::Fixture, *};
    use crate::testing::level;

    fn hook(service: Option<&str>) -> LevelHook {
        LevelHook { receiver: "ops".into(), service: service.map(Into::into) }
    }

    #[test]
    fn a_change_is_told_once_with_its_reasons() {
        let mut fixture = Fixture::new();
        fixture.ledger.follow_levels(vec![hook(None)]);
        let change = level(Some("shop"), Level::FullService, Level::CacheOnly, 100);
        assert_eq!(fixture.record(std::slice::from_ref(&change)).notifications, 1);
        assert_eq!(fixture.record(&[change]).notifications, 0, "what is known is not told again");
        let deliveries = fixture.deliveries();
        assert_eq!((deliveries.len(), deliveries[0].episode.as_str()), (1, "level:service:shop"));
        let payload = fixture.ledger.reader().payload(&deliveries[0].id).expect("reads").expect("is there");
        let body: serde_json::Value = serde_json::from_str(&payload).expect("is JSON");
        assert_eq!((&body["type"], &body["timestamp"]), (&json!(KIND), &json!("1970-01-01T00:01:40Z")));
        let data = &body["data"];
        assert_eq!((&data["from"], &data["level"], &data["name"]), (&json!(0), &json!(2), &json!("cache-only")));
        assert!(data["service"] == "shop" && data["because"].as_array().is_some_and(|b| !b.is_empty()), "{data}");
    }

    #[test]
    fn a_hook_of_one_service_hears_of_no_other_and_nobody_hears_without_one() {
        let mut fixture = Fixture::new();
        let of = |name, seconds| level(name, Level::FullService, Level::NonCriticalOff, seconds);
        assert_eq!(fixture.record(&[of(None, 1)]).notifications, 0);
        fixture.ledger.follow_levels(vec![hook(Some("shop"))]);
        assert_eq!(fixture.record(&[of(None, 2), of(Some("other"), 2), of(Some("shop"), 2)]).notifications, 1);
    }
}
