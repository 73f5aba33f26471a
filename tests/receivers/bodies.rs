//! What a webhook is sent, beside what a real Alertmanager sends of the same alerts by the same route.

use serde_json::{Value, json};

use super::{Setup, skipped};
use crate::{alertmanager::Alertmanager, sink::Sink};

/// Alerts as a Prometheus server posts them; `ends` is when they do.
fn alerts(ends: &str) -> Value {
    let alert = |instance: &str, severity: &str| {
        json!({
            "labels": {"alertname": "TooDeep", "instance": instance, "severity": severity, "job": "queue <1> \"ä\""},
            "annotations": {"summary": format!("{instance} & others"), "runbook_url": "https://rb.example.com/1"},
            "startsAt": "2026-01-02T03:04:05.678Z", "endsAt": ends,
            "generatorURL": "https://prometheus.example.com/graph?g0.expr=up&g0.tab=1",
        })
    };
    json!([alert("a", "critical"), alert("b", "critical"), alert("c", "warning")])
}

/// The body without what is ours, and with its alerts in the order of their instances.
fn comparable(mut body: Value, external_url: &str) -> Value {
    assert_eq!(body["externalURL"], external_url);
    body["externalURL"] = Value::Null;
    let alerts = body["alerts"].as_array_mut().expect("has alerts");
    alerts.sort_by_key(|alert| alert["labels"]["instance"].to_string());
    for alert in alerts {
        let alert = alert.as_object_mut().expect("is an object");
        alert.remove("bellwether");
        let fingerprint = alert["fingerprint"].as_str().unwrap_or_default();
        assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()), "{fingerprint}");
        // Of the same form; each knows its own.
        alert.insert("fingerprint".into(), Value::Null);
    }
    body
}

// B1
#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_sends_the_same_fields() {
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut ours, mut theirs) = (Sink::listen(200).await, Sink::listen(200).await);
    let config = |sink: &Sink| {
        format!(
            "route: {{receiver: ops, group_by: [alertname, job], group_wait: 1s, group_interval: 1s}}\n\
             receivers: [{{name: ops, webhook_configs: [{{url: '{}/'}}]}}]\n",
            sink.url()
        )
    };
    let Some(alertmanager) = Alertmanager::with(&config(&theirs)).await else {
        return skipped("Debian's prometheus-alertmanager");
    };
    let setup = Setup::new(&config(&ours));
    let mut binary = setup.start();
    let client = reqwest::Client::new();
    let mut fingerprints = Vec::new();
    for ends in ["2096-01-01T00:00:00Z", "2026-01-02T04:00:00Z"] {
        for url in [&binary.api, &alertmanager.url()] {
            let request = client.post(format!("{url}/api/v2/alerts")).header("content-type", "application/json");
            let answer = request.body(alerts(ends).to_string()).send().await.expect("is answered");
            assert_eq!(answer.status().as_u16(), 200);
        }
        let (mine, other) = (ours.request().await, theirs.request().await);
        assert_eq!(mine.header("content-type"), other.header("content-type"));
        let own = mine.json();
        let known = own["alerts"].as_array().expect("has alerts").iter().map(|alert| alert["fingerprint"].to_string());
        fingerprints.push(known.collect::<std::collections::BTreeSet<String>>());
        let external_url = other.json()["externalURL"].as_str().unwrap_or_default().to_owned();
        assert_eq!(comparable(own, &binary.api), comparable(other.json(), &external_url));
        // The same is the same after a restart.
        assert!(binary.stop().success());
        binary = setup.start();
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0].len(), 3);
}
