//! Which key of which object goes where: the lowerCamelCase names of OTLP's messages.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric, number_data_point, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use serde::de::MapAccess;

use super::{
    Fields, Message,
    scalars::{Base64, Hex},
};

impl Message for ExportMetricsServiceRequest {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "resourceMetrics" => fields.set(&mut self.resource_metrics),
            _ => Ok(()),
        }
    }
}

impl Message for ExportTraceServiceRequest {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "resourceSpans" => fields.set(&mut self.resource_spans),
            _ => Ok(()),
        }
    }
}

impl Message for ExportLogsServiceRequest {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "resourceLogs" => fields.set(&mut self.resource_logs),
            _ => Ok(()),
        }
    }
}

impl Message for ResourceMetrics {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "resource" => fields.set(&mut self.resource),
            "scopeMetrics" => fields.set(&mut self.scope_metrics),
            "schemaUrl" => fields.set(&mut self.schema_url),
            _ => Ok(()),
        }
    }
}

impl Message for ScopeMetrics {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "scope" => fields.set(&mut self.scope),
            "metrics" => fields.set(&mut self.metrics),
            "schemaUrl" => fields.set(&mut self.schema_url),
            _ => Ok(()),
        }
    }
}

impl Message for Metric {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "name" => fields.set(&mut self.name),
            "description" => fields.set(&mut self.description),
            "unit" => fields.set(&mut self.unit),
            "metadata" => fields.set(&mut self.metadata),
            "gauge" => fields.set_some(&mut self.data, metric::Data::Gauge),
            "sum" => fields.set_some(&mut self.data, metric::Data::Sum),
            "histogram" => fields.set_some(&mut self.data, metric::Data::Histogram),
            "exponentialHistogram" => fields.set_some(&mut self.data, metric::Data::ExponentialHistogram),
            "summary" => fields.set_some(&mut self.data, metric::Data::Summary),
            _ => Ok(()),
        }
    }
}

impl Message for Gauge {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "dataPoints" => fields.set(&mut self.data_points),
            _ => Ok(()),
        }
    }
}

impl Message for Sum {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "dataPoints" => fields.set(&mut self.data_points),
            "aggregationTemporality" => fields.set(&mut self.aggregation_temporality),
            "isMonotonic" => fields.set(&mut self.is_monotonic),
            _ => Ok(()),
        }
    }
}

impl Message for Histogram {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "dataPoints" => fields.set(&mut self.data_points),
            "aggregationTemporality" => fields.set(&mut self.aggregation_temporality),
            _ => Ok(()),
        }
    }
}

impl Message for ExponentialHistogram {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "dataPoints" => fields.set(&mut self.data_points),
            "aggregationTemporality" => fields.set(&mut self.aggregation_temporality),
            _ => Ok(()),
        }
    }
}

impl Message for Summary {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "dataPoints" => fields.set(&mut self.data_points),
            _ => Ok(()),
        }
    }
}

impl Message for NumberDataPoint {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "attributes" => fields.set(&mut self.attributes),
            "startTimeUnixNano" => fields.set(&mut self.start_time_unix_nano),
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "exemplars" => fields.set(&mut self.exemplars),
            "flags" => fields.set(&mut self.flags),
            "asDouble" => fields.set_some(&mut self.value, number_data_point::Value::AsDouble),
            "asInt" => fields.set_some(&mut self.value, number_data_point::Value::AsInt),
            _ => Ok(()),
        }
    }
}

impl Message for HistogramDataPoint {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "attributes" => fields.set(&mut self.attributes),
            "startTimeUnixNano" => fields.set(&mut self.start_time_unix_nano),
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "count" => fields.set(&mut self.count),
            "sum" => fields.set(&mut self.sum),
            "bucketCounts" => fields.set(&mut self.bucket_counts),
            "explicitBounds" => fields.set(&mut self.explicit_bounds),
            "exemplars" => fields.set(&mut self.exemplars),
            "flags" => fields.set(&mut self.flags),
            "min" => fields.set(&mut self.min),
            "max" => fields.set(&mut self.max),
            _ => Ok(()),
        }
    }
}

impl Message for ExponentialHistogramDataPoint {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "attributes" => fields.set(&mut self.attributes),
            "startTimeUnixNano" => fields.set(&mut self.start_time_unix_nano),
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "count" => fields.set(&mut self.count),
            "sum" => fields.set(&mut self.sum),
            "scale" => fields.set(&mut self.scale),
            "zeroCount" => fields.set(&mut self.zero_count),
            "positive" => fields.set(&mut self.positive),
            "negative" => fields.set(&mut self.negative),
            "flags" => fields.set(&mut self.flags),
            "exemplars" => fields.set(&mut self.exemplars),
            "min" => fields.set(&mut self.min),
            "max" => fields.set(&mut self.max),
            "zeroThreshold" => fields.set(&mut self.zero_threshold),
            _ => Ok(()),
        }
    }
}

impl Message for Buckets {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "offset" => fields.set(&mut self.offset),
            "bucketCounts" => fields.set(&mut self.bucket_counts),
            _ => Ok(()),
        }
    }
}

impl Message for SummaryDataPoint {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "attributes" => fields.set(&mut self.attributes),
            "startTimeUnixNano" => fields.set(&mut self.start_time_unix_nano),
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "count" => fields.set(&mut self.count),
            "sum" => fields.set(&mut self.sum),
            "quantileValues" => fields.set(&mut self.quantile_values),
            "flags" => fields.set(&mut self.flags),
            _ => Ok(()),
        }
    }
}

impl Message for ValueAtQuantile {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "quantile" => fields.set(&mut self.quantile),
            "value" => fields.set(&mut self.value),
            _ => Ok(()),
        }
    }
}

impl Message for Exemplar {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "filteredAttributes" => fields.set(&mut self.filtered_attributes),
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "spanId" => fields.set_id(&mut self.span_id),
            "traceId" => fields.set_id(&mut self.trace_id),
            "asDouble" => fields.set_some(&mut self.value, exemplar::Value::AsDouble),
            "asInt" => fields.set_some(&mut self.value, exemplar::Value::AsInt),
            _ => Ok(()),
        }
    }
}

impl Message for ResourceSpans {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "resource" => fields.set(&mut self.resource),
            "scopeSpans" => fields.set(&mut self.scope_spans),
            "schemaUrl" => fields.set(&mut self.schema_url),
            _ => Ok(()),
        }
    }
}

impl Message for ScopeSpans {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "scope" => fields.set(&mut self.scope),
            "spans" => fields.set(&mut self.spans),
            "schemaUrl" => fields.set(&mut self.schema_url),
            _ => Ok(()),
        }
    }
}

impl Message for Span {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "traceId" => fields.set_id(&mut self.trace_id),
            "spanId" => fields.set_id(&mut self.span_id),
            "traceState" => fields.set(&mut self.trace_state),
            "parentSpanId" => fields.set_id(&mut self.parent_span_id),
            "flags" => fields.set(&mut self.flags),
            "name" => fields.set(&mut self.name),
            "kind" => fields.set(&mut self.kind),
            "startTimeUnixNano" => fields.set(&mut self.start_time_unix_nano),
            "endTimeUnixNano" => fields.set(&mut self.end_time_unix_nano),
            "attributes" => fields.set(&mut self.attributes),
            "droppedAttributesCount" => fields.set(&mut self.dropped_attributes_count),
            "events" => fields.set(&mut self.events),
            "droppedEventsCount" => fields.set(&mut self.dropped_events_count),
            "links" => fields.set(&mut self.links),
            "droppedLinksCount" => fields.set(&mut self.dropped_links_count),
            "status" => fields.set(&mut self.status),
            _ => Ok(()),
        }
    }
}

impl Message for span::Event {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "name" => fields.set(&mut self.name),
            "attributes" => fields.set(&mut self.attributes),
            "droppedAttributesCount" => fields.set(&mut self.dropped_attributes_count),
            _ => Ok(()),
        }
    }
}

impl Message for span::Link {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "traceId" => fields.set_id(&mut self.trace_id),
            "spanId" => fields.set_id(&mut self.span_id),
            "traceState" => fields.set(&mut self.trace_state),
            "attributes" => fields.set(&mut self.attributes),
            "droppedAttributesCount" => fields.set(&mut self.dropped_attributes_count),
            "flags" => fields.set(&mut self.flags),
            _ => Ok(()),
        }
    }
}

impl Message for Status {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "message" => fields.set(&mut self.message),
            "code" => fields.set(&mut self.code),
            _ => Ok(()),
        }
    }
}

impl Message for ResourceLogs {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "resource" => fields.set(&mut self.resource),
            "scopeLogs" => fields.set(&mut self.scope_logs),
            "schemaUrl" => fields.set(&mut self.schema_url),
            _ => Ok(()),
        }
    }
}

impl Message for ScopeLogs {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "scope" => fields.set(&mut self.scope),
            "logRecords" => fields.set(&mut self.log_records),
            "schemaUrl" => fields.set(&mut self.schema_url),
            _ => Ok(()),
        }
    }
}

impl Message for LogRecord {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "timeUnixNano" => fields.set(&mut self.time_unix_nano),
            "observedTimeUnixNano" => fields.set(&mut self.observed_time_unix_nano),
            "severityNumber" => fields.set(&mut self.severity_number),
            "severityText" => fields.set(&mut self.severity_text),
            "body" => fields.set(&mut self.body),
            "attributes" => fields.set(&mut self.attributes),
            "droppedAttributesCount" => fields.set(&mut self.dropped_attributes_count),
            "flags" => fields.set(&mut self.flags),
            "traceId" => fields.set_id(&mut self.trace_id),
            "spanId" => fields.set_id(&mut self.span_id),
            "eventName" => fields.set(&mut self.event_name),
            _ => Ok(()),
        }
    }
}

impl Message for Resource {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "attributes" => fields.set(&mut self.attributes),
            "droppedAttributesCount" => fields.set(&mut self.dropped_attributes_count),
            "entityRefs" => fields.set(&mut self.entity_refs),
            _ => Ok(()),
        }
    }
}

impl Message for EntityRef {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "schemaUrl" => fields.set(&mut self.schema_url),
            "type" => fields.set(&mut self.r#type),
            "idKeys" => fields.set(&mut self.id_keys),
            "descriptionKeys" => fields.set(&mut self.description_keys),
            _ => Ok(()),
        }
    }
}

impl Message for InstrumentationScope {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "name" => fields.set(&mut self.name),
            "version" => fields.set(&mut self.version),
            "attributes" => fields.set(&mut self.attributes),
            "droppedAttributesCount" => fields.set(&mut self.dropped_attributes_count),
            _ => Ok(()),
        }
    }
}

impl Message for KeyValue {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "key" => fields.set(&mut self.key),
            "value" => fields.set(&mut self.value),
            _ => Ok(()),
        }
    }
}

impl Message for ArrayValue {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "values" => fields.set(&mut self.values),
            _ => Ok(()),
        }
    }
}

impl Message for KeyValueList {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "values" => fields.set(&mut self.values),
            _ => Ok(()),
        }
    }
}

impl Message for AnyValue {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, fields: &mut Fields<'_, A>) -> Result<(), A::Error> {
        match key {
            "stringValue" => fields.set_some(&mut self.value, any_value::Value::StringValue),
            "boolValue" => fields.set_some(&mut self.value, any_value::Value::BoolValue),
            "intValue" => fields.set_some(&mut self.value, any_value::Value::IntValue),
            "doubleValue" => fields.set_some(&mut self.value, any_value::Value::DoubleValue),
            "arrayValue" => fields.set_some(&mut self.value, any_value::Value::ArrayValue),
            "kvlistValue" => fields.set_some(&mut self.value, any_value::Value::KvlistValue),
            "bytesValue" => fields.set_some(&mut self.value, |Base64(bytes)| any_value::Value::BytesValue(bytes)),
            _ => Ok(()),
        }
    }
}

impl<'de, A: MapAccess<'de>> Fields<'_, A> {
    fn set_id(&mut self, slot: &mut Vec<u8>) -> Result<(), A::Error> {
        if let Some(Hex(bytes)) = self.read()? {
            *slot = bytes;
        }
        Ok(())
    }
}
