//! Every migration runs over data: the sample rows of a migration are loaded as soon as it has run, so that all later
//! ones meet rows in every table.

use sqlx::migrate::{Migrate, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};
use std::path::{Path, PathBuf};
use tidemark_domain::time::Timestamp;
use tidemark_server::store::Store;

fn migrations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations")
}

/// Migrates a fresh file step by step, and loads the samples of each step.
async fn migrated_over_samples(database: &Path) -> SqliteConnection {
    let url = format!("sqlite:{}?mode=rwc", database.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
    connection.execute("pragma foreign_keys = on").await.expect("foreign keys");
    let migrator = Migrator::new(migrations()).await.expect("migrations");
    connection.ensure_migrations_table(&migrator.table_name).await.expect("a table of migrations");
    for migration in migrator.iter() {
        connection
            .apply(&migrator.table_name, migration)
            .await
            .unwrap_or_else(|error| panic!("migration {} over samples: {error}", migration.version));
        let samples = migrations().join(format!("samples/{:04}.sql", migration.version));
        let samples =
            std::fs::read_to_string(&samples).unwrap_or_else(|error| panic!("{}: {error}", samples.display()));
        connection
            .execute(AssertSqlSafe(samples))
            .await
            .unwrap_or_else(|error| panic!("samples of migration {}: {error}", migration.version));
    }
    connection
}

#[tokio::test]
async fn every_migration_runs_over_the_samples_of_those_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("samples.db");
    let mut connection = migrated_over_samples(&database).await;
    let tables = sqlx::query("select name, strict from pragma_table_list where type = 'table' and schema = 'main'")
        .fetch_all(&mut connection)
        .await
        .expect("tables");
    for table in tables {
        let (name, strict): (String, i64) = (table.get(0), table.get(1));
        if name.starts_with("sqlite_") || name.starts_with("_sqlx") {
            continue;
        }
        assert_eq!(strict, 1, "{name} is not strict");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {name}")))
            .fetch_one(&mut connection)
            .await
            .expect("a number");
        assert!(rows > 0, "no sample fills {name}");
    }
    let broken = sqlx::query("pragma foreign_key_check").fetch_all(&mut connection).await.expect("a check");
    assert_eq!(broken.len(), 0, "foreign keys");
    let health: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await.expect("a check");
    assert_eq!(health, "ok");
}

#[tokio::test]
async fn the_store_reads_what_the_samples_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("samples.db");
    migrated_over_samples(&database).await.close().await.expect("closed");
    let store = Store::open(&database, Timestamp::from_ms(0)).await.expect("a store");
    let facts = store.facts_after(0, None).await.expect("facts");
    assert_eq!(facts.len(), 11);
    assert!(facts.is_sorted_by_key(|fact| fact.recorded_at));
}

#[tokio::test]
async fn every_migration_says_what_it_models() {
    let migrator = Migrator::new(migrations()).await.expect("migrations");
    for (index, migration) in migrator.iter().enumerate() {
        assert_eq!(migration.version, i64::try_from(index).expect("few") + 1, "versions are dense");
        assert!(migration.sql.as_str().starts_with("-- "), "migration {} opens with a comment", migration.version);
    }
}

/// What a schema refuses, over the samples.
#[tokio::test]
async fn the_schema_refuses_nonsense() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut connection = migrated_over_samples(&folder.path().join("samples.db")).await;
    for (what, statement) in [
        ("a node without a control plane", "insert into node (id, control_plane_id, name) values (9, 9, 'n')"),
        ("a node twice", "insert into node (id, control_plane_id, name) values (9, 1, 'node-1')"),
        (
            "a hash of 31 characters",
            "insert into config (id, form, name) values (9, 'hash', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
        ),
        ("a set that is no JSON", "insert into attribute_set (id, digest, body) values (9, zeroblob(16), '{')"),
        ("a run that ends before it begins", "update report_open set until_ms = from_ms - 1"),
        ("a run without a report", "update report_open set reports = 0"),
        ("a text where a number belongs", "update report_closed set from_ms = 'now'"),
        ("a run that goes on after it was closed", "update report_closed set touched_sequence = id + 1"),
        ("a word of another kind", "update word set said = 'guessed'"),
        ("an event of another kind", "update event set kind = 'noise'"),
        ("a source that we do not know", "update event set source_id = 99"),
        ("two rows of progress", "update progress set only = 2"),
        ("a control plane that goes before its nodes", "delete from control_plane"),
        ("a set that goes before its runs", "delete from attribute_set"),
    ] {
        assert!(connection.execute(statement).await.is_err(), "{what}");
    }
}
