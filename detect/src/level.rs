//! The degradation level of one scope: a state machine with hysteresis, without a clock of its own.
//!
//! It rises when health has been low for a while, to the mildest level that held all that while;
//! it falls one level at a time, each after a longer while of health above the entry threshold
//! and a margin; a pin overrules it; a silent feed freezes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use window::UnixNanos;

use crate::Level;

/// Thresholds and dwell times.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelConfig {
    /// Health below which levels 1 to 4 begin. Default 0.9, 0.7, 0.5, 0.3.
    pub thresholds: [f64; 4],
    /// How far above a threshold health must be for the level to fall. Default 0.05.
    pub margin: f64,
    /// How long health must argue for a higher level. Default 30 s.
    pub hold_up: Duration,
    /// How long health must allow a lower level, for each step down. Default 5 min.
    pub hold_down: Duration,
}

impl Default for LevelConfig {
    fn default() -> Self {
        Self {
            thresholds: [0.9, 0.7, 0.5, 0.3],
            margin: 0.05,
            hold_up: Duration::from_secs(30),
            hold_down: Duration::from_mins(5),
        }
    }
}

impl LevelConfig {
    /// The level that `health` in [0, 1] argues for by itself.
    #[must_use]
    pub fn level_of(&self, health: f64) -> Level {
        let exceeded = self.thresholds.iter().filter(|t| health < **t).count();
        Level::ALL[exceeded]
    }

    /// Whether `health` lies far enough above the threshold by which `level` was entered.
    fn allows_less_than(&self, level: Level, health: f64) -> bool {
        match usize::from(level.number()).checked_sub(1) {
            Some(i) => health + 1e-9 >= self.thresholds[i] + self.margin || health >= 1.0,
            None => false,
        }
    }
}

/// A level set by a person, until a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The level.
    pub level: Level,
    /// Who set it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub expires_at: UnixNanos,
}

/// State of one scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelMachine {
    automatic: Level,
    pin: Option<Pin>,
    /// Since when health has argued for more than the level, and the least it argued for since.
    rising: Option<(UnixNanos, Level)>,
    /// Since when health has allowed less.
    falling: Option<UnixNanos>,
    frozen: bool,
}

impl LevelMachine {
    /// A machine that goes on at `level`.
    #[must_use]
    pub fn at(level: Level) -> Self {
        Self { automatic: level, ..Self::default() }
    }

    /// The recommended level: the pin's, if there is one.
    #[must_use]
    pub fn level(&self) -> Level {
        self.pin.as_ref().map_or(self.automatic, |p| p.level)
    }

    /// The pin in force.
    #[must_use]
    pub fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// Sets or clears the pin. The automatic level goes on underneath.
    pub fn set_pin(&mut self, pin: Option<Pin>) {
        self.pin = pin;
    }

    /// Whether the level is frozen because no telemetry comes.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Takes the health at event time `at`; `None` when it is unknown because the feed is silent.
    /// Returns the recommended level.
    pub fn step(&mut self, config: &LevelConfig, at: UnixNanos, health: Option<f64>) -> Level {
        if self.pin.as_ref().is_some_and(|p| p.expires_at <= at) {
            self.pin = None;
        }
        self.frozen = health.is_none();
        let Some(health) = health else {
            // What was about to happen has to be argued for again once there is news.
            (self.rising, self.falling) = (None, None);
            return self.level();
        };
        let argued = config.level_of(health);
        self.step_up(config, at, argued);
        self.step_down(config, at, argued, health);
        self.level()
    }

    fn step_up(&mut self, config: &LevelConfig, at: UnixNanos, argued: Level) {
        if argued <= self.automatic {
            self.rising = None;
            return;
        }
        let (since, least) = self.rising.map_or((at, argued), |(since, least)| (since, least.min(argued)));
        self.rising = Some((since, least));
        if at.since(since) >= config.hold_up {
            (self.automatic, self.rising) = (least, None);
        }
    }

    fn step_down(&mut self, config: &LevelConfig, at: UnixNanos, argued: Level, health: f64) {
        if argued >= self.automatic || !config.allows_less_than(self.automatic, health) {
            self.falling = None;
            return;
        }
        let since = *self.falling.get_or_insert(at);
        if at.since(since) >= config.hold_down {
            self.automatic = self.automatic.one_lower();
            self.falling = Some(at);
        }
    }
}

#[cfg(test)]
#[path = "level/tests.rs"]
mod tests;
