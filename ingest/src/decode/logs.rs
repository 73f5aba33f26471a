//! Log records, from the wire into columns.

use proto::{
    otlp::{
        OriginVisitor, Resource, Scope, cut,
        logs::{self, LogRecord, Visitor},
    },
    wire::Malformed,
};
use window::{LogRow, UnixNanos};

use super::{
    Context,
    ids::id,
    keep::{Keeper, Kept},
    origin::Origin,
    values,
};
use crate::Batch;

/// The greatest severity number of OpenTelemetry.
const MAX_SEVERITY: u8 = 24;
/// A record with a time and nothing else takes this many bytes in a request.
const LEAST_BYTES: usize = 11;
/// Field of a `KeyValueList` as which attributes are kept.
const ATTRIBUTE: u8 = 1;

/// Reads a logs request that has `items` records.
pub(super) fn rows(request: &[u8], items: u64, context: Context<'_>) -> Result<Batch, Malformed> {
    let mut batch = Batch::default();
    // Records that cannot be valid make no room for themselves.
    let rows = usize::try_from(items).unwrap_or(usize::MAX).min(request.len() / LEAST_BYTES);
    let content = request.len() - rows * LEAST_BYTES;
    batch.logs.reserve(rows, content / 2, content / 2);
    let mut reader =
        Reader { context, origin: Origin::default(), keeper: Keeper::default(), batch, attributes: Vec::new() };
    logs::read(request, &mut reader)?;
    Ok(reader.origin.finish(reader.batch))
}

struct Reader<'d> {
    context: Context<'d>,
    origin: Origin,
    keeper: Keeper,
    batch: Batch,
    /// The attributes of the record at hand, if they are not kept as they were sent.
    attributes: Vec<u8>,
}

impl OriginVisitor for Reader<'_> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.origin.resource(resource, self.context);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.origin.scope(scope, self.context.limits);
        let (service, resource, scope) = self.origin.parts();
        self.batch.logs.set_origin(service, resource, scope);
    }
}

impl Visitor for Reader<'_> {
    fn record(&mut self, record: &LogRecord<'_>) -> Result<(), Malformed> {
        self.attributes.clear();
        let limits = self.context.limits;
        let kept = self.keeper.keep("log record", &record.attributes, ATTRIBUTE, limits, &mut self.attributes)?;
        if let Err(fault) = self.row(record, kept) {
            self.batch.rejected.add(1, || fault);
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
        let limits = self.context.limits;
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
            attributes: if kept.is_as_sent { record.attributes.raw() } else { &self.attributes },
            dropped_attributes: record.dropped_attributes.saturating_add(kept.dropped),
        };
        self.batch.logs.push(&row).map_err(|full| full.to_string())?;
        if kept.is_as_sent {
            self.keeper.tag(ATTRIBUTE, self.batch.logs.last_attributes_mut());
        }
        self.batch.repeated_attributes += u64::from(kept.repeated);
        Ok(())
    }
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
