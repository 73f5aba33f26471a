//! What cannot be changed while the service runs.

use detect::yaml::{Document, Fault, Faults};

use super::{Config, file::read_text};

/// Whether two configurations differ in a setting.
type Differs = fn(&Config, &Config) -> bool;

/// Every key, or section, that is read at the start only.
const FIXED: [(&[&str], Differs); 15] = [
    (&["listen", "grpc"], |a, b| a.ingest.grpc_listen != b.ingest.grpc_listen),
    (&["listen", "http"], |a, b| a.ingest.http_listen != b.ingest.http_listen),
    (&["listen", "api"], |a, b| a.api_listen != b.api_listen),
    (&["external_url"], |a, b| a.external_url != b.external_url),
    (&["data_dir"], |a, b| a.data_dir != b.data_dir),
    (&["durability"], |a, b| a.durability != b.durability),
    (&["checkpoint_every"], |a, b| a.checkpoint_every != b.checkpoint_every),
    (&["tls"], |a, b| a.ingest.tls != b.ingest.tls),
    (&["ingest", "max_request_bytes"], |a, b| a.ingest.max_request_bytes != b.ingest.max_request_bytes),
    (&["ingest", "queue_bytes"], |a, b| a.queue_bytes != b.queue_bytes),
    (&["ingest", "connections"], |a, b| a.ingest.connections != b.ingest.connections),
    (&["window", "span"], |a, b| a.window.span != b.window.span),
    (&["window", "max_bytes_total"], |a, b| a.window.max_bytes_total != b.window.max_bytes_total),
    (&["window", "max_series"], |a, b| a.window.max_series != b.window.max_series),
    (&["history"], |a, b| a.history != b.history),
];

impl Config {
    /// What of `next` would need a restart, if this one is in force: each with the key, and its line where it is given.
    #[must_use]
    pub(crate) fn needs_restart(&self, next: &Self) -> Vec<Fault> {
        let changed: Vec<_> = FIXED.iter().filter(|(_, differs)| differs(self, next)).map(|(key, _)| *key).collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let file = next.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let text = next.file.as_ref().and_then(|path| read_text(path).ok()).unwrap_or_default();
        let fault = |key: &[&'static str]| Fault {
            file: file.clone(),
            line: line_of(&text, key),
            message: format!("{}: cannot be changed while the service runs; a restart is needed", key.join(".")),
        };
        changed.into_iter().map(fault).collect()
    }
}

/// The line of a key; that of its section where it is not given, and 0 where that is not.
fn line_of(text: &str, key: &[&'static str]) -> usize {
    let mut faults = Faults::of("");
    let document = Document::parse(text, &mut faults);
    let mut mapping = document.mapping(&mut faults);
    let mut line = 0;
    for part in key {
        let Some(value) = mapping.get(part) else { break };
        line = mapping.line_of(part).unwrap_or(line);
        let Some(inner) = value.mapping(&mut faults) else { break };
        mapping = inner;
    }
    line
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::file::{parse, read};

    #[test]
    fn every_key_is_named_with_its_line_and_nothing_else_is() {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let path = directory.path().join("bellwether.yaml");
        let before = parse("f", "level: {hold_up: 10s}", Path::new(".")).expect("is right");
        let text = "durability: memory\nlisten:\n  grpc: 127.0.0.1:1\n  api: 127.0.0.1:2\nwindow: {max_bytes: 1MiB}\n\
                    history:\n  enabled: false\nlevel:\n  hold_up: 1s\ningest:\n  connections: {max: 3}\n";
        std::fs::write(&path, text).expect("can be written");
        let said: Vec<String> =
            before.needs_restart(&read(&path).expect("is right")).iter().map(ToString::to_string).collect();
        let keys = ["3: listen.grpc", "4: listen.api", "1: durability", "11: ingest.connections", "6: history"];
        assert_eq!(said.len(), keys.len(), "{said:?}");
        for (said, key) in said.iter().zip(keys) {
            assert!(said.contains(&format!("bellwether.yaml:{key}: cannot")), "{said}");
        }
        assert!(before.needs_restart(&before.clone()).is_empty());
    }
}
