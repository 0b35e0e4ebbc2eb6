//! What the numbers in rows stand for.
//!
//! A number is given once, and its row is never changed, so what was looked up stays true as long as the row is there:
//! replays share what they looked up ([`Known`]), and the next look at the past finds most of it in memory.

use super::attribute_set::AttributeSet;
use super::error::StoreError;
use super::lists::Lists;
use super::names::{LOOKED_UP_AT_ONCE, config_of, control_plane_of, json};
use super::run::Run;
use parking_lot::Mutex;
use sqlx::SqliteConnection;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use tidemark_domain::fact::ConfigRef;
use tidemark_domain::id::{CpName, NodeId};

/// Rows of each kind that are kept between replays: some 100 MB at most, and half of that for 100,000 nodes with a
/// hostname, an address and two labels each.
const KEPT_MAX: usize = 200_000;

/// Rows by their numbers. Clones share what is long.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    nodes: ByNumber<(i64, NodeId)>,
    configs: ByNumber<ConfigRef>,
    attribute_sets: ByNumber<Arc<AttributeSet>>,
}

type ByNumber<T> = HashMap<i64, T, BuildHasherDefault<Spread>>;

/// Spreads numbers that the writer gave: nobody outside chooses them, so nothing has to be kept from whoever would make
/// them collide.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // By the golden ratio: neighbours come to lie far apart, in the high bits as in the low ones.
        let spread = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The rows that replays looked up, to be shared by the next ones.
#[derive(Debug, Default)]
pub(super) struct Known {
    kept: Mutex<Kept>,
}

/// Rows that were looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    rows: Arc<Rows>,
    /// How often rows were forgotten before.
    forgotten: u64,
}

impl Known {
    /// Must be called when rows of `node`, `config` or `attribute_set` were removed.
    pub(super) fn forget(&self) {
        let mut kept = self.kept.lock();
        kept.rows = Arc::default();
        kept.forgotten += 1;
    }

    /// What was looked up so far. To be asked before the look at the database begins: what is removed in the meantime
    /// is not kept then.
    pub(super) fn so_far(&self) -> Kept {
        self.kept.lock().clone()
    }

    fn keep(&self, rows: Kept) {
        let mut kept = self.kept.lock();
        if kept.forgotten == rows.forgotten {
            *kept = rows;
        }
    }
}

/// What the numbers of some runs stand for.
#[derive(Debug)]
pub(super) struct Vocabulary {
    control_planes: HashMap<i64, CpName>,
    rows: Arc<Rows>,
}

impl Vocabulary {
    /// All control planes, and what these runs name.
    pub(super) async fn of(connection: &mut SqliteConnection, runs: &[Run]) -> Result<Self, StoreError> {
        let mut rows = Rows::default();
        rows.add(connection, &Numbers::of(runs)).await?;
        Ok(Self { control_planes: control_planes(connection).await?, rows: Arc::new(rows) })
    }

    /// The same for many runs, after what was looked up so far, and kept for those who come next.
    pub(super) async fn shared(
        connection: &mut SqliteConnection,
        runs: &[Run],
        so_far: Kept,
        known: &Known,
    ) -> Result<Self, StoreError> {
        let Kept { mut rows, forgotten } = so_far;
        let missing = Numbers::missing(runs, &rows);
        if !missing.is_empty() {
            Arc::make_mut(&mut rows).add(connection, &missing).await?;
            let fits = rows.is_within(KEPT_MAX);
            let kept = if fits { Arc::clone(&rows) } else { Arc::new(rows.some_of(&Numbers::of(runs), KEPT_MAX)) };
            known.keep(Kept { rows: kept, forgotten });
        }
        Ok(Self { control_planes: control_planes(connection).await?, rows })
    }

    /// The name of a control plane.
    pub(super) fn control_plane(&self, id: i64, table: &'static str, row: i64) -> Result<CpName, StoreError> {
        let name = self.control_planes.get(&id).cloned();
        name.ok_or_else(|| StoreError::corrupt(table, row, format!("there is no control plane {id}")))
    }

    /// A node and the number of its control plane; `None` if its row is gone.
    pub(super) fn node(&self, id: i64) -> Option<(i64, &NodeId)> {
        self.rows.nodes.get(&id).map(|(control_plane, node)| (*control_plane, node))
    }

    /// What a run says; `None` if rows that it names are gone, as of a run in a keyframe that was purged since.
    pub(super) fn said(&self, run: &Run) -> Option<(&Arc<AttributeSet>, Option<&ConfigRef>)> {
        let config = match run.config_id {
            Some(id) => Some(self.rows.configs.get(&id)?),
            None => None,
        };
        Some((self.rows.attribute_sets.get(&run.attribute_set_id)?, config))
    }
}

async fn control_planes(connection: &mut SqliteConnection) -> Result<HashMap<i64, CpName>, StoreError> {
    let rows = sqlx::query!("select id, name from control_plane order by id")
        .fetch_all(connection)
        .await
        .map_err(StoreError::on("read control planes"))?;
    rows.into_iter().map(|row| Ok((row.id, control_plane_of(row.id, &row.name)?))).collect()
}

impl Rows {
    /// Looks rows up. Those that are gone are left out.
    async fn add(&mut self, connection: &mut SqliteConnection, numbers: &Numbers) -> Result<(), StoreError> {
        let mut nodes = Lists::<(i64, i64, NodeId)>::of("node");
        for some in lists(&numbers.nodes) {
            let list = sqlx::query_scalar!(
                r#"select json_group_array(json_array(id, control_plane_id, name)) as "list!: String"
                     from node
                    where id in (select value from json_each(?1))"#,
                some
            )
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::on("read nodes"))?;
            nodes.add(list);
        }
        let mut attribute_sets = Lists::<(i64, AttributeSet)>::of("attribute_set");
        for some in lists(&numbers.attribute_sets) {
            // Each body is JSON already: a check of its table.
            let list = sqlx::query_scalar!(
                r#"select '[' || coalesce(group_concat('[' || id || ',' || body || ']'), '') || ']' as "list!: String"
                     from attribute_set
                    where id in (select value from json_each(?1))"#,
                some
            )
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::on("read attribute sets"))?;
            attribute_sets.add(list);
        }
        for some in lists(&numbers.configs) {
            let rows = sqlx::query!(
                "select id, form, name
                   from config
                  where id in (select value from json_each(?1))",
                some
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read configurations"))?;
            for row in rows {
                self.configs.insert(row.id, config_of(row.id, &row.form, &row.name)?);
            }
        }
        self.nodes.extend(nodes.rows().await?.into_iter().map(|(id, control_plane, node)| (id, (control_plane, node))));
        self.attribute_sets.extend(attribute_sets.rows().await?.into_iter().map(|(id, set)| (id, Arc::new(set))));
        Ok(())
    }

    fn is_within(&self, max: usize) -> bool {
        self.nodes.len() <= max && self.configs.len() <= max && self.attribute_sets.len() <= max
    }

    /// Those of these numbers, at most `max` of each kind.
    fn some_of(&self, numbers: &Numbers, max: usize) -> Self {
        fn some<T: Clone>(all: &ByNumber<T>, ids: &BTreeSet<i64>, max: usize) -> ByNumber<T> {
            ids.iter().filter_map(|id| Some((*id, all.get(id)?.clone()))).take(max).collect()
        }
        Self {
            nodes: some(&self.nodes, &numbers.nodes, max),
            configs: some(&self.configs, &numbers.configs, max),
            attribute_sets: some(&self.attribute_sets, &numbers.attribute_sets, max),
        }
    }
}

/// The numbers that runs name.
#[derive(Debug)]
struct Numbers {
    nodes: BTreeSet<i64>,
    configs: BTreeSet<i64>,
    attribute_sets: BTreeSet<i64>,
}

impl Numbers {
    fn of(runs: &[Run]) -> Self {
        Self::missing(runs, &Rows::default())
    }

    /// Those that these rows do not tell.
    fn missing(runs: &[Run], rows: &Rows) -> Self {
        let runs = || runs.iter().map(|run| (run.node_id, run.config_id, run.attribute_set_id));
        Self {
            nodes: runs().map(|(node, ..)| node).filter(|id| !rows.nodes.contains_key(id)).collect(),
            configs: runs().filter_map(|(_, config, _)| config).filter(|id| !rows.configs.contains_key(id)).collect(),
            attribute_sets: runs().map(|(.., set)| set).filter(|id| !rows.attribute_sets.contains_key(id)).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.configs.is_empty() && self.attribute_sets.is_empty()
    }
}

/// Numbers as lists of a length that one statement takes.
fn lists(ids: &BTreeSet<i64>) -> Vec<String> {
    let ids: Vec<i64> = ids.iter().copied().collect();
    ids.chunks(LOOKED_UP_AT_ONCE).map(json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: std::ops::Range<i64>) -> Rows {
        let node = |id: i64| (id, (1, format!("node-{id}").parse().expect("an id")));
        Rows { nodes: ids.map(node).collect(), ..Rows::default() }
    }

    #[test]
    fn more_than_is_kept_is_cut_to_what_was_asked_for() {
        let numbers = Numbers { nodes: (5..9).collect(), configs: BTreeSet::new(), attribute_sets: BTreeSet::new() };
        let all = rows(0..10);
        assert!(all.is_within(10) && !all.is_within(9));
        let mut kept: Vec<i64> = all.some_of(&numbers, 3).nodes.into_keys().collect();
        kept.sort_unstable();
        assert_eq!(kept, [5, 6, 7]);
    }

    #[test]
    fn what_was_looked_up_before_rows_were_removed_is_not_kept() {
        let known = Known::default();
        let before = known.so_far();
        known.forget();
        known.keep(Kept { rows: Arc::new(rows(0..1)), ..before });
        assert!(known.so_far().rows.nodes.is_empty());
        known.keep(Kept { rows: Arc::new(rows(0..1)), ..known.so_far() });
        assert_eq!(known.so_far().rows.nodes.len(), 1);
    }
}
