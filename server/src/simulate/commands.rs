//! What `tidemark simulate` can be asked for.

use super::check::{Plan, check};
use super::rest::{Service, cannot_tell};
use super::scenario::{Scenario, Telling};
use super::world::World;
use crate::clock::Clock;
use crate::commands::Ended;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemark_domain::time::SECOND;

/// The speeds at which a scenario can be told to a service.
pub const SPEED_MAX: u32 = 1_000;

/// `tidemark simulate check`
#[derive(Clone, Debug)]
pub struct Check {
    /// Scenario files.
    pub files: Vec<PathBuf>,
    /// Only this telling; else both.
    pub telling: Option<Telling>,
    /// Another seed than the file's.
    pub seed: Option<u64>,
}

/// `tidemark simulate run`
#[derive(Clone, Debug)]
pub struct Run {
    /// A scenario file.
    pub file: PathBuf,
    /// The story or its twin.
    pub telling: Telling,
    /// The service that is told.
    pub to: String,
    /// Seconds of the story in a second; 1 to [`SPEED_MAX`].
    pub speed: u32,
    /// Another seed than the file's.
    pub seed: Option<u64>,
}

/// Tells scenarios in virtual time to a Tidemark of their own, and prints which claims did not hold.
///
/// # Errors
/// If a file cannot be read or told to its end.
pub async fn check_files(asked: Check) -> anyhow::Result<Ended> {
    let mut all_hold = true;
    let mut waiting = 0;
    for file in &asked.files {
        let scenario = read(file, asked.seed)?;
        let tellings = [Telling::Story, Telling::Twin].into_iter();
        let tellings = tellings.filter(|telling| asked.telling.is_none_or(|only| only == *telling));
        for telling in tellings.filter(|telling| *telling == Telling::Story || scenario.twin.is_some()) {
            let folder = Scratch::new()?;
            let plan = Plan { database: folder.0.join("tidemark.db"), start: Clock::machine().now(), restart_at: None };
            let began = crate::clock::stopwatch();
            let told = check(&scenario, telling, &plan).await.with_context(|| file.display().to_string())?;
            waiting += told.not_asserted;
            all_hold &= told.failed.is_empty();
            let verdict = if told.failed.is_empty() { "holds" } else { "does not hold" };
            println!(
                "{} {}: {verdict}; {} claims, {} not asserted yet, {} facts in {:.1} s",
                scenario.id,
                telling.word(),
                told.claims,
                told.not_asserted,
                told.facts,
                began.elapsed().as_secs_f64()
            );
            told.failed.iter().for_each(|why| println!("  {why}"));
        }
    }
    println!("{waiting} claims on charts and pages are not asserted yet");
    if all_hold { Ok(Ended::Well) } else { bail!("not every claim holds") }
}

/// Tells a scenario to a running service over its REST API, as time passes.
///
/// # Errors
/// If the file cannot be read, or the service refuses.
pub async fn run(asked: Run) -> anyhow::Result<Ended> {
    let scenario = read(&asked.file, asked.seed)?;
    let silent = cannot_tell(&scenario);
    if !silent.is_empty() {
        bail!(
            "{}: it is watched by {silent:?}, which cannot be told over REST; push, announcements and expected can",
            asked.file.display()
        );
    }
    let service = Service::new(&asked.to, std::env::var("TIDEMARK_TOKEN").ok())?;
    let clock = Clock::machine();
    let start = clock.now();
    let mut world = World::new(&scenario, asked.telling, start)?;
    let end = start.plus(scenario.lasts.0);
    while world.now() < end {
        // One step is a second of ours, so that a fast story does not become a flood of small requests.
        let next = world.now().plus(SECOND * i64::from(asked.speed)).min(end);
        let facts = world.run_until(next);
        service.tell(&facts).await?;
        tracing::info!(
            "{} of {} told, {} facts",
            super::scenario::Span(next.since(start)),
            scenario.lasts,
            facts.len()
        );
        let due = start.plus(next.since(start) / i64::from(asked.speed));
        let wait = due.since(clock.now()).max(0);
        tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
    }
    println!("{} {} was told to {}", scenario.id, asked.telling.word(), asked.to);
    Ok(Ended::Well)
}

fn read(file: &Path, seed: Option<u64>) -> anyhow::Result<Scenario> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(name)?;
    let mut scenario = Scenario::parse(&text).with_context(name)?;
    scenario.seed = seed.unwrap_or(scenario.seed);
    Ok(scenario)
}

/// A folder for the database of one telling, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidemark-simulate-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
