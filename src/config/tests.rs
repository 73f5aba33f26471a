use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Config, Vec<String>> {
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
    assert_eq!(config.receivers.len(), 2);
    assert_eq!(config.receivers[1].name(), "on-call/1");
    assert!(!config.receivers[1].config().send_resolved);
    assert_eq!(config.window.max_bytes, 1 << 30);
    assert_eq!(config.rule_files, [Path::new("/etc/bellwether/rules/business.yaml")]);
    assert_eq!(config.external_url.as_deref(), Some("https://bellwether.example.com"));
}

#[test]
fn the_example_shows_the_defaults() {
    let (shown, default) = (parse(include_str!("../../bellwether.example.yaml")).expect("is valid"), Config::default());
    assert_eq!(shown.ingest, default.ingest);
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
    for page in SHIPPED_RULES.1.lines().filter_map(|l| l.split("/runbooks/").nth(1)) {
        let page = page.trim_end_matches('"');
        assert!(crate::ui::runbook(page).is_some(), "there is no runbook {page}");
    }
}
