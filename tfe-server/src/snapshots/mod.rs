//! Snapshots of this installation: taking them, trying them, removing them, and starting from one.
//!
//! The storage library knows how; here is what the operator chose, when, and what follows.

mod drill;
mod fenced;
mod keeper;
mod restore;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::ObjectStore;
use tfe_core::{KINDS, agent::AGENTS, duty::DUTIES, node::NODES, record::Kind, secret::Secret, time::Clock, time::Timestamp};
use tfe_storage::{
    Vault,
    migrate::Place,
    open_objects,
    snapshot::{
        self, Choice, CreateOptions, JournalHealth, JournaledStore, Listed, Manifest, Owner, Pruned, Repository, RepositorySecret,
        SnapshotError, SnapshotProgress,
    },
};

pub use self::{
    drill::{Drilled, drill},
    keeper::run,
    restore::{RestoreOnBoot, Restorer, restore, restore_on_boot},
};
use crate::{
    configuration::{Configuration, Objects, SnapshotSettings},
    system::SystemClock,
};

/// Snapshots of an installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    place: Place,
    journal: Option<Arc<JournaledStore>>,
    settings: SnapshotSettings,
    secret: RepositorySecret,
    configuration: Secret,
    standing: Mutex<Standing>,
    /// Snapshots are taken one after another.
    turn: tokio::sync::Mutex<()>,
}

/// How snapshots are, as far as this process knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The moment of the newest snapshot.
    pub taken_at: Option<Timestamp>,
    /// The moment of the newest that was restored for trial, and when that was.
    pub verified: Option<(Timestamp, Timestamp)>,
    /// Since when there is something to be tried that was not: the moment of the oldest snapshot, if none was ever.
    pub untried_since: Option<Timestamp>,
    /// Why the snapshots could not be looked at.
    pub look_error: Option<String>,
    /// Why the last snapshot failed.
    pub snapshot_error: Option<String>,
    /// When the last trial failed, and why, unless one went well since, wherever that was.
    pub drill_error: Option<(Timestamp, String)>,
}

impl Standing {
    /// What does not work, if anything does not.
    pub fn error(&self) -> Option<&str> {
        let drill_error = self.drill_error.as_ref().map(|(_, reason)| reason);
        [self.look_error.as_ref(), self.snapshot_error.as_ref(), drill_error].into_iter().flatten().next().map(String::as_str)
    }

    /// Notes the moment of one that was tried and is good, and when that was.
    fn note_verified(&mut self, verified: (Timestamp, Timestamp)) {
        self.verified = Some(verified);
        self.drill_error.take_if(|(failed_at, _)| *failed_at < verified.1);
    }
}

/// The kinds that snapshots hold: all but who works on what now, which means nothing elsewhere.
pub fn kinds() -> Vec<&'static Kind> {
    let transient = [DUTIES.name, NODES.name, AGENTS.name];
    KINDS.iter().copied().filter(|kind| !transient.contains(&kind.name)).collect()
}

impl Snapshots {
    /// Those of the configuration, of the installation in `place`; none if there is no place for them. `journal` is its store, if that notes what is committed.
    pub fn new(configuration: &Configuration, place: Place, journal: Option<Arc<JournaledStore>>) -> Option<Self> {
        let settings = configuration.snapshots.clone();
        settings.objects.as_ref()?;
        let secret = secret(&settings, &place.vault);
        let (configuration, standing) = (configuration.file.clone(), Mutex::default());
        Some(Self(Arc::new(Parts { place, journal, settings, secret, configuration, standing, turn: tokio::sync::Mutex::new(()) })))
    }

    /// Where they are kept, made if it is missing.
    pub async fn repository(&self) -> Result<Repository, SnapshotError> {
        Repository::open_or_create(objects(&self.0.settings)?, &self.0.secret).await
    }

    /// Takes one now.
    pub async fn create(&self, progress: SnapshotProgress<'_>) -> Result<Manifest, SnapshotError> {
        let _turn = self.0.turn.lock().await;
        let repository = self.repository().await?;
        let options = CreateOptions {
            clock: &SystemClock,
            program: env!("CARGO_PKG_VERSION"),
            configuration: Some(self.0.configuration.expose().as_bytes()),
            takes_over: false,
        };
        let manifest = snapshot::create(&repository, &self.0.place, &kinds(), &options, progress).await?;
        if let (Some(journal), Some(position)) = (&self.0.journal, &manifest.journal) {
            journal.covered(position);
        }
        self.standing().taken_at = Some(manifest.created_at);
        Ok(manifest)
    }

    /// All, newest first.
    pub async fn list(&self) -> Result<Vec<Listed>, SnapshotError> {
        self.repository().await?.list().await
    }

    /// Notes the moment of the newest of this installation that can be read, and when one was tried last, whoever took and tried them.
    /// Where there is a journal, one that it does not lead on from was taken by hand and stands for none of the schedule's.
    pub(crate) async fn look(&self) -> Result<(), SnapshotError> {
        let repository = self.repository().await?;
        let owner = Owner::of(&*self.0.place.store).await?;
        let taken_at = repository.newest_of(&owner, self.0.journal.is_some()).await?.map(|newest| newest.created_at);
        let verified = repository.verified().await?.map(|verified| (verified.reached, verified.at));
        let untried_since = if verified.is_none() { oldest_moment(&repository).await? } else { None };
        let mut standing = self.standing();
        standing.taken_at = taken_at.or(standing.taken_at);
        // One that could not be noted is known here alone.
        if let Some(verified) = [verified, standing.verified].into_iter().flatten().max_by_key(|(_, at)| *at) {
            standing.note_verified(verified);
        }
        standing.untried_since = untried_since;
        Ok(())
    }

    /// Restores one into scratch space and looks at everything.
    pub async fn verify(&self, choice: &Choice, progress: SnapshotProgress<'_>) -> Result<Drilled, SnapshotError> {
        let drilled = drill(&self.repository().await?, choice, progress).await?;
        if *choice == Choice::Newest {
            self.standing().note_verified((drilled.reached, SystemClock.now()));
        }
        Ok(drilled)
    }

    /// Removes those that the operator does not want to keep.
    pub async fn prune(&self) -> Result<Pruned, SnapshotError> {
        let (retention, repository) = (self.0.settings.retention, self.repository().await?);
        repository.claim(&Owner::of(&*self.0.place.store).await?).await?;
        snapshot::prune(&repository, SystemClock.now(), |all| kept(&retention, all)).await
    }

    /// How they are, as far as this process knows.
    pub fn known(&self) -> Standing {
        self.standing().clone()
    }

    /// How the journal between them is, if there is one.
    pub fn journal(&self) -> Option<JournalHealth> {
        self.0.journal.as_ref().map(|journal| journal.health())
    }

    /// Notes that a process before this one may have committed something until now.
    pub fn predecessor_may_have_committed(&self) {
        if let Some(journal) = &self.0.journal {
            journal.doubt();
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The moment of the oldest that can be read.
async fn oldest_moment(repository: &Repository) -> Result<Option<Timestamp>, SnapshotError> {
    for id in repository.ids().await?.iter().rev() {
        if let Ok(manifest) = repository.manifest(id).await {
            return Ok(Some(manifest.created_at));
        }
    }
    Ok(None)
}

/// What the operator's rules keep of these.
pub fn kept(retention: &tfe_core::retention::Retention, all: &[(String, Timestamp)]) -> std::collections::HashSet<String> {
    let times: Vec<_> = all.iter().map(|(_, time)| *time).collect();
    retention.kept(&times).into_iter().map(|place| all[place].0.clone()).collect()
}

/// What opens snapshots: the password, or the vault of the installation if it has no keyring of its own.
pub fn secret(settings: &SnapshotSettings, vault: &Arc<dyn Vault>) -> RepositorySecret {
    match &settings.password {
        Some(password) => RepositorySecret::Password(password.clone()),
        None => RepositorySecret::Vault(vault.clone()),
    }
}

/// Where the configured snapshots are.
fn objects(settings: &SnapshotSettings) -> Result<Arc<dyn ObjectStore>, SnapshotError> {
    let Objects { url, options } = settings.objects.as_ref().ok_or(SnapshotError::NoRepository)?;
    Ok(open_objects(url, options)?)
}
