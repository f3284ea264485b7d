//! State versions: announced, filled, made current; by people and by runs.
//!
//! The content is written to the blob store first. Then one commit makes it count: the version, its outputs, and the
//! workspace's pointer to it, against the workspace's version that the decision was made on.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tfe_core::{
    blob::Blob,
    error::{Invalid, Refused},
    id::Id,
    run::Run,
    state::{self, Accepted, Current, MAX_OUTPUTS, StateFile, Upload},
    state_version::{StateOutput, StateResource, StateStatus, StateVersion},
    user::User,
    workspace::Workspace,
};
use tfe_storage::{Batch, Error, Query, StoreExt, Versioned};

use super::{fence::Fence, runs::run_topic, state_reader};
use crate::{app::App, error::ApiError};

/// How often a commit is decided anew because something changed in between.
const MAX_ATTEMPTS: u32 = 20;

/// A state that is about to come.
#[derive(Debug, Clone)]
pub(crate) struct NewState {
    pub(crate) serial: u64,
    pub(crate) lineage: Option<String>,
    pub(crate) md5: String,
    /// Whether an older serial or another lineage is meant.
    pub(crate) force: bool,
    pub(crate) run_id: Option<Id<Run>>,
    pub(crate) created_by: Option<Id<User>>,
    pub(crate) rolled_back_from: Option<Id<StateVersion>>,
}

/// Announces a state version, whose content comes later. Announcing the present one again gives that one.
pub(crate) async fn announce(app: &App, workspace: &Workspace, new: NewState) -> Result<StateVersion, ApiError> {
    let current = current(app, workspace).await?;
    let upload = Upload { serial: new.serial, lineage: new.lineage.clone(), md5: new.md5.clone(), force: new.force };
    let known =
        current.as_ref().map(|version| Current { serial: version.serial, lineage: version.lineage.clone(), md5: version.md5.clone() });
    if let (Accepted::AlreadyStored, Some(current)) = (state::check_upload(known.as_ref(), &upload)?, &current) {
        return Ok(current.record.clone());
    }
    let lineage = new.lineage.or_else(|| current.as_ref().map(|version| version.lineage.clone())).unwrap_or_default();
    let version = StateVersion { created_by: new.created_by, rolled_back_from: new.rolled_back_from, ..empty(app, workspace, new.run_id) };
    let version = StateVersion { serial: new.serial, lineage, md5: new.md5, forced: Some(new.force), ..version };
    app.store.commit(Batch::new().insert(&version)).await?;
    Ok(version)
}

/// Takes the content of an announced version and makes it the workspace's current state. The same content may come again.
pub(crate) async fn fill(
    app: &App,
    id: &str,
    content: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
) -> Result<StateVersion, ApiError> {
    let version = app.store.find::<StateVersion>(id).await?.ok_or(ApiError::NotFound)?;
    if version.status == StateStatus::Discarded {
        return Err(Refused::because("this state version was given up; make a new one").into());
    }
    let (content, file) = state_reader::read_on_the_way(content);
    let blob = app.blobs.put(app.new_id(), app.now(), content, app.settings.max_state_bytes).await?;
    let file = file.await.map_err(ApiError::internal)?;
    match commit_content(app, id, &blob, &file).await {
        Ok(Some(version)) => Ok(version),
        Ok(None) => {
            discard(app, &blob).await;
            Ok(version.into_record())
        }
        Err(error) => {
            if error.had_no_effect() {
                discard(app, &blob).await;
            }
            Err(error)
        }
    }
}

/// Deletes content that nothing refers to. If that fails it is an orphan, and collected later.
async fn discard(app: &App, blob: &Blob) {
    if let Err(error) = app.blobs.delete(&blob.id).await {
        tracing::debug!(blob = %blob.id, %error, "content that was not needed stays for the collector");
    }
}

/// Makes the uploaded content count; none if the version has its content already.
async fn commit_content(app: &App, id: &str, blob: &Blob, file: &Result<StateFile, Invalid>) -> Result<Option<StateVersion>, ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let version = app.store.find::<StateVersion>(id).await?.ok_or(ApiError::NotFound)?;
        let upload = Upload { serial: version.serial, lineage: lineage_of(&version), md5: version.md5.clone(), force: false };
        let file = state::check_content(&upload, &blob.md5, file)?;
        if version.status == StateStatus::Finalized {
            return Ok(None);
        }
        let lineage = if version.lineage.is_empty() { file.lineage.clone() } else { version.lineage.clone() };
        let next = filled(StateVersion { lineage, ..version.record.clone() }, blob, file);
        let workspace = app.store.find::<Workspace>(version.workspace_id.as_str()).await?.ok_or(ApiError::NotFound)?;
        let batch = Batch::new().insert(blob).update(&version, &next).and(current_writes(app, &workspace, &next, file).await?);
        match app.store.commit(batch).await {
            Ok(()) => return Ok(Some(next)),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Busy)
}

/// When a snapshot of a run comes.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// While the run applies and holds the workspace, from the holder of its job.
    InTime(Fence),
    /// After its worker was given up and the run ended.
    Late,
}

/// Stores a snapshot that a run made while it applied. A run has one state version, which the newest snapshot fills. A late one that
/// cannot become the current state is refused, and kept as a version beside it.
pub(crate) async fn save_from_run(app: &App, run: &Run, content: Bytes, arrival: Arrival) -> Result<(), ApiError> {
    let file = StateFile::parse(&content)?;
    file.require_storable()?;
    let parts = stream::iter([Ok(content)]).boxed();
    if stored_serial(app, run).await?.is_some_and(|stored| stored >= file.serial) {
        return Ok(());
    }
    let blob = app.blobs.put(app.new_id(), app.now(), parts, app.settings.max_state_bytes).await?;
    let is_late = matches!(arrival, Arrival::Late);
    let saved = match commit_snapshot(app, run, &blob, &file, arrival).await {
        Err(ApiError::Refused(why)) if is_late => return Err(keep_aside(app, run, &blob, &file, &why).await),
        saved => saved,
    };
    match &saved {
        Ok(Some(unused)) => {
            // The state is saved; an old object that stays is collected later.
            let _ = app.blobs.delete(unused).await;
        }
        Err(error) if error.had_no_effect() => discard(app, &blob).await,
        Ok(None) | Err(_) => {}
    }
    saved.map(drop)
}

/// Commits a snapshot unless a newer one is there; gives the content that is needed no more.
async fn commit_snapshot(app: &App, run: &Run, blob: &Blob, file: &StateFile, mut arrival: Arrival) -> Result<Option<Id<Blob>>, ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let workspace = app.store.find::<Workspace>(run.workspace_id.as_str()).await?.ok_or(ApiError::NotFound)?;
        let own = of_run(app, run).await?;
        if own.as_ref().is_some_and(|version| version.serial >= file.serial) {
            return Ok(Some(blob.id.clone()));
        }
        let fenced = match &arrival {
            Arrival::InTime(_) if workspace.current_run_id.as_ref() != Some(&run.id) => {
                return Err(Refused::because("the run does not hold the workspace any more").into());
            }
            Arrival::InTime(fence) => fence.batch(),
            Arrival::Late => {
                require_untouched(app, &workspace, run, own.as_deref()).await?;
                Batch::new()
            }
        };
        let mut batch = fenced.insert(blob);
        let next = match &own {
            Some(version) => filled(version.record.clone(), blob, file),
            None => filled(
                StateVersion { intermediate: matches!(arrival, Arrival::InTime(_)), ..empty(app, &workspace, Some(run.id.clone())) },
                blob,
                file,
            ),
        };
        let next = StateVersion { serial: file.serial, lineage: file.lineage.clone(), md5: blob.md5.clone(), ..next };
        let replaced = own.as_ref().and_then(|version| version.content.clone());
        batch = match &own {
            Some(version) => batch.update(version, &next),
            None => batch.insert(&next),
        };
        if let Some(old) = &replaced
            && let Some(old) = app.store.find::<Blob>(old.as_str()).await?
        {
            batch = batch.delete(&old);
        }
        match app.store.commit(batch.and(current_writes(app, &workspace, &next, file).await?)).await {
            Ok(()) => return Ok(replaced),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Arrival::InTime(fence) = &mut arrival {
            fence.renew(app).await?;
        }
    }
    Err(ApiError::Busy)
}

/// Keeps a state that cannot become the current one as a version that never is, for a person to bring home, and says so in the run.
/// The answer is why it is not current and where it is.
async fn keep_aside(app: &App, run: &Run, blob: &Blob, file: &StateFile, why: &Refused) -> ApiError {
    let kept = commit_aside(app, &run.id, blob, file, why).await;
    if !matches!(&kept, Ok((_, true))) && kept.as_ref().err().is_none_or(ApiError::had_no_effect) {
        discard(app, blob).await;
    }
    match kept {
        Ok((kept, _)) => {
            tracing::error!(run = %run.id, state_version = %kept, %why, "the last state of a run came too late; it is kept");
            app.coordination.notify(&run_topic(&run.id));
            Refused(aside(&kept, why)).into()
        }
        Err(error) => error,
    }
}

/// The version that holds such a state, and whether it was just made: the same state may come again.
async fn commit_aside(
    app: &App,
    run: &Id<Run>,
    blob: &Blob,
    file: &StateFile,
    why: &Refused,
) -> Result<(Id<StateVersion>, bool), ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let run = app.store.find::<Run>(run.as_str()).await?.ok_or(ApiError::NotFound)?;
        let workspace = app.store.find::<Workspace>(run.workspace_id.as_str()).await?.ok_or(ApiError::NotFound)?;
        if let Some(known) = all_of_run(app, &run).await?.iter().find(|version| is_aside(version) && version.md5 == blob.md5) {
            return Ok((known.id.clone(), false));
        }
        let version = filled(empty(app, &workspace, Some(run.id.clone())), blob, file);
        let (serial, lineage, md5) = (file.serial, file.lineage.clone(), blob.md5.clone());
        let version = StateVersion { status: StateStatus::Discarded, serial, lineage, md5, ..version };
        let error = run.error.iter().cloned().chain([aside(&version.id, why)]).collect::<Vec<_>>().join("; ");
        let told = Run { error: Some(error), ..run.record.clone() };
        match app.store.commit(Batch::new().insert(blob).insert(&version).update(&run, &told)).await {
            Ok(()) => return Ok((version.id, true)),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Busy)
}

/// What people read about a state that was kept aside.
fn aside(version: &Id<StateVersion>, why: &Refused) -> String {
    format!(
        "its last state came too late to become the current one, since {why}; it is kept as state version {version}: download that \
         (/api/v2/state-versions/{version}/download), compare it with the current state, and bring home what is missing with \
         terraform state push"
    )
}

/// Whether the state came when another one had taken its place.
fn is_aside(version: &StateVersion) -> bool {
    version.status == StateStatus::Discarded && version.content.is_some()
}

/// A late state follows what the run began with, so nobody may have written another one since, nor be about to.
async fn require_untouched(app: &App, workspace: &Workspace, run: &Run, own: Option<&StateVersion>) -> Result<(), ApiError> {
    if workspace.current_run_id.is_some() || workspace.lock.is_some() {
        return Err(Refused::because("another run or person has the workspace now").into());
    }
    let current = current(app, workspace).await?;
    let began = run.apply.reached.get("running").copied();
    let is_untouched = match &current {
        None => true,
        Some(current) => own.is_some_and(|own| own.id == current.id) || began.is_some_and(|began| current.created_at < began),
    };
    if is_untouched { Ok(()) } else { Err(Refused::because("the workspace has another state since").into()) }
}

/// What marks the state of a run as its last word, for the commit that ends the run.
pub(crate) async fn settled(app: &App, run: &Run) -> Result<Batch, ApiError> {
    let own = of_run(app, run).await?.filter(|version| version.intermediate);
    Ok(own.map_or_else(Batch::new, |version| {
        let last = StateVersion { intermediate: false, ..version.record.clone() };
        Batch::new().update(&version, &last)
    }))
}

/// Makes the content of an earlier version the newest state.
pub(crate) async fn roll_back(
    app: &App,
    workspace: &Workspace,
    from: &StateVersion,
    by: Option<Id<User>>,
) -> Result<StateVersion, ApiError> {
    let blob = from.content.as_ref().ok_or_else(|| Refused::because("that state version has no content to go back to"))?;
    let blob = app.store.find::<Blob>(blob.as_str()).await?.ok_or(ApiError::NotFound)?;
    let bytes = app.blobs.read_all(&blob, app.settings.max_state_bytes).await?;
    let serial = current(app, workspace).await?.map_or(from.serial, |version| version.serial) + 1;
    let bytes = Bytes::from(state::rolled_back(&bytes, serial)?);
    let new = NewState {
        serial,
        lineage: Some(from.lineage.clone()),
        md5: state::md5_hex(&bytes),
        force: true,
        run_id: None,
        created_by: by,
        rolled_back_from: Some(from.id.clone()),
    };
    let version = announce(app, workspace, new).await?;
    fill(app, version.id.as_str(), stream::iter([Ok(bytes)])).await
}

/// Gives up the versions of a workspace whose content never came.
pub(crate) async fn discard_pending(app: &App, workspace: &Id<Workspace>) -> Result<(), ApiError> {
    let pending = pending(app, workspace).await?;
    let batch = pending.iter().fold(Batch::new(), |batch, version| {
        let discarded = StateVersion { status: StateStatus::Discarded, ..version.record.clone() };
        batch.update(version, &discarded)
    });
    Ok(app.store.commit(batch).await?)
}

/// The versions of a workspace whose content is awaited.
pub(crate) async fn pending(app: &App, workspace: &Id<Workspace>) -> Result<Vec<Versioned<StateVersion>>, ApiError> {
    let query = Query::of::<StateVersion>().equals("workspace_id", workspace).equals("status", "pending");
    Ok(app.store.list::<StateVersion>(query).await?.items)
}

/// The current state version of a workspace.
pub(crate) async fn current(app: &App, workspace: &Workspace) -> Result<Option<Versioned<StateVersion>>, ApiError> {
    match &workspace.current_state_version_id {
        Some(id) => Ok(app.store.find::<StateVersion>(id.as_str()).await?),
        None => Ok(None),
    }
}

/// The writes that make a version the current one: the workspace's pointer and the outputs.
async fn current_writes(app: &App, workspace: &Versioned<Workspace>, version: &StateVersion, file: &StateFile) -> Result<Batch, ApiError> {
    let mut next = workspace.record.clone();
    next.current_state_version_id = Some(version.id.clone());
    next.resource_count = version.resources.iter().map(|resource| resource.count).sum();
    next.updated_at = app.now();
    let mut batch = Batch::new().update(workspace, &next);
    for old in outputs(app, &version.id).await? {
        batch = batch.delete(&old);
    }
    for output in &file.outputs {
        let id = app.new_id::<StateOutput>();
        let text = serde_json::to_vec(&output.value).map_err(ApiError::internal)?;
        let value = app.vault.seal(&StateOutput::VALUE.context(&id), &text).await?;
        batch = batch.insert(&StateOutput {
            id,
            created_at: app.now(),
            state_version_id: version.id.clone(),
            workspace_id: workspace.id.clone(),
            name: output.name.clone(),
            value,
            kind: output.kind().to_owned(),
            detailed_type: output.detailed_type.clone(),
            sensitive: output.sensitive,
        });
    }
    Ok(batch)
}

/// The outputs of a state version.
pub(crate) async fn outputs(app: &App, version: &Id<StateVersion>) -> Result<Vec<Versioned<StateOutput>>, ApiError> {
    super::walk::all(app, Query::of::<StateOutput>().equals("state_version_id", version), MAX_OUTPUTS as u64).await
}

/// The one version that the snapshots of a run fill.
async fn of_run(app: &App, run: &Run) -> Result<Option<Versioned<StateVersion>>, ApiError> {
    Ok(all_of_run(app, run).await?.into_iter().find(|version| !is_aside(version)))
}

/// With those that were kept aside; oldest first.
async fn all_of_run(app: &App, run: &Run) -> Result<Vec<Versioned<StateVersion>>, ApiError> {
    Ok(app.store.list::<StateVersion>(Query::of::<StateVersion>().equals("run_id", &run.id)).await?.items)
}

async fn stored_serial(app: &App, run: &Run) -> Result<Option<u64>, ApiError> {
    Ok(of_run(app, run).await?.map(|version| version.serial))
}

fn empty(app: &App, workspace: &Workspace, run_id: Option<Id<Run>>) -> StateVersion {
    StateVersion {
        id: app.new_id(),
        created_at: app.now(),
        workspace_id: workspace.id.clone(),
        run_id,
        created_by: None,
        status: StateStatus::Pending,
        serial: 0,
        lineage: String::new(),
        md5: String::new(),
        size: 0,
        content: None,
        json_content: None,
        terraform_version: None,
        intermediate: false,
        rolled_back_from: None,
        forced: Some(false),
        resources: Vec::new(),
    }
}

fn filled(version: StateVersion, blob: &Blob, file: &StateFile) -> StateVersion {
    let managed = file.resources.iter().filter(|resource| resource.mode == "managed");
    let resources = managed.map(|resource| StateResource {
        name: resource.name.clone(),
        resource_type: resource.resource_type.clone(),
        count: resource.count,
        module: resource.module.clone().unwrap_or_else(|| "root".to_owned()),
        provider: resource.provider.clone(),
    });
    StateVersion {
        status: StateStatus::Finalized,
        size: blob.size,
        content: Some(blob.id.clone()),
        terraform_version: Some(file.terraform_version.clone()),
        resources: resources.collect(),
        ..version
    }
}

fn lineage_of(version: &StateVersion) -> Option<String> {
    Some(version.lineage.clone()).filter(|lineage| !lineage.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tfe_core::run::{Event, RunOptions, Status};

    use super::*;
    use crate::{service::runs, trial::Trial};

    fn state(serial: u64) -> Bytes {
        state_with(serial, 0)
    }

    fn state_with(serial: u64, outputs: usize) -> Bytes {
        let outputs: serde_json::Map<_, _> =
            (0..outputs).map(|number| (format!("o{number}"), json!({ "value": number, "type": "number" }))).collect();
        json!({ "version": 4, "terraform_version": "1.9.0", "serial": serial, "lineage": "l", "outputs": outputs, "resources": [] })
            .to_string()
            .into()
    }

    #[tokio::test(start_paused = true)]
    async fn all_outputs_of_a_state_go_with_it_however_many_they_are() {
        let trial = Trial::new().await;
        let id = trial.workspace("app").await;
        let (run, ticket) = trial.applying(&id).await;
        for (serial, wanted) in [(1, MAX_OUTPUTS), (2, 1)] {
            let fence = Fence::of(trial.job(&ticket).await);
            save_from_run(&trial.app, &run, state_with(serial, wanted), Arrival::InTime(fence)).await.unwrap();
            let version = of_run(&trial.app, &run).await.unwrap().unwrap();
            assert_eq!(outputs(&trial.app, &version.id).await.unwrap().len(), wanted);
        }
    }

    async fn is_refused(trial: &Trial, run: &Run, serial: u64) -> String {
        match save_from_run(&trial.app, run, state(serial), Arrival::Late).await {
            Err(ApiError::Refused(why)) => why.0,
            other => panic!("it was not refused: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_that_comes_too_late_is_kept_beside_the_current_one() {
        let trial = Trial::new().await;
        let id = trial.workspace("app").await;
        let (run, ticket) = trial.applying(&id).await;
        let fence = Fence::of(trial.job(&ticket).await);
        save_from_run(&trial.app, &run, state(1), Arrival::InTime(fence)).await.unwrap();
        let settled = settled(&trial.app, &run).await.unwrap();
        runs::step(&trial.app, &run.id, &Event::RunnerLost { retry: false }, None, settled).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let next = trial.queue(&id, RunOptions::default()).await;
        assert_eq!(next.status, Status::PlanQueued, "it has the workspace");

        let why = is_refused(&trial, &run, 2).await;
        assert_eq!(is_refused(&trial, &run, 2).await, why, "the same state comes again");

        let versions = all_of_run(&trial.app, &run).await.unwrap();
        let [own, kept] = versions.as_slice() else { panic!("{versions:?}") };
        assert_eq!((own.serial, kept.serial, kept.status), (1, 2, StateStatus::Discarded));
        assert!(why.contains(kept.id.as_str()), "{why}");
        let told = trial.find(&run.id).await.record.error.unwrap();
        assert!(told.contains(kept.id.as_str()) && told.starts_with("its runner was lost"), "{told}");
        assert_eq!(told.matches(kept.id.as_str()).count(), why.matches(kept.id.as_str()).count(), "it is told once");
        let blob = trial.find(kept.content.as_ref().unwrap()).await;
        assert_eq!(trial.app.blobs.read_all(&blob, 1 << 20).await.unwrap(), state(2));
        let workspace = trial.find(&id).await;
        assert_eq!(workspace.current_state_version_id.as_ref(), Some(&own.id), "the current state is another one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_that_comes_late_to_an_untouched_workspace_is_the_current_one() {
        let trial = Trial::new().await;
        let id = trial.workspace("app").await;
        let (run, _) = trial.applying(&id).await;
        runs::step(&trial.app, &run.id, &Event::RunnerLost { retry: false }, None, Batch::new()).await.unwrap();
        save_from_run(&trial.app, &run, state(2), Arrival::Late).await.unwrap();
        let workspace = trial.find(&id).await;
        let current = current(&trial.app, &workspace).await.unwrap().unwrap();
        assert_eq!((current.serial, current.status, current.run_id.as_ref()), (2, StateStatus::Finalized, Some(&run.id)));
    }
}
