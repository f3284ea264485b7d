//! Opening a `PostgreSQL` database.

use std::time::Duration;

use sqlx::{
    Postgres,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tfe_core::record::Kind;

use super::SqlStore;
use crate::error::{Error, Result};

/// Connections of one process; a server allows a hundred by default, for all processes together.
const CONNECTIONS: u32 = 16;
/// How long a call waits for a free connection before it says that the store is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement may take, so that a lost lock cannot hold up a process for ever.
const STATEMENT_TIMEOUT: (&str, &str) = ("statement_timeout", "30s");
/// How long a transaction may be idle, so that a process that hangs cannot hold up the others for ever.
const IDLE_TIMEOUT: (&str, &str) = ("idle_in_transaction_session_timeout", "30s");

impl SqlStore<Postgres> {
    /// Connects to the database and brings its schema up to the kinds. Version 15 or newer.
    pub async fn connect(options: PgConnectOptions, kinds: &[&'static Kind]) -> Result<Self> {
        let options = options.application_name("tfe").options([STATEMENT_TIMEOUT, IDLE_TIMEOUT]);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = pool.connect_with(options).await.map_err(Error::unavailable)?;
        Self::prepared(pool.clone(), pool, kinds).await
    }
}
