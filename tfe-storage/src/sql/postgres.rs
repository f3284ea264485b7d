//! Opening a `PostgreSQL` database.

use std::time::Duration;

use sqlx::{
    PgPool, Postgres,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tfe_core::record::Kind;

use super::{
    SqlStore,
    outage::{self, Patience},
    schema,
};
use crate::error::{Error, Result};

/// Connections of one process unless told otherwise; a server allows a hundred by default, for all processes together.
pub const DEFAULT_CONNECTIONS: u32 = 16;
/// Fewest connections: one for reads, one for commits.
pub const MIN_CONNECTIONS: u32 = 2;
/// How long a call waits for a free connection before it counts as an outage.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read may take: lists have indexes, so one that takes longer does harm and no good.
const READ_TIMEOUT: (&str, &str) = ("statement_timeout", "10s");
/// How long a write may take, so that a lost lock cannot hold up a process for ever.
const WRITE_TIMEOUT: (&str, &str) = ("statement_timeout", "30s");
/// How long a transaction may be idle, so that a process that hangs cannot hold up the others for ever.
const IDLE_TIMEOUT: (&str, &str) = ("idle_in_transaction_session_timeout", "30s");

impl SqlStore<Postgres> {
    /// Connects to the database and brings its schema up to the kinds, while others go on working with it. Version 15 or newer.
    /// A third of the connections is for commits alone, so that no storm of lists can keep runs from moving.
    pub async fn connect(options: PgConnectOptions, connections: u32, kinds: &[&'static Kind]) -> Result<Self> {
        let options = options.application_name("tfe");
        let writers = (connections / 3).max(1);
        let readers = connections.saturating_sub(writers).max(1);
        let read = pool(readers).connect_lazy_with(options.clone().options([READ_TIMEOUT, IDLE_TIMEOUT]));
        let write = first_connection(writers, options.options([WRITE_TIMEOUT, IDLE_TIMEOUT])).await?;
        schema::online::reconcile(&write, kinds).await?;
        Ok(Self { read, write })
    }
}

/// A pool that reached the database once. One that is away is waited for, since they may be starting together; one
/// that says no is not.
async fn first_connection(connections: u32, options: PgConnectOptions) -> Result<PgPool> {
    let mut patience = Patience::new();
    loop {
        match pool(connections).connect_with(options.clone()).await {
            Err(error) if outage::is_outage(&error) && patience.wait().await => {}
            connected => return connected.map_err(Error::unavailable),
        }
    }
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT)
}
