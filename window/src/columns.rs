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
/// Status code of a span: 0 unset, 1 ok, 2 error.
pub const STATUS: &str = "status";
/// Trace id, 16 bytes.
pub const TRACE_ID: &str = "trace_id";
/// Span id, 8 bytes.
pub const SPAN_ID: &str = "span_id";
/// Parent's span id, 8 bytes.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
/// W3C trace flags, as on the wire.
pub const FLAGS: &str = "flags";
/// Attributes, as an encoded `KeyValueList`.
pub const ATTRIBUTES: &str = "attributes";
/// What few spans have, as an encoded `Span` that has only that.
pub const REST: &str = "rest";
/// The resource, as an encoded `Resource`.
pub const RESOURCE: &str = "resource";
/// The instrumentation scope, as an encoded `InstrumentationScope`.
pub const SCOPE: &str = "scope";
/// When a log record was observed.
pub const OBSERVED: &str = "observed";
/// OpenTelemetry severity number.
pub const SEVERITY: &str = "severity";
/// The sender's own word for the severity.
pub const SEVERITY_TEXT: &str = "severity_text";
/// Which event a log record stands for.
pub const EVENT_NAME: &str = "event_name";
/// Log body as text.
pub const BODY: &str = "body";
/// Observations of a histogram.
pub const COUNT: &str = "count";
/// Sum of the observations.
pub const SUM: &str = "sum";
/// The least observation.
pub const MIN: &str = "min";
/// The greatest observation.
pub const MAX: &str = "max";
/// Upper bounds of explicit buckets.
pub const BOUNDS: &str = "bounds";
/// Observations by explicit bucket.
pub const COUNTS: &str = "counts";
/// Resolution of exponential buckets.
pub const SCALE: &str = "scale";
/// Observations in the zero bucket.
pub const ZERO_COUNT: &str = "zero_count";
/// Half width of the zero bucket.
pub const ZERO_THRESHOLD: &str = "zero_threshold";
/// Index of the first positive bucket.
pub const POSITIVE_OFFSET: &str = "positive_offset";
/// Observations by positive bucket.
pub const POSITIVE_COUNTS: &str = "positive_counts";
/// Index of the first negative bucket.
pub const NEGATIVE_OFFSET: &str = "negative_offset";
/// Observations by negative bucket.
pub const NEGATIVE_COUNTS: &str = "negative_counts";
/// Attributes of a log record that were not kept.
pub const DROPPED_ATTRIBUTES: &str = "dropped_attributes";
/// Identity of a series, 16 bytes.
pub const KEY: &str = "key";
/// End of a rollup's bucket.
pub const BUCKET_END: &str = "bucket_end";
/// The newest value in a bucket.
pub const LAST: &str = "last";
/// Event time of the newest value in a bucket.
pub const LAST_TIME: &str = "last_time";
/// Event time of the newest staleness marker in a bucket.
pub const ENDED: &str = "ended";
/// Labels, as a JSON object.
pub const LABELS: &str = "labels";
/// A series' name as it was sent.
pub const SOURCE_NAME: &str = "source_name";
/// A series' unit, as sent.
pub const UNIT: &str = "unit";
