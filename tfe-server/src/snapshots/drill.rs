//! Restoring for trial: into scratch space, where every record, reference and digest is looked at, and every state's history.

use std::collections::BTreeSet;

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
    state_version::{StateOutput, StateVersion},
    time::Timestamp,
    user::{AuthorizationCode, Session, Token, User},
    variable::Variable,
    workspace::Workspace,
};
use tfe_storage::{
    MemoryVault, Query, Store, StoreExt,
    migrate::Place,
    open_objects, open_store,
    snapshot::{Choice, Repository, SnapshotError, SnapshotProgress, verify},
};

use super::kinds;

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

/// Restores for trial. Records go into a database in a temporary directory, which is removed in the end; blobs are read and not
/// kept.
pub async fn drill(repository: &Repository, choice: &Choice, progress: SnapshotProgress<'_>) -> Result<Drilled, SnapshotError> {
    let scratch = tempfile::tempdir().map_err(tfe_storage::Error::unavailable)?;
    let store = open_store(&format!("sqlite:{}", scratch.path().join("records.sqlite").display()), KINDS).await?;
    let vault = MemoryVault::new().map_err(SnapshotError::Secret)?;
    let place = Place { store: store.clone(), objects: open_objects("memory:", &[])?, vault: std::sync::Arc::new(vault) };
    let restored = verify(repository, &place, &kinds(), choice, progress).await?;
    if let Some(cut) = restored.journal_cut {
        return Err(SnapshotError::Inconsistent(format!("the journal after it does not lead to its end: {cut}")));
    }
    read_all(&*store).await?;
    let states = histories(&*store).await?;
    Ok(Drilled {
        snapshot: restored.snapshot.id,
        reached: restored.reached,
        records: restored.records,
        blobs: restored.blobs,
        commits: restored.commits,
        states,
    })
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

/// No serial of a lineage is there twice, and what a workspace calls its current state is one of its own.
async fn histories(store: &dyn Store) -> Result<u64, SnapshotError> {
    let mut known = BTreeSet::new();
    let mut workspaces = BTreeSet::new();
    let mut after: Option<String> = None;
    while let Some(page) = page::<StateVersion>(store, &mut after).await? {
        for version in page {
            let StateVersion { id, workspace_id, lineage, serial, md5, .. } = version;
            workspaces.insert(workspace_id.clone());
            if !known.insert((workspace_id, lineage, serial, md5)) {
                return Err(SnapshotError::Inconsistent(format!("the serial {serial} of state_versions {id} is there twice")));
            }
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

    #[test]
    fn every_kind_of_a_snapshot_is_read() {
        let unread: Vec<_> = kinds().into_iter().map(|kind| kind.name).filter(|name| !READ.contains(name)).collect();
        assert_eq!(unread, [tfe_core::keyring::KEYRINGS.name], "a keyring opens its own store's values and is in no snapshot");
    }
}
