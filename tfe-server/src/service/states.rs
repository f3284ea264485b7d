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
    state::{self, Accepted, Current, StateFile, Upload},
    state_version::{StateOutput, StateResource, StateStatus, StateVersion},
    user::User,
    workspace::Workspace,
};
use tfe_storage::{Batch, Error, Query, StoreExt, Versioned};

use super::{fence::Fence, state_reader};
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

/// Stores a snapshot that a run made while it applied. A run has one state version, which the newest snapshot fills.
pub(crate) async fn save_from_run(app: &App, run: &Run, content: Bytes, arrival: Arrival) -> Result<(), ApiError> {
    let file = StateFile::parse(&content)?;
    let parts = stream::iter([Ok(content)]).boxed();
    if stored_serial(app, run).await?.is_some_and(|stored| stored >= file.serial) {
        return Ok(());
    }
    let blob = app.blobs.put(app.new_id(), app.now(), parts, app.settings.max_state_bytes).await?;
    let saved = commit_snapshot(app, run, &blob, &file, arrival).await;
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
    Ok(app.store.list::<StateOutput>(Query::of::<StateOutput>().equals("state_version_id", version)).await?.items)
}

async fn of_run(app: &App, run: &Run) -> Result<Option<Versioned<StateVersion>>, ApiError> {
    Ok(app.store.find_by::<StateVersion>("run_id", run.id.as_str()).await?)
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
