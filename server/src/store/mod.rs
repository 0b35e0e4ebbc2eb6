//! SQL and rows.
