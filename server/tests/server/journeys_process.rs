//! The program itself: it says when it is ready, is alone on its database, and ends without losing what it answered.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// A `tidemark serve` that runs; it ends with the test.
struct Serving {
    child: Child,
    url: String,
}

fn tidemark(database: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--database"]).arg(database);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Serving {
    /// Starts it, and waits for the line that says where it is.
    fn start(database: &Path) -> Self {
        let mut child = tidemark(database).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("Tidemark is ready on ").expect("where it is").to_owned();
        Self { child, url }
    }

    /// Asks it to end as a supervisor does; answers with the exit code.
    fn end(mut self) -> Option<i32> {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(asked.success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn nodes(url: &str) -> u64 {
    let fleet = reqwest::get(format!("{url}/api/v1/fleet")).await.expect("an answer");
    let fleet: Value = fleet.json().await.expect("JSON");
    fleet["nodes"].as_u64().expect("a number")
}

#[tokio::test]
async fn the_second_program_on_a_database_is_refused_and_told_who_has_it() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let first = Serving::start(&database);
    let Output { status, stderr, stdout } = tidemark(&database).output().expect("it runs");
    let words = String::from_utf8_lossy(&stderr);
    assert!(!status.success());
    assert!(words.contains(&format!("process {}", first.child.id())), "{words}");
    assert!(words.contains("tidemark.db"), "{words}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "it was never ready");
    assert_eq!(nodes(&first.url).await, 0, "the first one does not mind");
    // Twin: once the first has ended, the second may.
    assert_eq!(first.end(), Some(0));
    assert_eq!(Serving::start(&database).end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_finishes_what_was_taken_and_forgets_nothing_that_was_answered() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let serving = Serving::start(&database);
    let over = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for sender in 0..8 {
        let (url, over) = (format!("{}/api/v1/heartbeats", serving.url), Arc::clone(&over));
        senders.push(tokio::spawn(async move {
            let client = reqwest::Client::new();
            let (mut stored, mut turned_away) = (0_u64, 0_u64);
            for round in 0.. {
                let report = |one: u32| {
                    json!({"control_plane": "eu", "node_id": format!("n-{sender}-{round}-{one}"), "hash": "5".repeat(32)})
                };
                let reports: Vec<Value> = (0..20).map(report).collect();
                match client.post(&url).json(&reports).send().await {
                    Ok(answer) if answer.status() == 200 => stored += 20,
                    Ok(answer) => {
                        assert_eq!(answer.status(), 503, "either it is stored, or it is to be sent again");
                        turned_away += 20;
                    }
                    // It does not listen any more.
                    Err(_) => turned_away += 20,
                }
                if over.load(Ordering::Relaxed) && turned_away > 0 {
                    break;
                }
            }
            stored
        }));
    }
    // Live events do not hold the end up.
    let mut events = reqwest::get(format!("{}/api/v1/events", serving.url)).await.expect("a stream");
    assert!(events.chunk().await.expect("bytes").is_some());
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    over.store(true, Ordering::Relaxed);
    let started = std::time::Instant::now();
    assert_eq!(serving.end(), Some(0));
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    let mut stored = 0;
    for sender in senders {
        stored += sender.await.expect("it sent");
    }
    assert!(stored > 0);

    let serving = Serving::start(&database);
    let there = nodes(&serving.url).await;
    assert!(there >= stored, "{there} of {stored} that were answered");
    assert!(there <= stored + 8 * 20, "{there}: at most the last request of each sender was stored without an answer");
    assert_eq!(serving.end(), Some(0));
}

#[tokio::test]
async fn a_program_that_is_killed_forgets_nothing_that_was_answered() {
    let folder = TempDir::new().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let mut serving = Serving::start(&database);
    let report = |one: u32| json!({"control_plane": "eu", "node_id": format!("n-{one}"), "hash": "5".repeat(32)});
    let reports: Vec<Value> = (0..500).map(report).collect();
    let answer = reqwest::Client::new().post(format!("{}/api/v1/heartbeats", serving.url)).json(&reports).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    serving.child.kill().expect("it is killed");
    serving.child.wait().expect("it is gone");
    let serving = Serving::start(&database);
    assert_eq!(nodes(&serving.url).await, 500);
    let fleet: Value =
        reqwest::get(format!("{}/api/v1/fleet", serving.url)).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(fleet["connection_states"]["unobserved"], 500, "we were away, not they");
}

#[test]
fn a_bad_setting_is_a_message_and_no_start() {
    let folder = TempDir::new().expect("a folder");
    for (argument, value) in [("--listen", "0.0.0.0:0"), ("--listen", "nowhere"), ("--set", "no_such_key=5")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        command.args(["serve", "--database"]).arg(folder.path().join("x.db")).args([argument, value]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut words = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut words).expect("text");
        let status = child.wait().expect("it ends");
        assert!(!status.success(), "{argument} {value}");
        assert!(words.contains(value.split('=').next().unwrap_or("")), "{argument} {value}: {words}");
        assert!(!folder.path().join("x.db").exists(), "{argument} {value}");
    }
}
