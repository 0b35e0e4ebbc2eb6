//! Recordings of real Kong, imported into a database and asked through the service with its clock held.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tidemark_app::api::{FleetApi, Paging};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::{HistoryView, Moment, NodeRow, VersionView};
use tidemark_server::board::Board;
use tidemark_server::import::{self, Outcome, Plan, Target};
use tidemark_server::reader::fold;
use tidemark_server::run::{self, HeldAt};
use tidemark_server::store::Store;
use tokio_util::sync::CancellationToken;

/// The last moment that is recorded.
pub const NOW: Moment = Moment { at: None, known_now: false };
/// All rows of a test on one page.
pub const WHOLE: Paging = Paging { after: None, size: Some(500) };

/// Where the recordings are, if they are.
pub fn captures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    if path.is_dir() {
        return Some(path);
    }
    println!("left out: no recordings of Kong at {}", path.display());
    None
}

/// A database that recordings are imported into.
pub struct Database {
    folder: TempDir,
}

impl Database {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder") }
    }

    /// One with these recordings.
    pub async fn of(paths: &[PathBuf]) -> Self {
        let database = Self::new();
        let outcome = database.import(paths, None).await;
        assert_eq!((outcome.damaged, outcome.refused), (0, Vec::new()));
        database
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("tidemark.db")
    }

    /// Imports as the command does: the database is opened for it, and closed after it.
    pub async fn import(&self, paths: &[PathBuf], control_plane: Option<&str>) -> Outcome {
        let now = Timestamp::parse("2026-12-01T00:00:00Z").expect("a time");
        let store = Store::open(&self.path(), now).await.expect("the database opens");
        let policy = Arc::new(Policy::default());
        let fleet = fold(&store, None, Arc::clone(&policy)).await.expect("the fleet folds");
        let mut board = Board::new(fleet, Arc::clone(&policy), now);
        let control_plane = control_plane.map(|name| name.parse().expect("a name"));
        let plan = Plan { paths: paths.to_vec(), control_plane };
        let mut target = Target::Database { store: &store, board: &mut board };
        let outcome = import::import(&plan, &mut target, &policy, |_, _| ()).await.expect("it can be imported");
        store.close().await.expect("the store closes");
        outcome
    }

    /// The service with its clock held.
    pub async fn at(&self, at: HeldAt) -> Held {
        let policy = Policy::default();
        let running = run::held(&self.path(), at, policy, CancellationToken::new()).await.expect("it can be read");
        Held { fleet: running.parts.fleet, store: running.store }
    }

    /// The same at the last moment that is recorded.
    pub async fn recorded(&self) -> Held {
        self.at(HeldAt::Recorded).await
    }

    /// The same at a moment in milliseconds.
    pub async fn at_ms(&self, at_ms: i64) -> Held {
        self.at(HeldAt::Moment(Timestamp::from_ms(at_ms))).await
    }

    /// Runs the service over it for a moment, long after the recordings.
    pub async fn restart(&self) {
        let closing = CancellationToken::new();
        let clock = tidemark_server::clock::Clock::by_hand(Timestamp::parse("2026-12-02T00:00:00Z").expect("a time"));
        let running = run::live(&self.path(), clock, Policy::default(), closing.clone()).await.expect("it starts");
        closing.cancel();
        running.writer.expect("a live service has a writer").await.expect("the writer ends well");
        running.store.close().await.expect("the store closes");
    }
}

/// What can be asked of a database at one moment.
pub struct Held {
    pub fleet: Arc<dyn FleetApi>,
    pub store: Store,
}

impl Held {
    /// The only control plane.
    pub async fn control_plane(&self) -> CpName {
        let all = self.fleet.control_planes(NOW).await.expect("an answer");
        let [one] = all.as_slice() else { panic!("{} control planes", all.len()) };
        one.name.clone()
    }

    /// All versions, oldest first.
    pub async fn versions(&self, control_plane: &CpName) -> Vec<VersionView> {
        let view = self.fleet.versions(control_plane.clone(), WHOLE, NOW).await.expect("an answer");
        let mut versions = Vec::new();
        for row in view.rows.iter().rev() {
            versions.push(self.fleet.version(control_plane.clone(), row.ordinal, NOW).await.expect("an answer"));
        }
        versions
    }

    /// All nodes, the gone ones too, by control plane and id.
    pub async fn nodes(&self) -> Vec<NodeRow> {
        let mut rows = Vec::new();
        for question in ["", "state:gone"] {
            let view = self.fleet.nodes(question.to_owned(), WHOLE, NOW).await.expect("an answer");
            assert_eq!((view.problems, view.next), (Vec::new(), None));
            rows.extend(view.rows);
        }
        rows.sort_by(|a, b| (&a.control_plane, &a.id).cmp(&(&b.control_plane, &b.id)));
        rows.dedup_by(|a, b| (&a.control_plane, &a.id) == (&b.control_plane, &b.id));
        rows
    }

    /// The node whose id begins like this.
    pub async fn node(&self, begins: &str) -> NodeRow {
        let found: Vec<NodeRow> =
            self.nodes().await.into_iter().filter(|row| row.id.as_str().starts_with(begins)).collect();
        let [one] = found.as_slice() else { panic!("{} nodes begin with {begins}", found.len()) };
        one.clone()
    }

    /// Both axes of a node, in words.
    pub async fn state(&self, begins: &str) -> (&'static str, &'static str) {
        state(&self.node(begins).await)
    }

    /// The past of a node.
    pub async fn history(&self, control_plane: &CpName, node: &NodeId) -> HistoryView {
        let (control_plane, node) = (control_plane.clone(), node.clone());
        let history = self.fleet.history(control_plane, node, WHOLE, NOW).await.expect("an answer");
        assert_eq!(history.next, None);
        history
    }

    /// Lets go of the database.
    pub async fn close(self) {
        self.store.close().await.expect("the store closes");
    }

    /// All that it answers, as one text.
    pub async fn everything(&self) -> String {
        let mut all = vec![format!("{:#?}", self.fleet.fleet(NOW).await.expect("an answer"))];
        for view in self.fleet.control_planes(NOW).await.expect("an answer") {
            for version in self.versions(&view.name).await {
                all.push(format!("{version:#?}"));
            }
        }
        for row in self.nodes().await {
            all.push(format!("{row:#?}"));
            all.push(format!("{:#?}", self.history(&row.control_plane, &row.id).await));
        }
        all.join("\n")
    }
}

/// Both axes, in words.
pub fn state(row: &NodeRow) -> (&'static str, &'static str) {
    (row.verdict.connectivity.word().word(), row.verdict.config.word().word())
}
