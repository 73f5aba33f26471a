//! The points of the five kinds of metric.

use crate::{
    otlp::value::{KeyValue, Repeated},
    wire::{Fields, Malformed, Run},
};

/// What points of all kinds have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stamp<'a> {
    /// `attributes`: [`KeyValue`]s, not looked into yet.
    pub attributes: Repeated<'a>,
    /// `start_time_unix_nano`; 0 when unknown.
    pub start: u64,
    /// `time_unix_nano`.
    pub time: u64,
    /// `flags`.
    pub flags: u32,
}

/// A value as it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `as_double`.
    Double(f64),
    /// `as_int`.
    Int(i64),
}

impl Number {
    /// As a float; integers beyond 2^53 are rounded.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "series are floats, as in Prometheus")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Double(value) => value,
            Self::Int(value) => value as f64,
        }
    }
}

/// `NumberDataPoint`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberPoint<'a> {
    /// Attributes, times, flags.
    pub stamp: Stamp<'a>,
    /// The value; `None` when there is none.
    pub value: Option<Number>,
    /// [`Exemplar`]s, not looked into yet.
    pub exemplars: Repeated<'a>,
}

/// What the points of both kinds of histogram add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// `count`.
    pub count: u64,
    /// `sum`, `min` and `max`, where sent.
    pub sum: Option<f64>,
    /// See `sum`.
    pub min: Option<f64>,
    /// See `sum`.
    pub max: Option<f64>,
}

/// `HistogramDataPoint`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramPoint<'a> {
    /// Attributes, times, flags.
    pub stamp: Stamp<'a>,
    /// `count`, `sum`, `min`, `max`.
    pub totals: Totals,
    /// `bucket_counts`.
    pub counts: Vec<u64>,
    /// `explicit_bounds`.
    pub bounds: Vec<f64>,
    /// [`Exemplar`]s, not looked into yet.
    pub exemplars: Repeated<'a>,
}

/// `ExponentialHistogramDataPoint`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExponentialPoint<'a> {
    /// Attributes, times, flags.
    pub stamp: Stamp<'a>,
    /// `count`, `sum`, `min`, `max`.
    pub totals: Totals,
    /// `scale`.
    pub scale: i32,
    /// `zero_count`.
    pub zero_count: u64,
    /// `zero_threshold`.
    pub zero_threshold: f64,
    /// `positive`.
    pub positive: Buckets,
    /// `negative`.
    pub negative: Buckets,
    /// [`Exemplar`]s, not looked into yet.
    pub exemplars: Repeated<'a>,
}

/// `ExponentialHistogramDataPoint.Buckets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// `offset`: index of the first bucket.
    pub offset: i32,
    /// `bucket_counts`.
    pub counts: Vec<u64>,
}

/// `SummaryDataPoint`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SummaryPoint<'a> {
    /// Attributes, times, flags.
    pub stamp: Stamp<'a>,
    /// `count`.
    pub count: u64,
    /// `sum`.
    pub sum: f64,
    /// `quantile_values`: quantile and value.
    pub quantiles: Vec<(f64, f64)>,
}

/// `Exemplar`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar<'a> {
    /// `filtered_attributes`; each is well formed.
    pub attributes: Repeated<'a>,
    /// `time_unix_nano`.
    pub time: u64,
    /// The value; `None` when there is none.
    pub value: Option<Number>,
    /// `span_id`.
    pub span_id: &'a [u8],
    /// `trace_id`.
    pub trace_id: &'a [u8],
}

impl<'a> NumberPoint<'a> {
    /// Reads a message into a point that is empty, where it is: to be moved would cost it as much as to be read.
    #[inline]
    pub(super) fn fill(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let point = self;
        let mut fields = Fields::new("NumberDataPoint", bytes);
        let [mut attributes, mut exemplars] = [Run::default(); 2];
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                7 => attributes.take(field, &mut fields)?,
                3 => point.stamp.time = fields.fixed64(value)?,
                2 => point.stamp.start = fields.fixed64(value)?,
                4 => point.value = Some(Number::Double(fields.double(value)?)),
                6 => point.value = Some(Number::Int(fields.fixed64(value)?.cast_signed())),
                5 => exemplars.take(field, &mut fields)?,
                8 => point.stamp.flags = fields.int32(value)?.cast_unsigned(),
                _ => {}
            }
        }
        point.stamp.attributes = Repeated::new(attributes.of(7, &fields));
        point.exemplars = Repeated::new(exemplars.of(5, &fields));
        Ok(())
    }
}

impl<'a> HistogramPoint<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut point = Self::default();
        let mut fields = Fields::new("HistogramDataPoint", bytes);
        let [mut attributes, mut exemplars] = [Run::default(); 2];
        let mut bounds = Vec::new();
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                9 => attributes.take(field, &mut fields)?,
                2 => point.stamp.start = fields.fixed64(value)?,
                3 => point.stamp.time = fields.fixed64(value)?,
                4 => point.totals.count = fields.fixed64(value)?,
                5 => point.totals.sum = Some(fields.double(value)?),
                6 => fields.fixed64s(value, &mut point.counts)?,
                7 => fields.fixed64s(value, &mut bounds)?,
                8 => exemplars.take(field, &mut fields)?,
                10 => point.stamp.flags = fields.int32(value)?.cast_unsigned(),
                11 => point.totals.min = Some(fields.double(value)?),
                12 => point.totals.max = Some(fields.double(value)?),
                _ => {}
            }
        }
        point.bounds = bounds.into_iter().map(f64::from_bits).collect();
        point.stamp.attributes = Repeated::new(attributes.of(9, &fields));
        point.exemplars = Repeated::new(exemplars.of(8, &fields));
        Ok(point)
    }
}

impl<'a> ExponentialPoint<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut point = Self::default();
        let mut fields = Fields::new("ExponentialHistogramDataPoint", bytes);
        let [mut attributes, mut exemplars] = [Run::default(); 2];
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                1 => attributes.take(field, &mut fields)?,
                2 => point.stamp.start = fields.fixed64(value)?,
                3 => point.stamp.time = fields.fixed64(value)?,
                4 => point.totals.count = fields.fixed64(value)?,
                5 => point.totals.sum = Some(fields.double(value)?),
                6 => point.scale = zigzag(fields.int32(value)?),
                7 => point.zero_count = fields.fixed64(value)?,
                8 => point.positive.merge(fields.bytes(value)?)?,
                9 => point.negative.merge(fields.bytes(value)?)?,
                10 => point.stamp.flags = fields.int32(value)?.cast_unsigned(),
                11 => exemplars.take(field, &mut fields)?,
                12 => point.totals.min = Some(fields.double(value)?),
                13 => point.totals.max = Some(fields.double(value)?),
                14 => point.zero_threshold = fields.double(value)?,
                _ => {}
            }
        }
        point.stamp.attributes = Repeated::new(attributes.of(1, &fields));
        point.exemplars = Repeated::new(exemplars.of(11, &fields));
        Ok(point)
    }
}

impl Buckets {
    fn merge(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields::new("Buckets", bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.offset = zigzag(fields.int32(field.value)?),
                2 => fields.varints(field.value, &mut self.counts)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> SummaryPoint<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut point = Self::default();
        let mut fields = Fields::new("SummaryDataPoint", bytes);
        let mut attributes = Run::default();
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                7 => attributes.take(field, &mut fields)?,
                2 => point.stamp.start = fields.fixed64(value)?,
                3 => point.stamp.time = fields.fixed64(value)?,
                4 => point.count = fields.fixed64(value)?,
                5 => point.sum = fields.double(value)?,
                6 => point.quantiles.push(quantile(fields.bytes(value)?)?),
                8 => point.stamp.flags = fields.int32(value)?.cast_unsigned(),
                _ => {}
            }
        }
        point.stamp.attributes = Repeated::new(attributes.of(7, &fields));
        Ok(point)
    }
}

fn quantile(bytes: &[u8]) -> Result<(f64, f64), Malformed> {
    let mut fields = Fields::new("ValueAtQuantile", bytes);
    let mut found = (0.0, 0.0);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => found.0 = fields.double(field.value)?,
            2 => found.1 = fields.double(field.value)?,
            _ => {}
        }
    }
    Ok(found)
}

impl<'a> Exemplar<'a> {
    /// Reads the message and everything in it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut exemplar = Self::default();
        let mut fields = Fields::new("Exemplar", bytes);
        let mut attributes = Run::default();
        while let Some(field) = fields.next()? {
            let value = field.value;
            match field.number {
                2 => exemplar.time = fields.fixed64(value)?,
                3 => exemplar.value = Some(Number::Double(fields.double(value)?)),
                4 => exemplar.span_id = fields.bytes(value)?,
                5 => exemplar.trace_id = fields.bytes(value)?,
                6 => exemplar.value = Some(Number::Int(fields.fixed64(value)?.cast_signed())),
                7 => {
                    KeyValue::read(fields.bytes(value)?)?;
                    attributes.note(&fields);
                }
                _ => {}
            }
        }
        exemplar.attributes = Repeated::new(attributes.of(7, &fields));
        Ok(exemplar)
    }
}

/// `sint32`.
fn zigzag(number: i32) -> i32 {
    let bits = number.cast_unsigned();
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}
