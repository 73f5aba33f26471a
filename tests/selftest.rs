//! The quality of detection as a gate: the binary measures itself, and its bars must hold.

use std::process::Command;

#[test]
fn detection_is_at_least_as_good_as_the_bars_say() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    let output = command.arg("selftest").output().expect("cargo has built the binary");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // The exit code says it all; these say that it is about what was asked for.
    for part in ["spike         bursty", "joint         seasonal", "season break  seasonal", "All bars hold."] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
