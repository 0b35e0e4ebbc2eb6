//! Every scenario file is told to a real Tidemark, as a story and as its twin; the story once more with a restart in the
//! middle, and the same must be shown (G20).

use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tidemark_domain::time::Timestamp;
use tidemark_server::simulate::check::{Plan, Told, check};
use tidemark_server::simulate::scenario::{Scenario, Span, Telling};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn read(file: &str) -> Scenario {
    let path = folder().join(file);
    let text = std::fs::read_to_string(&path).expect("a scenario file");
    Scenario::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

async fn tell(scenario: &Scenario, telling: Telling, restart_at: Option<Span>) -> Told {
    let folder = TempDir::new().expect("a temporary folder");
    let start = Timestamp::parse("2026-11-20T03:00:00Z").expect("a time");
    let plan = Plan { database: folder.path().join("tidemark.db"), start, restart_at };
    check(scenario, telling, &plan).await.expect("it is told to its end")
}

async fn holds(file: &str, telling: Telling) -> (Scenario, Told) {
    let scenario = read(file);
    let told = tell(&scenario, telling, None).await;
    assert!(told.failed.is_empty(), "{file}:\n{}", told.failed.join("\n"));
    assert!(told.claims > 0, "{file} claims nothing");
    eprintln!(
        "{file} {}: {} claims, {} facts, {} not asserted yet",
        telling.word(),
        told.claims,
        told.facts,
        told.not_asserted
    );
    (scenario, told)
}

/// A moment in the middle that is far from every claim: for half a minute after a start nobody was heard yet.
fn middle(scenario: &Scenario) -> Span {
    let claims = &scenario.expect.verdicts;
    let is_quiet = |at: i64| {
        let quiet = |moment: Span| !(at - 1_000..at + 95_000).contains(&moment.0);
        claims.iter().filter_map(|claim| claim.at).all(quiet)
    };
    let half = scenario.lasts.0 / 2 / 1_000 * 1_000;
    let near = (0..half / 1_000).flat_map(|step| [half + step * 1_000, half - step * 1_000]);
    Span(near.clone().find(|at| is_quiet(*at)).expect("a quiet moment"))
}

/// G20: told once more, to a Tidemark that restarts in the middle, the same is shown.
async fn holds_again(file: &str) {
    let (scenario, told) = holds(file, Telling::Story).await;
    let again = tell(&scenario, Telling::Story, Some(middle(&scenario))).await;
    assert_eq!(told.transcript, again.transcript, "{file} is told again, over a restart");
}

macro_rules! scenarios {
    ($($name:ident: $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(mod $name {
            use super::*;
            #[tokio::test]
            async fn the_story_holds_and_again_over_a_restart() {
                holds_again($file).await;
            }
            #[tokio::test]
            async fn the_twin_holds() {
                holds($file, Telling::Twin).await;
            }
        })*
    };
}

scenarios! {
    g01a: "g01a-false-alarm.toml",
    g01b: "g01b-false-alarm-hash-only.toml",
    g01c: "g01c-lost-push.toml",
    g02: "g02-one-truly-behind.toml",
    g03: "g03-lost-snis.toml",
    g04: "g04-one-sni-removed.toml",
    g05: "g05-control-plane-down.toml",
    g06: "g06-reconnect-storm.toml",
    g07: "g07-bulk-run.toml",
    g08: "g08-write-without-change.toml",
    g09: "g09-poll-only.toml",
    g10: "g10-hash-by-gateway.toml",
    g11: "g11-cannot-apply.toml",
    g12: "g12-incompatible.toml",
    g13: "g13-restored-backup.toml",
    g14: "g14-fell-back.toml",
    g15: "g15-tidemark-cut-off.toml",
    g16: "g16-clock-skew.toml",
    g17: "g17-replaced.toml",
    g18: "g18-common-factor.toml",
    g19: "g19-plugin-state.toml",
}

/// The example is the first thing that a reader copies.
#[tokio::test]
async fn the_example_in_the_readme_holds() {
    let text = std::fs::read_to_string(folder().join("README.md")).expect("the readme");
    let example: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let scenario = Scenario::parse(&example.join("\n")).expect("a good scenario");
    for telling in [Telling::Story, Telling::Twin] {
        let told = tell(&scenario, telling, None).await;
        assert_eq!((told.claims, told.failed), (1, Vec::new()), "{}", telling.word());
    }
}

#[test]
fn every_file_is_told() {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .expect("the folder of scenarios")
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".toml"))
        .collect();
    files.sort_unstable();
    assert_eq!(files, FILES);
}

/// Claims on charts and on what people are told wait for what will assert them. Their number may only fall.
#[test]
fn no_more_claims_wait_than_before() {
    let waiting = |file: &&str| {
        let scenario = read(file);
        scenario.not_asserted(Telling::Story) + scenario.not_asserted(Telling::Twin)
    };
    assert_eq!(FILES.iter().map(waiting).sum::<usize>(), 37);
}
