//! Metrics, read in place.

mod points;

use super::{
    envelope::{Names, walk},
    origin::OriginVisitor,
    value::KeyValue,
};
use crate::wire::{Fields, Malformed, Text};

pub use points::{
    Buckets, Exemplar, ExponentialPoint, HistogramPoint, Number, NumberPoint, Stamp, SummaryPoint, Totals,
};

/// Points of a gauge or a sum that are shown together at the most.
const NUMBERS_AT_ONCE: usize = 32;

/// Takes the contents of a metrics request in its order.
pub trait Visitor: OriginVisitor {
    /// A metric of that scope begins; it may have no data. Its points are shown only if the answer is
    /// true.
    fn metric(&mut self, metric: &Metric<'_>) -> bool;
    /// How many points the metric has that was not wanted; 0 when it has no data.
    fn skipped(&mut self, points: u64);
    /// Points of a gauge or a sum that follow one another; a metric with many of them is shown in
    /// several such runs. Whoever looks something up for each can do it for all of a run at once.
    ///
    /// # Errors
    /// When their attributes or exemplars, which are not looked into before, are not well formed.
    fn numbers(&mut self, points: &[NumberPoint<'_>]) -> Result<(), Malformed>;
    /// A point of a histogram with explicit bounds.
    ///
    /// # Errors
    /// As for [`Visitor::numbers`].
    fn histogram(&mut self, point: HistogramPoint<'_>) -> Result<(), Malformed>;
    /// A point of an exponential histogram.
    ///
    /// # Errors
    /// As for [`Visitor::numbers`].
    fn exponential(&mut self, point: ExponentialPoint<'_>) -> Result<(), Malformed>;
    /// A point of a summary.
    ///
    /// # Errors
    /// As for [`Visitor::numbers`].
    fn summary(&mut self, point: SummaryPoint<'_>) -> Result<(), Malformed>;
}

/// What the points of a metric share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric<'a> {
    /// `name`.
    pub name: Text<'a>,
    /// `description`.
    pub description: Text<'a>,
    /// `unit`.
    pub unit: Text<'a>,
    /// Which member of the oneof `data` was sent.
    pub kind: Option<Kind>,
    /// `aggregation_temporality`'s number; 0 where the kind has none.
    pub temporality: i32,
    /// `is_monotonic`; false where the kind has none.
    pub is_monotonic: bool,
}

/// The kinds of metric data, by their field numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// `gauge`.
    Gauge = 5,
    /// `sum`.
    Sum = 7,
    /// `histogram`.
    Histogram = 9,
    /// `exponential_histogram`.
    Exponential = 10,
    /// `summary`.
    Summary = 11,
}

impl Kind {
    pub(super) fn of(number: u32) -> Option<Self> {
        [Self::Gauge, Self::Sum, Self::Histogram, Self::Exponential, Self::Summary]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }

    fn message(self) -> &'static str {
        match self {
            Self::Gauge => "Gauge",
            Self::Sum => "Sum",
            Self::Histogram => "Histogram",
            Self::Exponential => "ExponentialHistogram",
            Self::Summary => "Summary",
        }
    }
}

/// Reads an `ExportMetricsServiceRequest`.
///
/// # Errors
/// [`Malformed`] when it is none. The visitor may have been told a part of it by then.
pub fn read(request: &[u8], visitor: &mut impl Visitor) -> Result<(), Malformed> {
    let names = Names { request: "ExportMetricsServiceRequest", resource: "ResourceMetrics", scope: "ScopeMetrics" };
    let mut points = Vec::new();
    walk(&names, request, visitor, |visitor, bytes| read_metric(visitor, bytes, &mut points))
}

/// `points` is room for those that are shown together.
fn read_metric<'a>(
    visitor: &mut impl Visitor,
    bytes: &'a [u8],
    points: &mut Vec<NumberPoint<'a>>,
) -> Result<(), Malformed> {
    let mut parts = Vec::with_capacity(1);
    let metric = Metric::read(bytes, &mut parts)?;
    let is_wanted = visitor.metric(&metric);
    let Some(kind) = metric.kind.filter(|_| is_wanted) else {
        visitor.skipped(count(&parts)?);
        return Ok(());
    };
    for part in parts {
        let mut fields = Fields::new(kind.message(), part);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                read_point(visitor, kind, fields.bytes(field.value)?, points)?;
            }
        }
    }
    show(visitor, points)
}

#[inline]
fn read_point<'a>(
    visitor: &mut impl Visitor,
    kind: Kind,
    bytes: &'a [u8],
    points: &mut Vec<NumberPoint<'a>>,
) -> Result<(), Malformed> {
    match kind {
        Kind::Gauge | Kind::Sum => {
            points.push(NumberPoint::default());
            if let Some(point) = points.last_mut() {
                point.fill(bytes)?;
            }
            if points.len() == NUMBERS_AT_ONCE { show(visitor, points) } else { Ok(()) }
        }
        Kind::Histogram => visitor.histogram(HistogramPoint::read(bytes)?),
        Kind::Exponential => visitor.exponential(ExponentialPoint::read(bytes)?),
        Kind::Summary => visitor.summary(SummaryPoint::read(bytes)?),
    }
}

/// Shows the points that are waiting, if there are any.
fn show(visitor: &mut impl Visitor, points: &mut Vec<NumberPoint<'_>>) -> Result<(), Malformed> {
    if !points.is_empty() {
        visitor.numbers(points)?;
        points.clear();
    }
    Ok(())
}

impl<'a> Metric<'a> {
    /// Reads all but the points, whose messages' parts go into `parts`.
    fn read(bytes: &'a [u8], parts: &mut Vec<&'a [u8]>) -> Result<Self, Malformed> {
        let mut metric = Self::default();
        let mut fields = Fields::new("Metric", bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => metric.name = fields.text(field.value)?,
                2 => metric.description = fields.text(field.value)?,
                3 => metric.unit = fields.text(field.value)?,
                12 => drop(KeyValue::read(fields.bytes(field.value)?)?),
                number => {
                    let Some(kind) = Kind::of(number) else { continue };
                    // Of several members of a oneof the last wins; parts of one are joined.
                    if metric.kind.replace(kind) != Some(kind) {
                        parts.clear();
                    }
                    parts.push(fields.bytes(field.value)?);
                }
            }
        }
        if matches!(metric.kind, Some(Kind::Sum | Kind::Histogram | Kind::Exponential)) {
            for part in parts.iter() {
                metric.read_data(part)?;
            }
        }
        Ok(metric)
    }

    fn read_data(&mut self, part: &[u8]) -> Result<(), Malformed> {
        let Some(kind) = self.kind else { return Ok(()) };
        let mut fields = Fields::new(kind.message(), part);
        while let Some(field) = fields.next()? {
            match (field.number, kind) {
                (2, Kind::Sum | Kind::Histogram | Kind::Exponential) => self.temporality = fields.int32(field.value)?,
                (3, Kind::Sum) => self.is_monotonic = fields.varint_of(field.value)? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The points in the parts of a metric's data.
fn count(parts: &[&[u8]]) -> Result<u64, Malformed> {
    let mut points = 0;
    for part in parts {
        let mut fields = Fields::new("metric's data", part);
        while let Some(field) = fields.next()? {
            points += u64::from(field.number == 1);
        }
    }
    Ok(points)
}
