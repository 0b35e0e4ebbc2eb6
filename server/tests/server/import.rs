//! `tidemark import` from its command line to the answers: what a recording becomes, and what is refused.
//!
//! The recordings lie beside the repository; where they do not, these tests say so in one line.

use crate::recorded::{Database, NOW, captures};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use tidemark_server::run::HeldAt;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidemark");
const NODE: &str = "8b70bc8b-980a-49d2-bd9b-75829acfda7d";
const CLUSTER: &str = "75501958-bd4e-4801-a7a6-c1bf7da9136a";

/// The program without the settings of whoever runs the tests.
fn tidemark(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMARK_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    said(&tidemark(arguments).output().expect("the program runs"))
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A server that is killed with its test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(database: &Path, arguments: &[&str]) -> Self {
        let mut command = tidemark(&["serve", "--listen", "127.0.0.1:0", "--database", text(database)]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("Tidemark is ready on ").expect("it is ready").to_owned();
        Self { child, url }
    }

    async fn text(&self, path: &str) -> String {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.text().await.expect("text")
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of some lines of a recording, in a folder of its own.
fn part(of: &Path, folder: &Path, lines: impl Fn(&[&str]) -> Vec<String>) -> PathBuf {
    let whole = fs::read_to_string(of).expect("a recording");
    let all: Vec<&str> = whole.lines().collect();
    let path = folder.join(of.file_name().expect("a file"));
    fs::write(&path, lines(&all).join("\n") + "\n").expect("it can be written");
    path
}

async fn everything(database: &Database) -> String {
    let held = database.recorded().await;
    let all = held.everything().await;
    held.close().await;
    all
}

#[tokio::test]
async fn importing_twice_changes_nothing() {
    let Some(captures) = captures() else { return };
    let paths = [captures.join("kong-3.9.3-v1")];
    let database = Database::of(&paths).await;
    let before = everything(&database).await;
    let held = database.recorded().await;
    let facts = held.store.facts_after(0, None).await.expect("the facts");
    held.close().await;

    let again = database.import(&paths, None).await;
    assert_eq!((again.facts, again.lines, again.refused), (0, 0, Vec::new()));
    assert_eq!(everything(&database).await, before);
    let held = database.recorded().await;
    assert_eq!(held.store.facts_after(0, None).await.expect("the facts"), facts);
    held.close().await;
}

#[tokio::test]
async fn a_longer_recording_goes_on_where_the_shorter_one_ended() {
    let Some(captures) = captures() else { return };
    let whole = captures.join("kong-3.9.3-v1-frozen-peers");
    // A file that was half as long when it was imported first.
    let folder = TempDir::new().expect("a folder");
    let cut = |lines: &[&str]| lines[..lines.len() / 2].iter().map(|line| (*line).to_owned()).collect();
    let recording = whole.join("dp1-conn006.jsonl");
    part(&recording, folder.path(), cut);
    let database = Database::of(&[folder.path().to_owned()]).await;
    let alone = Database::of(std::slice::from_ref(&recording)).await;
    fs::copy(&recording, folder.path().join("dp1-conn006.jsonl")).expect("it can be copied");
    let longer = database.import(&[folder.path().to_owned()], None).await;
    assert!(longer.refused.is_empty(), "{:?}", longer.refused);
    assert!(longer.lines > 0 && longer.facts > 0);

    let stays = |history: tidemark_domain::view::HistoryView| -> Vec<_> {
        let interval = |one: tidemark_domain::view::IntervalView| (one.reported, one.from, one.until, one.count);
        history.intervals.into_iter().map(interval).collect()
    };
    let mut told = Vec::new();
    for database in [&database, &alone] {
        let held = database.recorded().await;
        let row = held.node(NODE).await;
        told.push((stays(held.history(&row.control_plane, &row.id).await), row.verdict, row.headline));
        held.close().await;
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_changed_beginning_is_refused() {
    let Some(captures) = captures() else { return };
    let recording = captures.join("kong-3.9.3-v1/dp1-conn006.jsonl");
    let folder = TempDir::new().expect("a folder");
    let path = part(&recording, folder.path(), |lines| lines.iter().map(|line| (*line).to_owned()).collect());
    let database = Database::of(std::slice::from_ref(&path)).await;
    let before = everything(&database).await;
    // The first line is the name of a recording; a later one is another.
    part(&recording, folder.path(), |lines| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        lines[3] = lines[4].clone();
        lines
    });
    let outcome = database.import(&[path], None).await;
    assert_eq!(outcome.facts, 0);
    let [refused] = outcome.refused.as_slice() else { panic!("{:?}", outcome.refused) };
    assert!(refused.contains("differs within its first"), "{refused}");
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn what_is_older_than_the_newest_version_is_refused() {
    let Some(captures) = captures() else { return };
    let recording = |name: &str| captures.join("kong-3.9.3-v1").join(name);
    let database = Database::of(&[recording("dp1-conn006.jsonl")]).await;
    let before = everything(&database).await;
    let outcome = database.import(&[recording("dp1-conn001.jsonl")], None).await;
    let [refused] = outcome.refused.as_slice() else { panic!("{:?}", outcome.refused) };
    assert!(refused.contains("older than the newest version"), "{refused}");
    assert_eq!(outcome.facts, 0);
    assert_eq!(everything(&database).await, before);
}

#[tokio::test]
async fn damaged_lines_are_told_counted_and_passed_over() {
    let Some(captures) = captures() else { return };
    let folder = TempDir::new().expect("a folder");
    let path = part(&captures.join("kong-3.9.3-v1/dp1-conn001.jsonl"), folder.path(), |lines| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        lines.insert(5, r#"{"t_ms": 1,"#.to_owned());
        lines.insert(9, "not JSON".to_owned());
        lines
    });
    let database = folder.path().join("tidemark.db");
    let (code, out, err) = run(&["import", "--database", text(&database), text(&path)]);
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(err.contains("dp1-conn001.jsonl:6: ") && err.contains("dp1-conn001.jsonl:10: "), "{err}");
    assert!(err.contains("2 lines could not be read and were left out"), "{err}");
    assert!(out.contains(CLUSTER), "{out}");
    let (code, out, err) = run(&["explain", "--database", text(&database), "--at", "recorded", NODE]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("v5"), "{out}");
}

#[test]
fn what_is_no_recording_is_an_error_that_says_so() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let nothing = folder.path().join("nothing");
    fs::create_dir(&nothing).expect("a folder");
    let cases: [(PathBuf, &str); 2] =
        [(folder.path().join("missing.jsonl"), "missing.jsonl"), (nothing, "no recording")];
    for (path, words) in cases {
        let (code, out, err) = run(&["import", "--database", text(&database), text(&path)]);
        assert!(code.is_some_and(|code| code != 0), "{out}{err}");
        assert!(err.contains(words), "{err}");
    }
    let prose = folder.path().join("prose.jsonl");
    fs::write(&prose, "once upon a time\n").expect("it can be written");
    let (code, _, err) = run(&["import", "--database", text(&database), text(&prose)]);
    assert!(code.is_some_and(|code| code != 0), "{err}");
    assert!(err.contains("prose.jsonl:1: "), "{err}");
    let (code, _, err) = run(&["serve", "--database", text(&database), "--at", "recorded", "--listen", "127.0.0.1:0"]);
    assert!(code.is_some_and(|code| code != 0));
    assert!(err.contains("nothing is recorded"), "{err}");
}

#[tokio::test]
async fn standard_input_is_a_recording_too() {
    let Some(captures) = captures() else { return };
    let recording = captures.join("kong-3.9.3-v1/dp1-conn001.jsonl");
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let mut child = tidemark(&["import", "--database", text(&database), "--control-plane", "piped", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all(&fs::read(recording).expect("bytes")).expect("it reads");
    let (code, out, _) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(0));
    assert!(out.ends_with("control planes: piped\n"), "{out}");
}

#[tokio::test]
async fn several_folders_are_merged_by_time_under_the_name_of_their_cluster() {
    let Some(captures) = captures() else { return };
    // Three folders of one cluster that overlap in time, named in the wrong order.
    let names = ["kong-3.9.3-v1-frozen-peers", "kong-3.9.3-v1-dp-3.8.1", "kong-3.9.3-v1"];
    let paths: Vec<PathBuf> = names.iter().map(|name| captures.join(name)).collect();
    let database = Database::of(&paths).await;
    let mut backwards = paths.clone();
    backwards.reverse();
    let other = Database::of(&backwards).await;
    let held = database.recorded().await;
    let control_plane = held.control_plane().await;
    assert_eq!(control_plane.as_str(), CLUSTER);
    // Both nodes were told the same versions: they are one ledger, with nine entries (figures of kong-3.9.3-v1).
    let versions = held.versions(&control_plane).await;
    assert_eq!(versions.len(), 9);
    let recorded_at: Vec<_> = versions.iter().map(|version| version.row.recorded_at).collect();
    assert!(recorded_at.is_sorted());
    let answers = |held: &crate::recorded::Held| {
        let fleet = held.fleet.clone();
        async move { fleet.fleet(NOW).await.expect("an answer") }
    };
    let reversed = other.recorded().await;
    assert_eq!(answers(&held).await, answers(&reversed).await);
    held.close().await;
    reversed.close().await;

    // A folder whose control plane never says which cluster it is has the folder's name.
    let database = Database::of(&[captures.join("kong-3.9.3-v1-wrong-certificate")]).await;
    let held = database.at(HeldAt::Recorded).await;
    assert_eq!(held.control_plane().await.as_str(), "kong-3.9.3-v1-wrong-certificate");
    held.close().await;
}

#[tokio::test]
async fn a_running_server_takes_the_same_as_a_database() {
    let Some(captures) = captures() else { return };
    let folder = TempDir::new().expect("a folder");
    let (one, other) = (folder.path().join("one.db"), folder.path().join("other.db"));
    let recording = captures.join("kong-3.9.3-v1");
    let server = Server::start(&one, &[]);
    let (code, out, err) = run(&["import", "--to", &server.url, text(&recording)]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains(CLUSTER), "{out}");
    // Again: nothing is new.
    let (code, out, err) = run(&["import", "--to", &server.url, text(&recording)]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("0 facts from 0 lines"), "{out}");
    let stop = Command::new("kill").arg("-TERM").arg(server.child.id().to_string()).status();
    assert!(stop.expect("kill runs").success());
    let mut server = server;
    assert!(server.child.wait().expect("it ends").success());

    let (code, _, err) = run(&["import", "--database", text(&other), text(&recording)]);
    assert_eq!(code, Some(0), "{err}");
    let mut told = Vec::new();
    for database in [&one, &other] {
        let server = Server::start(database, &["--at", "2026-11-20T09:04:07Z"]);
        let mut all = Vec::new();
        for path in [
            "/api/v1/nodes".to_owned(),
            format!("/api/v1/nodes/{CLUSTER}/{NODE}"),
            format!("/api/v1/nodes/{CLUSTER}/{NODE}/history?size=500"),
            format!("/api/v1/control-planes/{CLUSTER}/versions"),
        ] {
            let mut answer = server.json(&path).await;
            answer.as_object_mut().expect("an object").remove("as_of");
            all.push(answer);
        }
        told.push(all);
    }
    for (one, other) in told[0].iter().zip(&told[1]) {
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn a_recording_tells_one_story_everywhere() {
    let Some(captures) = captures() else { return };
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let recording = captures.join("kong-3.9.3-v1");
    let (code, _, err) = run(&["import", "--database", text(&database), text(&recording)]);
    assert_eq!(code, Some(0), "{err}");
    let (code, explained, err) = run(&["explain", "--database", text(&database), "--at", "recorded", NODE]);
    assert_eq!(code, Some(0), "{err}");
    let mut lines = explained.lines();
    let (headline, evidence) = (lines.next().expect("a headline"), lines.next().expect("evidence"));

    let server = Server::start(&database, &["--at", "recorded"]);
    let node = server.json(&format!("/api/v1/nodes/{CLUSTER}/{NODE}")).await;
    assert_eq!(node["node"]["headline"], headline);
    assert_eq!(node["node"]["evidence"], evidence);
    assert_eq!(
        (&node["node"]["config_state"], &node["node"]["connection_state"]),
        (&"current".into(), &"connected".into())
    );
    let page = reqwest::get(format!("{}/nodes/{CLUSTER}/{NODE}", server.url)).await.expect("an answer");
    if page.status().as_u16() == 404 {
        println!("left out: this build has no page of a node");
    } else {
        let page = page.text().await.expect("text").replace("&#x27;", "'").replace("&#39;", "'");
        let page = page.replace("&quot;", "\"").replace("&amp;", "&");
        assert!(page.contains(headline), "the page says: {headline}");
        assert!(page.contains(evidence), "the page says: {evidence}");
    }

    // /metrics counts what the list lists.
    let rows = server.json("/api/v1/nodes?size=500").await;
    let rows = rows["nodes"].as_array().expect("rows");
    let metrics = server.text("/metrics").await;
    let mut counted = 0;
    for line in metrics.lines().filter(|line| line.starts_with("tidemark_nodes{")) {
        let (labels, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().expect("a number");
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).expect("a label");
            rest.split('"').next().expect("a value").to_owned()
        };
        let (config, connection) = (label("config_state"), label("connection_state"));
        let listed = rows.iter().filter(|row| {
            row["config_state"] == config.as_str()
                && row["connection_state"] == connection.as_str()
                && row["control_plane"] == label("control_plane").as_str()
        });
        assert_eq!(value, listed.count() as f64, "{line}");
        counted += value as usize;
    }
    assert_eq!(counted, rows.len());

    // Nothing is taken in while the clock is held.
    let client = reqwest::Client::new();
    let report = r#"{"control_plane":"prod","node_id":"n1","hash":"6de1944179b6c16febb0a724310a4d49"}"#;
    let request = client.post(format!("{}/api/v1/heartbeats", server.url)).header("content-type", "application/json");
    let answer = request.body(report).send().await.expect("an answer");
    let status = answer.status();
    assert!(status.is_client_error() || status.as_u16() == 503, "{status}");
    assert_eq!(server.json("/api/v1/fleet").await["nodes"], rows.len());
}
