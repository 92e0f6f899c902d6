//! The house rules that a test can hold: sizes, words, and imports that run one way.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 400;
const LINE_CHARS_MAX: usize = 115;

/// Each room with the rooms it may import from. What stands on top may use everything below it.
const IMPORTS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("error", &[]),
    ("blob", &[]),
    ("proto", &[]),
    ("sqlite", &[]),
    ("telemetry", &[]),
    ("file", &["clock", "error"]),
    ("upload", &["error", "file"]),
    ("signing", &["clock", "error", "file"]),
    ("storage", &["blob", "clock", "error", "sqlite"]),
    ("metadata", &["blob", "clock", "error", "file", "sqlite"]),
    ("sweep", &["blob", "clock", "error", "file", "metadata", "storage", "telemetry"]),
    ("fsck", &["blob", "error", "file", "metadata", "storage", "sweep"]),
    ("backup", &["blob", "clock", "error", "metadata", "storage", "sweep"]),
    ("service", &["blob", "clock", "error", "file", "metadata", "signing", "storage", "upload"]),
    ("api", &["clock", "error", "file", "proto", "service", "signing", "storage", "telemetry"]),
    ("client", &["proto"]),
    ("config", &["file", "service", "signing", "storage", "telemetry"]),
    (
        "server",
        &[
            "api",
            "backup",
            "clock",
            "config",
            "error",
            "file",
            "fsck",
            "metadata",
            "service",
            "signing",
            "storage",
            "sweep",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "backup",
            "client",
            "clock",
            "config",
            "fsck",
            "proto",
            "server",
            "storage",
            "sweep",
            "telemetry",
        ],
    ),
    ("main", &[]),
    ("lib", &[]),
];

/// Words that say how a thing is used instead of what it is.
const BANNED_NAME_ENDS: [&str; 5] = ["Manager", "Helper", "Util", "Utils", "Impl"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "no files below {below}");
    files
}

/// The file without its unit tests.
fn code(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod tests").map_or(text, |(code, _)| code)
}

/// The top-level module that a file of `src/` belongs to.
fn room(path: &Path) -> String {
    let below_src = path.strip_prefix("src").unwrap();
    let first = below_src.components().next().unwrap().as_os_str();
    Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The rooms that a file imports from, read off its `use crate::…` trees and its `crate::` paths.
fn imported_rooms(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for part in code(text).split("crate::").skip(1) {
        let Some(group) = part.strip_prefix('{') else {
            rooms.insert(leading_name(part));
            continue;
        };
        let mut depth = 0;
        let mut at_name = true;
        for (at, char) in group.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_name = true,
                _ if at_name && char.is_alphabetic() => {
                    rooms.insert(leading_name(&group[at..]));
                    at_name = false;
                }
                _ => {}
            }
        }
    }
    rooms.remove("");
    rooms
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

#[test]
fn imports_run_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let room = room(&path);
        let Some(allowed) = allowed.get(room.as_str()) else {
            wrong.push(format!("{} is in a room that tests/tidy.rs does not know", path.display()));
            continue;
        };
        for imported in imported_rooms(&text) {
            if imported != room && !allowed.contains(&imported.as_str()) {
                wrong.push(format!("{} imports {imported}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rule_of_imports_itself_has_no_circle() {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for (room, below) in IMPORTS {
        for import in *below {
            assert!(known.contains(import), "{room} imports {import}, which stands above it");
        }
        known.insert(room);
    }
}

#[test]
fn no_file_has_outgrown_its_one_responsibility() {
    for below in ["src", "benches"] {
        for (path, text) in rust_files(below) {
            let lines = code(&text).lines().count();
            assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_module_opens_by_saying_what_it_owns() {
    for below in ["src", "tests", "benches"] {
        for (path, text) in rust_files(below) {
            let opens = text.starts_with("//! ") || text.starts_with("#![doc = include_str!");
            assert!(opens, "{} does not open with //!", path.display());
        }
    }
}

#[test]
fn no_line_is_too_long_to_read() {
    for below in ["src", "tests", "benches"] {
        for (path, text) in rust_files(below) {
            for (at, line) in text.lines().enumerate() {
                let long = line.chars().count() > LINE_CHARS_MAX;
                // A table's cell cannot be broken.
                let table = line.contains("signature=") || line.contains("openxmlformats");
                assert!(!long || table, "{}:{} is too long", path.display(), at + 1);
            }
        }
    }
}

#[test]
fn names_say_what_a_thing_is() {
    for (path, text) in rust_files("src") {
        for keyword in ["struct ", "enum ", "trait "] {
            for part in text.split(keyword).skip(1) {
                let name = leading_name(part);
                let banned = BANNED_NAME_ENDS.iter().any(|end| name.ends_with(end));
                assert!(!banned, "{}: {name}", path.display());
            }
        }
    }
}

#[test]
fn nothing_is_left_to_be_done_later_in_the_code() {
    for (path, text) in rust_files("src") {
        for mark in ["TODO", "FIXME", "XXX", "HACK"] {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}

#[test]
fn time_is_passed_in() {
    for (path, text) in rust_files("src") {
        let asks = code(&text).contains("SystemTime::now()");
        assert!(!asks || path.ends_with("clock.rs"), "{} asks for the time", path.display());
    }
}

#[test]
fn what_a_test_needs_is_never_skipped() {
    for (path, text) in rust_files("tests") {
        let ignored = text.lines().any(|line| line.trim_start().starts_with("#[ignore"));
        assert!(!ignored, "{} ignores a test", path.display());
    }
}

#[test]
fn migrations_have_the_same_names_for_every_database() {
    let names = |folder: PathBuf| -> Vec<_> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let folders = fs::read_dir(root().join("migrations")).unwrap();
    let all: BTreeSet<_> = folders.map(|entry| names(entry.unwrap().path())).collect();
    assert_eq!(all.len(), 1, "{all:?}");
}
