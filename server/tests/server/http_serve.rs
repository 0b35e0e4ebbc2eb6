//! The program itself: from its command line to its exit code.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidemark");

/// A server that is killed with its test, if it did not end before.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Server {
    fn start(database: &Path, arguments: &[&str]) -> Self {
        let mut command = tidemark(&["serve", "--database"]);
        if !arguments.contains(&"--listen") {
            command.env("TIDEMARK_LISTEN", "127.0.0.1:0");
        }
        command.arg(database).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("Tidemark is ready on ").unwrap_or_default().to_owned();
        if url.is_empty() {
            let mut words = String::new();
            let _ = child.stderr.take().expect("a pipe").read_to_string(&mut words);
            panic!("not ready: {line}{words}");
        }
        Self { child, lines, url }
    }

    /// Asks the program to stop, by a signal; gives its exit code.
    fn stop(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
        let code = self.child.wait().expect("it ends").code();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "", "one line, and no more");
        code
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program without the settings of whoever runs the tests.
fn tidemark(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMARK_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const REPORT: &str = r#"{"control_plane":"prod","node_id":"n1","hash":"6de1944179b6c16febb0a724310a4d49"}"#;

async fn report(url: &str) -> u16 {
    let request = reqwest::Client::new().post(format!("{url}/api/v1/heartbeats"));
    let answer = request.header("content-type", "application/json").body(REPORT).send().await.expect("an answer");
    answer.status().as_u16()
}

async fn get(url: &str, path: &str) -> serde_json::Value {
    reqwest::get(format!("{url}{path}")).await.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_and_both_signals_end_it_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("tidemark.db");
    for (signal, expected) in [("-TERM", 0), ("-INT", 1)] {
        let server = Server::start(&database, &[]);
        assert_eq!(get(&server.url, "/api/v1/fleet").await["nodes"], expected);
        assert_eq!(report(&server.url).await, 200);
        // A subscriber, and a connection that is kept alive, do not hold the program back.
        let mut events = reqwest::get(format!("{}/api/v1/events", server.url)).await.expect("an answer");
        assert!(events.chunk().await.expect("no failure").is_some());
        assert_eq!(server.stop(signal), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_held_clock_shows_what_is_recorded_and_takes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let server = Server::start(&database, &[]);
    assert_eq!(report(&server.url).await, 200);
    assert_eq!(server.stop("-TERM"), Some(0));
    let server = Server::start(&database, &["--at", "recorded"]);
    let fleet = get(&server.url, "/api/v1/fleet").await;
    assert_eq!((&fleet["nodes"], &fleet["as_of"]["held"]), (&1.into(), &true.into()));
    assert_eq!(report(&server.url).await, 503);
    assert_eq!(server.stop("-TERM"), Some(0));
    let explained = tidemark(&["explain", "--at", "recorded", "n1", "--database"]).arg(&database).output();
    let explained = explained.expect("the program runs");
    assert!(explained.status.success(), "{:?}", said(&explained));
    let headline = fleet["worst"][0]["headline"].as_str().expect("a headline").to_owned();
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.starts_with(&headline), "{text} is not {headline}");
}

#[tokio::test]
async fn a_second_process_on_one_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let server = Server::start(&database, &[]);
    let second = tidemark(&["serve", "--listen", "127.0.0.1:0", "--database"]).arg(&database).output();
    let (code, words) = said(&second.expect("the program runs"));
    assert_eq!(code, Some(1));
    assert!(words.contains(&server.child.id().to_string()), "it says who holds it: {words}");
    assert_eq!(server.stop("-TERM"), Some(0));
}

#[test]
fn bad_settings_end_with_two_and_name_themselves() {
    #[track_caller]
    fn check(command: &mut Command, expected: &str) {
        let (code, words) = said(&command.output().expect("the program runs"));
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains(expected), "{words}");
    }
    check(&mut tidemark(&["serve", "--listen", "3000"]), "command line: listen: \"3000\" is not an address");
    check(
        &mut tidemark(&["config", "--set", "policy.gone=soon"]),
        "policy.gone: \"soon\" is not a span from 1m to 365d",
    );
    check(&mut tidemark(&["config", "--set", "policy.gnoe=1h"]), "policy.gnoe: there is no such setting");
    check(tidemark(&["config"]).env("TIDEMARK_LOG_FORMAT", "xml"), "TIDEMARK_LOG_FORMAT: log.format: \"xml\"");
    check(&mut tidemark(&["serve", "--at", "yesterday"]), "expected a time as RFC 3339");
    check(&mut tidemark(&["config", "--config", "/no/such/file.toml"]), "/no/such/file.toml:1: cannot be read");
}

#[test]
fn a_listener_that_others_reach_needs_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let refused = tidemark(&["serve", "--listen", "0.0.0.0:0", "--database"]).arg(&database).output();
    let (code, words) = said(&refused.expect("the program runs"));
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("TIDEMARK_TOKEN_FILE"), "{words}");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "read short\n").expect("a file");
    let refused = tidemark(&["serve", "--database"]).arg(&database).env("TIDEMARK_TOKEN_FILE", &tokens).output();
    let (code, words) = said(&refused.expect("the program runs"));
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("tokens:1: a token is 16 to 256") && !words.contains("short"), "{words}");
}

#[tokio::test]
async fn with_tokens_others_may_reach_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("tidemark.db");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "read read-0123456789ab\n").expect("a file");
    let tokens = tokens.display().to_string();
    let server = Server::start(&database, &["--listen", "0.0.0.0:0", "--token-file", &tokens]);
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    let status = async |token: Option<&str>| {
        let request = reqwest::Client::new().get(format!("{url}/api/v1/fleet"));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some("read-0123456789ab")).await, 200);
    assert_eq!(server.stop("-TERM"), Some(0));
}

#[test]
fn settings_and_the_interface_are_printed() {
    let printed = tidemark(&["config"]).env("TIDEMARK_LISTEN", "127.0.0.1:7").output().expect("the program runs");
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(text.contains("listen = \"127.0.0.1:7\"  # TIDEMARK_LISTEN"), "{text}");
    let printed = tidemark(&["openapi"]).output().expect("the program runs");
    let document: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
}
