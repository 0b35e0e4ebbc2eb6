//! Keeps `.sqlx` in step with the migrations and the queries: the server compiles from it, without a database.
//!
//! It applies the migrations to an empty file, compiles the server against that file, and takes what the query macros
//! write down. A crate of its own, because the server cannot compile while `.sqlx` is behind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use sqlx::{Connection, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};

const HELP: &str = "\
cargo schema check    says whether .sqlx is what the queries and migrations make of it
cargo schema write    makes it so";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("check") => check().await,
        Some("write") => write().await,
        _ => {
            println!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("schema: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn check() -> anyhow::Result<()> {
    let root = root()?;
    let made = queries_in(&regenerate(&root).await?)?;
    let committed = queries_in(&root.join(".sqlx"))?;
    if made == committed {
        println!("schema: {} queries are as .sqlx has them", made.len());
        return Ok(());
    }
    for name in made.keys().filter(|name| !committed.contains_key(*name)) {
        println!("schema: .sqlx lacks {name}");
    }
    for name in committed.keys().filter(|name| !made.contains_key(*name)) {
        println!("schema: .sqlx has {name}, and no query makes it");
    }
    for (name, _) in made.iter().filter(|(name, text)| committed.get(*name).is_some_and(|other| other != *text)) {
        println!("schema: .sqlx has another {name}");
    }
    bail!("run `make sqlx` and commit .sqlx")
}

async fn write() -> anyhow::Result<()> {
    let root = root()?;
    let made = queries_in(&regenerate(&root).await?)?;
    let committed = root.join(".sqlx");
    fs::create_dir_all(&committed).with_context(|| format!("cannot make {}", committed.display()))?;
    for name in queries_in(&committed)?.keys().filter(|name| !made.contains_key(*name)) {
        fs::remove_file(committed.join(name)).with_context(|| format!("cannot remove {name}"))?;
    }
    for (name, text) in &made {
        fs::write(committed.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    println!("schema: {} queries are in .sqlx", made.len());
    Ok(())
}

/// Compiles the server against a fresh schema, and returns the folder with what its query macros wrote.
async fn regenerate(root: &Path) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let folder = target.join("schema");
    let queries = folder.join("queries");
    let stamp = folder.join("made-from");
    let sources = digest_of_sources(root)?;
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == sources) {
        return Ok(queries);
    }

    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&queries).with_context(|| format!("cannot make {}", queries.display()))?;
    let database = folder.join("schema.db");
    migrate(&root.join("migrations"), &database).await?;

    // The digest is a flag of this one compilation, so that it happens whenever a source changed, and cargo keeps the
    // result apart from that of every other command.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["rustc", "--quiet", "--locked", "--package", "tidemark", "--lib", "--profile", "check", "--"])
        .args(["--cap-lints", "allow", "--cfg"])
        .arg(format!("schema=\"{sources}\""))
        .env("DATABASE_URL", format!("sqlite:{}", database.display()))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &queries)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the server does not compile against the schema that the migrations make");
    }
    fs::write(&stamp, sources).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(queries)
}

async fn migrate(migrations: &Path, database: &Path) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.context("cannot make the schema's database")?;
    let migrator = Migrator::new(migrations).await.context("cannot read the migrations")?;
    migrator.run(&mut connection).await.context("a migration failed on an empty database")?;
    connection.close().await.context("cannot close the schema's database")
}

/// What the queries are made from: the migrations, and every source that may hold one.
fn digest_of_sources(root: &Path) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    let mut folders = vec![root.join("migrations"), root.join("server/src")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else {
                digest.update(path.strip_prefix(root)?.to_string_lossy().as_bytes());
                digest.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
            }
        }
    }
    Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The stored queries of a folder by file name; none where there is no folder.
fn queries_in(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    if !folder.is_dir() {
        return Ok(BTreeMap::new());
    }
    let mut queries = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {name}"))?;
            queries.insert(name, text);
        }
    }
    Ok(queries)
}

/// The root of the workspace: this crate sits two folders below it.
fn root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").context("run this by `cargo schema`")?);
    Ok(here.ancestors().nth(2).context("this crate moved: it expects to be in server/schema")?.to_path_buf())
}
