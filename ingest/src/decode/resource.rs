//! Who sent it: the service, the instance and the labels that a resource gives to all its items.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Limits, attributes, names};
use crate::Feed;

/// Resource attributes that become labels of every series, by name.
const PROMOTED: [&str; 7] = [
    "cloud.region",
    "deployment.environment.name",
    "host.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "service.name",
    "service.version",
];

/// A sanitised label and its value.
pub(super) type Label = (Arc<str>, Arc<str>);

/// A resource, read once for all that comes from it.
#[derive(Debug)]
pub(super) struct Sender {
    /// The service (`job`) and the instance.
    pub(super) feed: Feed,
    /// Promoted attributes, without `job` and `instance`.
    pub(super) promoted: Vec<Label>,
    /// Identity of the whole resource.
    pub(super) digest: u128,
    /// Why nothing from this resource is taken.
    pub(super) fault: Option<String>,
}

impl Sender {
    pub(super) fn new(resource: Option<&Resource>, limits: &Limits) -> Self {
        let sent = resource.map_or(&[][..], |r| &r.attributes);
        let mut order = Vec::new();
        if let fault @ Some(_) = attributes::fault("resource", sent, limits) {
            let feed = Feed { service: "".into(), instance: "".into() };
            return Self { feed, promoted: Vec::new(), digest: 0, fault };
        }
        attributes::sort_into(sent, &mut order);
        let text = |name: &str| -> Arc<str> {
            let found = order.binary_search_by(|a| a.key.as_str().cmp(name)).ok();
            attributes::text(found.and_then(|i| order[i].value.as_ref()), limits.label_value_bytes).into()
        };
        let (namespace, name) = (text("service.namespace"), text("service.name"));
        let service = if namespace.is_empty() || name.is_empty() { name } else { format!("{namespace}/{name}").into() };
        let named_instance = text("service.instance.id");
        let instance = if named_instance.is_empty() { hash_of_the_rest(&order) } else { named_instance };
        let label = |name: &&str| (Arc::from(names::label(name)), text(name));
        let promoted = PROMOTED.iter().map(label).filter(|(_, value)| !value.is_empty()).collect();
        let mut canonical = Vec::new();
        attributes::canonical_sorted(&order, &mut canonical);
        Self { feed: Feed { service, instance }, promoted, digest: xxh3_128(&canonical), fault: None }
    }
}

/// Tells apart the instances of a service that do not name themselves; empty when the resource says
/// nothing but the service's name.
fn hash_of_the_rest(order: &[&KeyValue]) -> Arc<str> {
    let is_rest =
        |a: &&&KeyValue| !matches!(a.key.as_str(), "service.name" | "service.namespace" | "service.instance.id");
    let rest: Vec<&KeyValue> = order.iter().filter(is_rest).copied().collect();
    if rest.is_empty() {
        return "".into();
    }
    let mut canonical = Vec::new();
    attributes::canonical_sorted(&rest, &mut canonical);
    let [a, b, c, d, ..] = xxh3_64(&canonical).to_be_bytes();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d])).into()
}

/// What is wrong with a scope, if anything.
pub(super) fn scope_fault(scope: Option<&InstrumentationScope>, limits: &Limits) -> Option<String> {
    attributes::fault("scope", &scope?.attributes, limits)
}

/// The senders of one request, each once, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    seen: HashSet<Feed>,
    list: Vec<Feed>,
}

impl Feeds {
    /// Notes a sender; one that does not say which service it is cannot be missed later.
    pub(super) fn note(&mut self, feed: &Feed) {
        if !feed.service.is_empty() && self.seen.insert(feed.clone()) {
            self.list.push(feed.clone());
        }
    }

    /// All of them.
    pub(super) fn into_list(self) -> Vec<Feed> {
        self.list
    }
}

/// Texts that come again and again within a request, kept once.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>(HashMap<&'a str, Arc<str>, foldhash::fast::RandomState>);

impl<'a> Texts<'a> {
    /// The shared copy of `text`.
    pub(super) fn share(&mut self, text: &'a str) -> Arc<str> {
        self.share_as(text, |text| text.into())
    }

    /// The shared copy of what `translate` makes of `text`; it has to be the same function each time.
    pub(super) fn share_as(&mut self, text: &'a str, translate: impl FnOnce(&str) -> Arc<str>) -> Arc<str> {
        Arc::clone(self.0.entry(text).or_insert_with(|| translate(text)))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};

    use super::*;

    fn sender(attributes: &[(&str, &str)]) -> Sender {
        let attribute = |(key, value): &(&str, &str)| KeyValue {
            key: (*key).into(),
            value: Some(AnyValue { value: Some(Value::StringValue((*value).into())) }),
            key_strindex: 0,
        };
        let attributes = attributes.iter().map(attribute).collect();
        Sender::new(Some(&Resource { attributes, ..Resource::default() }), &Limits::default())
    }

    #[test]
    fn service_is_namespace_and_name() {
        let named = sender(&[("service.name", "pricing"), ("service.namespace", "shop")]);
        assert_eq!(&*named.feed.service, "shop/pricing");
        assert_eq!(&*sender(&[("service.name", "pricing")]).feed.service, "pricing");
        assert_eq!(&*sender(&[("service.namespace", "shop")]).feed.service, "");
        assert_eq!(&*Sender::new(None, &Limits::default()).feed.service, "");
    }

    #[test]
    fn an_instance_without_id_is_told_apart_by_what_is_left() {
        let a = sender(&[("service.name", "x"), ("host.name", "a")]).feed.instance;
        let b = sender(&[("service.name", "x"), ("host.name", "b")]).feed.instance;
        let again = sender(&[("host.name", "a"), ("service.name", "other")]).feed.instance;
        assert_eq!((a.len(), &a), (8, &again));
        assert_ne!(a, b);
        assert_eq!(&*sender(&[("service.name", "x"), ("service.instance.id", "i-1")]).feed.instance, "i-1");
        assert_eq!(&*sender(&[("service.name", "x")]).feed.instance, "");
    }

    #[test]
    fn only_promoted_attributes_become_labels() {
        let sender = sender(&[("service.version", "1.2"), ("process.pid", "7"), ("cloud.region", "")]);
        let labels: Vec<_> = sender.promoted.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(labels, [("service_version", "1.2")]);
    }
}
