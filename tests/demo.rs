//! The demonstration as a user runs it: real shop, real OTLP, real webhook, judged by its own report.

use std::process::Command;

#[test]
fn every_incident_is_found_and_every_alert_delivered_and_resolved_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["demo", "--duration", "300", "--seed", "7", "--port", "0"])
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .output()
        .expect("the binary starts");
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    // The exit code says it all; these say that the report is about what was asked for.
    assert_eq!(story.matches("yes, both").count(), 6, "{story}");
    assert!(story.contains(" 0 false alarms"), "{story}");
    assert!(story.contains("0 exports failed"), "{story}");
    assert!(!story.contains("MISSED"), "{story}");
    for level in ["LEVEL     0 ->", "(full-service)"] {
        assert!(story.contains(level), "the level rises and returns: {story}");
    }
}

#[test]
fn a_demonstration_that_is_too_short_is_refused_with_the_limit() {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["demo", "--duration", "10"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("expected 150 s"), "{said}");
}
