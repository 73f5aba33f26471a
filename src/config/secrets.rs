//! Secrets in the configuration: only by reference.

use std::path::Path;

use detect::yaml::{Faults, Value};

/// Largest file with a secret, in bytes.
const MAX_SECRET: usize = 4096;

/// A secret: from the environment or from a file, never in the configuration itself. Faults say where
/// it was looked for and nothing of what was found.
pub(super) fn secret(value: &Value<'_, '_>, key: &str, directory: &Path, faults: &mut Faults) -> Option<String> {
    let text = value.text(faults)?;
    let found = reference(&text, directory)
        .unwrap_or_else(|| Err("expected ${NAME} or env:NAME of an environment variable, or file:PATH".to_owned()));
    found.map_err(|fault| faults.add(value.line(), format!("{key}: {fault}"))).ok()
}

/// The path to a secret, as Alertmanager's keys that end in `_file` have it.
pub(super) fn secret_file(value: &Value<'_, '_>, key: &str, directory: &Path, faults: &mut Faults) -> Option<String> {
    let path = value.text(faults)?;
    from_file(&path, directory).map_err(|fault| faults.add(value.line(), format!("{key}: {fault}"))).ok()
}

/// What `text` refers to; `None` when it is no reference.
pub(super) fn reference(text: &str, directory: &Path) -> Option<Result<String, String>> {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).or_else(|| text.strip_prefix("env:"));
    if let Some(name) = name {
        let found = std::env::var(name);
        return Some(
            found.map_err(|_| format!("the environment variable {name} is not set, or is not text")).and_then(line),
        );
    }
    text.strip_prefix("file:").map(|path| from_file(path, directory))
}

fn from_file(path: &str, directory: &Path) -> Result<String, String> {
    let path = directory.join(path);
    read(&path).and_then(line).map_err(|reason| format!("the file {} {reason}", path.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of owned results")]
fn line(secret: String) -> Result<String, String> {
    let secret = secret.trim_end_matches(['\r', '\n']);
    let is_sendable = !secret.is_empty() && !secret.contains(|c: char| c.is_control());
    if is_sendable { Ok(secret.to_owned()) } else { Err("does not hold one line of text".to_owned()) }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path)
        .and_then(|found| if found.len() > MAX_SECRET as u64 { Ok(Vec::new()) } else { std::fs::read(path) })
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.is_empty() {
        return Err(format!("has not between 1 and {MAX_SECRET} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not text".to_owned())
}
