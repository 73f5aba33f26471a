//! Spans as rows.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use proto::otlp::cut;
use window::{SpanKind, SpanRow, UnixNanos};

use super::{
    Decoded, Limits, attributes,
    resource::{self, Feeds, Sender, Texts},
};

/// Longer values are rarely said twice.
const SHARED_VALUE_BYTES: usize = 64;

pub(super) fn rows(bytes: &[u8], limits: &Limits) -> Result<crate::Batch, proto::wire::Malformed> {
    let request = <ExportTraceServiceRequest as prost::Message>::decode(bytes)
        .map_err(|_| proto::wire::Malformed { message: "TMP", fault: "TMP" })?;
    let mut decoded = Decoded::default();
    let mut feeds = Feeds::default();
    let mut texts = Texts::default();
    for resource_spans in &request.resource_spans {
        let sender = Sender::new(resource_spans.resource.as_ref(), limits);
        feeds.note(&sender.feed);
        for scope_spans in &resource_spans.scope_spans {
            let count = scope_spans.spans.len() as u64;
            decoded.items += count;
            let scope = scope_spans.scope.as_ref();
            if let Some(fault) = sender.fault.clone().or_else(|| resource::scope_fault(scope, limits)) {
                decoded.batch.rejected.add(count, || fault);
                continue;
            }
            for span in &scope_spans.spans {
                match row(span, &sender, limits, &mut texts) {
                    Ok(row) => decoded.batch.spans.push(row),
                    Err(fault) => decoded.batch.rejected.add(1, || fault),
                }
            }
        }
    }
    decoded.batch.feeds = feeds.into_list();
    Ok(decoded.batch)
}

fn row<'a>(span: &'a Span, sender: &Sender, limits: &Limits, texts: &mut Texts<'a>) -> Result<SpanRow, String> {
    let trace_id = id(&span.trace_id).ok_or("trace_id is not 16 bytes, or all zero")?;
    let span_id = id(&span.span_id).ok_or("span_id is not 8 bytes, or all zero")?;
    let start = time("start_time_unix_nano", span.start_time_unix_nano)?;
    let end = time("end_time_unix_nano", span.end_time_unix_nano)?;
    if let Some(fault) = attributes::fault("span", &span.attributes, limits) {
        return Err(fault);
    }
    Ok(SpanRow {
        start,
        end,
        service: Arc::clone(&sender.feed.service),
        name: texts.share(cut(&span.name, limits.span_name_bytes)),
        kind: SpanKind::from_wire(span.kind),
        failed: span.status.as_ref().is_some_and(|s| s.code == StatusCode::Error as i32),
        trace_id,
        span_id,
        parent_span_id: id(&span.parent_span_id).unwrap_or_default(),
        attributes: kept_attributes(span, limits, texts),
    })
}

fn kept_attributes<'a>(span: &'a Span, limits: &Limits, texts: &mut Texts<'a>) -> Vec<(Arc<str>, Arc<str>)> {
    let mut kept: Vec<(Arc<str>, Arc<str>)> =
        Vec::with_capacity(span.attributes.len().min(limits.span_attributes_kept));
    for attribute in &span.attributes {
        if kept.len() == limits.span_attributes_kept {
            break;
        }
        if kept.iter().any(|(key, _)| **key == *attribute.key) {
            continue;
        }
        let value = match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Value::StringValue(text)) if text.len() <= SHARED_VALUE_BYTES.min(limits.span_value_bytes) => {
                texts.share(text)
            }
            _ => attributes::text(attribute.value.as_ref(), limits.span_value_bytes).into(),
        };
        kept.push((texts.share(&attribute.key), value));
    }
    kept
}

fn time(field: &str, nanos: u64) -> Result<UnixNanos, String> {
    match UnixNanos::from_unsigned(nanos) {
        Some(UnixNanos(0)) => Err(format!("span: {field} is 0")),
        Some(time) => Ok(time),
        None => Err(format!("span: {field} is beyond the year 2262")),
    }
}

/// An id of the right length that is not all zero.
pub(super) fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| *id != [0; N])
}
