//! One data model: the way in makes no difference.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use proptest::{collection::vec, prelude::any as arbitrary, prop_assert_eq, sample::select, strategy::Strategy};
use tokio::sync::Mutex;

use crate::{
    future::{stored, wait_until_stored},
    kit::{
        self, Any, AnyValue, ArrayValue, CUMULATIVE, DELTA, KeyValue, KeyValueList, LogRecord, Metric, Number,
        NumberDataPoint, Payload, Route, SECOND, Service, Span, any, attribute, base_time, cases, counter, exponential,
        exponential_point, gauge, histogram, histogram_point, holds, logs, metrics, renamed, summary, text, traces,
        unique,
    },
};

/// Anything that an attribute may hold, nested to a few levels.
fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = proptest::prop_oneof![
        "[ -~\u{e4}\u{1F600}]{0,12}".prop_map(|t| text(&t)),
        arbitrary::<bool>().prop_map(|b| any(Any::BoolValue(b))),
        arbitrary::<i64>().prop_map(|i| any(Any::IntValue(i))),
        arbitrary::<f64>().prop_map(|d| any(Any::DoubleValue(d))),
        vec(arbitrary::<u8>(), 0..9).prop_map(|b| any(Any::BytesValue(b))),
        proptest::strategy::Just(AnyValue { value: None }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = vec(inner.clone(), 0..3).prop_map(|values| any(Any::ArrayValue(ArrayValue { values })));
        let pairs = vec(("[a-c]{1,2}", inner), 0..3).prop_map(|pairs| {
            let values = pairs.into_iter().map(|(key, value)| attribute(&key, value)).collect();
            any(Any::KvlistValue(KeyValueList { values }))
        });
        proptest::prop_oneof![list, pairs]
    })
}

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(("[a-e.]{1,3}", value()), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| attribute(&key, value)).collect())
}

fn number() -> impl Strategy<Value = Option<Number>> {
    proptest::prop_oneof![
        8 => arbitrary::<f64>().prop_map(|d| Some(Number::AsDouble(d))),
        8 => arbitrary::<i64>().prop_map(|i| Some(Number::AsInt(i))),
        1 => proptest::strategy::Just(None),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    let name = "[a-z][a-z.]{0,8}";
    let unit = select(vec!["", "1", "ms", "By", "{thing}", "m/s"]);
    (0..6_u8, name, unit, pairs(), number(), 0..30_u64).prop_map(|(kind, name, unit, attributes, value, offset)| {
        let time_unix_nano = base_time() + offset * SECOND;
        let start_time_unix_nano = time_unix_nano - 30 * SECOND;
        let plain = NumberDataPoint { time_unix_nano, attributes, value, ..NumberDataPoint::default() };
        let started = NumberDataPoint { start_time_unix_nano, ..plain.clone() };
        let metric = match kind {
            0 => gauge(&name, vec![plain]),
            1 => counter(&name, CUMULATIVE, vec![started]),
            2 => counter(&name, DELTA, vec![started]),
            3 => histogram(&name, vec![histogram_point(time_unix_nano)]),
            4 => exponential(&name, vec![exponential_point(time_unix_nano)]),
            _ => summary(&name, time_unix_nano),
        };
        Metric { unit: unit.to_owned(), ..metric }
    })
}

fn span() -> impl Strategy<Value = Span> {
    ("[a-z /]{0,8}", pairs(), 0..7_i32, arbitrary::<bool>(), 0..30_u64).prop_map(
        |(name, attributes, kind, good, offset)| {
            let end = base_time() + offset * SECOND;
            let trace_id = vec![u8::from(good); 16];
            let status = Some(kit::Status { code: kind % 3, message: name.clone() });
            Span { attributes, kind, trace_id, status, ..kit::a_span(&name, end - SECOND, end) }
        },
    )
}

fn record() -> impl Strategy<Value = LogRecord> {
    (value(), pairs(), -1..30_i32, 0..30_u64).prop_map(|(body, attributes, severity_number, offset)| {
        let time = if offset == 0 { 0 } else { base_time() + offset * SECOND };
        LogRecord { body: Some(body), attributes, severity_number, ..kit::record(time, "") }
    })
}

fn requests() -> impl Strategy<Value = [Payload; 3]> {
    (vec(metric(), 1..6), vec(span(), 1..6), vec(record(), 1..6))
        .prop_map(|(m, s, l)| [metrics("equal", m), traces("equal", s), logs("equal", l)])
}

/// After so many cases what they have left in the windows is compared, and a new service takes the next: asking for
/// one among all would take longer and longer.
const AT_ONCE: usize = 100;

/// Every name of a group was sent the same; how many groups have left points.
async fn compare(service: &Service, groups: &[Vec<String>]) -> usize {
    wait_until_stored(service).await;
    let mut with_points = 0;
    for names in groups {
        let stored = stored(service, names).await;
        let first = &stored[&names[0]];
        for (name, other) in &stored {
            assert_eq!(other, first, "{name} and {}", names[0]);
        }
        with_points += usize::from(!first.is_empty());
    }
    with_points
}

// A11
#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_gives_the_same_answer_and_the_same_series() {
    let at: Mutex<(Arc<Service>, Vec<Vec<String>>)> = Mutex::new((Service::shared(), Vec::new()));
    let with_points = AtomicUsize::new(0);
    holds(cases(30, 10_000), requests(), |requests| {
        let (at, with_points) = (&at, &with_points);
        async move {
            let mut at = at.lock().await;
            let (service, groups) = &mut *at;
            let names: Vec<String> = Route::ALL.iter().map(|_| unique("equal")).collect();
            for request in &requests {
                let mut verdicts = Vec::new();
                for (route, name) in Route::ALL.into_iter().zip(&names) {
                    let verdict = service.send(&renamed(request, name), route).await.verdict();
                    verdicts.push(format!("{verdict:?}").replace(name.as_str(), "NAME"));
                }
                for verdict in &verdicts {
                    prop_assert_eq!(verdict, &verdicts[0], "{:?}", verdicts);
                }
            }
            groups.push(names);
            if groups.len() == AT_ONCE {
                with_points.fetch_add(compare(service, groups).await, Ordering::Relaxed);
                *at = (Arc::new(Service::start("")), Vec::new());
            }
            Ok(())
        }
    });
    let (service, groups) = at.into_inner();
    let with_points = with_points.into_inner() + compare(&service, &groups).await;
    assert!(with_points > 10, "the comparison would be empty");
}
