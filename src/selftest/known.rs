//! Cases that other detectors got wrong, each under the eyes of hundreds of tests.

use std::f64::consts::TAU;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use super::{
    judge::{Finding, Judge},
    signals::{DAY, EVERY, SETTLED, STEPS, uniform},
    subject::Subject,
};
use crate::export::attribute;

/// A series that somebody has misjudged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// 80 % more, from one point to the next.
    Step,
    /// Nothing ever happens.
    Flat,
    /// 4,200 at an hour at which it is 10,250 on other days.
    Orders,
    /// Bursts: only they are unusual, however few the smallest values are.
    Smallest,
}

#[expect(clippy::cast_precision_loss, reason = "steps are small")]
fn float(n: usize) -> f64 {
    n as f64
}

impl Known {
    pub(super) const ALL: [Self; 4] = [Self::Step, Self::Flat, Self::Orders, Self::Smallest];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Step => "known-step",
            Self::Flat => "known-flat",
            Self::Orders => "known-orders",
            Self::Smallest => "known-smallest",
        }
    }

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Step => "a step of 80 % is found",
            Self::Flat => "a flat series is quiet",
            Self::Orders => "4,200 where 10,250 were expected is called out",
            Self::Smallest => "the smallest values of a series are not the ones flagged",
        }
    }

    pub(super) fn value(self, step: usize) -> f64 {
        let noise = uniform(77, step, self as usize);
        match self {
            Self::Step => (if step >= SETTLED { 1.8 } else { 1.0 }) * (100.0 + 5.0 * noise),
            Self::Flat => 42.0,
            // The day's greatest value is that of midnight.
            Self::Orders if step == SETTLED => 4_200.0,
            Self::Orders => 6_250.0 + 4_000.0 * (TAU * float(step % DAY) / float(DAY)).cos() + 300.0 * (noise - 0.5),
            Self::Smallest if step % 100 == 50 && step > 0 => 100.0 + 900.0 * noise,
            Self::Smallest => 10.0 + noise,
        }
    }

    /// Whether what was said of it is right.
    pub(super) fn holds(self, findings: &[Finding]) -> bool {
        let at = |direction: &str| {
            let near = |f: &&Finding| (f.starts - float(SETTLED)).abs() < 1.5;
            findings.iter().filter(near).any(|f| f.direction == direction)
        };
        match self {
            Self::Step => at("up"),
            Self::Flat => findings.is_empty(),
            Self::Orders => at("down"),
            Self::Smallest => findings.iter().all(|f| f.direction == "up"),
        }
    }
}

/// Buckets of ten seconds with spans.
const BUCKETS: u64 = 100;
const BUCKET: u64 = 10;
/// The bucket with slow spans.
const SLOW_BUCKET: u64 = 80;

/// A service of which each bucket has so many spans, of 60 to 109 ms, and one bucket some slow ones.
struct Calls {
    service: &'static str,
    spans: u64,
    /// Which ones are slow, and how slow in seconds.
    slow: &'static [(u64, u64)],
}

const SOME: Calls = Calls { service: "spans-some", spans: 30, slow: &[(8, 5), (15, 10), (22, 15)] };
const LONE: Calls = Calls { service: "spans-lone", spans: 20, slow: &[(10, 15)] };

impl Calls {
    fn of_bucket(&self, begin: u64, bucket: u64) -> ResourceSpans {
        let span = |i: u64| {
            let end = (begin + bucket * BUCKET) * 1_000_000_000 + i * 300_000_000 + 1_000_000_000;
            let slow = self.slow.iter().find(|(at, _)| bucket == SLOW_BUCKET && *at == i);
            let usual = 60.0 + 49.0 * uniform(5, usize::try_from(bucket * self.spans + i).unwrap_or_default(), 0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "about a hundred")]
            let duration = slow.map_or((usual * 1e6) as u64, |(_, seconds)| seconds * 1_000_000_000);
            Span {
                trace_id: [(bucket + 1).to_be_bytes(), (self.spans * 100 + i).to_be_bytes()].concat(),
                span_id: (bucket * self.spans + i + 1).to_be_bytes().to_vec(),
                name: "price".into(),
                kind: 2,
                start_time_unix_nano: end - duration,
                end_time_unix_nano: end,
                ..Span::default()
            }
        };
        let scope_spans = vec![ScopeSpans { spans: (0..self.spans).map(span).collect(), ..ScopeSpans::default() }];
        let attributes = vec![attribute("service.name", self.service)];
        let resource = Some(Resource { attributes, ..Resource::default() });
        ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
    }

    /// Whether the slow spans, and nothing else, are in an anomaly to the upper side that is far from the rest.
    fn are_found(&self, judge: &Judge) -> bool {
        let step = |bucket: u64| {
            #[expect(clippy::cast_precision_loss, reason = "steps are small")]
            let share = (bucket * BUCKET) as f64 / EVERY as f64;
            float(STEPS) + share
        };
        let near = step(SLOW_BUCKET - 1)..step(SLOW_BUCKET + 2);
        let found = judge.of_case(self.service);
        let is_right = |f: &Finding| f.direction == "up" && f.score > 2.0 && near.contains(&f.starts);
        !found.is_empty() && found.iter().all(is_right)
    }
}

/// Sends spans from the second `begin` on; how many.
pub(super) async fn send_spans(subject: &Subject, begin: u64) -> anyhow::Result<u64> {
    for bucket in 0..BUCKETS {
        let resource_spans = vec![SOME.of_bucket(begin, bucket), LONE.of_bucket(begin, bucket)];
        subject.send("traces", ExportTraceServiceRequest { resource_spans }.encode_to_vec()).await?;
    }
    Ok(BUCKETS * (SOME.spans + LONE.spans))
}

/// What is said of slow spans, whether it holds, and whether it has to.
pub(super) fn slow_spans(judge: &Judge) -> [(&'static str, bool, bool); 2] {
    [
        (
            "spans of 5 to 15 s, three of 30 among ones of 60 to 109 ms, are flagged and nothing else",
            SOME.are_found(judge),
            true,
        ),
        ("a lone span of 15 s among 19 of 60 to 109 ms is flagged", LONE.are_found(judge), false),
    ]
}
