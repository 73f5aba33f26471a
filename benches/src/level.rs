//! What deciding the level costs: symptoms, breakers, health and levels of many services, in this process.
//!
//! Each service has two operations with calls, errors and a p95 beside its expectation, every 10 s; one in a hundred
//! is in trouble, so that there are reasons to give. What is timed is one assessment, as it happens every 5 s.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use detect::{Engine, EngineConfig, Memory, Objective, health::Source};
use window::{Config, Labels, Point, Series, SeriesId, SeriesKey, SeriesKind, Temporality, UnixNanos, Window};

/// Event time between two points, in seconds.
const INTERVAL: i64 = 10;
/// Points before the first assessment that counts: ten minutes.
const BEFORE: i64 = 60;

/// Prints the middle and the slowest of `rounds` assessments of `services`, with the default objectives and with a
/// budgeted one beside them.
///
/// # Errors
/// When an assessment did not see every service.
#[expect(clippy::print_stdout, reason = "the figures are what this program prints")]
pub(crate) fn run(services: u32, rounds: u16) -> Result<()> {
    for (name, config) in [("default objectives", EngineConfig::default()), ("and an error budget", budgeted()?)] {
        let mut nanos = measure(services, rounds, config)?;
        nanos.sort_unstable();
        let millis = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
        let (middle, slowest) = (nanos[nanos.len() / 2], nanos[nanos.len() - 1]);
        println!("{services} services, {name}: {:.2} ms median, {:.2} ms slowest", millis(middle), millis(slowest));
    }
    Ok(())
}

fn budgeted() -> Result<EngineConfig> {
    let mut config = EngineConfig::default();
    let calls = Source::Calls(String::new());
    let objective = Objective::new("availability", &calls, Duration::from_mins(5), 0.001, 0.5)
        .and_then(|objective| objective.with_budget(&calls, 0.001))
        .map_err(anyhow::Error::msg)?;
    config.health.objectives.push(objective);
    Ok(config)
}

fn measure(services: u32, rounds: u16, config: EngineConfig) -> Result<Vec<u64>> {
    let mut window = Window::new(Config::default());
    let fleet: Vec<Service> = (0..services).map(|number| Service::new(number, &mut window)).collect::<Result<_>>()?;
    let mut engine = Engine::new(config, Memory::default());
    let mut nanos = Vec::with_capacity(usize::from(rounds));
    for step in 0..BEFORE + i64::from(rounds) {
        let at = UnixNanos(step * INTERVAL * 1_000_000_000);
        for service in &fleet {
            service.send(step, at, &mut window);
        }
        let heard = fleet.iter().map(|service| (&service.name, at));
        engine.observe(&[], window.registry(), heard);
        let snapshot = window.seal();
        let began = Instant::now();
        let out = engine.evaluate(snapshot, at);
        let took = began.elapsed();
        drop(out);
        if step >= BEFORE {
            nanos.push(u64::try_from(took.as_nanos())?);
        }
    }
    ensure!(engine.levels().len() == fleet.len() + 1, "expected a level of each service and one of everything");
    ensure!(engine.levels()[0].health < 1.0, "expected some service to be in trouble");
    Ok(nanos)
}

struct Service {
    name: Arc<str>,
    is_in_trouble: bool,
    operations: [Operation; 2],
}

struct Operation {
    ok: SeriesId,
    failed: SeriesId,
    p95: SeriesId,
    expected: SeriesId,
}

impl Service {
    fn new(number: u32, window: &mut Window) -> Result<Self> {
        let name: Arc<str> = format!("fleet/service-{number}").into();
        let mut operation = |span: &str| {
            let mut add = |metric: &str, status: &str, kind| series(window, &name, metric, [span, status], kind);
            let counter = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };
            let p95 = "traces_span_metrics_duration_seconds:p95";
            Ok::<_, anyhow::Error>(Operation {
                ok: add("traces_span_metrics_calls_total", "STATUS_CODE_UNSET", counter)?,
                failed: add("traces_span_metrics_calls_total", "STATUS_CODE_ERROR", counter)?,
                p95: add(p95, "", SeriesKind::Derived)?,
                expected: add(&format!("{p95}:expected"), "", SeriesKind::Published)?,
            })
        };
        let operations = [operation("read")?, operation("write")?];
        Ok(Self { name, is_in_trouble: number % 100 == 7, operations })
    }

    #[expect(clippy::cast_precision_loss, reason = "steps are few")]
    fn send(&self, step: i64, time: UnixNanos, window: &mut Window) {
        let calls = step as f64 * 1_000.0;
        let (failing, slow) = if self.is_in_trouble { (0.3, 0.9) } else { (0.0001, 0.11) };
        for Operation { ok, failed, p95, expected } in &self.operations {
            let values = [(ok, calls * (1.0 - failing)), (failed, calls * failing), (p95, slow), (expected, 0.1)];
            for (series, value) in values {
                window.push_point(Point { series: *series, time, value });
            }
        }
    }
}

fn series(
    window: &mut Window,
    service: &Arc<str>,
    name: &str,
    [span, status]: [&str; 2],
    kind: SeriesKind,
) -> Result<SeriesId> {
    let all = [("job", &**service), ("span_name", span), ("span_kind", "SPAN_KIND_SERVER"), ("status_code", status)];
    let labels = Labels::from_pairs(all.into_iter().filter(|(_, value)| !value.is_empty()));
    let key = SeriesKey(u128::from(labels.fingerprint())).derived(name);
    let (name, service): (Arc<str>, _) = (name.into(), Arc::clone(service));
    let describe =
        || Series { key, name: Arc::clone(&name), source_name: name, unit: "1".into(), kind, labels, service };
    Ok(window.registry_mut().find_or_add(key, describe)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_service_is_assessed_and_trouble_is_seen() {
        super::run(100, 2).expect("every service has a level");
    }
}
