//! Reading YAML so that every fault is reported at once, with its line and what was expected.
//!
//! Rule files here and the configuration in the binary are read through this. Deserialising with
//! serde would stop at the first fault and know no line for most of them.

use std::{collections::BTreeSet, fmt, time::Duration};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1; 0 where the fault is about the whole file.
    pub line: usize,
    /// What is wrong and what was expected, naming the key.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// The faults of one file, as they are found.
#[derive(Debug)]
pub struct Faults {
    file: String,
    list: Vec<Fault>,
}

impl Faults {
    /// No fault yet in `file`.
    #[must_use]
    pub fn of(file: &str) -> Self {
        Self { file: file.into(), list: Vec::new() }
    }

    /// Notes a fault at `line`.
    pub fn add(&mut self, line: usize, message: impl Into<String>) {
        self.list.push(Fault { file: self.file.clone(), line, message: message.into() });
    }

    /// `value` if nothing was wrong, else every fault in order of lines.
    ///
    /// # Errors
    /// The faults, never an empty list.
    pub fn into_result<T>(mut self, value: T) -> Result<T, Vec<Fault>> {
        self.list.sort();
        self.list.dedup();
        if self.list.is_empty() { Ok(value) } else { Err(self.list) }
    }
}

/// A parsed file.
#[derive(Debug)]
pub struct Document<'a>(Option<MarkedYaml<'a>>);

impl<'a> Document<'a> {
    /// Parses `text`. An empty file is an empty mapping. A syntax error or a second document is noted
    /// in `faults`, and the document reads as empty.
    #[must_use]
    pub fn parse(text: &'a str, faults: &mut Faults) -> Self {
        match MarkedYaml::load_from_str(text) {
            Ok(documents) if documents.len() > 1 => {
                faults.add(documents[1].span.start.line(), "expected one YAML document, found another");
                Self(None)
            }
            Ok(documents) => Self(documents.into_iter().next()),
            Err(error) => {
                let line = error.marker().line();
                faults.add(line, format!("not valid YAML: {}{}", error.info(), key_at(text, line)));
                Self(None)
            }
        }
    }

    /// Parses all documents of `text`; none after a syntax error, which is noted in `faults`.
    #[must_use]
    pub fn all(text: &'a str, faults: &mut Faults) -> Vec<Self> {
        match MarkedYaml::load_from_str(text) {
            Ok(documents) => documents.into_iter().map(|document| Self(Some(document))).collect(),
            Err(error) => {
                let line = error.marker().line();
                faults.add(line, format!("not valid YAML: {}{}", error.info(), key_at(text, line)));
                Vec::new()
            }
        }
    }

    /// The top of the file as a mapping.
    #[must_use]
    pub fn mapping<'d>(&'d self, faults: &mut Faults) -> Mapping<'d, 'a> {
        match &self.0 {
            Some(node) => Value { node, path: String::new() }.mapping(faults).unwrap_or_default(),
            None => Mapping::default(),
        }
    }
}

/// Says which key stands at the start of `line` of a text that cannot be parsed. The rest of the line is not
/// repeated: it may be a secret.
fn key_at(text: &str, line: usize) -> String {
    const LONGEST_KEY: usize = 80;
    let line = line.checked_sub(1).and_then(|index| text.lines().nth(index)).unwrap_or_default();
    let key = line.trim_start_matches([' ', '\t', '-', '{']).split_once(':').map_or("", |(key, _)| key.trim());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !key.is_empty() && key.len() <= LONGEST_KEY && key.chars().all(is_plain) {
        true => format!(", at `{key}`"),
        false => String::new(),
    }
}

/// One value, with the path of keys to it.
#[derive(Clone, Debug)]
pub struct Value<'d, 'a> {
    node: &'d MarkedYaml<'a>,
    path: String,
}

/// A mapping that remembers which of its keys were asked for.
#[derive(Clone, Debug, Default)]
pub struct Mapping<'d, 'a> {
    path: String,
    line: usize,
    entries: Vec<(String, usize, Value<'d, 'a>)>,
    asked: BTreeSet<&'static str>,
}

impl<'d, 'a> Value<'d, 'a> {
    /// Line of the value, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.node.span.start.line()
    }

    /// Notes that `what` was expected here, and what was found instead.
    pub fn expected(&self, what: &str, faults: &mut Faults) {
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        faults.add(self.line(), format!("{path}: expected {what}, found {}", self.found()));
    }

    fn found(&self) -> String {
        match &self.node.data {
            YamlData::Value(scalar) => match scalar_text(scalar) {
                Some(text) => format!("`{}`", text.chars().take(80).collect::<String>()),
                None => "nothing".into(),
            },
            YamlData::Sequence(_) => "a list".into(),
            YamlData::Mapping(_) => "a mapping".into(),
            _ => "something unreadable".into(),
        }
    }

    /// A scalar as text: strings, numbers and booleans as written. Noted as a fault if it is none.
    pub fn text(&self, faults: &mut Faults) -> Option<String> {
        if let YamlData::Value(scalar) = &self.node.data
            && let Some(text) = scalar_text(scalar)
        {
            return Some(text);
        }
        self.expected("text", faults);
        None
    }

    /// A finite number.
    pub fn number(&self, faults: &mut Faults) -> Option<f64> {
        let number = match &self.node.data {
            #[expect(clippy::cast_precision_loss, reason = "settings are small numbers")]
            YamlData::Value(Scalar::Integer(i)) => Some(*i as f64),
            YamlData::Value(Scalar::FloatingPoint(f)) => Some(f.into_inner()).filter(|f| f.is_finite()),
            _ => None,
        };
        if number.is_none() {
            self.expected("a number", faults);
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        if let YamlData::Value(Scalar::Boolean(b)) = &self.node.data {
            return Some(*b);
        }
        self.expected("true or false", faults);
        None
    }

    /// A duration in Prometheus's notation (`30s`, `1h30m`).
    pub fn duration(&self, faults: &mut Faults) -> Option<Duration> {
        let text = self.text(faults)?;
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            self.expected("a duration such as 30s, 5m or 1h30m", faults);
        }
        parsed
    }

    /// The values of a list; an absent value (`key:` with nothing behind it) is an empty one.
    pub fn list(&self, faults: &mut Faults) -> Vec<Value<'d, 'a>> {
        match &self.node.data {
            YamlData::Sequence(items) => {
                items.iter().enumerate().map(|(i, node)| Value { node, path: format!("{}[{i}]", self.path) }).collect()
            }
            YamlData::Value(Scalar::Null) => Vec::new(),
            _ => {
                self.expected("a list", faults);
                Vec::new()
            }
        }
    }

    /// The value as a mapping; an absent value is an empty one.
    pub fn mapping(&self, faults: &mut Faults) -> Option<Mapping<'d, 'a>> {
        let line = self.line();
        match &self.node.data {
            YamlData::Mapping(map) => {
                let mut entries = Vec::with_capacity(map.len());
                for (key, node) in map {
                    let key = Value { node: key, path: self.path.clone() };
                    let Some(name) = key.text(faults) else { continue };
                    let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
                    entries.push((name, key.line(), Value { node, path }));
                }
                Some(Mapping { path: self.path.clone(), line, entries, asked: BTreeSet::new() })
            }
            YamlData::Value(Scalar::Null) => {
                Some(Mapping { path: self.path.clone(), line, entries: Vec::new(), asked: BTreeSet::new() })
            }
            _ => {
                self.expected("a mapping", faults);
                None
            }
        }
    }
}

impl<'d, 'a> Mapping<'d, 'a> {
    /// Line at which it begins.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The value under `key`, if there is one.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'d, 'a>> {
        self.asked.insert(key);
        self.entries.iter().find(|(name, _, _)| name == key).map(|(_, _, value)| value.clone())
    }

    /// The value under `key`; its absence is a fault.
    pub fn required(&mut self, key: &'static str, faults: &mut Faults) -> Option<Value<'d, 'a>> {
        let value = self.get(key);
        if value.is_none() {
            let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
            faults.add(self.line, format!("{path}`{key}` is missing"));
        }
        value
    }

    /// All entries as text, for free-form mappings such as labels; with their lines.
    pub fn texts(self, faults: &mut Faults) -> Vec<(String, String, usize)> {
        self.entries.into_iter().filter_map(|(name, line, value)| Some((name, value.text(faults)?, line))).collect()
    }

    /// The line of `key` itself, if it is there.
    #[must_use]
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|(name, ..)| name == key).map(|(_, line, _)| *line)
    }

    /// Notes every key that nobody asked for, with the nearest one that exists.
    pub fn finish(self, faults: &mut Faults) {
        for (name, line, value) in &self.entries {
            if self.asked.contains(name.as_str()) {
                continue;
            }
            let known = self.asked.iter().copied().collect::<Vec<_>>().join(", ");
            faults.add(*line, format!("unknown key `{}`; expected one of: {known}", value.path));
        }
        let mut seen = BTreeSet::new();
        for (name, line, value) in &self.entries {
            if !seen.insert(name) {
                faults.add(*line, format!("`{}` is given twice", value.path));
            }
        }
    }
}

fn scalar_text(scalar: &Scalar<'_>) -> Option<String> {
    match scalar {
        Scalar::Null => None,
        Scalar::Boolean(b) => Some(b.to_string()),
        Scalar::Integer(i) => Some(i.to_string()),
        Scalar::FloatingPoint(f) => Some(f.into_inner().to_string()),
        Scalar::String(s) => Some(s.to_string()),
    }
}

/// Parses Prometheus's durations: numbers with units `ms s m h d w y`, greatest unit first, each at
/// most once; `0` alone is zero. `None` if it is not one or overflows.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let (mut rest, mut millis, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0)?;
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters]).filter(|u| *u >= next_unit)?;
        millis = millis.checked_add(count.checked_mul(UNITS[unit].1)?)?;
        (rest, next_unit) = (&rest[letters..], unit + 1);
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str, read: impl FnOnce(&mut Mapping<'_, '_>, &mut Faults)) -> Vec<String> {
        let mut faults = Faults::of("f.yaml");
        let document = Document::parse(text, &mut faults);
        let mut top = document.mapping(&mut faults);
        read(&mut top, &mut faults);
        top.finish(&mut faults);
        faults.into_result(()).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_is_reported_with_its_line() {
        let text = "a: x\nb:\n  c: 1\nd: [1]\nwrong: 1\n";
        let got = faults_of(text, |top, faults| {
            top.get("a").and_then(|v| v.number(faults));
            top.get("b").and_then(|v| v.text(faults));
            top.get("d").and_then(|v| v.duration(faults));
            top.required("e", faults);
        });
        assert_eq!(
            got,
            [
                "f.yaml:1: `e` is missing",
                "f.yaml:1: a: expected a number, found `x`",
                "f.yaml:3: b: expected text, found a mapping",
                "f.yaml:4: d: expected text, found a list",
                "f.yaml:5: unknown key `wrong`; expected one of: a, b, d, e",
            ]
        );
    }

    #[test]
    fn syntax_errors_and_strange_tops_do_not_panic() {
        for text in ["a: [", "\t", "- 1", "7", "a: 1\n---\nb: 2", "", "&a [*a]", "? [x]\n: 1"] {
            let _ = faults_of(text, |top, _| {
                top.get("a");
            });
        }
        assert!(faults_of("", |_, _| ()).is_empty());
        assert_eq!(faults_of("- 1", |_, _| ()), ["f.yaml:1: the file: expected a mapping, found a list"]);
    }

    #[test]
    fn durations_are_prometheus_durations() {
        let seconds = |t| parse_duration(t).map(|d| d.as_secs_f64());
        assert_eq!(seconds("1h30m"), Some(5_400.0));
        assert_eq!(seconds("1500ms"), Some(1.5));
        assert_eq!(seconds("0"), Some(0.0));
        assert_eq!(seconds("2w"), Some(1_209_600.0));
        for bad in ["", "5", "m5", "1m1h", "-1s", "1.5h", "5mm", "99999999999999999y", "1s1s", "é"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
