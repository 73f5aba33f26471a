//! The rules of the house as tests: which crate may call which, how long a file may get, that every
//! crate has the same lints, and that the core neither looks at a clock nor touches the world.
//!
//! Each rule is a function from text to faults, tried on a sample that breaks it, because a rule that
//! cannot fail protects nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A folder, and the folders that it may depend on. The root package and `benches` may use all.
const ARROWS: [(&str, &[&str]); 8] = [
    ("proto", &[]),
    ("window", &[]),
    ("models", &[]),
    ("ingest", &["proto", "window"]),
    ("query", &["window"]),
    ("detect", &["window", "query", "models"]),
    ("alerting", &["detect", "query"]),
    ("clients/tower", &[]),
];
const MAY_USE_ALL: [&str; 2] = ["", "benches"];
/// These decide, and must decide the same whenever and wherever the same input is played.
const PURE: [&str; 3] = ["models", "query", "detect"];
/// Types that read a clock.
const CLOCKS: [&str; 3] = ["Instant", "SystemTime", "Utc"];
/// Modules of the standard library that reach the world.
const WORLD: [&str; 4] = ["env", "fs", "net", "process"];
/// These know nothing of servers and stores.
const CORE: [&str; 4] = ["window", "models", "query", "detect"];
const EDGE_CRATES: [&str; 6] = ["axum", "hyper", "reqwest", "rusqlite", "tokio", "tonic"];
const MAX_LINES: usize = 800;
/// Folders without sources of ours.
const NOT_OURS: [&str; 4] = ["target", ".git", "node_modules", ".venv"];

/// A member of the workspace: its folder (empty for the root) and the members that it depends on.
#[derive(Debug)]
struct Member {
    folder: String,
    depends_on: Vec<String>,
}

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    assert_eq!(wrong_arrows(&members()), Vec::<String>::new());
}

#[test]
fn a_wrong_arrow_and_an_unknown_crate_are_found() {
    let member = |folder: &str, on: &[&str]| Member {
        folder: folder.into(),
        depends_on: on.iter().map(ToString::to_string).collect(),
    };
    let sample = [member("", &["detect", "ingest"]), member("detect", &["window", "ingest"]), member("helpers", &[])];
    assert_eq!(
        wrong_arrows(&sample),
        [
            "detect depends on ingest; allowed: [\"window\", \"query\", \"models\"]",
            "helpers is not in the design: say here what it may depend on",
        ]
    );
}

#[test]
fn no_source_file_is_longer_than_the_limit() {
    let mut faults = Vec::new();
    for path in rust_files(root()) {
        faults.extend(too_long(&shown(&path), &read(&path)));
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_file_that_is_too_long_is_found() {
    assert_eq!(too_long("a.rs", &"\n".repeat(MAX_LINES)), None);
    let fault = too_long("a.rs", &"\n".repeat(MAX_LINES + 1));
    assert_eq!(fault.as_deref(), Some("a.rs has 801 lines; expected at most 800"));
}

#[test]
fn every_crate_inherits_the_lints() {
    let mut faults = Vec::new();
    for member in members() {
        let manifest = root().join(&member.folder).join("Cargo.toml");
        faults.extend(without_lints(&shown(&manifest), &read(&manifest)));
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_crate_with_its_own_lints_is_found() {
    assert_eq!(without_lints("a", "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"), None);
    for own in ["[package]\n", "[lints]\n\n[features]\nworkspace = true\n", "[lints]\nworkspace = false\n"] {
        let fault = without_lints("a/Cargo.toml", own);
        assert_eq!(fault.as_deref(), Some("a/Cargo.toml: expected [lints] with workspace = true"), "{own}");
    }
}

#[test]
fn the_core_reads_no_clock_and_does_not_touch_the_world() {
    let mut faults = Vec::new();
    for folder in PURE {
        for path in rust_files(&root().join(folder).join("src")) {
            faults.extend(impure(&shown(&path), &read(&path)));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn clocks_and_the_world_are_found_however_they_are_written() {
    let mentioned = |text: &str| impure("a.rs", text).len();
    for bad in [
        "let now = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "let now = chrono::Utc::now();",
        "let home = std::env::var(\"HOME\");",
        "use std::{fmt, fs};",
        "use std::{\n    collections::{BTreeMap, HashMap},\n    net::TcpStream,\n};",
        "use ::std :: process;",
    ] {
        assert_eq!(mentioned(bad), 1, "{bad}");
    }
    for good in [
        "use std::{collections::BTreeMap, time::Duration};",
        "// std::fs is not used here, and no Instant either.",
        "let fs = net + env;",
        "use std::{fmt::{self, net_like}, sync::Arc};",
    ] {
        assert_eq!(mentioned(good), 0, "{good}");
    }
    let fault = impure("a.rs", "\nuse std::fs;\n");
    assert_eq!(fault, ["a.rs:2: the core must not use std::fs"]);
}

#[test]
fn the_core_pulls_no_server_stack() {
    let lock = Lock::parse(&read(&root().join("Cargo.lock")));
    let faults: Vec<String> =
        CORE.iter().flat_map(|folder| lock.edge_crates_of(&format!("bellwether-{folder}"))).collect();
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_server_stack_far_below_is_found() {
    let package = |name: &str, version: &str, on: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndependencies = [\n{on}]\n\n")
    };
    let text = package("bellwether-query", "0.1.0", " \"a 2.0.0\",\n")
        + &package("a", "1.0.0", "")
        + &package("a", "2.0.0", " \"b\",\n")
        + &package("b", "1.0.0", " \"hyper\",\n \"a 2.0.0\",\n")
        + &package("hyper", "1.0.0", "");
    let lock = Lock::parse(&text);
    assert_eq!(lock.edge_crates_of("bellwether-query"), ["bellwether-query pulls hyper"]);
    assert_eq!(Lock::parse(&text.replace("a 2.0.0", "a 1.0.0")).edge_crates_of("bellwether-query"), [""; 0]);
    assert_eq!(lock.edge_crates_of("bellwether-models"), ["bellwether-models is not in Cargo.lock"]);
}

fn wrong_arrows(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for Member { folder, depends_on } in members {
        if MAY_USE_ALL.contains(&folder.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == folder) else {
            faults.push(format!("{folder} is not in the design: say here what it may depend on"));
            continue;
        };
        let wrong = depends_on.iter().filter(|on| !allowed.contains(&on.as_str()));
        faults.extend(wrong.map(|on| format!("{folder} depends on {on}; allowed: {allowed:?}")));
    }
    faults
}

fn too_long(file: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MAX_LINES).then(|| format!("{file} has {lines} lines; expected at most {MAX_LINES}"))
}

fn without_lints(file: &str, manifest: &str) -> Option<String> {
    let lints = manifest.split("\n[").find(|section| section.trim_start_matches('[').starts_with("lints]"));
    let inherits = lints.is_some_and(|section| section.lines().any(|line| line.trim() == "workspace = true"));
    (!inherits).then(|| format!("{file}: expected [lints] with workspace = true"))
}

fn impure(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let tokens = tokens(text);
    for (i, (line, token)) in tokens.iter().enumerate() {
        if CLOCKS.contains(token) {
            faults.push(format!("{file}:{line}: the core must not use {token}"));
        }
        if *token == "std" && tokens.get(i + 1).is_some_and(|(_, next)| *next == "::") {
            let world = first_segments(&tokens[i + 2..]).into_iter().filter(|(_, module)| WORLD.contains(module));
            faults.extend(world.map(|(line, module)| format!("{file}:{line}: the core must not use std::{module}")));
        }
    }
    faults
}

/// Identifiers, `::` and single other characters, each with its line; comments to the end of a line
/// are left out. Strings are not told apart, which errs on the strict side.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let mut rest = line.split("//").next().unwrap_or_default().trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if in_word(first) {
                rest.find(|c| !in_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(length);
            out.push((i + 1, token));
            rest = after.trim_start();
        }
    }
    out
}

/// What follows `std::`: one name, or the first name of each branch of a tree in braces.
fn first_segments<'t>(tokens: &[(usize, &'t str)]) -> Vec<(usize, &'t str)> {
    let mut out = Vec::new();
    let (mut depth, mut begins) = (0_usize, true);
    for (line, token) in tokens {
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," => begins = depth == 1,
            name if begins && depth <= 1 => {
                out.push((*line, name));
                begins = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    out
}

/// The packages of Cargo.lock: name and version to the names (and versions, where needed) below.
#[derive(Debug)]
struct Lock(BTreeMap<(String, String), Vec<String>>);

impl Lock {
    fn parse(text: &str) -> Self {
        let quoted = |section: &str, key: &str| {
            let line = section.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
        };
        let packages = text.split("[[package]]").skip(1).map(|section| {
            let list = section.split_once("dependencies = [").map_or("", |(_, list)| list);
            let list = list.split(']').next().unwrap_or_default();
            let below = list.split(',').map(|item| item.trim().trim_matches('"').to_owned());
            let key = (quoted(section, "name = "), quoted(section, "version = "));
            (key, below.filter(|item| !item.is_empty()).collect())
        });
        Self(packages.collect())
    }

    /// Faults: crates of the edge that `package` reaches, directly or not.
    fn edge_crates_of(&self, package: &str) -> Vec<String> {
        if !self.0.keys().any(|(name, _)| name == package) {
            return vec![format!("{package} is not in Cargo.lock")];
        }
        let mut seen = BTreeSet::new();
        let mut next = vec![package.to_owned()];
        while let Some(wanted) = next.pop() {
            let (name, version) = wanted.split_once(' ').unwrap_or((&wanted, ""));
            for (key, below) in self.0.iter().filter(|((n, v), _)| n == name && (version.is_empty() || v == version)) {
                if seen.insert(key) {
                    next.extend(below.iter().cloned());
                }
            }
        }
        let reached = EDGE_CRATES.iter().filter(|edge| seen.iter().any(|(name, _)| name == *edge));
        reached.map(|edge| format!("{package} pulls {edge}")).collect()
    }
}

/// The members of this workspace, as cargo sees them.
fn members() -> Vec<Member> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    assert!(packages.len() > ARROWS.len(), "the whole workspace is listed");
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Member {
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("every package has a manifest"));
    let dependencies = package["dependencies"].as_array().expect("every package has a list of dependencies");
    let ours = dependencies.iter().filter_map(|dependency| dependency["path"].as_str());
    Member {
        folder: shown(manifest.parent().expect("a manifest lies in a folder")),
        depends_on: ours.map(|path| shown(Path::new(path))).collect(),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path below the root of the workspace.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("sources and manifests are readable UTF-8")
}

/// Every `.rs` file below `folder`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("the folder is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !NOT_OURS.contains(&name) {
            out.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
    assert!(!out.is_empty() || folder != root(), "there are sources to judge");
    out
}
