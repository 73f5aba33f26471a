//! Numbers as the request in which an exporter would send them: what has no telemetry of its own goes
//! through the same doors and readers as what has.

use std::collections::BTreeMap;

use detect::UnixNanos;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point::Value as Number,
    },
    resource::v1::Resource,
};

/// Gauges of some services, in the making.
#[derive(Debug, Default)]
pub(crate) struct Export {
    services: BTreeMap<String, BTreeMap<String, Vec<NumberDataPoint>>>,
    points: usize,
}

impl Export {
    /// How many points it has.
    pub(crate) fn len(&self) -> usize {
        self.points
    }

    /// Adds a point. Points of one series stay in the order in which they come.
    pub(crate) fn add<'l>(
        &mut self,
        service: &str,
        metric: &str,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        time: UnixNanos,
        value: f64,
    ) {
        let point = NumberDataPoint {
            attributes: labels.into_iter().map(|(name, value)| attribute(name, value)).collect(),
            time_unix_nano: u64::try_from(time.0).unwrap_or_default(),
            value: Some(Number::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        if !self.services.contains_key(service) {
            self.services.insert(service.to_owned(), BTreeMap::new());
        }
        let Some(metrics) = self.services.get_mut(service) else { return };
        match metrics.get_mut(metric) {
            Some(points) => points.push(point),
            None => drop(metrics.insert(metric.to_owned(), vec![point])),
        }
        self.points += 1;
    }

    /// The request; this one is empty again.
    pub(crate) fn take(&mut self) -> ExportMetricsServiceRequest {
        self.points = 0;
        let services = std::mem::take(&mut self.services).into_iter();
        ExportMetricsServiceRequest { resource_metrics: services.map(|(name, m)| resource(&name, m)).collect() }
    }
}

fn resource(service: &str, metrics: BTreeMap<String, Vec<NumberDataPoint>>) -> ResourceMetrics {
    let gauge = |(name, data_points)| Metric {
        name,
        data: Some(metric::Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    };
    let scope = InstrumentationScope { name: "bellwether".into(), ..InstrumentationScope::default() };
    let metrics = metrics.into_iter().map(gauge).collect();
    ResourceMetrics {
        resource: Some(Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    }
}

/// A text attribute.
pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
