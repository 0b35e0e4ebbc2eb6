//! Keyframes: the state of the whole fleet at a moment, so that neither a start nor a look at the past begins at the
//! first fact. What is in them follows from facts: they can be dropped at any time, and one that cannot be read is passed
//! over.

use super::Store;
use super::error::StoreError;
use super::run::Run;
use super::state::State;
use sqlx::SqliteConnection;
use std::io;
use tidemark_domain::time::{MINUTE, Timestamp};

/// How much later than its `recorded_at` a fact may be stored: requests wait in a queue. A fact that was recorded longer
/// before a keyframe than this (an import) makes the keyframe wrong, and it is dropped.
pub(super) const OVERTAKES_MAX_MS: i64 = 5 * MINUTE;

/// Bytes of a keyframe before compression: a million nodes are less than half of it.
const UNPACKED_MAX: usize = 1 << 30;

/// More is hardly smaller, and slower.
const ZSTD_LEVEL: i32 = 3;

/// The state of the fleet at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyframe {
    /// The last fact that is in it.
    pub sequence: i64,
    /// When it was taken.
    pub at: Timestamp,
    /// As the board packed it.
    pub state: Vec<u8>,
}

impl Store {
    /// Keeps the state of the fleet after the fact `sequence`. `format` is the board's; `at` is now, or for recordings
    /// the last `recorded_at`.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn write_keyframe(
        &self,
        sequence: i64,
        at: Timestamp,
        format: u32,
        state: Vec<u8>,
    ) -> Result<(), StoreError> {
        let state_len = length(&state)?;
        let state = pack(state).await?;

        let mut writer = self.writer().await?;
        let (connection, kept) = writer.parts();
        if kept.is_none() {
            *kept = Some(State::read(connection).await?);
        }
        let Some(known) = kept.as_mut() else { return Ok(()) };
        let runs: Vec<Run> = known.open.values().map(|(_, run)| *run).collect();
        let runs_sequence = known.progress.sequence;
        let runs = postcard::to_stdvec(&runs).map_err(|error| StoreError::Pack { source: io::Error::other(error) })?;
        let runs_len = length(&runs)?;
        let runs = pack(runs).await?;
        let at_ms = at.ms();
        sqlx::query!(
            "insert or replace into keyframe
                    (sequence, at_ms, format, state, state_len, runs_sequence, runs, runs_len)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            sequence,
            at_ms,
            format,
            state,
            state_len,
            runs_sequence,
            runs,
            runs_len
        )
        .execute(connection)
        .await
        .map_err(StoreError::on("write a keyframe"))?;
        known.keyframe_ms = Some(known.keyframe_ms.map_or(at_ms, |newest| newest.max(at_ms)));
        known.closed_since_keyframe = 0;
        Ok(())
    }

    /// How many intervals were closed since the newest keyframe: what a look at the moments after it has to tell again.
    /// 0 while that is not known, before the first write.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn closed_since_keyframe(&self) -> Result<u64, StoreError> {
        Ok(self.writer().await?.state.as_ref().map_or(0, |state| state.closed_since_keyframe))
    }

    /// The newest keyframe of this format that was taken at `at` or before; the newest of all where `at` is `None`.
    ///
    /// # Errors
    /// See [`StoreError`]. A keyframe that cannot be unpacked is no error: an older one is taken.
    pub async fn keyframe_before(&self, at: Option<Timestamp>, format: u32) -> Result<Option<Keyframe>, StoreError> {
        let at_ms = at.map_or(i64::MAX, Timestamp::ms);
        let mut before = i64::MAX;
        let mut connection = self.reader().await?;
        loop {
            let row = sqlx::query!(
                "select sequence, at_ms, state, state_len
                   from keyframe
                  where at_ms <= ?1
                    and format = ?2
                    and sequence < ?3
                  order by sequence desc
                  limit 1",
                at_ms,
                format,
                before
            )
            .fetch_optional(&mut *connection)
            .await
            .map_err(StoreError::on("read a keyframe"))?;
            let Some(row) = row else { return Ok(None) };
            match unpack(row.state, row.state_len, Ok).await {
                Ok(state) => {
                    return Ok(Some(Keyframe { sequence: row.sequence, at: Timestamp::from_ms(row.at_ms), state }));
                }
                Err(error) => {
                    tracing::warn!("keyframe {} cannot be read and is passed over: {error}", row.sequence);
                    before = row.sequence;
                }
            }
        }
    }
}

/// The runs that were open when the first keyframe was taken that surely knows all facts recorded at `known` or before,
/// and the last fact that they know of. `None` if there is no such keyframe: then the runs that are open now will do.
pub(super) async fn runs_open_after(
    connection: &mut SqliteConnection,
    known: Timestamp,
) -> Result<Option<(i64, Vec<Run>)>, StoreError> {
    let at_ms = known.plus(OVERTAKES_MAX_MS).ms();
    let row = sqlx::query!(
        "select sequence, runs_sequence, runs, runs_len
           from keyframe
          where at_ms >= ?1
          order by at_ms, sequence
          limit 1",
        at_ms
    )
    .fetch_optional(connection)
    .await
    .map_err(StoreError::on("read the open runs of a keyframe"))?;
    let Some(row) = row else { return Ok(None) };
    let runs = unpack(row.runs, row.runs_len, |runs| postcard::from_bytes(&runs).map_err(io::Error::other));
    match runs.await {
        Ok(runs) => Ok(Some((row.runs_sequence, runs))),
        Err(error) => {
            tracing::warn!("the open runs of keyframe {} cannot be read and are passed over: {error}", row.sequence);
            Ok(None)
        }
    }
}

/// Drops the keyframes that lack facts which were recorded before them, now that one of `earliest` comes.
pub(super) async fn drop_overtaken(
    connection: &mut SqliteConnection,
    state: &mut State,
    earliest: Timestamp,
) -> Result<(), StoreError> {
    let valid_until_ms = earliest.plus(OVERTAKES_MAX_MS).ms();
    if state.keyframe_ms.is_none_or(|newest| newest <= valid_until_ms) {
        return Ok(());
    }
    sqlx::query!("delete from keyframe where at_ms > ?1", valid_until_ms)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on("drop keyframes"))?;
    state.keyframe_ms = sqlx::query_scalar!(r#"select max(at_ms) as "at_ms: i64" from keyframe"#)
        .fetch_one(connection)
        .await
        .map_err(StoreError::on("read the newest keyframe"))?;
    Ok(())
}

fn length(bytes: &[u8]) -> Result<i64, StoreError> {
    let too_long = || StoreError::Pack { source: io::Error::other("it is longer than a keyframe may be") };
    if bytes.len() > UNPACKED_MAX { Err(too_long()) } else { i64::try_from(bytes.len()).map_err(|_| too_long()) }
}

/// Compresses away from the threads that serve requests.
async fn pack(bytes: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    tokio::task::spawn_blocking(move || zstd::bulk::compress(&bytes, ZSTD_LEVEL))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| StoreError::Pack { source })
}

/// The same way back, and what `read` makes of the bytes.
async fn unpack<T: Send + 'static>(
    bytes: Vec<u8>,
    len: i64,
    read: impl FnOnce(Vec<u8>) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let len = usize::try_from(len).ok().filter(|len| *len <= UNPACKED_MAX);
    let len = len.ok_or_else(|| io::Error::other("it is longer than a keyframe may be"))?;
    tokio::task::spawn_blocking(move || zstd::bulk::decompress(&bytes, len).and_then(read))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
