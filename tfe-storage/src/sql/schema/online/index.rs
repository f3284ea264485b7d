//! Indexes that are built beside the writers.

use super::{failure, session::Session, turns::Turns};
use crate::{
    error::Result,
    sql::{
        outage,
        schema::parts::{Index, Part},
    },
};

/// What there is under an index's name.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Missing,
    /// What is left of a build that was cut off: it costs, and serves nobody.
    Broken,
    /// Built by a process that was killed before it could note that.
    Built,
}

/// Builds an index, which waits for transactions that began before it, and notes it.
pub(super) async fn build(session: &mut Session, part: &Part, index: &Index) -> Result<()> {
    let mut turns = Turns::new(&index.name);
    loop {
        match state(session, index).await? {
            State::Built => return session.note(&part.name, &part.definition).await,
            State::Broken => drop_broken(session, index).await?,
            State::Missing => {}
        }
        tracing::info!(index = index.name, "building an index");
        match session.at_length(index.sql(part.table, "CONCURRENTLY ")).await {
            Err(error) if failure::is_contention(&error) => turns.next(error).await?,
            Err(error) if failure::is_violation(&error) => {
                // It would go on refusing what older programs write.
                drop_broken(session, index).await?;
                return Err(failure::violated(&part.name, &error));
            }
            built => built?,
        }
    }
}

async fn drop_broken(session: &mut Session, index: &Index) -> Result<()> {
    session.at_length(format!("DROP INDEX CONCURRENTLY IF EXISTS \"{}\"", index.name)).await
}

async fn state(session: &mut Session, index: &Index) -> Result<State> {
    let asked = sqlx::query_scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)")
        .bind(format!("\"{}\"", index.name))
        .fetch_optional(session.connection());
    let is_valid: Option<bool> = outage::limited(asked).await.map_err(outage::explained)?;
    Ok(is_valid.map_or(State::Missing, |is_valid| if is_valid { State::Built } else { State::Broken }))
}
