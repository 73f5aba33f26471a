use std::path::Path;

use detect::yaml::Fault;

use super::*;
use crate::config::file;

fn parse(entries: &str) -> Result<Vec<MetricSettings>, Vec<Fault>> {
    let text = format!("detect:\n  metrics:\n{entries}");
    let config = file::parse("b.yaml", &text, Path::new("."))?;
    Ok(config.engine.zscore.settings.iter().cloned().collect())
}

/// What is wrong with one entry, as `line: message`.
fn wrong(entry: &str) -> Vec<String> {
    let faults = parse(entry).expect_err("is wrong");
    faults.into_iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
}

#[test]
fn an_entry_with_nothing_but_a_selector_changes_nothing() {
    let [only] = <[MetricSettings; 1]>::try_from(parse("  - match: queue_depth\n").expect("is valid")).expect("is one");
    assert_eq!(only, MetricSettings::of(only.selector.clone()));
}

#[test]
fn every_key_is_read() {
    let entry = "
  - match: '{__name__=~\"queue_.*\", service_name=\"quotes\"}'
    enabled: false
    direction: down
    min_absolute_deviation: 20
    min_relative_deviation: 0.2
    valid_range: {min: -1}
    sensitivity: 2
    z_thresholds: {warning: 4, critical: 6}
    limit: {value: 5, direction: down, horizon: 1h, probability: 0.8}
";
    let [read] = <[MetricSettings; 1]>::try_from(parse(entry).expect("is valid")).expect("is one");
    let expected = MetricSettings {
        enabled: false,
        direction: Some(Direction::Down),
        min_absolute_deviation: 20.0,
        min_relative_deviation: 0.2,
        valid_range: (-1.0, f64::INFINITY),
        sensitivity: 2.0,
        thresholds: Some((4.0, 6.0)),
        limit: Some(Limit { value: 5.0, towards: Direction::Down, horizon: Duration::from_hours(1), probability: 0.8 }),
        ..MetricSettings::of(read.selector.clone())
    };
    assert_eq!(read, expected);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_its_key() {
    let said = |entry: &str, line: usize, key: &str, expected: &str| {
        let faults = wrong(entry);
        let is_said =
            |fault: &String| fault.starts_with(&format!("{line}: ")) && fault.contains(key) && fault.contains(expected);
        assert!(faults.iter().any(is_said), "{entry}: {faults:?}");
    };
    said("  - sensitivity: 2\n", 3, "match", "is missing");
    said("  - match: rate(a[5m])\n", 3, "metrics[0].match", "expected a selector such as");
    said("  - match: 'a{'\n", 3, "metrics[0].match", "expected a selector (");
    said("  - match: a\n    direction: sideways\n", 4, "direction", "up, down or both");
    said("  - match: a\n    sensitivity: 0\n", 4, "sensitivity", "from 0.01 to 100");
    said("  - match: a\n    min_relative_deviation: -1\n", 4, "min_relative_deviation", "from 0");
    said("  - match: a\n    valid_range: {min: 2, max: 1}\n", 4, "valid_range", "a min below its max");
    said("  - match: a\n    z_thresholds: {warning: 5, critical: 3}\n", 4, "z_thresholds", "at least `warning`");
    said("  - match: a\n    limit: {horizon: 1h}\n", 4, "value", "is missing");
    said("  - match: a\n    limit: {value: 1, direction: both}\n", 4, "direction", "up or down");
    said("  - match: a\n    limit: {value: 1, probability: 1}\n", 4, "probability", "from 0.01 to 0.99");
    said("  - match: a\n    colour: red\n", 4, "colour", "unknown key");
    let many: String = (0..=MOST).map(|i| format!("  - match: m{i}\n")).collect();
    said(&many, 3, "metrics", "at most 1000 entries");
}
