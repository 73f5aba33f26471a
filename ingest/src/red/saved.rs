//! What of RED is written to disk: names and totals. Descriptions of series follow from the names, ten
//! of them from each, and are made again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use window::{SpanKind, UnixNanos};

use super::{Bucket, Counter, LogSeries, Operation, Operations, Red, RedConfig, SEVERITIES, Service};

/// All services, in order of appearance. `B` is the open buckets of one, borrowed or owned.
#[derive(Serialize, Deserialize)]
struct Saved<B> {
    /// Length of the open buckets.
    bucket: Duration,
    services: Vec<SavedService<B>>,
    late: u64,
    unsummed: u64,
    repeated: u64,
    closed: UnixNanos,
}

#[derive(Serialize, Deserialize)]
struct SavedService<B> {
    name: Arc<str>,
    operations: Vec<SavedOperation>,
    logs: Option<[Total; SEVERITIES.len()]>,
    open: B,
    closed_until: UnixNanos,
    progress: UnixNanos,
    arrived: UnixNanos,
}

#[derive(Serialize, Deserialize)]
struct SavedOperation {
    name: Arc<str>,
    kind: SpanKind,
    totals: [Total; 4],
    empty_buckets: u32,
}

/// A counter: its total, and whether it has begun.
type Total = (f64, bool);

impl Serialize for Red {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |name| self.services.get(name).map(|service| service.save(name));
        let services = self.order.iter().filter_map(of).collect();
        let Self { config, late, unsummed, repeated, closed, .. } = self;
        let (bucket, late, unsummed) = (config.bucket, *late, *unsummed);
        Saved { bucket, services, late, unsummed, repeated: *repeated, closed: *closed }.serialize(serializer)
    }
}

/// With the default configuration, see [`Red::configured`].
impl<'de> Deserialize<'de> for Red {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Saved { bucket, services, late, unsummed, repeated, closed } =
            Saved::<BTreeMap<UnixNanos, Bucket>>::deserialize(deserializer)?;
        let seen = services.iter().flat_map(|service| service.open.values()).map(|bucket| bucket.seen.len()).sum();
        let order = services.iter().map(|service| Arc::clone(&service.name)).collect();
        let mut starts = BTreeMap::new();
        for start in services.iter().flat_map(|service| service.open.keys()) {
            *starts.entry(*start).or_default() += 1;
        }
        let services = services.into_iter().enumerate().map(|(place, service)| service.service(place)).collect();
        let config = RedConfig { bucket, ..RedConfig::default() };
        Ok(Self {
            config,
            services,
            order,
            moved: Vec::new(),
            starts,
            exemplars: Vec::new(),
            late,
            unsummed,
            repeated,
            waits: false,
            closed,
            seen,
        })
    }
}

impl Red {
    /// The same under another configuration. If buckets have another length in it, those that were
    /// open are let go: what is in them cannot be divided.
    pub(crate) fn configured(mut self, config: RedConfig) -> Self {
        if self.config.bucket != config.bucket {
            self.services.values_mut().for_each(|service| service.open.clear());
            self.starts.clear();
            self.seen = 0;
        }
        self.config = config;
        self
    }
}

impl Service {
    fn save(&self, name: &Arc<str>) -> SavedService<&BTreeMap<UnixNanos, Bucket>> {
        SavedService {
            name: Arc::clone(name),
            operations: self.operations.list.iter().map(Operation::save).collect(),
            logs: self.logs.as_ref().map(|logs| logs.0.each_ref().map(|(counter, _)| counter.save())),
            open: &self.open,
            closed_until: self.closed_until,
            progress: self.progress,
            arrived: self.arrived,
        }
    }
}

impl SavedService<BTreeMap<UnixNanos, Bucket>> {
    fn service(self, place: usize) -> (Arc<str>, Service) {
        let Self { name, operations: saved, logs, open, closed_until, progress, arrived } = self;
        let mut operations = Operations::default();
        for operation in &saved {
            operations.add(operation.operation(&name));
        }
        let logs = logs.map(|totals| {
            let mut series = LogSeries::new(&name);
            series.0.iter_mut().zip(totals).for_each(|((counter, _), total)| counter.resume(total));
            series
        });
        (name, Service { place, operations, logs, open, closed_until, progress, arrived })
    }
}

impl Operation {
    fn save(&self) -> SavedOperation {
        let totals = [&self.calls_ok, &self.calls_failed, &self.duration_sum, &self.duration_count].map(Counter::save);
        SavedOperation { name: Arc::clone(&self.name), kind: self.kind, totals, empty_buckets: self.empty_buckets }
    }
}

impl SavedOperation {
    fn operation(&self, service: &str) -> Operation {
        let mut operation = Operation::new(service, &self.name, self.kind);
        let Operation { calls_ok, calls_failed, duration_sum, duration_count, .. } = &mut operation;
        for (counter, total) in [calls_ok, calls_failed, duration_sum, duration_count].into_iter().zip(self.totals) {
            counter.resume(total);
        }
        operation.empty_buckets = self.empty_buckets;
        operation
    }
}

impl Counter {
    fn save(&self) -> Total {
        (self.total, self.begun)
    }

    fn resume(&mut self, (total, begun): Total) {
        (self.total, self.begun) = (total, begun);
    }
}
