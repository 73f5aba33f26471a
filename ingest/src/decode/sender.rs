//! Who sent it: the service, the instance and the labels that a resource gives to all its items.

use std::{collections::HashSet, sync::Arc};

use proto::otlp::{KeyValue, Resource};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Limits, names, values};
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
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// The service (`job`) and the instance.
    pub(super) feed: Feed,
    /// Promoted attributes, without `job` and `instance`.
    pub(super) promoted: Vec<Label>,
    /// Identity of the whole resource.
    pub(super) digest: u128,
    /// Attributes whose name another one had already.
    pub(super) repeated: u64,
    /// Why nothing from this resource is taken.
    pub(super) fault: Option<String>,
}

impl Default for Sender {
    /// The sender that says nothing about itself.
    fn default() -> Self {
        Self::of(&[], 0)
    }
}

impl Sender {
    pub(super) fn new(resource: &Resource<'_>, limits: &Limits) -> Self {
        // The reader has looked at them already.
        let read = values::read("resource", &resource.attributes, limits).unwrap_or_else(|e| Err(e.to_string()));
        let mut list = match read {
            Ok(list) => list,
            Err(fault) => {
                let feed = Feed { service: "".into(), instance: "".into() };
                return Self { feed, promoted: Vec::new(), digest: 0, repeated: 0, fault: Some(fault) };
            }
        };
        let repeated = values::sort(&mut list);
        Self { repeated, ..Self::of(&list, limits.label_value_bytes) }
    }

    fn of(sorted: &[KeyValue<'_>], limit: usize) -> Self {
        let text = |name: &str| -> Arc<str> {
            let found = sorted.binary_search_by(|a| a.key.bytes().cmp(name.as_bytes())).ok();
            found.map_or("".into(), |i| values::text(&sorted[i].value, limit).into())
        };
        let (namespace, name) = (text("service.namespace"), text("service.name"));
        let service = if namespace.is_empty() || name.is_empty() { name } else { format!("{namespace}/{name}").into() };
        let named_instance = text("service.instance.id");
        let instance = if named_instance.is_empty() { hash_of_the_rest(sorted) } else { named_instance };
        let label = |name: &&str| (Arc::from(names::label(name)), text(name));
        let promoted = PROMOTED.iter().map(label).filter(|(_, value)| !value.is_empty()).collect();
        let mut canonical = Vec::new();
        values::canonical_sorted(sorted, &mut canonical);
        Self { feed: Feed { service, instance }, promoted, digest: xxh3_128(&canonical), repeated: 0, fault: None }
    }
}

/// Tells apart the instances of a service that do not name themselves; empty when the resource says
/// nothing but the service's name.
fn hash_of_the_rest(sorted: &[KeyValue<'_>]) -> Arc<str> {
    let is_rest =
        |a: &&KeyValue<'_>| !matches!(a.key.as_str(), "service.name" | "service.namespace" | "service.instance.id");
    let rest: Vec<KeyValue<'_>> = sorted.iter().filter(is_rest).copied().collect();
    if rest.is_empty() {
        return "".into();
    }
    let mut canonical = Vec::new();
    values::canonical_sorted(&rest, &mut canonical);
    let [a, b, c, d, ..] = xxh3_64(&canonical).to_be_bytes();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d])).into()
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic as wire;
    use prost::Message as _;

    use super::*;

    /// Keeps the resource of a request.
    struct Keep(Option<Sender>);

    impl proto::otlp::OriginVisitor for Keep {
        fn resource(&mut self, resource: &Resource<'_>) {
            self.0 = Some(Sender::new(resource, &Limits::default()));
        }
        fn scope(&mut self, _: &proto::otlp::Scope<'_>) {}
    }

    impl proto::otlp::logs::Visitor for Keep {
        fn record(&mut self, _: &proto::otlp::logs::LogRecord<'_>) -> Result<(), proto::wire::Malformed> {
            Ok(())
        }
    }

    fn sender(attributes: &[(&str, &str)]) -> Sender {
        let attribute = |(key, value): &(&str, &str)| wire::common::v1::KeyValue {
            key: (*key).into(),
            value: Some(wire::common::v1::AnyValue {
                value: Some(wire::common::v1::any_value::Value::StringValue((*value).into())),
            }),
            key_strindex: 0,
        };
        let attributes = attributes.iter().map(attribute).collect();
        let resource = Some(wire::resource::v1::Resource { attributes, ..Default::default() });
        let resource_logs = vec![wire::logs::v1::ResourceLogs { resource, ..Default::default() }];
        let request = wire::collector::logs::v1::ExportLogsServiceRequest { resource_logs }.encode_to_vec();
        let mut keep = Keep(None);
        proto::otlp::logs::read(&request, &mut keep).expect("is a request");
        keep.0.expect("has a resource")
    }

    #[test]
    fn service_is_namespace_and_name() {
        let named = sender(&[("service.name", "pricing"), ("service.namespace", "shop")]);
        assert_eq!(&*named.feed.service, "shop/pricing");
        assert_eq!(&*sender(&[("service.name", "pricing")]).feed.service, "pricing");
        assert_eq!(&*sender(&[("service.namespace", "shop")]).feed.service, "");
        assert_eq!(&*Sender::default().feed.service, "");
        assert_eq!(Sender::default().digest, sender(&[]).digest);
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

    #[test]
    fn of_equal_names_the_first_counts() {
        let sender = sender(&[("service.name", "a"), ("service.name", "b"), ("x", "1"), ("x", "2")]);
        assert_eq!((&*sender.feed.service, sender.repeated), ("a", 2));
    }
}
