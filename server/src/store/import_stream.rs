//! How far each recording was imported, so that to import it again changes nothing and a longer one goes on where the
//! shorter one ended.

use super::Store;
use super::error::StoreError;
use super::names::control_plane_of;
use super::state::State;
use sqlx::SqliteConnection;
use tidemark_domain::id::CpName;
use tidemark_domain::time::Timestamp;

/// How far a recording was taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Taken {
    /// The digest of its first record: its name.
    pub first_digest: String,
    /// The control plane that it is about.
    pub control_plane: CpName,
    /// Lines that were taken.
    pub lines: u64,
    /// The digest of all these lines: a recording that begins otherwise is another one, and is refused.
    pub prefix_digest: String,
    /// When they were taken.
    pub at: Timestamp,
}

impl Store {
    /// How far the recording with this first record was taken; `None` if it is new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn taken(&self, first_digest: &str) -> Result<Option<Taken>, StoreError> {
        let row = sqlx::query!(
            "select import_stream.first_digest, control_plane_id, name, lines, prefix_digest, taken_ms
               from import_stream
               join control_plane on control_plane.id = control_plane_id
              where import_stream.first_digest = ?1",
            first_digest
        )
        .fetch_optional(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("look up a recording"))?;
        row.map(|row| {
            Ok(Taken {
                control_plane: control_plane_of(row.control_plane_id, &row.name)?,
                lines: u64::try_from(row.lines)
                    .map_err(|error| StoreError::corrupt("import_stream", &row.first_digest, error))?,
                first_digest: row.first_digest,
                prefix_digest: row.prefix_digest,
                at: Timestamp::from_ms(row.taken_ms),
            })
        })
        .transpose()
    }

    /// The time of the newest word of a control plane: a recording from before it is refused. `None` if it never spoke.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn newest_word_at(&self, control_plane: &CpName) -> Result<Option<Timestamp>, StoreError> {
        let name = control_plane.as_str();
        let at_ms = sqlx::query_scalar!(
            r#"select max(at_ms) as "at_ms: i64"
                 from word
                where control_plane_id = (select id from control_plane where name = ?1)"#,
            name
        )
        .fetch_one(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("look up the newest word"))?;
        Ok(at_ms.map(Timestamp::from_ms))
    }
}

/// Writes how far recordings were taken; it never goes back.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    state: &mut State,
    taken: &[Taken],
) -> Result<(), StoreError> {
    for stream in taken {
        let name = stream.control_plane.as_str();
        let control_plane_id = match state.names.control_planes.get(&stream.control_plane) {
            Some(id) => *id,
            None => {
                state.names.last_control_plane += 1;
                let id = state.names.last_control_plane;
                sqlx::query!("insert into control_plane (id, name) values (?1, ?2)", id, name)
                    .execute(&mut *connection)
                    .await
                    .map_err(StoreError::on("write a control plane"))?;
                state.names.control_planes.insert(stream.control_plane.clone(), id);
                id
            }
        };
        let lines = i64::try_from(stream.lines).unwrap_or(i64::MAX);
        let taken_ms = stream.at.ms();
        sqlx::query!(
            "insert into import_stream (first_digest, control_plane_id, lines, prefix_digest, taken_ms)
             values (?1, ?2, ?3, ?4, ?5)
             on conflict (first_digest) do update
                set lines         = excluded.lines,
                    prefix_digest = excluded.prefix_digest,
                    taken_ms      = excluded.taken_ms
              where excluded.lines > import_stream.lines",
            stream.first_digest,
            control_plane_id,
            lines,
            stream.prefix_digest,
            taken_ms
        )
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on("write how far a recording was taken"))?;
    }
    Ok(())
}
