use std::path::Path;

use super::*;

pub(super) fn parse(text: &str) -> Result<Config, Vec<String>> {
    file::parse("b.yaml", text, Path::new("/etc/bellwether"))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = parse("").expect("is valid");
    assert_eq!(config.api_listen, Config::default().api_listen);
    assert_eq!(config.keep, Duration::from_hours(720));
}

#[test]
fn every_key_is_read() {
    let config = parse(include_str!("../../bellwether.example.yaml")).expect("the example is valid");
    let keys: Vec<_> = config.receivers[0].integrations().iter().map(alerting::Integration::key).collect();
    assert_eq!((config.receivers[0].name(), keys), ("on-call", vec!["webhook/0", "webhook/1"]));
    assert!(!config.receivers[0].integrations()[1].send_resolved);
    assert_eq!(config.window.max_bytes, 1 << 30);
    assert_eq!(config.rule_files, [Path::new("/etc/bellwether/rules/business.yaml")]);
    assert_eq!(config.external_url.as_deref(), Some("https://bellwether.example.com"));
}

#[test]
fn origins_are_those_of_browsers_or_all() {
    let origins = |text: &str| parse(&format!("listen: {{cors_origins: {text}}}")).map(|config| config.origins);
    let app = "https://app.example.com:8443";
    assert_eq!(origins(&format!("['{app}']")), Ok(Origins::Only(vec![app.into()])));
    assert_eq!(origins("['*']"), Ok(Origins::Any));
    assert_eq!(origins("[]"), Ok(Origins::None));
    for wrong in ["https://a.example/", "https://A.example", "a.example", "https://", "https://*.a.example"] {
        let faults = origins(&format!("['{wrong}']")).expect_err("is no origin");
        assert!(faults[0].contains("cors_origins") && faults[0].contains("expected origins"), "{wrong}: {faults:?}");
    }
    assert!(origins("['*', 'https://a.example']").is_err());
}

#[test]
fn streams_may_be_as_many_as_is_said() {
    let streams = |text: &str| parse(&format!("listen: {{max_streams: {text}}}")).map(|config| config.max_streams);
    assert_eq!(streams("20000"), Ok(20_000));
    for wrong in ["0", "many", "100000001"] {
        let faults = streams(wrong).expect_err("is no bound");
        assert!(faults[0].contains("listen.max_streams"), "{wrong}: {faults:?}");
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let (shown, default) = (parse(include_str!("../../bellwether.example.yaml")).expect("is valid"), Config::default());
    assert_eq!(shown.ingest, default.ingest);
    assert_eq!((shown.max_streams, shown.evaluations), (default.max_streams, default.evaluations));
    assert_eq!(shown.intake, default.intake);
    assert_eq!(shown.window, default.window);
    assert_eq!((shown.queue_bytes, shown.keep, shown.data_dir), (default.queue_bytes, default.keep, default.data_dir));
    assert_eq!(shown.engine.zscore, default.engine.zscore);
    assert_eq!(shown.engine.level, default.engine.level);
    assert_eq!(shown.engine.symptoms, default.engine.symptoms);
    assert_eq!(shown.engine.gap, default.engine.gap);
    assert_eq!(shown.detect, default.detect);
    assert_eq!(shown.engine.assess_every, default.engine.assess_every);
}

/// The example with the keys that it shows behind `#`, which are those of no default.
fn whole_example() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') || key.starts_with("  ") => key,
        _ => line,
    };
    include_str!("../../bellwether.example.yaml").lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_that_the_example_shows_behind_a_mark_is_read() {
    // Every process has a PATH.
    let text = whole_example().replacen("BELLWETHER_COLLECTOR_TOKEN", "PATH", 1);
    let directory = tempfile::tempdir().expect("there is a place");
    std::fs::write(directory.path().join("password"), "a-long-password\n").expect("can be written");
    let mut text = text.replacen("${BELLWETHER_PASSWORD}", "file:password", 1);
    let slo = directory.path().join("slo");
    std::fs::create_dir(&slo).expect("can be made");
    std::fs::write(slo.join("targets.yaml"), include_str!("../../slo/targets.yaml")).expect("can be written");
    let signing = format!("whsec_{}", "QUJD".repeat(8));
    for (name, secret) in [
        ("WEBHOOK_KEY_BEFORE", signing.as_str()),
        ("WEBHOOK_KEY", &signing),
        ("WEBHOOK_TOKEN", "t0ken"),
        ("MAIL_PASSWORD", "a-password"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"),
        ("TEAMS_WEBHOOK_URL", "https://teams.example.com/x"),
        ("PAGERDUTY_ROUTING_KEY", "r0uting"),
        ("PEER_TOKEN", "t0ken"),
    ] {
        std::fs::write(directory.path().join(name), secret).expect("can be written");
        text = text.replace(&format!("env:{name}"), &format!("file:{name}"));
    }
    let config = file::parse("b.yaml", &text, directory.path()).expect("the example is valid");
    let tls = config.ingest.tls.expect("is given");
    assert_eq!(tls.client_ca, Some(directory.path().join("tls/senders-ca.crt")));
    let admission = &config.ingest.admission;
    let rates = |limits: &ingest::TenantLimits| (limits.weight, limits.items.map(|r| (r.per_second, r.burst)));
    assert_eq!(rates(&admission.default), (1, Some((100_000, 1_000_000))));
    assert_eq!(admission.default.bytes.map(|r| (r.per_second, r.burst)), Some((64 << 20, 640 << 20)));
    let acme = admission.tenants.values().next().expect("is given");
    assert_eq!(rates(acme), (4, Some((400_000, 4_000_000))));
    assert_eq!(acme.bytes, admission.default.bytes, "what is not given is as for all");
    let [collector, people] = &config.ingest.access.credentials[..] else { unreachable!("two are given") };
    assert_eq!((collector.name.as_str(), collector.tenants[0].as_str()), ("collector", "default"));
    let password = ingest::Secret::new("a-long-password");
    assert_eq!(people.proof, ingest::Proof::Basic { user: "people".into(), password });
    let keys = |r: &Receiver| r.integrations().iter().map(|i| i.key().to_owned()).collect::<Vec<_>>();
    let found: Vec<_> = config.receivers.iter().map(|r| (r.name(), keys(r).join(" "))).collect();
    let expected = [
        ("on-call", "webhook/0 webhook/1"),
        ("by-mail", "email/0"),
        ("chat", "slack/0 pagerduty/0 msteamsv2/0"),
        ("elsewhere", "file/0 alertmanager/0/0 alertmanager/0/1"),
    ];
    assert_eq!(found, expected.map(|(name, keys)| (name, keys.to_owned())));
    assert_eq!(config.receivers[0].fallback().map(|f| f.receiver.as_str()), Some("by-mail"));
    assert_eq!(config.heartbeat.map(|h| h.interval), Some(Duration::from_mins(1)));
}

#[test]
fn what_alertmanagers_global_section_says_holds_for_all_receivers() {
    let text = "
global:
  smtp_smarthost: mail.example.com:465
  smtp_from: bw@example.com
  smtp_require_tls: false
  slack_api_url: https://hooks.slack.com/services/T/B/global
  pagerduty_url: https://pd.example.com/v2/enqueue
receivers:
- name: a
  slack_configs: [{channel: x}, {api_url: 'https://hooks.slack.com/services/T/B/own'}]
  email_configs: [{to: a@example.com}, {to: a@example.com, from: b@example.com, smarthost: 'other:25'}]
";
    let config = parse(text).expect("is valid");
    let mails: Vec<_> = config.receivers[0]
        .integrations()
        .iter()
        .filter_map(|integration| match integration.target() {
            alerting::Target::Email(email) => Some((email.smarthost.port, email.from.email.to_string(), email.tls)),
            _ => None,
        })
        .collect();
    use alerting::TlsMode::{Implicit, Off};
    assert_eq!(mails, [(465, "bw@example.com".to_owned(), Implicit), (25, "b@example.com".to_owned(), Off)]);
    assert_eq!(config.receivers[0].integrations().len(), 4);
}

#[test]
fn faults_of_receivers_name_the_key_and_no_secret() {
    let text = "\
delivery: {allow: [10.1.0.0/16, here], max_backoff: 9d}
receivers:
- name: a
  fallback: nobody
  slack_configs:
  - {app_token: xoxb-CANARY, channel: x}
  - {api_url: 'env:BELLWETHER_NOT_SET', title: '{{ .Nope }}'}
- name: b
  fallback_after: 1m
  pagerduty_configs: [{service_key: CANARY}]
  email_configs: [{to: nobody, from: a@b.c, smarthost: mail, auth_username: u}]
- name: c
  webhook_configs:
  - url: http://10.2.0.1/CANARY-segment
  - {url: http://10.1.0.1/, signing_secrets: [file:nowhere], timeout: 10m}
  alertmanager_configs: [{urls: ['http://169.254.169.254/']}]
heartbeat: {receiver: z, interval: 10ms}
";
    let got = parse(text).expect_err("has faults");
    let has = |line: usize, word: &str| {
        assert!(
            got.iter().any(|f| f.starts_with(&format!("b.yaml:{line}:")) && f.contains(word)),
            "{line} {word} in {got:#?}"
        );
    };
    has(1, "delivery.allow[1]: expected a network");
    has(1, "delivery.max_backoff");
    has(6, "app_token: expected ${NAME}");
    has(7, "api_url: the environment variable BELLWETHER_NOT_SET is not set");
    has(7, "title: line 1 of the template: there is no field .Nope");
    has(9, "`fallback_after` expects `fallback`");
    has(10, "`routing_key` or `routing_key_file` is missing");
    has(10, "service_key");
    has(11, "to: expected mail addresses");
    has(11, "both `auth_username` and `auth_password`");
    has(15, "signing_secrets: the file /etc/bellwether/nowhere");
    has(17, "heartbeat.receiver: there is no receiver `z`");
    has(17, "heartbeat.interval");
    assert!(!got.iter().any(|fault| fault.contains("CANARY")), "{got:#?}");
    let text = "
receivers:
- name: c
  webhook_configs: [{url: http://10.2.0.1/CANARY-segment}]
  fallback: c
";
    let got = parse(text).expect_err("has faults");
    assert!(
        got[1].contains("webhook/0 of receiver \"c\": 10.2.0.1 is not a public address: allow it with"),
        "{got:#?}"
    );
    assert!(got[0].contains("fallback of receiver \"c\""), "{got:#?}");
}

#[test]
fn faults_of_credentials_are_said_without_the_secret() {
    let text = "\
credentials:
- name: a
  bearer_token: in-plain-sight
  tenants: [default]
- name: b
  bearer_token: ${BELLWETHER_NOT_SET}
  tenants: []
- name: c
  basic_auth: {username: 'a:b', password: file:nowhere}
  tenants: ['a/b']
- name: d
  tenants: [default]
- {name: e, bearer_token: '${PATH}', tenants: [x]}
- {name: e, bearer_token: '${PATH}', tenants: [x]}
tls: {key: k}
tenants:
  default: {weight: 0, items_burst: 5}
  limits: [{tenant: ..}, {tenant: a, weight: 2}, {tenant: a}]
ingest: {connections: {max: 0}}
";
    let got = parse(text).expect_err("has faults");
    let has =
        |line: usize, word: &str| got.iter().any(|f| f.starts_with(&format!("b.yaml:{line}:")) && f.contains(word));
    assert!(has(3, "bearer_token: expected ${NAME}"), "{got:#?}");
    assert!(has(6, "BELLWETHER_NOT_SET is not set") && has(7, "at least one tenant"), "{got:#?}");
    assert!(has(9, "without a colon") && has(9, "nowhere cannot be read") && has(10, "1 to 150"), "{got:#?}");
    assert!(has(11, "either `bearer_token` or `basic_auth`"), "{got:#?}");
    assert!(has(14, "name of `e` is given twice") && has(14, "secret of `e` is given twice"), "{got:#?}");
    assert!(has(15, "`certificate` is missing"), "{got:#?}");
    assert!(has(17, "from 1 to 1000") && has(17, "`items_burst` expects `items_per_second`"), "{got:#?}");
    assert!(has(18, "1 to 150") && has(18, "`a` is given twice") && has(19, "from 1 to"), "{got:#?}");
    let path = std::env::var("PATH").expect("every process has one");
    assert!(!got.iter().any(|f| f.contains("in-plain-sight") || f.contains(&path)), "{got:#?}");
}

#[test]
fn every_fault_is_reported_at_once_with_its_line() {
    let text = "\
listen:
  grpc: here
  grcp: 127.0.0.1:1
data_dir: [a]
window:
  max_bytes: 12
  span: 0
level:
  thresholds: [0.5, 0.9, 0.1, 0.0]
receivers:
- name: a
  webhook_configs:
  - url: ftp://x/
  - send_resolved: maybe
";
    let got = parse(text).expect_err("has faults");
    let has =
        |line: usize, word: &str| got.iter().any(|f| f.starts_with(&format!("b.yaml:{line}:")) && f.contains(word));
    assert!(has(2, "127.0.0.1:4317"), "{got:#?}");
    assert!(has(3, "grcp"), "{got:#?}");
    assert!(has(4, "data_dir"), "{got:#?}");
    assert!(has(6, "64 KiB"), "{got:#?}");
    assert!(has(7, "greater than 0"), "{got:#?}");
    assert!(has(9, "falling"), "{got:#?}");
    assert!(has(13, "http"), "{got:#?}");
    assert!(has(14, "url") && has(14, "true or false"), "{got:#?}");
}

#[test]
fn lateness_and_idle_time_are_read_and_checked() {
    let read = |text: &str| parse(text).map(|config| config.intake.lateness);
    let given = read("ingest: {lateness: 2m, lateness_bytes: 1MiB, idle: off}").expect("is valid");
    let expected =
        ingest::LatenessConfig { lateness: Duration::from_mins(2), max_bytes: 1 << 20, idle: ingest::Idle::Off };
    assert_eq!(given, expected);
    let idle = |text: &str| read(&format!("ingest: {{idle: {text}}}")).map(|lateness| lateness.idle);
    assert_eq!(idle("auto"), Ok(ingest::Idle::Auto));
    assert_eq!(idle("90s"), Ok(ingest::Idle::After(Duration::from_secs(90))));
    for bad in ["never", "0s", "true"] {
        let faults = idle(bad).expect_err("has a fault");
        assert!(faults[0].contains("ingest.idle") && faults[0].contains("auto, off"), "{faults:?}");
    }
}

#[test]
fn the_shipped_rules_are_valid_and_have_runbooks() {
    let groups = Config::default().rules("http://b").expect("are valid");
    let names: Vec<&str> = groups
        .iter()
        .flat_map(|g| &g.rules)
        .map(|rule| match rule {
            detect::rules::Rule::Alert(alert) => alert.name.as_str(),
            detect::rules::Rule::Record(record) => &record.name,
        })
        .collect();
    assert_eq!(names, ["ConversionDrop", "MarginErosion", "CircuitBreakerOpen", "DfmFailures"]);
    let runbooks = crate::runbooks::Runbooks::load(None).expect("the shipped ones are sound");
    for page in SHIPPED_RULES.1.lines().filter_map(|l| l.split("/runbooks/").nth(1)) {
        let page = page.trim_end_matches('"');
        assert!(runbooks.get(page).is_some(), "there is no runbook {page}");
    }
}

/// Every name of a property in a schema.
fn properties(schema: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.extend(properties.keys().cloned());
    }
    match schema {
        serde_json::Value::Object(parts) => parts.values().for_each(|part| properties(part, found)),
        serde_json::Value::Array(parts) => parts.iter().for_each(|part| properties(part, found)),
        _ => {}
    }
}

#[test]
fn the_schema_has_the_keys_that_are_read_and_no_others() {
    let mut described = std::collections::BTreeSet::new();
    properties(&serde_json::from_str(SCHEMA).expect("is JSON"), &mut described);
    let sources = [
        include_str!("file.rs"),
        include_str!("cluster.rs"),
        include_str!("doors.rs"),
        include_str!("metrics.rs"),
        include_str!("objectives.rs"),
        include_str!("receivers.rs"),
        include_str!("receivers/webhook.rs"),
        include_str!("routing.rs"),
        include_str!("templates.rs"),
    ];
    let served = |source: &'static str| source.split("#[cfg(test)]").next().unwrap_or_default();
    let sources: String = sources.into_iter().map(served).collect();
    // Whatever is asked of a mapping by name, and lists of such names.
    let read = keys_asked_for(&sources);
    let missing: Vec<_> = read.difference(&described).collect();
    assert!(missing.is_empty(), "read and not described: {missing:?}");
    let unread: Vec<_> = described.iter().filter(|name| !sources.contains(&format!("\"{name}\""))).collect();
    assert!(unread.is_empty(), "described and not read: {unread:?}");
}

/// Names that stand where keys are asked for.
fn keys_asked_for(sources: &str) -> std::collections::BTreeSet<String> {
    let places = [
        ".get(\"",
        ".required(\"",
        "set(m, \"",
        "set(&mut m, \"",
        "set(&mut top, \"",
        "section(m, \"",
        "section(&mut m, \"",
        "(top, \"",
    ];
    let after = |place: &'static str| sources.split(place).skip(1).filter_map(|rest| rest.split('"').next());
    places.into_iter().flat_map(after).map(str::to_owned).collect()
}
