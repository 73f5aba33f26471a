//! Log records against what prost says that was sent.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{self as wire, ResourceLogs, ScopeLogs},
    resource::v1::Resource as SentResource,
};
use proptest::prelude::*;
use prost::Message as _;
use proto::otlp::Signal;

use super::*;
use crate::decode::{Decoded, spans::tests::attributes, tests::attempt};

fn decoded(resource: Vec<KeyValue>, scope: InstrumentationScope, log_records: Vec<wire::LogRecord>) -> Decoded {
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
    let resource = Some(SentResource { attributes: resource, ..SentResource::default() });
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    let request = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    attempt(Signal::Logs, &request).expect("is a request")
}

fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(value.into())) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_sent_is_lost(
        sent in attributes(), resource in attributes(), scope in attributes(),
        (time, severity, word, flags) in (1..1_000_000_u64, 0..25_i32, "[a-z]{0,3}", any::<u32>()),
    ) {
        let record = wire::LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time + 1,
            severity_number: severity,
            severity_text: word.clone(),
            body: text(&word),
            attributes: sent,
            dropped_attributes_count: 4,
            flags,
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            event_name: word,
        };
        let scope = InstrumentationScope { name: "s".into(), attributes: scope, ..InstrumentationScope::default() };
        let got = decoded(resource.clone(), scope.clone(), vec![record.clone()]);
        let row = got.batch.logs.get(0).expect("has a record");
        let kept = wire::LogRecord {
            time_unix_nano: row.time.0.unsigned_abs(),
            observed_time_unix_nano: row.observed.0.unsigned_abs(),
            severity_number: row.severity.into(),
            severity_text: row.severity_text.into(),
            body: text(row.body),
            attributes: KeyValueList::decode(row.attributes).expect("is a list").values,
            dropped_attributes_count: row.dropped_attributes,
            flags: row.flags,
            trace_id: row.trace_id.to_vec(),
            span_id: row.span_id.to_vec(),
            event_name: row.event_name.into(),
        };
        prop_assert_eq!(kept, record);
        let [_, kept_resource, kept_scope] = got.batch.logs.origin(0);
        prop_assert_eq!(SentResource::decode(kept_resource).expect("is a resource").attributes, resource);
        prop_assert_eq!(InstrumentationScope::decode(kept_scope).expect("is a scope"), scope);
    }
}

#[test]
fn a_log_record_takes_the_observed_time_and_loses_ids_that_are_none() {
    let record = wire::LogRecord {
        observed_time_unix_nano: 9,
        severity_number: 17,
        body: text(&"x".repeat(5000)),
        trace_id: vec![1; 3],
        span_id: vec![4; 8],
        ..wire::LogRecord::default()
    };
    let timeless = wire::LogRecord::default();
    let wild = wire::LogRecord { severity_number: -3, time_unix_nano: 1, ..record.clone() };
    let got = decoded(vec![], InstrumentationScope::default(), vec![record, timeless, wild]);
    let row = got.batch.logs.get(0).expect("is kept");
    assert_eq!((row.time, row.severity, row.body.len()), (UnixNanos(9), 17, 4096));
    assert_eq!((row.trace_id, row.span_id), ([0; 16], [4; 8]));
    let row = got.batch.logs.get(1).expect("is kept");
    assert_eq!((row.time, row.severity, got.items), (UnixNanos(1), 0, 3));
    assert_eq!(got.batch.rejected.count, 1);
    let reason = "log record: time_unix_nano and observed_time_unix_nano are 0";
    assert_eq!(got.batch.rejected.reasons, [reason]);
}
