//! The points of the five kinds of metric.

use std::borrow::Cow;

use crate::{
    otlp::value::{KeyValue, Repeated},
    wire::{Fields, Malformed, Run, fixed64, is_run},
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
        if let Some((start, time, value, attributes)) = plain(bytes) {
            let attributes = Repeated::new(Cow::Borrowed(attributes));
            self.stamp = Stamp { attributes, start, time, flags: 0 };
            self.value = Some(value);
            return Ok(());
        }
        self.fill_in_any_order(bytes)
    }

    fn fill_in_any_order(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
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

/// Start, time, value and attributes of a `NumberDataPoint` that has nothing else and is written as encoders write it: in
/// order of the fields' numbers. `None` for all others, and for what is malformed.
#[inline]
fn plain(bytes: &[u8]) -> Option<(u64, u64, Number, &[u8])> {
    let (start, rest) = fixed64(2 << 3 | 1, bytes).unwrap_or((0, bytes));
    let (time, rest) = fixed64(3 << 3 | 1, rest)?;
    let double = || fixed64(4 << 3 | 1, rest).map(|(bits, rest)| (Number::Double(f64::from_bits(bits)), rest));
    let int = || fixed64(6 << 3 | 1, rest).map(|(bits, rest)| (Number::Int(bits.cast_signed()), rest));
    let (value, attributes) = double().or_else(int)?;
    is_run(7 << 3 | 2, attributes).then_some((start, time, value, attributes))
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue as Sent, any_value::Value},
        metrics::v1 as wire,
    };
    use prost::Message as _;
    use wire::number_data_point::Value::{AsDouble, AsInt};

    use super::*;
    use crate::wire::tests::damaged;

    #[test]
    fn a_point_in_order_is_read_as_one_in_any_order() {
        let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.into())) });
        let pair = |key: &str, value: &str| Sent { key: key.into(), value: text(value), key_strindex: 0 };
        let full = wire::NumberDataPoint {
            attributes: vec![pair("a", "b"), pair("long", &"x".repeat(150))],
            start_time_unix_nano: 7,
            time_unix_nano: 9,
            value: Some(AsDouble(0.5)),
            ..wire::NumberDataPoint::default()
        };
        let points = [
            wire::NumberDataPoint { value: Some(AsInt(-7)), ..full.clone() },
            wire::NumberDataPoint { start_time_unix_nano: 0, value: None, ..full.clone() },
            wire::NumberDataPoint { attributes: vec![], flags: 1, ..full.clone() },
            wire::NumberDataPoint { exemplars: vec![wire::Exemplar::default()], ..full.clone() },
            wire::NumberDataPoint { attributes: vec![], start_time_unix_nano: 0, ..full.clone() },
            full,
            wire::NumberDataPoint::default(),
        ];
        let same = |bytes: &[u8]| {
            let (mut in_order, mut in_any_order) = (NumberPoint::default(), NumberPoint::default());
            let results = [in_order.fill(bytes), in_any_order.fill_in_any_order(bytes)];
            assert_eq!(results[0], results[1], "{bytes:?}");
            // Of a NaN no two are equal.
            let shown = [in_order, in_any_order].map(|point| format!("{point:?}"));
            assert!(results[0].is_err() || shown[0] == shown[1], "{bytes:?}");
        };
        for bytes in points.iter().map(wire::NumberDataPoint::encode_to_vec) {
            same(&bytes);
            same(&[&bytes[..], &bytes].concat());
            damaged(&bytes, &[0, 8, 0x19, 0x3a, 0x80, 0xff]).for_each(|odd| same(&odd));
        }
        let mut point = NumberPoint::default();
        let bytes = points[5].encode_to_vec();
        point.fill(&bytes).expect("is well formed");
        assert!(plain(&bytes).is_some() && point.stamp.attributes.iter().count() == 2);
        assert_eq!((point.stamp.start, point.stamp.time, point.value), (7, 9, Some(Number::Double(0.5))));
    }
}
