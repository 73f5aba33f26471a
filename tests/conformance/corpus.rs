//! The seeds of the fuzzers, and what they once found, played to the real doors.

use std::{fs, path::Path};

use crate::kit::{Route, Service, Signal};

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).expect("is readable")));
        }
    }
    found
}

// E1
#[tokio::test(flavor = "multi_thread")]
async fn every_seed_of_the_fuzzers_is_answered_on_every_door() {
    let service = Service::shared();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let seeds: Vec<_> = ["seeds", "corpus", "artifacts"].iter().flat_map(|folder| files(&root.join(folder))).collect();
    assert!(seeds.len() >= 12, "{} seeds", seeds.len());
    // A long run leaves thousands; the first of them are enough here.
    for (name, bytes) in seeds.iter().take(500) {
        for signal in Signal::ALL {
            for route in Route::PLAIN {
                let verdict = service.send_bytes(signal, bytes, route).await.verdict();
                let is_right = verdict.as_ref().err().is_none_or(|r| [3, 8].contains(&r.code) && r.http < 500);
                assert!(is_right, "{name} {signal:?} {route:?}: {verdict:?}");
            }
        }
    }
    service.assert_healthy().await;
}
