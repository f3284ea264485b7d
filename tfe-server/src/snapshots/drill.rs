//! Restoring for trial: into scratch space, where every record, reference and digest is looked at, and every state's history.

use std::collections::BTreeMap;

use tfe_core::{
    KINDS,
    agent::AgentPool,
    blob::Blob,
    configuration::ConfigurationVersion,
    engine_version::EngineVersion,
    event::RunEvent,
    installation::Installation,
    job::Job,
    log::LogChunk,
    organization::{Membership, Organization, Project},
    record::Record,
    rewrap::Rewrap,
    run::Run,
    state_version::{StateOutput, StateStatus, StateVersion},
    time::{Clock, Timestamp},
    user::{AuthorizationCode, Session, Token, User},
    variable::Variable,
    workspace::Workspace,
};
use tfe_storage::{
    MemoryVault, Query, Store, StoreExt,
    migrate::Place,
    open_objects, open_store,
    snapshot::{Choice, Repository, SnapshotError, SnapshotProgress, Verified, verify},
};

use super::kinds;
use crate::{error::chain, system::SystemClock};

/// What a trial found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// The snapshot.
    pub snapshot: String,
    /// The moment that a restore would reach.
    pub reached: Timestamp,
    /// How many records were restored.
    pub records: u64,
    /// How many blobs were read to their end.
    pub blobs: u64,
    /// How many commits of the journal followed.
    pub commits: u64,
    /// How many histories of states were looked at.
    pub states: u64,
}

/// How often the newest is tried while newer ones are made: each try reads all of it.
const MAX_ATTEMPTS: u32 = 3;

/// Restores for trial. Records go into a database in a temporary directory, which is removed in the end; blobs are read and not
/// kept. That the newest is good is noted with the snapshots.
pub async fn drill(repository: &Repository, choice: &Choice, progress: SnapshotProgress<'_>) -> Result<Drilled, SnapshotError> {
    for _ in 1..MAX_ATTEMPTS {
        match attempt(repository, choice, progress).await {
            Err(SnapshotError::Busy(reason)) => tracing::info!(reason, "trying the newest snapshot again"),
            tried => return tried,
        }
    }
    attempt(repository, choice, progress).await
}

async fn attempt(repository: &Repository, choice: &Choice, progress: SnapshotProgress<'_>) -> Result<Drilled, SnapshotError> {
    let scratch = tempfile::tempdir().map_err(tfe_storage::Error::unavailable)?;
    let store = open_store(&format!("sqlite:{}", scratch.path().join("records.sqlite").display()), KINDS).await?;
    let vault = MemoryVault::new().map_err(SnapshotError::Secret)?;
    let place = Place { store: store.clone(), objects: open_objects("memory:", &[])?, vault: std::sync::Arc::new(vault) };
    let restored = verify(repository, &place, &kinds(), choice, progress).await?;
    if let Some(cut) = restored.journal_cut {
        // Where the journal has a gap a snapshot follows at once, which nobody needs to bridge the gap for.
        if *choice == Choice::Newest && repository.ids().await?.first().is_some_and(|newest| *newest != restored.snapshot.id) {
            return Err(SnapshotError::Busy("a newer snapshot was made meanwhile"));
        }
        return Err(SnapshotError::Inconsistent(format!("the journal after it does not lead to its end: {cut}")));
    }
    read_all(&*store).await?;
    let states = histories(&*store).await?;
    let (snapshot, reached) = (restored.snapshot.id, restored.reached);
    if *choice == Choice::Newest {
        note(repository, Verified { at: SystemClock.now(), snapshot: snapshot.clone(), reached }).await;
    }
    Ok(Drilled { snapshot, reached, records: restored.records, blobs: restored.blobs, commits: restored.commits, states })
}

/// A snapshot is no worse for it if this fails, and whoever tries it may have no right to write there.
async fn note(repository: &Repository, verified: Verified) {
    if let Err(error) = repository.note_verified(&verified).await {
        tracing::warn!(error = chain(&error), "that the newest snapshot is good could not be noted with the snapshots");
    }
}

/// Reads all records of these types, each of which must be one that this program understands.
macro_rules! read_all {
    ($($type:ty),* $(,)?) => {
        async fn read_all(store: &dyn Store) -> Result<(), SnapshotError> {
            $({
                let mut after: Option<String> = None;
                while page::<$type>(store, &mut after).await?.is_some() {}
            })*
            Ok(())
        }

        #[cfg(test)]
        static READ: &[&str] = &[$(<$type as Record>::KIND.name),*];
    };
}

read_all!(
    AgentPool,
    AuthorizationCode,
    Blob,
    ConfigurationVersion,
    EngineVersion,
    Installation,
    Job,
    LogChunk,
    Membership,
    Organization,
    Project,
    Rewrap,
    Run,
    RunEvent,
    Session,
    StateOutput,
    StateVersion,
    Token,
    User,
    Variable,
    Workspace,
);

/// A state in the history of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    created_at: Timestamp,
    serial: u64,
    md5: String,
    forced: Option<bool>,
    id: String,
}

/// No state takes the serial of the one before it, and what a workspace calls its current state is one of its own.
async fn histories(store: &dyn Store) -> Result<u64, SnapshotError> {
    let mut workspaces = BTreeMap::<_, BTreeMap<String, Vec<Link>>>::new();
    let mut after: Option<String> = None;
    while let Some(page) = page::<StateVersion>(store, &mut after).await? {
        // What was announced and never came is in no history.
        for version in page.into_iter().filter(|version| version.status == StateStatus::Finalized) {
            let StateVersion { id, created_at, workspace_id, lineage, serial, md5, forced, .. } = version;
            let link = Link { created_at, serial, md5, forced, id: id.to_string() };
            workspaces.entry(workspace_id).or_default().entry(lineage).or_default().push(link);
        }
    }
    for history in workspaces.values_mut().flat_map(BTreeMap::values_mut) {
        if let Some(Link { serial, id, .. }) = doubled(history) {
            return Err(SnapshotError::Inconsistent(format!("the serial {serial} of state_versions {id} is there twice")));
        }
    }
    let mut after: Option<String> = None;
    while let Some(page) = page::<Workspace>(store, &mut after).await? {
        for workspace in page {
            let current = workspace.current_state_version_id.as_ref().map(ToString::to_string);
            let is_known = match &current {
                None => true,
                Some(id) => store.find::<StateVersion>(id).await?.is_some_and(|version| version.workspace_id == workspace.id),
            };
            if !is_known {
                return Err(SnapshotError::Inconsistent(format!("workspaces {} has a state that is not there", workspace.id)));
            }
        }
    }
    Ok(workspaces.len() as u64)
}

/// A state with the serial of the one before it in time and another content, which nobody can want without forcing it. Further
/// apart the same serial may be there twice: whoever forces an older one lets serials begin there again.
fn doubled(history: &mut [Link]) -> Option<&Link> {
    history.sort_unstable();
    let is_doubled = |pair: &&[Link]| pair[0].serial == pair[1].serial && pair[0].md5 != pair[1].md5 && pair[1].forced == Some(false);
    history.windows(2).find(is_doubled).map(|pair| &pair[1])
}

/// The next records; each must be one that this program reads.
async fn page<T: Record>(store: &dyn Store, after: &mut Option<String>) -> Result<Option<Vec<T>>, SnapshotError> {
    let records = store.list::<T>(Query::by_id(T::KIND, after.as_deref(), tfe_storage::MAX_PAGE)).await?.items;
    let records: Vec<T> = records.into_iter().map(tfe_storage::Versioned::into_record).collect();
    *after = records.last().map(|record| record.key().to_owned());
    Ok(Some(records).filter(|records| !records.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(seconds: i64, serial: u64, md5: &str, forced: Option<bool>) -> Link {
        Link { created_at: Timestamp::from_millis(1000 * seconds), serial, md5: md5.to_owned(), forced, id: format!("sv-{seconds}") }
    }

    #[test]
    fn a_serial_that_was_taken_is_seen_and_one_that_was_forced_is_not() {
        let mut history = vec![link(3, 2, "c", Some(false)), link(1, 1, "a", Some(false)), link(2, 2, "b", Some(false))];
        assert_eq!(doubled(&mut history).map(|link| link.id.as_str()), Some("sv-3"));
        history[2].forced = Some(true);
        assert_eq!(doubled(&mut history), None);
        history[2].forced = None;
        assert_eq!(doubled(&mut history), None, "of before it was noted");
        let mut again = vec![link(1, 3, "a", Some(false)), link(2, 4, "b", Some(false)), link(3, 3, "c", Some(true))];
        again.push(link(4, 4, "d", Some(false)));
        assert_eq!(doubled(&mut again), None, "serials begin again where an older one was forced");
        assert_eq!(doubled(&mut [link(1, 1, "a", Some(false)), link(2, 1, "a", Some(false))]), None, "the same content came twice");
    }

    #[test]
    fn every_kind_of_a_snapshot_is_read() {
        let unread: Vec<_> = kinds().into_iter().map(|kind| kind.name).filter(|name| !READ.contains(name)).collect();
        assert_eq!(unread, [tfe_core::keyring::KEYRINGS.name], "a keyring opens its own store's values and is in no snapshot");
    }
}
