//! Answers that were given to requests with an `Idempotency-Key`.

use super::error::StoreError;
use super::state::State;
use super::{Store, bulk};
use crate::ingest::Remembered;
use sqlx::SqliteConnection;
use tidemark_domain::time::{HOUR, Timestamp};

/// How long an answer is remembered: long enough for a sender that retries, short enough to be held for all.
pub const REMEMBERED_FOR_MS: i64 = HOUR;

/// Answers that are remembered at most; the oldest give way.
pub const REMEMBERED_MAX: i64 = 100_000;

impl Store {
    /// The answer that was given under this key within the last hour. Another request under the same key is for the
    /// caller to see, by the digest.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remembered(&self, key: &str, now: Timestamp) -> Result<Option<Remembered>, StoreError> {
        let after = now.plus(-REMEMBERED_FOR_MS).ms();
        let row = sqlx::query!(
            "select key, request_digest, status, body, at_ms
               from remembered
              where key = ?1
                and at_ms > ?2",
            key,
            after
        )
        .fetch_optional(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("look up an idempotency key"))?;
        row.map(|row| {
            Ok(Remembered {
                status: u16::try_from(row.status)
                    .map_err(|error| StoreError::corrupt("remembered", &row.key, error))?,
                key: row.key,
                request_digest: row.request_digest,
                body: row.body,
                at: Timestamp::from_ms(row.at_ms),
            })
        })
        .transpose()
    }
}

/// Writes answers, and lets the oldest go where there are too many. A key that is still remembered keeps its answer.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    state: &mut State,
    remember: &[Remembered],
) -> Result<(), StoreError> {
    if remember.is_empty() {
        return Ok(());
    }
    bulk::REMEMBERED
        .write(connection, remember, |query, answer| {
            query
                .bind(answer.key.clone())
                .bind(answer.request_digest.clone())
                .bind(i64::from(answer.status))
                .bind(answer.body.clone())
                .bind(answer.at.ms())
        })
        .await?;
    // At least as many as there are: some may have replaced an older one. Counted only when it seems to be too much.
    state.remembered += i64::try_from(remember.len()).unwrap_or(i64::MAX);
    if state.remembered <= REMEMBERED_MAX {
        return Ok(());
    }
    state.remembered = sqlx::query_scalar!("select count(*) from remembered")
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("count idempotency keys"))?;
    // A little more than needed, so that not every append counts again.
    let too_many = state.remembered - (REMEMBERED_MAX - REMEMBERED_MAX / 100);
    if too_many > REMEMBERED_MAX / 100 {
        let forgotten = sqlx::query!(
            "delete from remembered
              where key in (select key from remembered order by at_ms, key limit ?1)",
            too_many
        )
        .execute(connection)
        .await
        .map_err(StoreError::on("forget the oldest idempotency keys"))?;
        state.remembered -= i64::try_from(forgotten.rows_affected()).unwrap_or(i64::MAX);
    }
    Ok(())
}
