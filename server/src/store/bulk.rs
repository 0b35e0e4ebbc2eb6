//! Statements that write many rows at once. One statement a row costs ten times as much through the driver, and the
//! checked macros cannot say `values` of any length; so these few are put together here, and a test prepares each.
//!
//! Three lengths of each are used, so that all of them stay prepared.

use super::error::StoreError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};
use std::sync::OnceLock;

/// Rows of one statement: 15 columns by 250 rows are far below SQLite's 32,766 parameters.
const LENGTHS: [usize; 3] = [250, 20, 1];

pub(super) type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// One of the statements below.
#[derive(Debug)]
pub(super) struct Bulk {
    what: &'static str,
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; 3],
}

pub(super) static CONTROL_PLANE: Bulk =
    Bulk::new("write control planes", "insert into control_plane (id, name) values ", 2, "");

pub(super) static NODE: Bulk = Bulk::new("write nodes", "insert into node (id, control_plane_id, name) values ", 3, "");

pub(super) static CONFIG: Bulk =
    Bulk::new("write configurations", "insert into config (id, form, name) values ", 3, "");

pub(super) static ATTRIBUTE_SET: Bulk =
    Bulk::new("write attribute sets", "insert into attribute_set (id, digest, body) values ", 3, "");

pub(super) static REPORT_CLOSED: Bulk = Bulk::new(
    "write closed runs of reports",
    "insert into report_closed (id, node_id, source_id, config_id, attribute_set_id, from_ms, until_ms,
                                from_stored_after, until_stored_after, from_uncertain_ms, until_uncertain_ms,
                                skew_ms, reports, opened_sequence, touched_sequence)
     values ",
    15,
    "",
);

/// Runs that go on: most of all that is ever written. Only what moves is written, so no index is touched.
pub(super) static REPORT_OPEN_GROWN: Bulk = Bulk::new(
    "write runs of reports that go on",
    "with grown (id, until_ms, until_stored_after, until_uncertain_ms, skew_ms, reports, touched_sequence) as (values ",
    7,
    ")
     update report_open
        set until_ms           = grown.until_ms,
            until_stored_after = grown.until_stored_after,
            until_uncertain_ms = grown.until_uncertain_ms,
            skew_ms            = grown.skew_ms,
            reports            = grown.reports,
            touched_sequence   = grown.touched_sequence
       from grown
      where report_open.id = grown.id",
);

/// Runs that begin, in the place of those that they follow.
pub(super) static REPORT_OPEN: Bulk = Bulk::new(
    "write new runs of reports",
    "insert into report_open (id, node_id, source_id, config_id, attribute_set_id, from_ms, until_ms,
                              from_stored_after, until_stored_after, from_uncertain_ms, until_uncertain_ms,
                              skew_ms, reports, opened_sequence, touched_sequence)
     values ",
    15,
    " on conflict (id) do update
        set config_id          = excluded.config_id,
            attribute_set_id   = excluded.attribute_set_id,
            from_ms            = excluded.from_ms,
            until_ms           = excluded.until_ms,
            from_stored_after  = excluded.from_stored_after,
            until_stored_after = excluded.until_stored_after,
            from_uncertain_ms  = excluded.from_uncertain_ms,
            until_uncertain_ms = excluded.until_uncertain_ms,
            skew_ms            = excluded.skew_ms,
            reports            = excluded.reports,
            opened_sequence    = excluded.opened_sequence,
            touched_sequence   = excluded.touched_sequence",
);

pub(super) static WORD: Bulk = Bulk::new(
    "write words of control planes",
    "insert into word (sequence, at_ms, recorded_ms, control_plane_id, source_id, said, config_id, node_id, body)
     values ",
    9,
    "",
);

pub(super) static EVENT: Bulk = Bulk::new(
    "write events",
    "insert into event (sequence, at_ms, recorded_ms, control_plane_id, source_id, kind, node_id, body) values ",
    8,
    "",
);

pub(super) static MARK: Bulk = Bulk::new(
    "write marks",
    "insert into mark (id, control_plane_id, source_id, kind, from_ms, until_ms, from_stored_after,
                       until_stored_after, marks, opened_sequence, touched_sequence)
     values ",
    11,
    " on conflict (id) do update
        set until_ms           = excluded.until_ms,
            until_stored_after = excluded.until_stored_after,
            marks              = excluded.marks,
            touched_sequence   = excluded.touched_sequence",
);

pub(super) static TELEMETRY_NAME: Bulk =
    Bulk::new("write names of telemetry", "insert into telemetry_name (id, scope_id, kind, name) values ", 4, "");

pub(super) static REMEMBERED: Bulk = Bulk::new(
    "remember answers",
    "insert into remembered (key, request_digest, status, body, at_ms) values ",
    5,
    // A key that is used again after its hour is a new key.
    " on conflict (key) do update
        set request_digest = excluded.request_digest,
            status         = excluded.status,
            body           = excluded.body,
            at_ms          = excluded.at_ms
      where remembered.at_ms <= excluded.at_ms - 3600000",
);

impl Bulk {
    const fn new(what: &'static str, before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { what, before, columns, after, texts: [const { OnceLock::new() }; 3] }
    }

    /// Writes all rows. `bind` gives the values of one row, in the order of the columns.
    pub(super) async fn write<Row>(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &[Row],
        bind: impl Fn(Query, &Row) -> Query,
    ) -> Result<(), StoreError> {
        let mut rest = rows;
        for (length, text) in LENGTHS.into_iter().zip(&self.texts) {
            while rest.len() >= length {
                let (some, others) = rest.split_at(length);
                let text = text.get_or_init(|| self.text(length));
                let query = some.iter().fold(sqlx::query(AssertSqlSafe(text.as_str())), &bind);
                query.execute(&mut *connection).await.map_err(StoreError::on(self.what))?;
                rest = others;
            }
        }
        Ok(())
    }

    fn text(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        format!("{}{}{}", self.before, vec![row; rows].join(", "), self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use sqlx::{Connection, Executor, SqlSafeStr};
    use tidemark_domain::time::Timestamp;

    #[tokio::test]
    async fn every_statement_of_every_length_fits_the_schema() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bulk.db");
        let store = Store::open(&path, Timestamp::from_ms(0)).await.expect("a store");
        store.close().await.expect("closed");
        let url = format!("sqlite:{}", path.display());
        let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
        let all = [
            &CONTROL_PLANE,
            &NODE,
            &CONFIG,
            &ATTRIBUTE_SET,
            &REPORT_CLOSED,
            &REPORT_OPEN_GROWN,
            &REPORT_OPEN,
            &WORD,
            &EVENT,
            &MARK,
            &TELEMETRY_NAME,
            &REMEMBERED,
        ];
        for bulk in all {
            for length in LENGTHS {
                let text = bulk.text(length);
                let prepared = connection.prepare(AssertSqlSafe(text.clone()).into_sql_str()).await;
                assert!(prepared.is_ok(), "{}: {prepared:?}\n{text}", bulk.what);
            }
        }
    }
}
