//! The rules of the house that no compiler holds: where folders and arrows may be, what the domain may know, who may
//! ask the time, where SQL lives. A rule that is broken here names the file and the line.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The folders of the root, dot-folders and what git ignores aside.
const FOLDERS: [&str; 6] = ["app", "end2end", "migrations", "public", "server", "style"];

/// Each crate of the workspace, and which others it may lean on. No arrow goes back.
const ARROWS: [(&str, &[&str]); 5] = [
    ("app", &["tidemark-domain"]),
    ("app/bundle", &[]),
    ("app/domain", &[]),
    ("server", &["tidemark-app", "tidemark-domain"]),
    ("server/schema", &[]),
];

/// What the pure core must not know: clocks, files, networks, tasks, frameworks.
const IMPURE: [&str; 17] = [
    "SystemTime",
    "Instant",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "async fn",
    "async move",
    ".await",
    "chrono",
    "leptos",
    "sqlx",
    "tokio",
    "println!",
    "thread_local!",
];

/// Asking the time: `server/src/clock.rs` does, and everything else is given `now`.
const ASKS_THE_TIME: [&str; 4] = ["SystemTime::now", "Instant::now", "Utc::now", "Local::now"];

/// How SQL looks from outside: the macros and functions that take it, and the words that it begins with.
const SQL: [&str; 14] = [
    "sqlx::query",
    "query!(",
    "query_as!(",
    "query_scalar!(",
    "query_with(",
    "query_as(",
    "query_scalar(",
    "QueryBuilder",
    "\"select ",
    "\"insert into ",
    "\"update ",
    "\"delete from ",
    "\"create table ",
    "\"pragma ",
];

/// Migrations that have shipped, with the first 16 hex digits of their SHA-256. A database out there remembers what it
/// ran; an edited migration would make it refuse to start. What is not listed has not shipped yet.
const SHIPPED_MIGRATIONS: [(&str, &str); 0] = [];

#[test]
fn the_root_has_the_folders_of_the_house_and_no_others() {
    let not_ours = ["target", "node_modules"];
    let found: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !not_ours.contains(&name.as_str()))
        .collect();
    assert_eq!(found, FOLDERS.map(String::from).into(), "a new crate nests inside app/ or server/");
}

#[test]
fn arrows_point_one_way() {
    let members = manifest("")["workspace"]["members"].as_array().unwrap().clone();
    let members: BTreeSet<_> = members.iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(members, ARROWS.map(|(folder, _)| folder).into(), "every crate has its arrows stated here");

    for (folder, allowed) in ARROWS {
        let ours = dependencies(folder).into_iter().filter(|name| name.starts_with("tidemark"));
        let ours: BTreeSet<_> = ours.collect();
        let stray: Vec<_> = ours.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(stray.is_empty(), "{folder} must not lean on {stray:?}");
    }
}

#[test]
fn the_domain_leans_on_serde_alone() {
    assert_eq!(dependencies("app/domain"), BTreeSet::from(["serde".to_owned()]));
}

#[test]
fn the_domain_is_pure() {
    nowhere("the domain is values and decisions", &["app/domain/src"], &[], &IMPURE);
}

#[test]
fn only_the_clock_asks_the_time() {
    let everywhere = ["app/src", "app/domain/src", "server/src"];
    nowhere("take `now` as an argument", &everywhere, &["server/src/clock.rs"], &ASKS_THE_TIME);
}

#[test]
fn sql_lives_in_the_store() {
    nowhere("SQL lives in server/src/store", &["app/src", "server/src"], &["server/src/store"], &SQL);
}

/// One place where the browser starts, one where a status code is set; all other code is the same on both sides.
#[test]
fn a_feature_is_asked_for_in_two_places() {
    let asks =
        |line: &str| ["cfg(", "cfg_attr(", "cfg!("].iter().any(|cfg| line.contains(cfg)) && line.contains("feature");
    let mut setting_status = BTreeSet::new();
    for file in rust_files(&["app/src", "app/domain/src"]) {
        for (number, line) in code(&file) {
            if !asks(&line) {
                continue;
            }
            let name = relative(&file);
            match (name.as_str(), line.contains("\"hydrate\""), line.contains("\"ssr\"")) {
                ("app/src/lib.rs", true, false) => {}
                (_, false, true) => {
                    setting_status.insert(name);
                }
                _ => panic!("{name}:{number}: no feature is asked for here: {line}"),
            }
        }
    }
    assert!(setting_status.len() <= 1, "one file sets status codes, and these ask for `ssr`: {setting_status:?}");
}

#[test]
fn the_builder_speaks_the_schema_of_what_it_builds() {
    let workspace = manifest("");
    let dependencies = &workspace["workspace"]["dependencies"];
    let library = dependencies["wasm-bindgen"].as_str().unwrap();
    assert!(library.starts_with('='), "wasm-bindgen is pinned");
    assert_eq!(dependencies["wasm-bindgen-cli-support"].as_str().unwrap(), library);
}

/// POSIX drops all locks of a file when any handle of the process closes it, so a second SQLite breaks the first.
#[test]
fn there_is_one_sqlite() {
    let lock = read(&root().join("Cargo.lock"));
    assert!(!lock.contains("name = \"rusqlite\""), "sqlx alone brings SQLite");
    assert_eq!(lock.matches("name = \"libsqlite3-sys\"").count(), 1);
}

#[test]
fn a_migration_that_shipped_is_never_edited() {
    for (name, digest) in SHIPPED_MIGRATIONS {
        let contents = read(&root().join("migrations").join(name));
        let now: String = Sha256::digest(contents).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(now, digest, "migrations/{name} has shipped: write a new migration");
    }
}

#[test]
fn every_source_says_what_it_is_for() {
    for file in rust_files(&["app/src", "app/bundle", "app/domain/src", "server"]) {
        assert!(read(&file).starts_with("//!"), "{} does not open with `//!`", relative(&file));
    }
}

/// Rules that are broken on purpose are broken by tests alone: no setting, no environment, no argument can do it.
#[test]
fn only_tests_break_a_rule_on_purpose() {
    let sources = ["app/src", "app/domain/src", "app/bundle", "server/src", "server/benches"];
    let here = ["app/domain/src/policy.rs"];
    nowhere("a rule is broken by tests alone", &sources, &here, &["planting", "Planted", "planted"]);
    let policy = read(&root().join("app/domain/src/policy.rs"));
    assert_eq!(policy.matches("Planted(rule)").count(), 2, "one place makes it, one asks for it");
    assert!(policy.contains("#[serde(skip)]\n    pub planted: Option<Planted>"), "it is never read from outside");
}

/// A word left for later is a promise to nobody, and a path of one machine is wrong on every other.
#[test]
fn nothing_is_left_for_later_and_nothing_names_a_machine() {
    // In halves, because this file is read too.
    let words = [["TO", "DO"], ["FIX", "ME"]].map(|halves| halves.concat());
    let paths = [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"]].map(|halves| halves.concat());
    for file in files(&root()) {
        let Ok(contents) = fs::read_to_string(&file) else {
            continue;
        };
        let name = relative(&file);
        if name.ends_with(".lock") || name.ends_with("package-lock.json") {
            continue;
        }
        for (number, line) in (1..).zip(contents.lines()) {
            let found = words.iter().find(|word| has_word(line, word));
            assert!(found.is_none(), "{name}:{number}: {line}");
            let found = paths.iter().find(|path| names_path(line, path));
            assert!(found.is_none(), "{name}:{number}: {line}");
        }
    }
}

/// Fails where one of `forbidden` stands in code of `folders`, except in `exempt`.
#[track_caller]
fn nowhere(rule: &str, folders: &[&str], exempt: &[&str], forbidden: &[&str]) {
    for file in rust_files(folders) {
        let name = relative(&file);
        if exempt.iter().any(|exempt| name.starts_with(exempt)) {
            continue;
        }
        for (number, line) in code(&file) {
            let found = forbidden.iter().find(|forbidden| has_word(&line, forbidden));
            assert!(found.is_none(), "{name}:{number}: {rule}: {line}");
        }
    }
}

/// The lines of a file with their numbers, without comments.
fn code(file: &Path) -> Vec<(usize, String)> {
    let without_comment = |line: &str| line.split("//").next().unwrap_or_default().trim().to_owned();
    (1..).zip(read(file).lines().map(without_comment)).filter(|(_, line)| !line.is_empty()).collect()
}

/// Whether `word` stands in `line` and is no part of a longer one: `Instant` is not in `Instantly`.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |character: Option<char>| character.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = word.starts_with(char::is_alphanumeric) && is_letter(line[..at].chars().next_back());
        let after = word.ends_with(char::is_alphanumeric) && is_letter(line[at + word.len()..].chars().next());
        !before && !after
    })
}

/// Whether an absolute path below `folder` stands in `line`; a URL or a longer path with such a part is not one.
fn names_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "._-}*)".contains(character))
    })
}

/// What a crate leans on, those of its tests aside.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let tables = ["dependencies", "build-dependencies"].into_iter().filter_map(|table| manifest.get(table)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

fn manifest(folder: &str) -> toml::Table {
    read(&root().join(folder).join("Cargo.toml")).parse().unwrap()
}

fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let all = folders.iter().flat_map(|folder| files(&root().join(folder)));
    all.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// All files below a folder that are ours: what git ignores and what cargo and npm bring is not.
fn files(folder: &Path) -> Vec<PathBuf> {
    let not_ours = [".git", "node_modules", "results", "target"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if not_ours.iter().any(|not_ours| name == *not_ours) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
