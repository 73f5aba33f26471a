//! The runbooks that are served: the shipped ones, and those of a directory, which win.

use std::{collections::BTreeMap, path::Path};

use alerting::runbook::Runbook;
use detect::yaml::Fault;

use crate::config;

/// Name and text of every runbook that is shipped.
const SHIPPED: [(&str, &str); 14] = [
    ("anomaly.md", include_str!("../runbooks/anomaly.md")),
    ("cache-failure.yaml", include_str!("../runbooks/cache-failure.yaml")),
    ("circuit-breaker-open.yaml", include_str!("../runbooks/circuit-breaker-open.yaml")),
    ("conversion-drop.md", include_str!("../runbooks/conversion-drop.md")),
    ("db-connection-pool.yaml", include_str!("../runbooks/db-connection-pool.yaml")),
    ("ddos-attack.yaml", include_str!("../runbooks/ddos-attack.yaml")),
    ("dfm-failures.md", include_str!("../runbooks/dfm-failures.md")),
    ("high-error-ratio.md", include_str!("../runbooks/high-error-ratio.md")),
    ("high-latency.md", include_str!("../runbooks/high-latency.md")),
    ("margin-erosion.md", include_str!("../runbooks/margin-erosion.md")),
    ("memory-exhaustion.yaml", include_str!("../runbooks/memory-exhaustion.yaml")),
    ("telemetry-gap.md", include_str!("../runbooks/telemetry-gap.md")),
    ("traffic-drop.md", include_str!("../runbooks/traffic-drop.md")),
    ("traffic-surge.md", include_str!("../runbooks/traffic-surge.md")),
];
/// Runbooks in a directory at most.
const MOST: usize = 1_000;
/// Bytes of one at most.
const MAX_BYTES: usize = 1 << 20;

/// All runbooks by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runbooks(BTreeMap<String, Page>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) enum Page {
    /// Text for people.
    Markdown(String),
    /// Steps, checked.
    Steps(Box<Runbook>),
}

impl Runbooks {
    /// The shipped ones, and those in `directory`: files that end in `.md`, `.yaml` or `.yml`, whose names without
    /// the ending are those of the runbooks.
    ///
    /// # Errors
    /// Every fault of every file.
    pub(crate) fn load(directory: Option<&Path>) -> Result<Self, Vec<Fault>> {
        let (mut runbooks, mut faults) = (Self::default(), Vec::new());
        for (file, text) in SHIPPED {
            runbooks.add(file, &format!("runbooks/{file}"), text, &mut faults);
        }
        if let Some(directory) = directory {
            runbooks.read(directory, &mut faults);
        }
        if faults.is_empty() { Ok(runbooks) } else { Err(faults) }
    }

    fn read(&mut self, directory: &Path, faults: &mut Vec<Fault>) {
        let fault = |message: String| Fault { file: directory.display().to_string(), line: 0, message };
        let mut files: Vec<_> = match std::fs::read_dir(directory) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            Err(error) => return faults.push(fault(format!("runbooks_dir: cannot be read: {error}"))),
        };
        files.retain(|path| ["md", "yaml", "yml"].iter().any(|ending| path.extension().is_some_and(|e| e == *ending)));
        files.sort();
        if files.len() > MOST {
            return faults.push(fault(format!("runbooks_dir: has {} runbooks; expected at most {MOST}", files.len())));
        }
        for path in files {
            let (shown, name) = (path.display().to_string(), path.file_name().unwrap_or_default().to_string_lossy());
            match config::read_text(&path) {
                Ok(text) => self.add(&name, &shown, &text, faults),
                Err(found) => faults.extend(found),
            }
        }
    }

    fn add(&mut self, file: &str, shown: &str, text: &str, faults: &mut Vec<Fault>) {
        let fault = |message: String| Fault { file: shown.to_owned(), line: 0, message };
        let (name, ending) = file.rsplit_once('.').unwrap_or((file, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(is_name) {
            return faults.push(fault("the name of a runbook: expected letters, digits, - and _".to_owned()));
        }
        if text.len() > MAX_BYTES {
            return faults.push(fault(format!("has {} bytes; expected at most {MAX_BYTES}", text.len())));
        }
        let page = if ending == "md" {
            Ok(Page::Markdown(text.to_owned()))
        } else {
            Runbook::read(shown, text).map(|runbook| Page::Steps(Box::new(runbook)))
        };
        match page {
            Ok(page) => drop(self.0.insert(name.to_owned(), page)),
            Err(found) => faults.extend(found),
        }
    }

    /// The one with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Page> {
        self.0.get(name)
    }

    /// All, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Page)> {
        self.0.iter().map(|(name, page)| (name.as_str(), page))
    }
}

impl Page {
    /// What it is about.
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Markdown(text) => text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default(),
            Self::Steps(runbook) => &runbook.title,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_runbook_says_what_an_engineer_needs() {
        let runbooks = Runbooks::load(None).expect("the shipped ones are sound");
        assert_eq!(runbooks.iter().count(), SHIPPED.len());
        for (name, page) in runbooks.iter() {
            assert!(!page.title().is_empty(), "{name} has no title");
            match page {
                Page::Markdown(text) => {
                    for section in ["## Symptom", "## Likely causes", "## Steps", "## Verification", "## Escalation"] {
                        assert!(text.contains(section), "{name} has no section {section:?}");
                    }
                }
                Page::Steps(runbook) => {
                    let lists = [runbook.symptoms.len(), runbook.causes.len(), runbook.verification.len()];
                    assert!(lists.iter().all(|length| *length >= 2), "{name}: {lists:?}");
                    assert!(runbook.steps.iter().any(|step| step.verify.is_some()), "{name} verifies nothing");
                }
            }
        }
        for name in ["memory-exhaustion", "db-connection-pool", "circuit-breaker-open", "cache-failure", "ddos-attack"]
        {
            assert!(matches!(runbooks.get(name), Some(Page::Steps(_))), "{name}");
        }
    }

    #[test]
    fn a_directory_adds_and_replaces_and_all_of_its_faults_are_named() {
        let directory = tempfile::tempdir().expect("there is a place");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("can be written");
        write("anomaly.md", "# Ours");
        write("new_one.md", "# New");
        write("notes.txt", "not one");
        let runbooks = Runbooks::load(Some(directory.path())).expect("are sound");
        assert_eq!(["anomaly", "new_one"].map(|name| runbooks.get(name).map(Page::title)), [Some("Ours"), Some("New")]);
        assert!(runbooks.get("notes").is_none() && runbooks.get("../anomaly").is_none());
        write("bad.yaml", "title: x\nsteps: [{name: a, text: b, wait: long}]");
        write("no name.md", "# x");
        let faults = Runbooks::load(Some(directory.path())).expect_err("has faults");
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for expected in
            ["bad.yaml:2: steps[0].wait: expected", "bad.yaml:1: `trigger` is missing", "no name.md: the name of"]
        {
            assert!(said.iter().any(|fault| fault.contains(expected)), "{expected}: {said:#?}");
        }
        assert!(Runbooks::load(Some(&directory.path().join("nowhere"))).is_err());
    }
}
