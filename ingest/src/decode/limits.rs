//! How large the parts of an item may be.

const MIB: usize = 1024 * 1024;

/// Bounds on what a request may carry. Lengths are in bytes of UTF-8; texts are cut between
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory that one request may take once decoded. Default 256 MiB; more refuses the request.
    pub decoded_bytes: usize,
    /// Attributes of one resource, scope, point, span or log record. Default 128; an item with more
    /// is refused. Of a span's event or link so many are kept, and the others are counted as dropped.
    pub attributes_per_item: usize,
    /// Length of an attribute's name. Default 1024; an item with a longer one is refused.
    pub attribute_name_bytes: usize,
    /// Length of a metric's name, and of its unit. Default 1024; the points of a metric with a longer
    /// one are refused.
    pub metric_name_bytes: usize,
    /// Length of a label's value. Default 2048; longer ones are cut. Series that differ only behind
    /// the cut remain different series with equal labels.
    pub label_value_bytes: usize,
    /// Attributes of one span, log record, resource or scope, as encoded, together; likewise a span's
    /// events and links. Default 64 KiB; of more, those are kept that still fit, and the others are
    /// counted as dropped.
    pub attribute_bytes_per_item: usize,
    /// Length of a span's name. Default 256; longer ones are cut.
    pub span_name_bytes: usize,
    /// Length of a log record's body as text. Default 4096; longer ones are cut.
    pub log_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decoded_bytes: 256 * MIB,
            attributes_per_item: 128,
            attribute_name_bytes: 1024,
            metric_name_bytes: 1024,
            label_value_bytes: 2048,
            attribute_bytes_per_item: 64 * 1024,
            span_name_bytes: 256,
            log_body_bytes: 4096,
        }
    }
}
