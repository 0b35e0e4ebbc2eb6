//! How far the store has come, when the service was last alive, and how much there is.

use super::Store;
use super::error::StoreError;
use tidemark_domain::time::Timestamp;

/// How far the store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The sequence of the last fact; 0 before the first.
    pub sequence: i64,
    /// The latest `recorded_at` of all facts: `serve --at recorded`.
    pub recorded_at: Option<Timestamp>,
    /// The last moment at which the service is known to have run.
    pub alive_at: Option<Timestamp>,
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the database, without its WAL.
    pub bytes: u64,
    /// Bytes of it that are free for new rows.
    pub free_bytes: u64,
    /// Rows of the tables that grow.
    pub rows: Vec<(&'static str, u64)>,
}

impl Store {
    /// How far the store has come.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn progress(&self) -> Result<Progress, StoreError> {
        let row = sqlx::query!("select sequence, recorded_ms, alive_ms from progress where only = 1")
            .fetch_one(&mut *self.reader().await?)
            .await
            .map_err(StoreError::on("read the progress of the store"))?;
        Ok(Progress {
            sequence: row.sequence,
            recorded_at: row.recorded_ms.map(Timestamp::from_ms),
            alive_at: row.alive_ms.map(Timestamp::from_ms),
        })
    }

    /// Notes that the service runs: after a restart, what it could not hear begins at the last such moment.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark_alive(&self, now: Timestamp) -> Result<(), StoreError> {
        let now_ms = now.ms();
        let mut writer = self.writer().await?;
        sqlx::query!("update progress set alive_ms = ?1 where only = 1", now_ms)
            .execute(&mut writer.connection)
            .await
            .map_err(StoreError::on("note that the service runs"))?;
        Ok(())
    }

    /// How much there is, without counting rows.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sizes(&self) -> Result<Sizes, StoreError> {
        let mut connection = self.reader().await?;
        let pages = sqlx::query!(
            r#"select page_count + 0     as "page_count!: i64",
                      freelist_count + 0 as "freelist_count!: i64",
                      page_size + 0      as "page_size!: i64"
                 from pragma_page_count, pragma_freelist_count, pragma_page_size"#
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("ask for the size of the database"))?;
        let rows = sqlx::query!("select reports_closed, words, events from progress where only = 1")
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::on("read the progress of the store"))?;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Sizes {
            bytes: unsigned(pages.page_count.saturating_mul(pages.page_size)),
            free_bytes: unsigned(pages.freelist_count.saturating_mul(pages.page_size)),
            rows: vec![
                ("report_closed", unsigned(rows.reports_closed)),
                ("word", unsigned(rows.words)),
                ("event", unsigned(rows.events)),
            ],
        })
    }
}
