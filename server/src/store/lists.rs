//! Many rows as one value: SQLite writes them as one JSON text, and they are read from that. A row that comes by itself
//! costs a lock and some allocations for each of its columns, so whatever reads the rows of a whole fleet reads lists.

use super::error::StoreError;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

/// Rows of one list at most: about a megabyte of text.
pub(super) const ROWS: i64 = 10_000;

/// Lists of one table that are read beside each other, away from the threads that serve requests.
#[derive(Debug)]
pub(super) struct Lists<Row> {
    table: &'static str,
    reading: Vec<JoinHandle<Result<Vec<Row>, StoreError>>>,
}

impl<Row: DeserializeOwned + Send + 'static> Lists<Row> {
    /// None yet.
    pub(super) const fn of(table: &'static str) -> Self {
        Self { table, reading: Vec::new() }
    }

    /// Begins to read a list. Each row is an array, and begins with its key.
    pub(super) fn add(&mut self, text: String) {
        let table = self.table;
        self.reading.push(tokio::task::spawn_blocking(move || read(table, &text)));
    }

    /// The rows of all lists, in the order in which these were added.
    pub(super) async fn rows(self) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for list in self.reading {
            let crashed = |_| StoreError::Sqlite { what: "read a list of rows", source: sqlx::Error::WorkerCrashed };
            rows.append(&mut list.await.map_err(crashed)??);
        }
        Ok(rows)
    }
}

fn read<Row: DeserializeOwned>(table: &'static str, text: &str) -> Result<Vec<Row>, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        let damaged = damaged::<Row>(text).unwrap_or_else(|| ("list".to_owned(), error));
        StoreError::corrupt(table, damaged.0, damaged.1)
    })
}

/// The key of the first row that cannot be read, and why not.
fn damaged<Row: DeserializeOwned>(text: &str) -> Option<(String, serde_json::Error)> {
    let rows: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    rows.into_iter().find_map(|row| {
        let error = serde_json::from_str::<Row>(row.get()).err()?;
        let columns: Vec<&RawValue> = serde_json::from_str(row.get()).ok()?;
        Some((columns.first()?.get().to_owned(), error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_keep_their_order_and_name_the_damaged_row() {
        let mut lists = Lists::<(i64, String)>::of("node");
        for text in [r#"[[2,"b"],[1,"a"]]"#, "[]", r#"[[3,"c"]]"#] {
            lists.add(text.to_owned());
        }
        let rows = lists.rows().await.expect("rows");
        assert_eq!(rows, [(2, "b".to_owned()), (1, "a".to_owned()), (3, "c".to_owned())]);

        let mut lists = Lists::<(i64, String)>::of("node");
        lists.add(r#"[[7,"a"],[8,9]]"#.to_owned());
        let error = lists.rows().await.expect_err("a number is no text");
        assert!(matches!(&error, StoreError::Corrupt { table: "node", row, .. } if row == "8"), "{error:?}");
    }
}
