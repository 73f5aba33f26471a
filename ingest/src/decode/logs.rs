//! Log records as rows.

use std::sync::Arc;

use opentelemetry_proto::tonic::{collector::logs::v1::ExportLogsServiceRequest, logs::v1::LogRecord};
use window::{LogRow, UnixNanos};

use super::{
    Decoded, Limits, attributes,
    resource::{self, Feeds, Sender},
    spans::id,
};

/// The greatest severity number of OpenTelemetry.
const MAX_SEVERITY: u8 = 24;

pub(super) fn rows(bytes: &[u8], limits: &Limits) -> Result<crate::Batch, proto::wire::Malformed> {
    let request = <ExportLogsServiceRequest as prost::Message>::decode(bytes)
        .map_err(|_| proto::wire::Malformed { message: "TMP", fault: "TMP" })?;
    let mut decoded = Decoded::default();
    let mut feeds = Feeds::default();
    for resource_logs in &request.resource_logs {
        let sender = Sender::new(resource_logs.resource.as_ref(), limits);
        feeds.note(&sender.feed);
        for scope_logs in &resource_logs.scope_logs {
            let count = scope_logs.log_records.len() as u64;
            decoded.items += count;
            let scope = scope_logs.scope.as_ref();
            if let Some(fault) = sender.fault.clone().or_else(|| resource::scope_fault(scope, limits)) {
                decoded.batch.rejected.add(count, || fault);
                continue;
            }
            for record in &scope_logs.log_records {
                match row(record, &sender, limits) {
                    Ok(row) => decoded.batch.logs.push(row),
                    Err(fault) => decoded.batch.rejected.add(1, || fault),
                }
            }
        }
    }
    decoded.batch.feeds = feeds.into_list();
    Ok(decoded.batch)
}

fn row(record: &LogRecord, sender: &Sender, limits: &Limits) -> Result<LogRow, String> {
    let nanos = if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
    if nanos == 0 {
        return Err("log record: time_unix_nano and observed_time_unix_nano are 0".to_owned());
    }
    let time = UnixNanos::from_unsigned(nanos).ok_or("log record: time_unix_nano is beyond the year 2262")?;
    if let Some(fault) = attributes::fault("log record", &record.attributes, limits) {
        return Err(fault);
    }
    Ok(LogRow {
        time,
        service: Arc::clone(&sender.feed.service),
        severity: u8::try_from(record.severity_number).ok().filter(|n| *n <= MAX_SEVERITY).unwrap_or(0),
        body: attributes::text(record.body.as_ref(), limits.log_body_bytes).into(),
        trace_id: id(&record.trace_id).unwrap_or_default(),
        span_id: id(&record.span_id).unwrap_or_default(),
    })
}
