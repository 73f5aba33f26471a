use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue as Sent, KeyValueList, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message as _;
use proto::otlp::traces;

use super::*;

fn pair(key: &str, value: &str) -> Sent {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    Sent { key: key.into(), value, key_strindex: 0 }
}

struct Copying<'l>(&'l Limits, Vec<u8>, Option<Result<Kept, String>>, &'l mut Keeper);

impl proto::otlp::OriginVisitor for Copying<'_> {
    fn resource(&mut self, _: &proto::otlp::Resource<'_>) {}
    fn scope(&mut self, _: &proto::otlp::Scope<'_>) {}
}

impl traces::Visitor for Copying<'_> {
    fn span(&mut self, span: &traces::Span<'_>) -> Result<(), Malformed> {
        let kept = self.3.copy("span", &span.attributes, 1, self.0, &mut self.1)?;
        self.2 = Some(kept);
        Ok(())
    }
}

/// A request of one span with these attributes.
fn request(attributes: Vec<Sent>) -> Vec<u8> {
    let spans = vec![Span { attributes, ..Span::default() }];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// What `keeper` makes of the attributes in a request of one span.
fn kept_by(keeper: &mut Keeper, request: &[u8], limits: &Limits) -> (Vec<u8>, Result<Kept, String>) {
    let mut copying = Copying(limits, Vec::new(), None, keeper);
    traces::read(request, &mut copying).expect("is a request");
    (copying.1, copying.2.expect("has a span"))
}

/// What `attributes` of a span become.
fn copied(attributes: Vec<Sent>, limits: &Limits) -> Result<(Vec<Sent>, Kept), String> {
    let (bytes, kept) = kept_by(&mut Keeper::default(), &request(attributes), limits);
    let kept = kept?;
    Ok((KeyValueList::decode(&bytes[..]).expect("is a list").values, kept))
}

proptest! {
    #[test]
    fn the_first_of_equal_names_and_all_that_fits_is_kept(
        sent in prop::collection::vec(("[ab]{0,2}|same-start-[xy]-same-end", "[a-z]{0,20}"), 0..12),
        limit in 0..200_usize,
    ) {
        let sent: Vec<Sent> = sent.iter().map(|(k, v)| pair(k, v)).collect();
        let limits = Limits { attribute_bytes_per_item: limit, ..Limits::default() };
        let (mut model, mut length, mut repeated) = (Vec::<Sent>::new(), 0, 0);
        let mut names = std::collections::HashSet::new();
        for attribute in &sent {
            let bytes = KeyValueList { values: vec![attribute.clone()] }.encoded_len();
            if !names.insert(&attribute.key) {
                repeated += 1;
            } else if length + bytes <= limit {
                length += bytes;
                model.push(attribute.clone());
            }
        }
        let dropped = u32::try_from(sent.len() - model.len()).unwrap_or(u32::MAX);
        let is_as_sent = dropped == 0;
        prop_assert_eq!(copied(sent.clone(), &limits), Ok((model, Kept { dropped, repeated, is_as_sent })));
    }
}

proptest! {
    #[test]
    fn what_came_before_changes_nothing(
        layouts in prop::collection::vec(prop::collection::vec("[abc]|http.request.method", 0..8), 1..4),
        items in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, "[a-z\u{e4}]{0,3}"), 0..40),
    ) {
        let item = |(layout, missing, value): &(prop::sample::Index, usize, String)| {
            let layout = layout.get(&layouts);
            let there = layout.iter().enumerate().filter(|(place, _)| missing & 1 << (place % 2) == 0);
            request(there.map(|(_, name)| pair(name, value)).collect())
        };
        let limits = Limits { attributes_per_item: 6, attribute_name_bytes: 20, ..Limits::default() };
        let mut keeper = Keeper::default();
        for item in items.iter().map(item) {
            prop_assert_eq!(kept_by(&mut keeper, &item, &limits), kept_by(&mut Keeper::default(), &item, &limits));
        }
    }
}

#[test]
fn too_many_attributes_and_long_names_are_faults() {
    let limits = Limits { attributes_per_item: 2, attribute_name_bytes: 3, ..Limits::default() };
    let many = vec![pair("a", ""), pair("long", ""), pair("b", "")];
    assert_eq!(copied(many.clone(), &limits), Err("span: 3 attributes, the limit is 2".to_owned()));
    let long = "span: attribute name of 4 bytes (\"long\"...), the limit is 3";
    assert_eq!(copied(many[..2].to_vec(), &limits), Err(long.to_owned()));
    assert_eq!(copied(vec![pair("abc", ""), pair("", "")], &limits).map(|(list, _)| list.len()), Ok(2));
}

#[test]
fn the_length_of_a_number_is_what_an_encoder_writes() {
    for bits in 0..usize::BITS {
        let mut out = Vec::new();
        for number in [1_usize << bits, (1_usize << bits) - 1] {
            out.clear();
            proto::wire::put_varint(number as u64, &mut out);
            assert_eq!(varint_length(number), out.len(), "{number}");
        }
    }
}
