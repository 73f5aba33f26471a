//! Templates of notifications: files of them, and those in receivers' fields, in Alertmanager's words.

use std::path::{Path, PathBuf};

use alerting::{OwnTexts, Templates};
use detect::{
    template::Template,
    yaml::{Faults, Mapping, Value},
};

use super::file::read_text;

/// Files at most.
const MOST_FILES: usize = 1_000;
/// Details of an event and facts of an attachment at most.
const MOST_PARTS: usize = 50;

/// `templates`: Alertmanager's well-known ones, and those of the files that are listed.
pub(super) fn templates(top: &mut Mapping<'_, '_>, directory: &Path, faults: &mut Faults) -> Templates {
    let known = Templates::default();
    let Some(value) = top.get("templates") else { return known };
    let mut texts = Vec::new();
    for entry in value.list(faults) {
        let Some(pattern) = entry.text(faults) else { continue };
        match files(&directory.join(&pattern)) {
            Ok(found) => {
                for path in found {
                    match read_text(&path) {
                        Ok(text) => texts.push((path.display().to_string(), text)),
                        Err(wrong) => {
                            wrong.iter().for_each(|fault| faults.add(entry.line(), format!("templates: {fault}")))
                        }
                    }
                }
            }
            Err(reason) => faults.add(entry.line(), format!("templates: {reason}")),
        }
    }
    if texts.len() > MOST_FILES {
        faults.add(value.line(), format!("templates: expected at most {MOST_FILES} files, got {}", texts.len()));
        return known;
    }
    match known.with(texts.iter().map(|(file, text)| (file.as_str(), text.as_str()))) {
        Ok(all) => all,
        Err((file, fault)) => {
            faults.add(value.line(), format!("templates: {file}:{}: {}", fault.line, fault.message));
            known
        }
    }
}

/// The files that `pattern` means, in order of their names; its last part may have `*`.
fn files(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let name = pattern.file_name().and_then(|name| name.to_str()).ok_or("expected the name of a file")?;
    let directory = pattern.parent().unwrap_or_else(|| Path::new("."));
    if directory.to_string_lossy().contains('*') || pattern.to_string_lossy().contains(['?', '[']) {
        return Err(format!("expected `*` in the name of the file only, got {}", pattern.display()));
    }
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let parts: Vec<&str> = name.split('*').collect();
    let unreadable = |error| format!("{} cannot be read: {error}", directory.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| is_like(name, &parts)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `name` is `parts` with anything between them.
fn is_like(name: &str, parts: &[&str]) -> bool {
    let [first, middle @ .., last] = parts else { return false };
    let Some(mut rest) = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Reads the templates of one integration.
pub(super) struct OwnReader<'r> {
    pub(super) templates: &'r Templates,
    pub(super) own: OwnTexts,
}

impl OwnReader<'_> {
    /// The fields `names`, each of which is a template.
    pub(super) fn texts(&mut self, m: &mut Mapping<'_, '_>, names: &[&'static str], faults: &mut Faults) {
        for name in names {
            if let Some(template) = m.get(name).and_then(|value| self.template(&value, name, faults)) {
                self.own.texts.insert(name, template);
            }
        }
    }

    /// A field that may be a template: its text, unless it is one.
    pub(super) fn plain(&mut self, m: &mut Mapping<'_, '_>, name: &'static str, faults: &mut Faults) -> Option<String> {
        let value = m.get(name)?;
        let text = value.text(faults)?;
        if !text.contains("{{") {
            return Some(text);
        }
        let template = self.template(&value, name, faults)?;
        self.own.texts.insert(name, template);
        None
    }

    /// `details`: names and templates.
    pub(super) fn details(&mut self, m: &mut Mapping<'_, '_>, faults: &mut Faults) {
        let Some(inner) = m.get("details").and_then(|value| value.mapping(faults)) else { return };
        for (name, text, line) in inner.texts(faults).into_iter().take(MOST_PARTS) {
            match self.templates.read(&text) {
                Ok(template) => drop(self.own.details.insert(name, template)),
                Err(fault) => faults.add(line, format!("details.{name}: {fault}")),
            }
        }
    }

    /// `headers` of mail, of which there is the subject.
    pub(super) fn headers(&mut self, m: &mut Mapping<'_, '_>, faults: &mut Faults) {
        let Some(inner) = m.get("headers").and_then(|value| value.mapping(faults)) else { return };
        for (name, text, line) in inner.texts(faults) {
            if !name.eq_ignore_ascii_case("subject") {
                faults.add(line, format!("headers: `{name}` cannot be set here; expected `Subject`"));
                continue;
            }
            match self.templates.read(&text) {
                Ok(template) => drop(self.own.texts.insert("subject", template)),
                Err(fault) => faults.add(line, format!("headers.{name}: {fault}")),
            }
        }
    }

    /// `fields` of an attachment.
    pub(super) fn fields(&mut self, m: &mut Mapping<'_, '_>, faults: &mut Faults) {
        let listed = m.get("fields").map(|value| value.list(faults)).unwrap_or_default();
        for value in listed.into_iter().take(MOST_PARTS) {
            let Some(mut field) = value.mapping(faults) else { continue };
            let mut read = |name: &'static str| {
                let value = field.required(name, faults)?;
                self.template(&value, name, faults)
            };
            let (title, text) = (read("title"), read("value"));
            let is_short = field.get("short").and_then(|value| value.boolean(faults)).unwrap_or(false);
            field.finish(faults);
            self.own.fields.extend(title.zip(text).map(|(title, text)| (title, text, is_short)));
        }
    }

    fn template(&self, value: &Value<'_, '_>, name: &str, faults: &mut Faults) -> Option<Template> {
        let text = value.text(faults)?;
        self.templates.read(&text).map_err(|fault| faults.add(value.line(), format!("{name}: {fault}"))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything_in_the_name_of_a_file() {
        let like = |name: &str, pattern: &str| is_like(name, &pattern.split('*').collect::<Vec<_>>());
        assert!(like("a.tmpl", "*.tmpl") && like("my-slack-2.tmpl", "my*slack*.tmpl") && like("x", "*"));
        assert!(!like("a.txt", "*.tmpl") && !like("ab", "ab*b") && !like("a-b", "a*c*b"));
        assert!(files(Path::new("/a*/b.tmpl")).is_err() && files(Path::new("/a/[b].tmpl")).is_err());
    }
}
