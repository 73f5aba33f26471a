//! What deciding the level costs: symptoms, breakers, health and levels of many services, in this process.
//!
//! Each service has two operations with calls, errors and a p95 beside its expectation, every 10 s; one in a hundred
//! is in trouble, so that there are reasons to give. What is timed is one assessment, as it happens every 5 s: by the
//! clock, and by the CPU time of this thread, which does not grow with what else the machine does.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use detect::{Engine, EngineConfig, Memory, Objective, rules::Recorded};
use window::{Config, Labels, Point, Series, SeriesId, SeriesKey, SeriesKind, Temporality, UnixNanos, Window};

use crate::cpu;

/// Event time between two points, in seconds.
const INTERVAL: i64 = 10;
/// Event time between two assessments, in seconds: the engine's default.
const ASSESSED_EVERY: i64 = 5;
/// Assessments before the first that counts: ten minutes.
const BEFORE: i64 = 120;

/// What one assessment took.
#[derive(Clone, Copy, Debug)]
struct Took {
    clock: Duration,
    cpu: Duration,
}

/// Prints the median, the 99th percentile and the slowest of `rounds` assessments of `services`: with the default
/// objectives, and with those of the OpenSLO file `targets` for all services beside them.
///
/// # Errors
/// When the file cannot be read, and when an assessment did not see every service.
#[expect(clippy::print_stdout, reason = "the figures are what this program prints")]
pub(crate) fn run(services: u32, rounds: u16, targets: &Path) -> Result<()> {
    let rows = [("default objectives", EngineConfig::default()), ("and OpenSLO targets", targeted(targets)?)];
    for (name, config) in rows {
        let took = measure(services, rounds, config)?;
        for (what, times) in
            [("clock", took.iter().map(|t| t.clock).collect()), ("CPU", took.iter().map(|t| t.cpu).collect::<Vec<_>>())]
        {
            println!("{services} services, {name}, {what}: {}", quantiles(times));
        }
    }
    Ok(())
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    let millis = |percent: usize| at(percent).unwrap_or_default().as_secs_f64() * 1e3;
    format!("{:.2} ms median, {:.2} ms p99, {:.2} ms slowest", millis(50), millis(99), millis(100))
}

/// The default objectives and those of the file, which are made to be about every service.
fn targeted(targets: &Path) -> Result<EngineConfig> {
    let text = fs::read_to_string(targets).with_context(|| format!("cannot read {}", targets.display()))?;
    let read = detect::health::openslo::read(&[(targets.display().to_string(), text)]);
    let objectives =
        read.map_err(|faults| anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let mut config = EngineConfig::default();
    config.health.objectives.extend(objectives.into_iter().map(|objective| Objective { service: None, ..objective }));
    Ok(config)
}

fn measure(services: u32, rounds: u16, config: EngineConfig) -> Result<Vec<Took>> {
    let mut window = Window::new(Config::default());
    let fleet: Vec<Service> = (0..services).map(|number| Service::new(number, &mut window)).collect::<Result<_>>()?;
    let mut engine = Engine::new(config, Memory::default());
    let mut all = Vec::with_capacity(usize::from(rounds));
    for step in 0..BEFORE + i64::from(rounds) {
        let at = UnixNanos(step * ASSESSED_EVERY * 1_000_000_000);
        if step % (INTERVAL / ASSESSED_EVERY) == 0 {
            fleet.iter().for_each(|service| service.send(step, at, &mut window));
        }
        let heard = fleet.iter().map(|service| (&service.name, at));
        engine.observe(&[], window.registry(), heard);
        let snapshot = window.seal();
        let (spent, began) = (cpu::time_of_thread()?, Instant::now());
        let out = engine.evaluate(snapshot, at);
        let clock = began.elapsed();
        let took = Took { clock, cpu: cpu::time_of_thread()?.saturating_sub(spent) };
        publish(&out.recorded, &mut window)?;
        if step >= BEFORE {
            all.push(took);
        }
    }
    ensure!(engine.levels().len() == fleet.len() + 1, "expected a level of each service and one of everything");
    ensure!(engine.levels()[0].health < 1.0, "expected some service to be in trouble");
    Ok(all)
}

/// Puts values of objectives into the window, as the pipeline does.
fn publish(recorded: &[Recorded], window: &mut Window) -> Result<()> {
    for Recorded { name, labels, time, value } in recorded {
        let key = SeriesKey(u128::from(labels.fingerprint())).derived(name);
        let (kind, service) = (SeriesKind::Published, labels.get("job").unwrap_or_default().into());
        let describe = || Series {
            key,
            name: Arc::clone(name),
            source_name: Arc::clone(name),
            unit: "1".into(),
            kind,
            labels: labels.clone(),
            service,
        };
        let series = window.registry_mut().find_or_add(key, describe)?;
        window.push_point(Point { series, time: *time, value: *value });
    }
    Ok(())
}

struct Service {
    name: Arc<str>,
    is_in_trouble: bool,
    operations: [Operation; 2],
}

struct Operation {
    ok: SeriesId,
    failed: SeriesId,
    p50: SeriesId,
    p95: SeriesId,
    p99: SeriesId,
    expected: SeriesId,
}

impl Service {
    fn new(number: u32, window: &mut Window) -> Result<Self> {
        let name: Arc<str> = format!("fleet/service-{number}").into();
        let mut operation = |span: &str| {
            let mut add = |metric: &str, status: &str, kind| series(window, &name, metric, [span, status], kind);
            let counter = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };
            let duration = "traces_span_metrics_duration_seconds";
            Ok::<_, anyhow::Error>(Operation {
                ok: add("traces_span_metrics_calls_total", "STATUS_CODE_UNSET", counter)?,
                failed: add("traces_span_metrics_calls_total", "STATUS_CODE_ERROR", counter)?,
                p50: add(&format!("{duration}:p50"), "", SeriesKind::Derived)?,
                p95: add(&format!("{duration}:p95"), "", SeriesKind::Derived)?,
                p99: add(&format!("{duration}:p99"), "", SeriesKind::Derived)?,
                expected: add(&format!("{duration}:p95:expected"), "", SeriesKind::Published)?,
            })
        };
        let operations = [operation("read")?, operation("write")?];
        Ok(Self { name, is_in_trouble: number % 100 == 7, operations })
    }

    #[expect(clippy::cast_precision_loss, reason = "steps are few")]
    fn send(&self, step: i64, time: UnixNanos, window: &mut Window) {
        let calls = step as f64 * 1_000.0;
        let (failing, slow) = if self.is_in_trouble { (0.3, 0.9) } else { (0.0001, 0.11) };
        for Operation { ok, failed, p50, p95, p99, expected } in &self.operations {
            let counts = [(ok, calls * (1.0 - failing)), (failed, calls * failing)];
            let durations = [(p50, slow / 2.0), (p95, slow), (p99, slow * 2.0), (expected, 0.1)];
            for (series, value) in counts.into_iter().chain(durations) {
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
        let targets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../slo/targets.yaml");
        super::run(100, 2, &targets).expect("every service has a level");
    }
}
