//! What lines go by and may be told anew while they run.

use std::time::Duration;

use alerting::{Damping, DeliveryConfig, Heartbeat, LevelHook, Receiver, Routing};
use detect::{EngineConfig, rules::RuleGroup};
use ingest::{IntakeConfig, Tenant};

use crate::config::Config;

/// The part of the configuration that a reload may change in lines.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What is admitted.
    pub intake: IntakeConfig,
    /// The windows. Of these, `max_bytes` and `series_idle` are taken up while lines run.
    pub window: window::Config,
    /// Detectors, rules, health and level.
    pub engine: EngineConfig,
    /// Whether anything is judged.
    pub detect: bool,
    /// Who is told about alerts.
    pub receivers: Vec<Receiver>,
    /// Which of them are told of which alerts; `None` for all of all, at once.
    pub routing: Option<Routing>,
    /// When an alert flaps, and is told only once.
    pub damping: Option<Damping>,
    /// How persistently, and where they may be.
    pub delivery: DeliveryConfig,
    /// Who is told of each change of a level.
    pub level_hooks: Vec<LevelHook>,
    /// Who is told that the service is alive, by the default tenant's line.
    pub heartbeat: Option<Heartbeat>,
    /// How long what is over is kept.
    pub keep: Duration,
}

impl Settings {
    /// Those of `config` with these rules, and links that begin with `external_url`.
    #[must_use]
    pub(crate) fn of(config: &Config, rules: Vec<RuleGroup>, external_url: &str) -> Self {
        Self {
            intake: config.intake.clone(),
            window: config.window.clone(),
            engine: config.engine(rules, external_url),
            detect: config.detect,
            receivers: config.receivers.clone(),
            routing: config.routing.clone(),
            damping: config.damping,
            delivery: config.delivery.clone(),
            level_hooks: config.level_hooks.clone(),
            heartbeat: config.heartbeat.clone(),
            keep: config.keep,
        }
    }

    /// Who is told of what.
    pub(super) fn routing(&self) -> Routing {
        let routing = self.routing.clone().unwrap_or_else(|| Routing::to_all(&self.receivers));
        routing.damped(self.damping).in_turn(self.delivery.turn())
    }

    /// How persistently those are told whom a tenant's alerts concern.
    pub(super) fn delivery_of(&self, tenant: &Tenant) -> DeliveryConfig {
        DeliveryConfig { tenant: tenant.as_str().to_owned(), ..self.delivery.clone() }
    }

    /// What is made of the service's heartbeat is the default tenant's: there is one, and it is always there.
    pub(super) fn heartbeat_of(&self, tenant: &Tenant) -> Option<(Heartbeat, Receiver)> {
        let heartbeat = self.heartbeat.clone().filter(|_| *tenant == Tenant::default())?;
        let receiver = self.receivers.iter().find(|receiver| receiver.name() == heartbeat.receiver)?;
        Some((heartbeat, receiver.clone()))
    }
}
