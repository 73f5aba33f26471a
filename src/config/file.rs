//! Reading `bellwether.yaml` and rule files.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use detect::{
    rules::RuleGroup,
    yaml::{Document, Fault, Faults, Mapping, Value, parse_duration},
};
use ingest::{Idle, Rate};

use super::{Config, cluster, doors, metrics, objectives, receivers, routing};
use crate::{journal::Durability, rest::Origins};

/// Largest file that is read, in bytes: a wrong path must not fill the memory.
const MAX_FILE: u64 = 16 << 20;

/// Reads the configuration at `path`. Rule files are named relative to it.
///
/// # Errors
/// Every fault of the file at once.
pub(crate) fn read(path: &Path) -> Result<Config, Vec<Fault>> {
    let text = read_text(path)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let config = parse(&path.display().to_string(), &text, directory)?;
    Ok(Config { file: Some(path.to_owned()), ..config })
}

/// Reads a rule file.
///
/// # Errors
/// Every fault of the file at once.
pub(crate) fn read_rules(path: &Path, external_url: &str) -> Result<Vec<RuleGroup>, Vec<Fault>> {
    detect::rules::read(&path.display().to_string(), &read_text(path)?, external_url)
}

/// The text of a file.
///
/// # Errors
/// One fault when it cannot be read, is larger than 16 MiB or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Vec<Fault>> {
    let fault = |message: String| vec![Fault { file: path.display().to_string(), line: 0, message }];
    let size = std::fs::metadata(path).map_err(|e| fault(format!("cannot be read: {e}")))?.len();
    if size > MAX_FILE {
        return Err(fault(format!("has {size} bytes; expected at most {MAX_FILE}")));
    }
    let bytes = std::fs::read(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        vec![Fault { file: path.display().to_string(), line, message: "expected UTF-8 text".to_owned() }]
    })
}

/// Reads the text of a configuration; `file` names it in faults.
pub(super) fn parse(file: &str, text: &str, directory: &Path) -> Result<Config, Vec<Fault>> {
    let mut faults = Faults::of(file);
    let document = Document::parse(text, &mut faults);
    let mut top = document.mapping(&mut faults);
    let mut config = Config::default();
    section(&mut top, "listen", &mut faults, |m, f| listen(m, &mut config, f));
    set(&mut top, "external_url", &mut faults, |v, f| url(v, f).map(Some), &mut config.external_url);
    set(&mut top, "data_dir", &mut faults, |v, f| Some(PathBuf::from(v.text(f)?)), &mut config.data_dir);
    set(&mut top, "durability", &mut faults, durability, &mut config.durability);
    set(&mut top, "checkpoint_every", &mut faults, positive, &mut config.checkpoint_every);
    set(&mut top, "keep", &mut faults, positive, &mut config.keep);
    doors::tls(&mut top, &mut config, directory, &mut faults);
    doors::credentials(&mut top, &mut config.ingest.access, directory, &mut faults);
    section(&mut top, "tenants", &mut faults, |m, f| doors::tenants(m, &mut config, f));
    section(&mut top, "ingest", &mut faults, |m, f| ingest(m, &mut config, f));
    section(&mut top, "window", &mut faults, |m, f| window(m, &mut config, f));
    section(&mut top, "history", &mut faults, |m, f| history(m, &mut config, f));
    section(&mut top, "detect", &mut faults, |m, f| detect(m, &mut config, f));
    let mut others = Vec::new();
    section(&mut top, "level", &mut faults, |m, f| others = level(m, &mut config, directory, f));
    if let Some(value) = top.get("rule_files") {
        let texts = value.list(&mut faults);
        config.rule_files = texts.iter().filter_map(|v| Some(directory.join(v.text(&mut faults)?))).collect();
    }
    section(&mut top, "flapping", &mut faults, |m, f| routing::flapping(m, &mut config, f));
    receivers::delivery(&mut top, &mut config, &mut faults);
    cluster::cluster(&mut top, &mut config, directory, &mut faults);
    receivers::receivers(&mut top, &mut config, directory, &mut faults);
    routing::routing(&mut top, &mut config, &mut faults);
    if let Some(value) = top.get("alertmanager_config")
        && let Some(path) = value.text(&mut faults)
    {
        if config.receivers.is_empty() && config.routing.is_none() {
            others.extend(routing::alertmanager(&directory.join(path), &mut config).err().unwrap_or_default());
        } else {
            faults.add(value.line(), "alertmanager_config: expected neither `receivers` nor `route` beside it");
        }
    }
    receivers::heartbeat(&mut top, &mut config, &mut faults);
    objectives::check_hooks(&config, &mut faults);
    set(&mut top, "runbooks_dir", &mut faults, |v, f| Some(Some(directory.join(v.text(f)?))), &mut config.runbooks_dir);
    top.finish(&mut faults);
    match faults.into_result(config) {
        Ok(_) if !others.is_empty() => Err(others),
        Ok(config) => Ok(config),
        Err(own) => Err(own.into_iter().chain(others).collect()),
    }
}

fn listen(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    set(m, "grpc", faults, address, &mut config.ingest.grpc_listen);
    set(m, "http", faults, address, &mut config.ingest.http_listen);
    set(m, "api", faults, address, &mut config.api_listen);
    set(m, "cors_origins", faults, origins, &mut config.origins);
    set(m, "max_streams", faults, count, &mut config.max_streams);
    if let Some(most) = m.get("evaluations_per_second").and_then(|value| count(&value, faults)) {
        config.evaluations = Rate { per_second: most as u64, burst: most as u64 };
    }
}

fn ingest(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    set(m, "max_request_bytes", faults, bytes, &mut config.ingest.max_request_bytes);
    set(m, "queue_bytes", faults, bytes, &mut config.queue_bytes);
    set(m, "max_ahead", faults, positive, &mut config.intake.max_ahead);
    set(m, "span_bucket", faults, positive, &mut config.intake.red.bucket);
    set(m, "span_grace", faults, |v, f| v.duration(f), &mut config.intake.red.grace);
    set(m, "max_operations", faults, count, &mut config.intake.red.max_operations);
    let lateness = &mut config.intake.lateness;
    set(m, "lateness", faults, |v, f| v.duration(f), &mut lateness.lateness);
    set(m, "lateness_bytes", faults, bytes, &mut lateness.max_bytes);
    set(m, "idle", faults, idle, &mut lateness.idle);
    section(m, "connections", faults, |m, f| doors::connections(m, config, f));
}

/// How long senders may be silent before nobody waits for them any longer.
fn idle(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Idle> {
    match value.text(faults)?.as_str() {
        "auto" => Some(Idle::Auto),
        "off" => Some(Idle::Off),
        text => match parse_duration(text).filter(|time| !time.is_zero()) {
            Some(time) => Some(Idle::After(time)),
            None => {
                value.expected("auto, off, or a duration greater than 0", faults);
                None
            }
        },
    }
}

fn window(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    set(m, "span", faults, positive, &mut config.window.span);
    set(m, "max_bytes", faults, bytes, &mut config.window.max_bytes);
    set(m, "max_bytes_total", faults, bytes, &mut config.window.max_bytes_total);
    set(m, "max_series", faults, count, &mut config.window.max_series);
    config.intake.max_series = config.window.max_series;
    set(m, "max_series_per_metric", faults, count, &mut config.intake.max_series_per_metric);
    set(m, "series_idle", faults, positive, &mut config.window.series_idle);
}

fn history(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let (mut is_enabled, mut history) = (true, window::HistoryConfig::default());
    set(m, "enabled", faults, |v, f| v.boolean(f), &mut is_enabled);
    set(m, "retention", faults, positive, &mut history.retention);
    set(m, "max_bytes", faults, |v, f| bytes(v, f).map(|b| b as u64), &mut history.max_bytes);
    config.history = is_enabled.then_some(history);
}

fn detect(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    set(m, "enabled", faults, |v, f| v.boolean(f), &mut config.detect);
    let engine = &mut config.engine;
    set(m, "min_samples", faults, |v, f| number(v, f, 8.0, 1e6).map(whole), &mut engine.zscore.params.min_samples);
    let period = |v: &Value<'_, '_>, f: &mut Faults| positive(v, f).map(|d| d.as_secs_f64());
    set(m, "return_period", faults, period, &mut engine.zscore.params.return_period);
    set(m, "critical_score", faults, |v, f| number(v, f, 1.0, 1e6), &mut engine.zscore.critical_score);
    set(m, "adopt_after", faults, positive, &mut engine.zscore.adopt_after);
    set(m, "publish_every", faults, positive, &mut engine.zscore.publish_every);
    section(m, "symptoms", faults, |m, f| {
        set(m, "for", f, |v, f| v.duration(f), &mut engine.symptoms.hold);
        set(m, "keep_firing_for", f, |v, f| v.duration(f), &mut engine.symptoms.keep_firing);
    });
    section(m, "gap", faults, |m, f| {
        set(m, "min_silence", f, positive, &mut engine.gap.min_silence);
        set(m, "forget_after", f, positive, &mut engine.gap.forget_after);
    });
    set(m, "metrics", faults, |v, f| Some(metrics::read(v, f)), &mut engine.zscore.settings);
}

/// Reads the section; what is wrong with files that it names is returned.
fn level(m: &mut Mapping<'_, '_>, config: &mut Config, directory: &Path, faults: &mut Faults) -> Vec<Fault> {
    let engine = &mut config.engine;
    set(m, "assess_every", faults, positive, &mut engine.assess_every);
    set(m, "hold_up", faults, |v, f| v.duration(f), &mut engine.level.hold_up);
    set(m, "hold_down", faults, |v, f| v.duration(f), &mut engine.level.hold_down);
    set(m, "margin", faults, |v, f| number(v, f, 0.0, 0.5), &mut engine.level.margin);
    set(m, "thresholds", faults, thresholds, &mut engine.level.thresholds);
    set(m, "warning_share", faults, |v, f| number(v, f, 0.0, 1.0), &mut engine.health.warning_share);
    set(m, "critical_share", faults, |v, f| number(v, f, 0.0, 1.0), &mut engine.health.critical_share);
    objectives::hooks(m, &mut config.level_hooks, faults);
    objectives::read(m, &mut config.engine.health, directory, faults)
}

/// Reads the section `key`, if it is there, and notes the keys in it that nobody asked for.
pub(super) fn section(
    m: &mut Mapping<'_, '_>,
    key: &'static str,
    faults: &mut Faults,
    read: impl FnOnce(&mut Mapping<'_, '_>, &mut Faults),
) {
    if let Some(mut inner) = m.get(key).and_then(|v| v.mapping(faults)) {
        read(&mut inner, faults);
        inner.finish(faults);
    }
}

/// Sets `target` to what `read` makes of the value of `key`, if the key is there.
pub(super) fn set<T>(
    m: &mut Mapping<'_, '_>,
    key: &'static str,
    faults: &mut Faults,
    read: impl FnOnce(&Value<'_, '_>, &mut Faults) -> Option<T>,
    target: &mut T,
) {
    if let Some(value) = m.get(key).and_then(|v| read(&v, faults)) {
        *target = value;
    }
}

fn durability(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Durability> {
    let text = value.text(faults)?;
    let found = Durability::NAMES.into_iter().find(|(name, _)| *name == text);
    if found.is_none() {
        value.expected("acknowledged, interval or memory", faults);
    }
    found.map(|(_, durability)| durability)
}

fn address(value: &Value<'_, '_>, faults: &mut Faults) -> Option<SocketAddr> {
    let text = value.text(faults)?;
    let address = text.parse().ok();
    if address.is_none() {
        value.expected("an address such as 127.0.0.1:4317", faults);
    }
    address
}

/// Origins as browsers write them, which is as they are compared; or `*` alone.
fn origins(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Origins> {
    let texts: Vec<String> = value.list(faults).iter().filter_map(|v| v.text(faults)).collect();
    if texts.is_empty() {
        return Some(Origins::None);
    }
    if texts == ["*"] {
        return Some(Origins::Any);
    }
    let is_origin = |text: &String| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        host.is_some_and(|host| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !b"/?#@*".contains(&b))
        })
    };
    if texts.iter().all(is_origin) {
        return Some(Origins::Only(texts));
    }
    value.expected("origins such as https://app.example.com, without a path, or [\"*\"]", faults);
    None
}

fn url(value: &Value<'_, '_>, faults: &mut Faults) -> Option<String> {
    let text = value.text(faults)?;
    if text.starts_with("http://") || text.starts_with("https://") {
        return Some(text.trim_end_matches('/').to_owned());
    }
    value.expected("a URL that begins with http:// or https://", faults);
    None
}

pub(super) fn positive(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Duration> {
    let duration = value.duration(faults)?;
    if duration.is_zero() {
        value.expected("a duration greater than 0", faults);
        return None;
    }
    Some(duration)
}

pub(super) fn number(value: &Value<'_, '_>, faults: &mut Faults, least: f64, most: f64) -> Option<f64> {
    let number = value.number(faults)?;
    if !(least..=most).contains(&number) {
        value.expected(&format!("a number from {least} to {most}"), faults);
        return None;
    }
    Some(number)
}

pub(super) fn count(value: &Value<'_, '_>, faults: &mut Faults) -> Option<usize> {
    number(value, faults, 1.0, 1e8).map(|n| whole(n) as usize)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the callers bound it to 1 to 1e8")]
pub(super) fn whole(number: f64) -> u32 {
    number as u32
}

/// A size: a number of bytes, or one with KiB, MiB or GiB behind it; 64 KiB to 1 TiB.
pub(super) fn bytes(value: &Value<'_, '_>, faults: &mut Faults) -> Option<usize> {
    const UNITS: [(&str, usize); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let text = value.text(faults)?;
    let parsed = UNITS.iter().find_map(|(unit, size)| {
        let digits: usize = text.strip_suffix(unit)?.trim().parse().ok()?;
        digits.checked_mul(*size)
    });
    let parsed = parsed.filter(|n| (1 << 16..=1 << 40).contains(n));
    if parsed.is_none() {
        value.expected("a size from 64 KiB to 1024 GiB, such as 512 MiB", faults);
    }
    parsed
}

fn thresholds(value: &Value<'_, '_>, faults: &mut Faults) -> Option<[f64; 4]> {
    let numbers: Vec<f64> = value.list(faults).iter().filter_map(|v| v.number(faults)).collect();
    let falling = numbers.is_sorted_by(|a, b| a > b) && numbers.iter().all(|n| (0.0..=1.0).contains(n));
    match <[f64; 4]>::try_from(numbers) {
        Ok(four) if falling => Some(four),
        _ => {
            value.expected("four falling numbers from 1 to 0, such as [0.9, 0.7, 0.5, 0.3]", faults);
            None
        }
    }
}
