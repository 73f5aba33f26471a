//! Log records, from the wire into columns.

use proto::{
    otlp::{
        Resource, Scope, cut,
        logs::{self, LogRecord, Visitor},
    },
    wire::Malformed,
};
use window::{LogColumns, LogRow, UnixNanos};

use super::{
    Decoded, Limits,
    ids::id,
    keep::{Keeper, Kept},
    origin::Origin,
    values,
};
use crate::Rejections;

/// The greatest severity number of OpenTelemetry.
const MAX_SEVERITY: u8 = 24;
/// A record with a time and nothing else takes this many bytes in a request.
const LEAST_BYTES: usize = 11;

/// Reads a logs request that has `items` records.
pub(super) fn read(request: &[u8], items: u64, limits: &Limits) -> Result<Decoded, Malformed> {
    let mut logs = LogColumns::default();
    // Records that cannot be valid make no room for themselves.
    let rows = usize::try_from(items).unwrap_or(usize::MAX).min(request.len() / LEAST_BYTES);
    let content = request.len() - rows * LEAST_BYTES;
    logs.reserve(rows, content / 2, content / 2);
    let mut reader = Reader {
        limits,
        origin: Origin::default(),
        keeper: Keeper::default(),
        logs,
        rejected: Rejections::default(),
        items: 0,
        repeated: 0,
        attributes: Vec::new(),
    };
    logs::read(request, &mut reader)?;
    let mut decoded = Decoded { items: reader.items, ..Decoded::default() };
    decoded.batch.logs = reader.logs;
    decoded.batch.rejected = reader.rejected;
    decoded.batch.repeated_attributes = reader.repeated + reader.origin.repeated;
    decoded.batch.feeds = reader.origin.into_feeds();
    Ok(decoded)
}

struct Reader<'l> {
    limits: &'l Limits,
    origin: Origin,
    keeper: Keeper,
    logs: LogColumns,
    rejected: Rejections,
    items: u64,
    repeated: u64,
    /// What the record at hand has.
    attributes: Vec<u8>,
}

impl Visitor for Reader<'_> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.origin.resource(resource, self.limits);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.origin.scope(scope, self.limits);
        let (service, resource, scope) = self.origin.parts();
        self.logs.set_origin(service, resource, scope);
    }

    fn record(&mut self, record: &LogRecord<'_>) -> Result<(), Malformed> {
        self.items += 1;
        self.attributes.clear();
        let kept = self.keeper.copy("log record", &record.attributes, 1, self.limits, &mut self.attributes)?;
        if let Err(fault) = self.row(record, kept) {
            self.rejected.add(1, || fault);
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// Keeps the record, unless it is refused with a reason.
    fn row(&mut self, record: &LogRecord<'_>, kept: Result<Kept, String>) -> Result<(), String> {
        if let Some(fault) = self.origin.fault() {
            return Err(fault.to_owned());
        }
        let nanos = if record.time == 0 { record.observed } else { record.time };
        if nanos == 0 {
            return Err("log record: time_unix_nano and observed_time_unix_nano are 0".to_owned());
        }
        let time = UnixNanos::from_unsigned(nanos).ok_or("log record: time_unix_nano is beyond the year 2262")?;
        let kept = kept?;
        let limits = self.limits;
        let row = LogRow {
            time,
            observed: UnixNanos::from_unsigned(record.observed).unwrap_or_default(),
            severity: u8::try_from(record.severity).ok().filter(|n| *n <= MAX_SEVERITY).unwrap_or(0),
            severity_text: cut(record.severity_text.as_str(), limits.label_value_bytes),
            event_name: cut(record.event_name.as_str(), limits.label_value_bytes),
            body: &values::text(&record.body, limits.log_body_bytes),
            trace_id: id(record.trace_id).unwrap_or_default(),
            span_id: id(record.span_id).unwrap_or_default(),
            flags: record.flags,
            attributes: &self.attributes,
            dropped_attributes: record.dropped_attributes.saturating_add(kept.dropped),
        };
        self.logs.push(&row).map_err(|full| full.to_string())?;
        self.repeated += u64::from(kept.repeated);
        Ok(())
    }
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
