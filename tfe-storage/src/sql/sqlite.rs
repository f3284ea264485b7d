//! Opening a `SQLite` file.

use std::{fs::OpenOptions, io, path::Path, time::Duration};

use sqlx::{
    Pool, Sqlite,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tfe_core::record::Kind;

use super::{SqlStore, schema};
use crate::{
    error::{Error, Result},
    fail_point::{MIGRATION_ADDING, MIGRATION_COMMITTED, MIGRATION_COMMITTING, MIGRATION_CREATED, MIGRATION_OPENED},
};

/// Connections for reads. Reads take well under a millisecond, so a few serve thousands a second.
const READERS: u32 = 4;
/// How long a statement waits for another process that writes, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl SqlStore<Sqlite> {
    /// Opens the file, made with mode 0600 if it is missing, and brings its schema up to the kinds. The file must
    /// be on a local disk: the write-ahead log needs shared memory.
    pub async fn open(path: &Path, kinds: &[&'static Kind]) -> Result<Self> {
        create(path).map_err(|error| Error::unavailable(io::Error::new(error.kind(), format!("{}: {error}", path.display()))))?;
        MIGRATION_CREATED.reach();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk when it returns. NORMAL could lose the last ones when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // One writer with a fair queue before it: several would wait for each other by sleeping and guessing.
        let write = pool(1).connect_with(options.clone()).await.map_err(Error::unavailable)?;
        let read = pool(READERS).connect_with(options.read_only(true)).await.map_err(Error::unavailable)?;
        MIGRATION_OPENED.reach();
        watch(&write).await?;
        schema::reconcile(&write, kinds).await?;
        MIGRATION_COMMITTED.reach();
        Ok(Self { read, write })
    }
}

/// Reaches the points within the transaction that adds to the schema, which is the first to commit anything.
async fn watch(write: &Pool<Sqlite>) -> Result<()> {
    if !MIGRATION_ADDING.is_asked_for() && !MIGRATION_COMMITTING.is_asked_for() {
        return Ok(());
    }
    let mut connection = write.acquire().await.map_err(Error::unavailable)?;
    let mut handle = connection.lock_handle().await.map_err(Error::unavailable)?;
    handle.set_update_hook(|_| MIGRATION_ADDING.reach());
    handle.set_commit_hook(|| {
        MIGRATION_COMMITTING.reach();
        true
    });
    Ok(())
}

fn pool(connections: u32) -> SqlitePoolOptions {
    // A connection to a file does not go away while nobody looks, so none is tried before it is used.
    SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None).test_before_acquire(false)
}

/// Makes the file private before anything is in it; `SQLite` gives its other files the same mode.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
