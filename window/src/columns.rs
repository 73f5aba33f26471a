//! Column names of every table, in one place.

/// Dense series number.
pub const SERIES: &str = "series";
/// Event time.
pub const TIME: &str = "time";
/// Value of a point.
pub const VALUE: &str = "value";
/// When a span began.
pub const START: &str = "start";
/// `service.namespace/service.name`.
pub const SERVICE: &str = "service";
/// Span name.
pub const NAME: &str = "name";
/// Span kind, as on the wire.
pub const KIND: &str = "kind";
/// Whether the span's status is Error.
pub const FAILED: &str = "failed";
/// Trace id, 16 bytes.
pub const TRACE_ID: &str = "trace_id";
/// Span id, 8 bytes.
pub const SPAN_ID: &str = "span_id";
/// Parent's span id, 8 bytes.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
/// Attributes as text.
pub const ATTRIBUTES: &str = "attributes";
/// OpenTelemetry severity number.
pub const SEVERITY: &str = "severity";
/// Log body as text.
pub const BODY: &str = "body";
