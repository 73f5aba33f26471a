//! A configuration that is wrong starts nothing, and says in which line and at which key. Read while the service runs
//! it changes nothing, and loses nothing.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    api::{Api, eventually},
    binary::Binary,
    kit::{Framing, HttpAnswer, Signal, gauge, http1, metrics, now_seconds, point},
};

const EXAMPLE: &str = include_str!("../../bellwether.example.yaml");
/// Address space of a start that is refused, in KiB: far more than one needs, far less than a machine has.
const MEMORY: u32 = 4 << 20;
/// Seconds after which a start hangs.
const PATIENCE: u32 = 60;
/// How long what was taken may need until it can be asked for.
const PATIENCE_FOR_ROWS: Duration = Duration::from_secs(20);
/// Keys whose value is any text.
const FREE_TEXT: [&str; 2] = ["data_dir", "name"];

/// A file, and what has to be said about it.
struct Mutation {
    what: String,
    bytes: Vec<u8>,
    verdict: Verdict,
}

enum Verdict {
    /// It is refused at this line; what is said names the key, where there is one.
    Wrong { line: usize, key: Option<String> },
    /// It starts.
    Right,
}

/// One `key: value` of the example.
struct Setting<'a> {
    /// From 0.
    index: usize,
    /// What stands before the key.
    before: &'a str,
    key: &'a str,
    value: &'a str,
}

/// The example, with ports that are always free.
fn example() -> Vec<String> {
    EXAMPLE
        .lines()
        .map(|line| {
            ["4317", "4318", "4320"]
                .iter()
                .fold(line.to_owned(), |line, port| line.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0"))
        })
        .collect()
}

fn settings(lines: &[String]) -> Vec<Setting<'_>> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let text = line.split(" #").next().unwrap_or_default().trim_end();
        let rest = text.trim_start_matches([' ', '-']);
        let Some((key, value)) = rest.split_once(": ") else { continue };
        if !rest.starts_with('#') {
            found.push(Setting { index, before: &text[..text.len() - rest.len()], key, value: value.trim() });
        }
    }
    found
}

/// The example with one of its lines replaced.
fn with(lines: &[String], index: usize, line: &str) -> Vec<u8> {
    let mut lines = lines.to_vec();
    line.clone_into(&mut lines[index]);
    (lines.join("\n") + "\n").into_bytes()
}

/// Each setting of the example misspelt, of a wrong type, out of range, not a value at all, and given twice.
fn of_settings(lines: &[String]) -> Vec<Mutation> {
    let mut all = Vec::new();
    for Setting { index, before, key, value } in settings(lines) {
        let mut add = |what: &str, line: String, at: usize, key: &str| {
            let verdict = Verdict::Wrong { line: at + 1, key: Some(key.to_owned()) };
            all.push(Mutation { what: format!("{key}: {what}"), bytes: with(lines, index, &line), verdict });
        };
        let misspelt = format!("{key}x");
        add("misspelt", format!("{before}{misspelt}: {value}"), index, &misspelt);
        add("of a wrong type", format!("{before}{key}: [[{{a: 1}}]]"), index, key);
        if !FREE_TEXT.contains(&key) {
            add("below its range", format!("{before}{key}: -1"), index, key);
            add("not a value", format!("{before}{key}: 5 parsecs"), index, key);
            add("huge", format!("{before}{key}: {}", "9".repeat(400)), index, key);
        }
        if !before.contains('-') {
            let line = format!("{before}{key}: {value}");
            add("given twice", format!("{line}\n{line}"), index + 1, key);
        }
    }
    all
}

/// What is wrong with the whole of a file.
fn of_files() -> Vec<Mutation> {
    let wrong = |what: &str, bytes: Vec<u8>, line: usize, key: Option<&str>| {
        let verdict = Verdict::Wrong { line, key: key.map(str::to_owned) };
        Mutation { what: what.to_owned(), bytes, verdict }
    };
    // Ten to the eighth strings.
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..'i').zip('a'..) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(", "));
    }
    let deep = |open: &str, close: &str, depth: usize| {
        format!("keep: {}{}\n", open.repeat(depth), close.repeat(depth)).into_bytes()
    };
    let stairs: String = (0..2_000).map(|depth| " ".repeat(depth) + "a:\n").collect();
    vec![
        wrong("a list that nests deeply", deep("[", "]", 5_000), 1, Some("keep")),
        wrong("a list that nests very deeply and does not end", deep("[", "", 1_000_000), 1, None),
        wrong("a mapping that nests deeply", deep("{a: ", "}", 100_000), 1, None),
        wrong("a mapping of many lines that nests deeply", stairs.into_bytes(), 1, None),
        wrong("aliases of aliases", bomb.into_bytes(), 5, None),
        wrong("an alias of itself", b"keep: &a [*a]\n".to_vec(), 1, Some("keep")),
        wrong("an alias of nothing", b"keep: *nothing\n".to_vec(), 1, Some("keep")),
        wrong("a merge key", b"<<: {keep: 1d}\n".to_vec(), 1, Some("<<")),
        wrong("a value of an unknown tag", b"keep: !secret 1d\n".to_vec(), 1, Some("keep")),
        wrong("two documents", b"keep: 1d\n---\nkeep: 2d\n".to_vec(), 3, None),
        wrong("a byte that is not UTF-8", b"keep: 30d\ndata_dir: \xff\n".to_vec(), 2, None),
        wrong("UTF-16", b"\xff\xfek\0e\0e\0p\0".to_vec(), 1, None),
        wrong("a character that cannot be seen", b"keep: 30d\0\n".to_vec(), 1, None),
        wrong("a tab", b"listen:\n\tgrpc: 127.0.0.1:0\n".to_vec(), 2, Some("grpc")),
        wrong("a list", b"- keep: 30d\n".to_vec(), 1, None),
        wrong("a word", b"keep\n".to_vec(), 1, None),
        wrong("a text that does not end", b"keep: \"30d\n".to_vec(), 1, None),
        wrong(
            "a receiver that is given twice",
            [b"receivers:\n".as_slice(), RECEIVER, RECEIVER].concat(),
            3,
            Some("a"),
        ),
    ]
}

const RECEIVER: &[u8] = b"  - {name: a, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}\n";

/// The example as it is, and up to the end of its sections: shorter, and right.
fn of_right_ones(lines: &[String]) -> Vec<Mutation> {
    let is_boundary = |index: &usize| lines[*index].is_empty();
    let ends = (0..lines.len()).filter(is_boundary).step_by(3).chain([lines.len()]);
    let cut = |end: usize| Mutation {
        what: format!("cut after line {end}"),
        bytes: [b"listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}\n".as_slice()]
            .into_iter()
            .take(usize::from(!lines[..end].iter().any(|line| line == "listen:")))
            .chain(lines[..end].iter().flat_map(|line| [line.as_bytes(), b"\n"]))
            .flatten()
            .copied()
            .collect(),
        verdict: Verdict::Right,
    };
    ends.map(cut).collect()
}

/// Runs the binary with little memory, until it ends.
fn run(arguments: &[&OsStr]) -> (Option<i32>, String) {
    let script = format!("ulimit -v {MEMORY}; exec timeout -s KILL {PATIENCE} \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_bellwether")])
        .args(arguments)
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .output()
        .expect("every Unix has a shell");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// What is wrong with how `mutation`, written to `file`, is taken.
fn fault(mutation: &Mutation, file: &Path, data: &Path) -> Option<String> {
    let serve = [OsStr::new("--config"), file.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    let (checked, found) = run(&[OsStr::new("check"), file.as_os_str()]);
    let Verdict::Wrong { line, key } = &mutation.verdict else {
        if checked != Some(0) {
            return Some(format!("{}: is refused:\n{found}", mutation.what));
        }
        let is_stopped = Binary::start(&serve).stop().success();
        return (!is_stopped).then(|| format!("{}: did not stop", mutation.what));
    };
    let place = format!("{}:{line}: ", file.display());
    let names = |said: &str| {
        let named = |said: &str| key.as_ref().is_none_or(|key| said.contains(key.as_str()));
        said.lines().filter_map(|said| said.split_once(&place)).any(|(_, said)| named(said))
    };
    let (started, said) = run(&serve);
    let is_refused = checked == Some(2) && started == Some(2) && names(&found) && names(&said);
    if is_refused && !said.contains("panicked") && !data.exists() {
        return None;
    }
    let found = found.chars().take(600).collect::<String>();
    Some(format!("{}: check {checked:?}, start {started:?}, expected 2 at {place}{key:?}:\n{found}", mutation.what))
}

/// One with the rules that the example names.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let rules = directory.path().join("rules");
    std::fs::create_dir(&rules).expect("the directory is writable");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/business.yaml");
    std::fs::copy(shipped, rules.join("business.yaml")).expect("the directory is writable");
    directory
}

// E8
#[test]
fn every_wrong_configuration_is_refused_at_its_line_and_every_right_one_starts() {
    let directory = directory();
    let (file, data): (PathBuf, PathBuf) = (directory.path().join("m.yaml"), directory.path().join("data"));
    let lines = example();
    // What is right makes the data directory that what is wrong must not make.
    let mut mutations = of_settings(&lines);
    mutations.extend(of_files());
    let wrong = mutations.len();
    mutations.extend(of_right_ones(&lines));
    assert!(wrong >= 200, "{wrong} mutations");
    let mut faults = Vec::new();
    for mutation in &mutations {
        std::fs::write(&file, &mutation.bytes).expect("the directory is writable");
        faults.extend(fault(mutation, &file, &data));
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), mutations.len(), faults.join("\n"));
    crate::kit::figures(&format!(
        "E8: {wrong} wrong configurations refused, {} right ones started",
        mutations.len() - wrong
    ));
}

/// A service that runs, with the example as its configuration.
struct Running {
    binary: Binary,
    api: Api,
    file: PathBuf,
}

impl Running {
    async fn reload(&self, bytes: &[u8]) -> HttpAnswer {
        std::fs::write(&self.file, bytes).expect("the directory is writable");
        http1(&self.binary.api, "POST", "/-/reload", &[], &[], Framing::Length).await
    }

    /// Whether the last reload is said to have succeeded.
    async fn says_that_it_succeeded(&self) -> bool {
        let metrics = self.api.text("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("bellwether_config_last_reload_successful "));
        line.is_some_and(|value| value.parse() == Ok(1.0))
    }

    /// What is wrong with how `mutation` is taken while the service runs.
    async fn fault(&self, mutation: &Mutation) -> Option<String> {
        let said_before = self.binary.log().len();
        let answer = self.reload(&mutation.bytes).await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let has_succeeded = self.says_that_it_succeeded().await;
        let unexpected = || Some(format!("{}: {} {body}, metric {has_succeeded}", mutation.what, answer.status));
        let Verdict::Wrong { line, key } = &mutation.verdict else {
            // What is cut off has its default, which for some keys needs a restart.
            let said: Vec<&str> =
                body["faults"].as_array().into_iter().flatten().filter_map(|f| f["detail"].as_str()).collect();
            let needs_restart = answer.status == 422 && said.iter().all(|said| said.contains("a restart is needed"));
            let is_right = (answer.status == 200 && has_succeeded) || (needs_restart && !has_succeeded);
            return (!is_right).then(unexpected).flatten();
        };
        let named = |text: &str| key.as_ref().is_none_or(|key| text.contains(key.as_str()));
        let names = body["faults"].as_array().into_iter().flatten().any(|fault| {
            fault["line"] == *line
                && fault["file"] == *self.file.to_string_lossy()
                && named(fault["detail"].as_str().unwrap_or_default())
        });
        let place = format!("{}:{line}: ", self.file.display());
        // What it says comes through a pipe.
        let logged = eventually(PATIENCE_FOR_ROWS, || async {
            self.binary.log()[said_before..].lines().any(|said| said.contains(&place)).then_some(())
        });
        let is_logged = logged.await.is_some();
        let is_right = answer.status == 422
            && answer.header("content-type") == "application/problem+json"
            && names
            && is_logged
            && !has_succeeded;
        (!is_right).then(|| format!("{:?}, logged {is_logged}, named {names}", unexpected()))
    }
}

/// Sends points of one series, one after the other, until it is told to stop; how many were sent, and what was answered
/// that was not success.
async fn keep_sending(http: String, stop: Arc<AtomicBool>) -> (usize, Vec<u16>) {
    let (begin, mut sent, mut refused) = (now_seconds(), 0, Vec::new());
    while !stop.load(Relaxed) {
        sent += 1;
        // A millisecond apart, so that each is a point of its own.
        let time = begin * 1_000_000_000 + sent as u64 * 1_000_000;
        let payload = metrics("meanwhile", vec![gauge("sent", vec![point(time, sent as f64, &[])])]);
        let headers = [("content-type", "application/x-protobuf")];
        let path = Signal::Metrics.path();
        let answer = http1(&http, "POST", path, &headers, &payload.protobuf(), Framing::Length).await;
        refused.extend((answer.status != 200).then_some(answer.status));
    }
    (sent, refused)
}

// E8
#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_configuration_that_is_read_while_the_service_runs_changes_and_loses_nothing() {
    let directory = directory();
    let (file, data) = (directory.path().join("m.yaml"), directory.path().join("data"));
    let lines = example();
    // The service says that it is there, which leads nowhere.
    let is_elsewhere = |line: &String| line.starts_with("external_url: ");
    let without: Vec<_> = lines.iter().map(|l| if is_elsewhere(l) { "#".to_owned() } else { l.clone() }).collect();
    std::fs::write(&file, without.join("\n")).expect("the directory is writable");
    let arguments = [OsStr::new("--config"), file.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    let binary = Binary::start(&arguments);
    let running = Running { api: Api::new(&binary.api), binary, file: file.clone() };
    let stop = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn(keep_sending(running.binary.http.clone(), Arc::clone(&stop)));
    let rules = running.api.get("/api/v1/rules").await;
    let receivers = running.api.get("/api/v2/receivers").await;
    let mut wrong = of_settings(&lines);
    wrong.extend(of_files());
    let mut faults = Vec::new();
    for mutation in &wrong {
        faults.extend(running.fault(mutation).await);
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), wrong.len(), faults.join("\n"));
    assert_eq!(running.api.get("/api/v1/rules").await["data"]["groups"][0]["name"], rules["data"]["groups"][0]["name"]);
    assert_eq!(running.api.get("/api/v2/receivers").await, receivers, "the old configuration stays");
    let right = of_right_ones(&without);
    for mutation in &right {
        faults.extend(running.fault(mutation).await);
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), right.len(), faults.join("\n"));
    stop.store(true, Relaxed);
    let (sent, refused) = sending.await.expect("does not panic");
    assert!(refused.is_empty() && sent > 100, "{sent} sent, {refused:?}");
    let kept = || async {
        let found = running.api.value_of("count_over_time(sent{job=\"meanwhile\"}[1h])").await;
        ((found - sent as f64).abs() < 0.5).then_some(())
    };
    let is_whole = eventually(PATIENCE_FOR_ROWS, kept).await.is_some();
    assert!(is_whole, "of {sent} points some are not kept");
    assert!(!running.binary.log().contains("panicked"), "{}", running.binary.log());
    crate::kit::figures(&format!("E8: {} wrong reloads refused, {sent} of {sent} points kept meanwhile", wrong.len()));
}

/// A Python that can validate, if there is one; an error where there has to be.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn python() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/.venv/bin/python");
    let is_able = |python: &PathBuf| {
        let probe = Command::new(python).args(["-c", "import jsonschema, yaml"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    let found = [own, "python3".into()].into_iter().find(is_able);
    let needs = "jsonschema: install tests/clients/python/requirements.txt into tests/clients/python/.venv";
    assert!(found.is_some() || std::env::var("CI").as_deref() != Ok("true"), "CI=true and not installed: {needs}");
    if found.is_none() {
        eprintln!("skipped: {needs}");
    }
    found
}

/// What is wrong with each of `files` by the schema that the binary prints.
fn by_schema(python: &Path, files: &[PathBuf]) -> Vec<Vec<String>> {
    let binary = env!("CARGO_BIN_EXE_bellwether");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/validate.py");
    let output = Command::new("sh")
        .args(["-c", "schema=$1; shift; \"$schema\" check --schema | \"$@\"", "sh", binary])
        .args([python, &script])
        .args(files)
        .output()
        .expect("every Unix has a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).expect("the script prints lists")).collect()
}

#[test]
fn the_schema_takes_what_is_right_and_refuses_what_is_wrong() {
    let Some(python) = python() else { return };
    let directory = directory();
    let lines = example();
    let mut mutations = of_right_ones(&lines);
    // PyYAML takes the last of two equal keys, and what is given twice is no matter of a schema.
    // Nor is whether there is a receiver of a name.
    let is_name = |what: &str| what.starts_with("receiver: ") && !what.ends_with("misspelt") && !what.ends_with("type");
    let is_none = |mutation: &Mutation| mutation.what.ends_with("given twice") || is_name(&mutation.what);
    mutations.extend(of_settings(&lines).into_iter().filter(|mutation| !is_none(mutation)));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("bellwether.example.yaml");
    let written = mutations.iter().enumerate().map(|(i, mutation)| {
        let path = directory.path().join(format!("{i}.yaml"));
        std::fs::write(&path, &mutation.bytes).expect("the directory is writable");
        path
    });
    let files: Vec<PathBuf> = written.chain([example]).collect();
    let found = by_schema(&python, &files);
    assert_eq!(found.len(), files.len());
    assert!(found.last().is_some_and(Vec::is_empty), "the example: {:?}", found.last());
    let is_as_expected = |mutation: &Mutation, faults: &[String]| match mutation.verdict {
        Verdict::Right => faults.is_empty(),
        Verdict::Wrong { .. } => !faults.is_empty(),
    };
    let unexpected: Vec<_> = mutations
        .iter()
        .zip(&found)
        .filter(|(mutation, faults)| !is_as_expected(mutation, faults))
        .map(|(mutation, faults)| format!("{}: {faults:?}", mutation.what))
        .collect();
    assert!(unexpected.is_empty(), "{} of {}: {unexpected:#?}", unexpected.len(), mutations.len());
}
