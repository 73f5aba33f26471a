//! Identity and labels of series, made once for all that share them.

use std::sync::Arc;

use proto::otlp::wire::{
    common::v1::{InstrumentationScope, KeyValue},
    metrics::v1::Metric,
    resource::v1::Resource,
};
use window::{Labels, Series, SeriesKey, SeriesKind, Temporality, UnixNanos};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    Batch, IncomingPoint,
    decode::{
        Decoded, Limits, attributes,
        cache::SeriesCache,
        names,
        resource::{Feeds, Label, Sender, Texts},
    },
};

/// What the points of one metric share.
#[derive(Debug)]
pub(super) struct Head {
    name: Arc<str>,
    source_name: Arc<str>,
    unit: Arc<str>,
    kind: SeriesKind,
    /// Identity of resource, scope and metric.
    digest: u128,
}

/// Rows under construction, and where in the request the reader is.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) limits: &'a Limits,
    pub(super) sender: Sender,
    /// Why the points of the current resource or scope are refused.
    pub(super) fault: Option<String>,
    pub(super) items: u64,
    batch: Batch,
    feeds: Feeds,
    scope: u128,
    /// Attributes of the current point, by name.
    order: Vec<&'a KeyValue>,
    bytes: Vec<u8>,
    label_names: Texts<'a>,
    cache: &'a SeriesCache,
}

impl<'a> Rows<'a> {
    pub(super) fn new(limits: &'a Limits, cache: &'a SeriesCache) -> Self {
        Self {
            limits,
            sender: Sender::new(None, limits),
            fault: None,
            items: 0,
            batch: Batch::default(),
            feeds: Feeds::default(),
            scope: 0,
            order: Vec::new(),
            bytes: Vec::new(),
            label_names: Texts::default(),
            cache,
        }
    }

    /// Begins a resource.
    pub(super) fn sender(&mut self, resource: Option<&Resource>) {
        self.sender = Sender::new(resource, self.limits);
        self.feeds.note(&self.sender.feed);
    }

    /// Takes the identity of a scope of the current sender.
    pub(super) fn scope_digest(&mut self, scope: Option<&InstrumentationScope>) {
        self.bytes.clear();
        self.bytes.extend(self.sender.digest.to_le_bytes());
        if let Some(scope) = scope {
            attributes::bytes(scope.name.as_bytes(), &mut self.bytes);
            attributes::bytes(scope.version.as_bytes(), &mut self.bytes);
            attributes::canonical(&scope.attributes, &mut self.bytes);
        }
        self.scope = xxh3_128(&self.bytes);
    }

    /// What the points of `metric` share; `suffix` names the part of it that is kept.
    pub(super) fn head(&mut self, metric: &Metric, kind: SeriesKind, suffix: &str) -> Head {
        self.bytes.clear();
        self.bytes.extend(self.scope.to_le_bytes());
        attributes::bytes(metric.name.as_bytes(), &mut self.bytes);
        attributes::bytes(suffix.as_bytes(), &mut self.bytes);
        attributes::bytes(metric.unit.as_bytes(), &mut self.bytes);
        self.bytes.push(kind_byte(kind));
        let name = if suffix.is_empty() {
            names::metric(&metric.name, &metric.unit, kind)
        } else {
            // The type's own suffix follows the unit, and neither of them is a counter's name.
            names::metric(&metric.name, &metric.unit, SeriesKind::Derived) + suffix
        };
        Head {
            name: name.into(),
            source_name: metric.name.as_str().into(),
            unit: if suffix == "_count" { "".into() } else { metric.unit.as_str().into() },
            kind,
            digest: xxh3_128(&self.bytes),
        }
    }

    /// Makes `attributes` those of the current point.
    pub(super) fn sort(&mut self, attributes: &'a [KeyValue]) {
        attributes::sort_into(attributes, &mut self.order);
    }

    /// Adds a value of the series that `head` and the current point's attributes identify.
    pub(super) fn push(&mut self, head: &Head, time: UnixNanos, start: Option<UnixNanos>, value: f64) {
        self.bytes.clear();
        self.bytes.extend(head.digest.to_le_bytes());
        attributes::canonical_sorted(&self.order, &mut self.bytes);
        let key = SeriesKey(xxh3_128(&self.bytes));
        let cache = self.cache;
        let series = cache.find_or_add(key, || self.describe(head, key));
        self.batch.points.push(IncomingPoint { key, series, time, start, value });
    }

    fn describe(&mut self, head: &Head, key: SeriesKey) -> Series {
        Series {
            key,
            name: Arc::clone(&head.name),
            source_name: Arc::clone(&head.source_name),
            unit: Arc::clone(&head.unit),
            kind: head.kind,
            labels: self.labels(),
            service: Arc::clone(&self.sender.feed.service),
        }
    }

    /// `job` and `instance` win over the point's attributes, and those over promoted ones.
    /// Attributes whose names become equal share a label, their values joined in order of name.
    fn labels(&mut self) -> Labels {
        let limit = self.limits.label_value_bytes;
        let mut own: Vec<Label> = Vec::with_capacity(self.order.len() + self.sender.promoted.len() + 2);
        for (name, value) in [("job", &self.sender.feed.service), ("instance", &self.sender.feed.instance)] {
            if !value.is_empty() {
                own.push((name.into(), Arc::clone(value)));
            }
        }
        let reserved = own.len();
        for attribute in &self.order {
            let value = attributes::text(attribute.value.as_ref(), limit);
            if value.is_empty() || attribute.key.is_empty() {
                continue;
            }
            let name = self.label_names.share_as(&attribute.key, |key| names::label(key).into());
            match own.iter().position(|(n, _)| *n == name) {
                None => own.push((name, value.into())),
                Some(index) if index >= reserved => own[index].1 = format!("{};{value}", own[index].1).into(),
                Some(_) => {}
            }
        }
        own.extend(self.sender.promoted.iter().cloned());
        Labels::from_pairs(own)
    }

    /// Refuses `count` points.
    pub(super) fn refuse(&mut self, count: u64, reason: impl FnOnce() -> String) {
        self.batch.rejected.add(count, reason);
    }

    /// The request as rows.
    pub(super) fn finish(mut self) -> Decoded {
        self.batch.feeds = self.feeds.into_list();
        Decoded { batch: self.batch, items: self.items }
    }
}

fn kind_byte(kind: SeriesKind) -> u8 {
    match kind {
        SeriesKind::Gauge => 0,
        SeriesKind::Sum { monotonic, temporality } => {
            1 + 2 * u8::from(monotonic) + u8::from(temporality == Temporality::Delta)
        }
        SeriesKind::Histogram { temporality } => 5 + u8::from(temporality == Temporality::Delta),
        SeriesKind::Derived | SeriesKind::Published => u8::MAX,
    }
}
