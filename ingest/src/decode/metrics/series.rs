//! Which series a point belongs to: by a look at its bytes where they are known, described once
//! where they are not.

use std::{
    collections::HashMap,
    sync::{Arc, RwLockReadGuard},
};

use proto::{
    otlp::{KeyValue, Repeated, Resource, Scope, metrics::Metric},
    wire::Malformed,
};
use window::{HistogramRow, Labels, Series, SeriesKey, SeriesKind, Temporality};
use xxhash_rust::xxh3::xxh3_128;

use super::{Part, shown};
use crate::{
    Batch, ExemplarRow, KnownSeries, NumberRow, SeriesRef, Stranger,
    decode::{
        Context, names,
        sender::{Feeds, Label, Sender},
        values,
    },
    known::{self, WireKey},
};

/// A valid point's least length: tag, length, time and value.
const LEAST_POINT_BYTES: usize = 20;

/// Reads a request of `points` points.
pub(in crate::decode) fn rows(
    request: &[u8],
    points: u64,
    context: Context<'_>,
    directory: &KnownSeries,
) -> Result<Batch, Malformed> {
    let mut rows = Rows::new(context, directory);
    let room = request.len() / LEAST_POINT_BYTES;
    rows.batch.numbers.rows.reserve(usize::try_from(points).map_or(room, |points| points.min(room)));
    proto::otlp::metrics::read(request, &mut rows)?;
    Ok(rows.finish())
}

/// Rows under construction, and where in the request the reader is.
#[derive(Debug)]
pub(in crate::decode) struct Rows<'d> {
    pub(super) context: Context<'d>,
    /// The series that are known, by number.
    directory: &'d KnownSeries,
    sender: Arc<Sender>,
    /// Why the points of the current resource or scope are refused.
    pub(super) fault: Option<String>,
    /// Why the metric at hand is refused, and how many items it counts for at least.
    pub(super) unwanted: Option<(String, u64)>,
    batch: Batch,
    feeds: Feeds,
    /// Identity of the current resource and scope.
    scope: u128,
    metric: Current,
    parts: &'static [Part],
    /// Held from one metric to the next.
    known: Option<RwLockReadGuard<'d, known::Inner>>,
    /// Places of this request's strangers.
    strangers: HashMap<WireKey, SeriesRef>,
    label_names: HashMap<Box<str>, Arc<str>>,
    bytes: Vec<u8>,
    /// Room for [`Self::foresee`].
    wires: Vec<WireKey>,
}

/// What the points of the current metric share.
#[derive(Debug, Default)]
struct Current {
    name: String,
    unit: String,
    /// Identity of each part's series, apart from the point's attributes.
    digests: [u128; 3],
    /// Names for PromQL of the parts, once somebody needs them.
    described: [Option<Described>; 3],
}

#[derive(Clone, Debug)]
struct Described {
    name: Arc<str>,
    source_name: Arc<str>,
    unit: Arc<str>,
}

impl<'d> Rows<'d> {
    fn new(context: Context<'d>, directory: &'d KnownSeries) -> Self {
        let mut rows = Self {
            context,
            directory,
            sender: Arc::default(),
            fault: None,
            unwanted: None,
            batch: Batch::default(),
            feeds: Feeds::default(),
            scope: 0,
            metric: Current::default(),
            parts: &[],
            known: None,
            strangers: HashMap::new(),
            label_names: HashMap::new(),
            bytes: Vec::new(),
            wires: Vec::new(),
        };
        rows.batch.numbers.epoch = directory.read().epoch;
        rows
    }

    pub(super) fn begin_resource(&mut self, resource: &Resource<'_>) {
        self.sender = self.context.senders.of(resource, self.context.limits);
        self.batch.repeated_attributes += self.sender.repeated;
        self.feeds.note(&self.sender.feed);
    }

    pub(super) fn begin_scope(&mut self, scope: &Scope<'_>) {
        // The reader has looked at them already.
        let read = values::read("scope", &scope.attributes, self.context.limits).unwrap_or_else(|e| Err(e.to_string()));
        let (mut list, fault) = match read {
            Ok(list) => (list, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        self.fault = self.sender.fault.clone().or(fault);
        if self.fault.is_none() {
            self.batch.repeated_attributes += values::sort(&mut list);
        }
        self.bytes.clear();
        self.bytes.extend(self.sender.digest.to_le_bytes());
        values::bytes(scope.name.bytes(), &mut self.bytes);
        values::bytes(scope.version.bytes(), &mut self.bytes);
        values::canonical_sorted(&list, &mut self.bytes);
        self.scope = xxh3_128(&self.bytes);
    }

    /// Begins a metric whose points become `parts`, at most three series each.
    pub(super) fn begin_metric(&mut self, metric: &Metric<'_>, parts: &'static [Part]) {
        let current = &mut self.metric;
        current.name.clear();
        current.name.push_str(metric.name.as_str());
        current.unit.clear();
        current.unit.push_str(metric.unit.as_str());
        current.described = [const { None }; 3];
        self.parts = parts;
        for ((suffix, kind), digest) in parts.iter().zip(&mut current.digests) {
            self.bytes.clear();
            self.bytes.extend(self.scope.to_le_bytes());
            values::bytes(metric.name.bytes(), &mut self.bytes);
            values::bytes(suffix.as_bytes(), &mut self.bytes);
            values::bytes(metric.unit.bytes(), &mut self.bytes);
            self.bytes.push(kind_byte(*kind));
            *digest = xxh3_128(&self.bytes);
        }
        // Given back and taken again, so that the pipeline is never kept waiting for long.
        self.known = None;
        self.known = Some(self.directory.read());
    }

    /// Whether the start times of the current metric mean anything: those of gauges do not.
    #[inline]
    pub(super) fn has_start(&self) -> bool {
        !matches!(self.parts, [(_, SeriesKind::Gauge)])
    }

    /// The keys of points of the current metric's only part, which are about to be looked up.
    #[inline]
    pub(super) fn foresee<'s>(&mut self, sent: impl Iterator<Item = &'s Repeated<'s>>) -> Vec<WireKey> {
        let mut wires = std::mem::take(&mut self.wires);
        wires.clear();
        wires.extend(sent.map(|sent| WireKey::new(self.metric.digests[0], sent.raw())));
        if let Some(known) = &self.known {
            known.prepare(&wires);
        }
        wires
    }

    /// Keeps the room of keys for the next ones.
    pub(super) fn room_for_wires(&mut self, wires: Vec<WireKey>) {
        self.wires = wires;
    }

    /// The series of a point of the current metric's part, or nothing when the point is refused.
    #[inline]
    pub(super) fn series(&mut self, part: usize, sent: &Repeated<'_>) -> Result<Option<SeriesRef>, Malformed> {
        self.series_of(part, WireKey::new(self.metric.digests[part], sent.raw()), sent)
    }

    /// The same for a point whose key is known already.
    #[inline]
    pub(super) fn series_of(
        &mut self,
        part: usize,
        wire: WireKey,
        sent: &Repeated<'_>,
    ) -> Result<Option<SeriesRef>, Malformed> {
        if let Some(id) = self.known.as_ref().and_then(|known| known.get(wire)) {
            return Ok(Some(SeriesRef::known(id)));
        }
        self.stranger(part, wire, sent, None)
    }

    /// The same for one quantile of a summary, which is a label of its own.
    pub(super) fn quantile_series(
        &mut self,
        part: usize,
        quantile: f64,
        sent: &Repeated<'_>,
    ) -> Result<Option<SeriesRef>, Malformed> {
        self.bytes.clear();
        self.bytes.extend(self.metric.digests[part].to_le_bytes());
        self.bytes.extend(quantile.to_bits().to_le_bytes());
        let wire = WireKey::new(xxh3_128(&self.bytes), sent.raw());
        if let Some(id) = self.known.as_ref().and_then(|known| known.get(wire)) {
            return Ok(Some(SeriesRef::known(id)));
        }
        self.stranger(part, wire, sent, Some(quantile))
    }

    #[cold]
    fn stranger(
        &mut self,
        part: usize,
        wire: WireKey,
        sent: &Repeated<'_>,
        quantile: Option<f64>,
    ) -> Result<Option<SeriesRef>, Malformed> {
        let mut list = match values::read("data point", sent, self.context.limits)? {
            Ok(list) => list,
            Err(fault) => {
                self.refuse_point(&fault);
                return Ok(None);
            }
        };
        let repeated = values::sort(&mut list);
        self.batch.repeated_attributes += repeated;
        if let Some(series) = self.strangers.get(&wire) {
            return Ok(Some(*series));
        }
        self.bytes.clear();
        self.bytes.extend(self.metric.digests[part].to_le_bytes());
        values::canonical_sorted(&list, &mut self.bytes);
        if let Some(quantile) = quantile {
            self.bytes.extend(quantile.to_bits().to_le_bytes());
        }
        let key = SeriesKey(xxh3_128(&self.bytes));
        let mut series = self.describe(part, key, &list);
        if let Some(quantile) = quantile {
            series.labels = series.labels.with("quantile", &quantile.to_string());
        }
        let place = SeriesRef::stranger(self.batch.numbers.strangers.len());
        let is_regular = repeated == 0;
        self.batch.numbers.strangers.push(Stranger { wire, series, is_regular });
        self.strangers.insert(wire, place);
        Ok(Some(place))
    }

    fn describe(&mut self, part: usize, key: SeriesKey, sorted: &[KeyValue<'_>]) -> Series {
        let (suffix, kind) = self.parts[part];
        let current = &mut self.metric;
        let described = current.described[part].get_or_insert_with(|| Described {
            name: if suffix.is_empty() {
                names::metric(&current.name, &current.unit, kind).into()
            } else {
                // The type's own suffix follows the unit, and neither of them is a counter's name.
                (names::metric(&current.name, &current.unit, SeriesKind::Derived) + suffix).into()
            },
            source_name: current.name.as_str().into(),
            unit: if suffix == "_count" { "".into() } else { current.unit.as_str().into() },
        });
        let Described { name, source_name, unit } = described.clone();
        let service = Arc::clone(&self.sender.feed.service);
        Series { key, name, source_name, unit, kind, labels: self.labels(sorted), service }
    }

    /// `job` and `instance` win over the point's attributes, and those over promoted ones.
    /// Attributes whose names become equal share a label, their values joined in order of name.
    fn labels(&mut self, sorted: &[KeyValue<'_>]) -> Labels {
        let limit = self.context.limits.label_value_bytes;
        let sender = &self.sender;
        let mut own: Vec<Label> = Vec::with_capacity(sorted.len() + sender.promoted.len() + 2);
        for (name, value) in [("job", &sender.feed.service), ("instance", &sender.feed.instance)] {
            if !value.is_empty() {
                own.push((name.into(), Arc::clone(value)));
            }
        }
        let reserved = own.len();
        for attribute in sorted {
            let (key, value) = (attribute.key.as_str(), values::text(&attribute.value, limit));
            if value.is_empty() || key.is_empty() {
                continue;
            }
            let name = match self.label_names.get(key) {
                Some(name) => Arc::clone(name),
                None => Arc::clone(self.label_names.entry(key.into()).or_insert_with(|| names::label(key).into())),
            };
            match own.iter().position(|(n, _)| *n == name) {
                None => own.push((name, value.into())),
                Some(index) if index >= reserved => own[index].1 = format!("{};{value}", own[index].1).into(),
                Some(_) => {}
            }
        }
        own.extend(sender.promoted.iter().cloned());
        Labels::from_pairs(own)
    }

    #[inline]
    pub(super) fn push(&mut self, row: NumberRow) {
        self.batch.numbers.rows.push(row);
    }

    pub(super) fn push_histogram(&mut self, series: SeriesRef, row: HistogramRow) {
        self.batch.numbers.histograms.push((series, row));
    }

    pub(super) fn push_exemplar(&mut self, row: ExemplarRow) {
        self.batch.numbers.exemplars.push(row);
    }

    /// Refuses `count` points.
    pub(super) fn refuse(&mut self, count: u64, reason: impl FnOnce() -> String) {
        self.batch.rejected.add(count, reason);
    }

    /// Refuses a point of the current metric.
    #[cold]
    pub(super) fn refuse_point(&mut self, what: &str) {
        let name = &self.metric.name;
        self.batch.rejected.add(1, || format!("{}: {what}", shown(name)));
    }

    fn finish(mut self) -> Batch {
        self.batch.feeds = self.feeds.into_list();
        self.batch
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
