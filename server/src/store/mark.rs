//! "The control plane was read", "it did not answer": facts that say nothing but that they came, kept as spans.

use super::bulk;
use super::error::StoreError;
use super::run::Span;
use sqlx::SqliteConnection;
use std::collections::HashMap;

/// The kinds of marks, as the table has them.
pub(super) const READ: &str = "read";
pub(super) const DOWN: &str = "down";

/// A row of `mark`, without its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) control_plane_id: i64,
    pub(super) source_id: i64,
    pub(super) kind: &'static str,
    pub(super) span: Span,
}

/// The open marks and their keys, by control plane, source and kind.
type Open = HashMap<(i64, i64, &'static str), (i64, Mark)>;

impl Mark {
    /// Takes in another mark of the same kind; `false` if it is too far from this one, and begins a new one. What comes
    /// late counts, and moves nothing.
    pub(super) fn meet(&mut self, mark: &Self, gap_max_ms: i64) -> bool {
        let gap = mark.span.from_ms.saturating_sub(self.span.until_ms);
        if gap > gap_max_ms {
            return false;
        }
        self.span.count = self.span.count.saturating_add(1);
        if gap > 0 {
            self.span.until_ms = mark.span.until_ms;
            self.span.until_stored_after = mark.span.until_stored_after;
            self.span.touched_sequence = mark.span.touched_sequence;
        }
        true
    }

    /// The newest mark of each control plane, source and kind; and the last key.
    pub(super) async fn read_open(connection: &mut SqliteConnection) -> Result<(Open, i64), StoreError> {
        let rows = sqlx::query!(
            "select id, control_plane_id, source_id, kind, from_ms, until_ms, from_stored_after, until_stored_after,
                    marks, opened_sequence, touched_sequence
               from mark
              where id in (select max(id) from mark group by control_plane_id, source_id, kind)
              order by id"
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::on("read the open marks"))?;
        let mut open = HashMap::with_capacity(rows.len());
        let mut last = 0;
        for row in rows {
            last = row.id;
            let kind = kind_of(row.id, &row.kind)?;
            let mark = Self {
                control_plane_id: row.control_plane_id,
                source_id: row.source_id,
                kind,
                span: Span {
                    from_ms: row.from_ms,
                    until_ms: row.until_ms,
                    from_stored_after: row.from_stored_after,
                    until_stored_after: row.until_stored_after,
                    count: row.marks,
                    opened_sequence: row.opened_sequence,
                    touched_sequence: row.touched_sequence,
                },
            };
            open.insert((mark.control_plane_id, mark.source_id, kind), (row.id, mark));
        }
        Ok((open, last))
    }

    /// The marks of which something came after `sequence`.
    pub(super) async fn touched_after(
        connection: &mut SqliteConnection,
        sequence: i64,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query!(
            "select id, control_plane_id, source_id, kind, from_ms, until_ms, from_stored_after, until_stored_after,
                    marks, opened_sequence, touched_sequence
               from mark
              where touched_sequence > ?1
              order by id",
            sequence
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::on("read marks"))?;
        rows.into_iter()
            .map(|row| {
                Ok(Self {
                    control_plane_id: row.control_plane_id,
                    source_id: row.source_id,
                    kind: kind_of(row.id, &row.kind)?,
                    span: Span {
                        from_ms: row.from_ms,
                        until_ms: row.until_ms,
                        from_stored_after: row.from_stored_after,
                        until_stored_after: row.until_stored_after,
                        count: row.marks,
                        opened_sequence: row.opened_sequence,
                        touched_sequence: row.touched_sequence,
                    },
                })
            })
            .collect()
    }

    /// Writes marks under their keys.
    pub(super) async fn write(connection: &mut SqliteConnection, marks: &[(i64, Self)]) -> Result<(), StoreError> {
        bulk::MARK
            .write(connection, marks, |query, (id, mark)| {
                query
                    .bind(*id)
                    .bind(mark.control_plane_id)
                    .bind(mark.source_id)
                    .bind(mark.kind)
                    .bind(mark.span.from_ms)
                    .bind(mark.span.until_ms)
                    .bind(mark.span.from_stored_after)
                    .bind(mark.span.until_stored_after)
                    .bind(mark.span.count)
                    .bind(mark.span.opened_sequence)
                    .bind(mark.span.touched_sequence)
            })
            .await
    }
}

fn kind_of(row: i64, kind: &str) -> Result<&'static str, StoreError> {
    match kind {
        READ => Ok(READ),
        DOWN => Ok(DOWN),
        _ => Err(StoreError::corrupt("mark", row, format!("{kind:?} is no kind of mark"))),
    }
}
