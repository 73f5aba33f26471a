//! The table of what libraries tell of their breakers. It is `docs/breakers.md` in code.

use std::sync::Arc;

use window::Series;

use super::BreakerState::{self, Closed, HalfOpen, Open, Unknown};

/// What a series tells of a breaker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) breaker: Arc<str>,
    pub(super) dependency: Option<Arc<str>>,
    pub(super) library: &'static str,
    pub(super) told: Told,
}

/// How it tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Told {
    /// 0 closed, 1 open, 2 half-open.
    Number,
    /// In this state while it is not zero.
    Is(BreakerState),
    /// At its limit, which is open, while it is not zero.
    AtLimit,
    /// A counter that grows while it is, or when it comes to be, in this state.
    Grows(BreakerState),
    /// A counter of something else: it shows since when the breaker was heard.
    Lives,
}

/// Labels that name what a breaker stands before.
const DEPENDENCIES: [&str; 5] = ["dependency", "peer_service", "service_peer_name", "server_address", "upstream"];

/// Metrics of breakers as PromQL usually knows them: what the level reads beside what objectives ask.
pub const METRICS: [&str; 7] = [
    "circuit_breaker_state",
    "resilience4j_circuitbreaker_state",
    "ft_circuitbreaker_state_current",
    "ft_circuitbreaker_state_nanoseconds_total",
    "circuit",
    "circuit_total",
    "resilience_polly_strategy_events_total",
];

/// Whether series of this name are worth a look.
pub(super) fn may_tell(name: &str) -> bool {
    let is_polly = name.contains("polly");
    is_polly || (name.contains("circuit") && !name.contains(':') && !name.starts_with("bellwether_"))
}

/// The state that a number stands for.
pub(super) fn numbered(value: f64) -> BreakerState {
    let is = |state: f64| (value - state).abs() < f64::EPSILON;
    match value {
        _ if is(0.0) => Closed,
        _ if is(1.0) => Open,
        _ if is(2.0) => HalfOpen,
        _ => Unknown,
    }
}

/// What `series` tells; `None` for series of something else.
pub(super) fn reading(series: &Series) -> Option<Reading> {
    let name: String = series.source_name.chars().map(|c| if matches!(c, '.' | '-') { '_' } else { c }).collect();
    let label = |name: &str| series.labels.get(name);
    let (library, breaker, told) = if name == "circuit_breaker_state" {
        let named = ["breaker", "name", "circuit_breaker"].into_iter().find_map(label);
        ("gauge", named.unwrap_or("circuit breaker").to_owned(), Told::Number)
    } else if name == "resilience4j_circuitbreaker_state" {
        ("resilience4j", label("name")?.to_owned(), Told::Is(word(label("state")?)))
    } else if name == "ft_circuitbreaker_state_current" {
        ("smallrye", label("method")?.to_owned(), Told::Is(word(label("state")?)))
    } else if name.starts_with("ft_circuitbreaker_state_total") {
        ("microprofile", label("method")?.to_owned(), Told::Grows(word(label("state")?)))
    } else if name.starts_with("resilience_polly_strategy_events") {
        let (pipeline, event) = (label("pipeline_name").unwrap_or("pipeline"), label("event_name")?);
        let told = match event {
            "OnCircuitOpened" => Told::Grows(Open),
            "OnCircuitHalfOpened" => Told::Grows(HalfOpen),
            "OnCircuitClosed" => Told::Grows(Closed),
            _ => Told::Lives,
        };
        ("polly", pipeline.to_owned(), told)
    } else if let Some(cluster) = envoy(&name) {
        let cluster = label("envoy_cluster_name").map_or(cluster, ToOwned::to_owned);
        let dependency = Some(cluster.as_str().into());
        return Some(Reading { breaker: cluster.into(), dependency, library: "envoy", told: Told::AtLimit });
    } else if name.ends_with("circuit") || name.ends_with("circuit_total") {
        let told = match label("event")? {
            "open" => Told::Grows(Open),
            "halfOpen" => Told::Grows(HalfOpen),
            "close" => Told::Grows(Closed),
            _ => Told::Lives,
        };
        ("opossum", label("name")?.to_owned(), told)
    } else {
        return None;
    };
    let dependency = DEPENDENCIES.into_iter().find_map(label).map(Into::into);
    Some(Reading { breaker: breaker.into(), dependency, library, told })
}

/// States as resilience4j, MicroProfile and SmallRye call them. A breaker that is disabled, or only counts, protects
/// nobody and says nothing of what is behind it.
fn word(state: &str) -> BreakerState {
    match state {
        "closed" => Closed,
        "open" | "forced_open" => Open,
        "half_open" | "halfOpen" => HalfOpen,
        _ => Unknown,
    }
}

/// The cluster of a gauge such as `cluster.tax.circuit_breakers.default.rq_open`, empty where a label names it.
fn envoy(name: &str) -> Option<String> {
    let (before, after) = name.split_once("circuit_breakers_")?;
    let is_limit = ["_cx_open", "_rq_open", "_rq_pending_open", "_rq_retry_open", "_cx_pool_open"];
    if !is_limit.iter().any(|end| after.ends_with(end)) {
        return None;
    }
    let before = before.trim_end_matches('_');
    Some(before.strip_prefix("envoy_").unwrap_or(before).trim_start_matches("cluster").trim_matches('_').to_owned())
}
