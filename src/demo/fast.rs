//! The default configuration on a faster clock: every duration is divided by the same number.
//!
//! The rules are the shipped ones, with their durations divided as well, so that the demonstration
//! shows what a user gets.

use std::{path::Path, time::Duration};

use alerting::{Receiver, ReceiverError};
use detect::{HealthConfig, yaml::parse_duration};

use super::script::Script;
use crate::config::{Config, SHIPPED_RULES};

/// Ten times as fast for the usual five minutes; a shorter demonstration needs a faster clock.
pub(super) fn speed(script: &Script) -> f64 {
    (3_000.0 / script.total.as_secs_f64()).clamp(10.0, 20.0)
}

/// The configuration of a demonstration.
pub(super) fn config(script: &Script, port: u16, webhook: &str, data_dir: &Path) -> Result<Config, ReceiverError> {
    let speed = speed(script);
    let fast = |d: Duration| d.div_f64(speed);
    let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
    config.ingest.grpc_listen.set_port(0);
    config.ingest.http_listen.set_port(0);
    config.api_listen.set_port(port);
    config.receivers = vec![Receiver::webhook("demo", webhook)?];
    config.intake.red.bucket = Duration::from_secs(1);
    // Exporters batch for a second, whatever the clock.
    config.intake.red.grace = Duration::from_secs(2);
    let engine = &mut config.engine;
    engine.zscore.params.return_period /= speed;
    engine.zscore.adopt_after = fast(engine.zscore.adopt_after);
    engine.zscore.publish_every = fast(engine.zscore.publish_every);
    engine.symptoms.hold = fast(engine.symptoms.hold);
    engine.symptoms.keep_firing = fast(engine.symptoms.keep_firing) / 2;
    engine.gap.min_silence = fast(engine.gap.min_silence) / 2;
    engine.gap.forget_after = fast(engine.gap.forget_after);
    engine.level.hold_up = fast(engine.level.hold_up);
    // Recoveries in the script are shorter than real ones.
    engine.level.hold_down = fast(engine.level.hold_down) / 6;
    engine.assess_every = fast(engine.assess_every);
    engine.health = HealthConfig::from_spans(fast(Duration::from_mins(1)));
    engine.query.lookback = fast(engine.query.lookback);
    config.rule_text = Some((SHIPPED_RULES.0.to_owned(), faster(SHIPPED_RULES.1, speed)));
    Ok(config)
}

/// `rules` with every duration behind `for:`, `keep_firing_for:` and `interval:`, and every range in
/// brackets, divided by `speed`.
fn faster(rules: &str, speed: f64) -> String {
    let divided = |text: &str| parse_duration(text).map(|d| format!("{}ms", d.div_f64(speed).as_millis().max(1)));
    let mut out = String::new();
    for line in rules.lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let setting = ["for: ", "keep_firing_for: ", "interval: "].into_iter().find_map(|key| {
            let value = divided(rest.strip_prefix(key)?.trim())?;
            Some(format!("{indent}{key}{value}"))
        });
        match setting {
            Some(line) => out.push_str(&line),
            None => {
                let mut pieces = line.split('[');
                out.push_str(pieces.next().unwrap_or_default());
                for piece in pieces {
                    let (inside, after) = piece.split_once(']').unwrap_or((piece, ""));
                    let close = if piece.contains(']') { "]" } else { "" };
                    let inside = divided(inside).unwrap_or_else(|| inside.to_owned());
                    out.push_str(&format!("[{inside}{close}{after}"));
                }
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_rules_are_divided_and_nothing_else() {
        let rules = "  interval: 15s\n  expr: rate(x[1m]) / y > 0.15\n  for: 1m\n  summary: for 1m [sic]\n";
        let want = "  interval: 1500ms\n  expr: rate(x[6000ms]) / y > 0.15\n  for: 6000ms\n  summary: for 1m [sic]\n";
        assert_eq!(faster(rules, 10.0), want);
    }

    #[test]
    fn the_fast_configuration_is_valid() {
        let script = Script::scaled(Duration::from_secs(300), 1).expect("long enough");
        let config = config(&script, 0, "http://127.0.0.1:1/", Path::new("/nowhere")).expect("is valid");
        let rules = config.rules("http://b").expect("are valid");
        assert_eq!(rules[0].interval, Duration::from_millis(1_500));
        assert_eq!(config.engine.symptoms.hold, Duration::from_secs(6));
    }
}
