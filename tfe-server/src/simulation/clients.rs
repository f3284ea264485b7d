//! People: they queue runs of all kinds on any node, and confirm, discard and cancel them, or go away.

use std::{sync::Arc, time::Duration};

use tfe_core::{
    id::Id,
    run::{Event, Run, RunOptions, Status},
    workspace::{LockHolder, Workspace},
};
use tfe_storage::Batch;
use tokio::time::timeout;

use super::{scene::Scene, world::Tasks};
use crate::{
    app::App,
    error::ApiError,
    service::{runs, workspaces},
};

/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a person tries what was not answered.
const MAX_TRIES: u32 = 5;
/// Who locks workspaces.
const PERSON: &str = "user-person";
/// How often a person looks at a run, in milliseconds.
const GLANCE: std::ops::Range<u64> = 300..2_500;

/// What somebody wants of a run once it is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Apply,
    Discard,
    Cancel,
    ForceCancel,
    Nothing,
}

/// Queues so many runs, with somebody for each.
pub(super) async fn queue_runs(scene: Arc<Scene>, client: u64, count: u64) {
    for number in 0..count {
        scene.world.wait(0..2_000).await;
        let workspace = scene.world.chance.pick(&scene.workspaces).clone();
        let options = options(&scene);
        let wish = *scene.world.chance.pick(&[Wish::Apply, Wish::Apply, Wish::Discard, Wish::Cancel, Wish::ForceCancel, Wish::Nothing]);
        let request = format!("request {number} of client {client}");
        if let Some(run) = queue(&scene, &workspace, options, request).await {
            let (watched, tasks) = (scene.clone(), &scene.people);
            scene.world.spawn(tasks, async move { see_to(&watched, &run, wish).await });
        }
    }
}

fn options(scene: &Scene) -> RunOptions {
    let chance = &scene.world.chance;
    let options = RunOptions { allow_empty_apply: chance.happens(100), ..RunOptions::default() };
    match chance.of(0..10) {
        0 => RunOptions { plan_only: true, ..options },
        1..3 => RunOptions { plan_only: true, branch: Some("branch".to_owned()), ..options },
        3..5 => RunOptions { save_plan: true, ..options },
        5..8 => RunOptions { auto_apply: true, ..options },
        _ => options,
    }
}

/// Asks once: who gets no answer does not know whether there is a run.
async fn queue(scene: &Scene, workspace: &Id<Workspace>, options: RunOptions, message: String) -> Option<Id<Run>> {
    let new = runs::NewRun {
        configuration: scene.configuration.clone(),
        options,
        variables: Vec::new(),
        message,
        source: "tfe-api".to_owned(),
        created_by: None,
    };
    let node = scene.nodes.any();
    let answer = timeout(PATIENCE, runs::create(&node.app, workspace, new)).await;
    let Ok(Ok(run)) = answer else { return None };
    scene.world.tell(|| format!("a client has {} in {workspace}: {:?}", run.id, run.options));
    scene.world.ledger().runs.insert(run.id.to_string());
    Some(run.record.id)
}

/// Looks at a run until it is over or nothing more is wanted of it.
async fn see_to(scene: &Scene, run: &Id<Run>, wish: Wish) {
    loop {
        scene.world.wait(GLANCE).await;
        let Some(present) = scene.world.oracle().runs.get(run.as_str()).cloned() else { return };
        let event = match (wish, present.status) {
            (_, status) if status.is_final() => return,
            (Wish::Apply, Status::Planned | Status::PlannedAndSaved) => Event::ConfirmRequested { by: None },
            (Wish::Discard, Status::Planned | Status::PlannedAndSaved | Status::Confirmed | Status::Pending) => Event::DiscardRequested,
            (Wish::Nothing, _) | (Wish::Cancel | Wish::ForceCancel, Status::Planned | Status::PlannedAndSaved) => return,
            (Wish::Cancel, _) if present.cancel.is_some() => return,
            (Wish::ForceCancel, _) if present.cancel.is_some() => Event::ForceCancelRequested,
            (Wish::Cancel | Wish::ForceCancel, _) => Event::CancelRequested,
            _ => continue,
        };
        scene.world.tell(|| format!("a person wants {run}: {event:?}"));
        Deed::Step(&present, &event).attempt(scene).await;
    }
}

/// What a person asks a node to do.
enum Deed<'d> {
    Step(&'d Run, &'d Event),
    Lock(&'d Id<Workspace>),
    Unlock(&'d Id<Workspace>),
}

impl Deed<'_> {
    /// What the API does with such a request.
    async fn ask(&self, app: &App) -> Result<(), ApiError> {
        let (person, now) = (LockHolder::User(Id::from(PERSON)), app.now());
        match self {
            Deed::Step(run, event) => {
                runs::step(app, &run.id, event, None, Batch::new()).await?;
                runs::admit(app, &run.workspace_id).await
            }
            Deed::Lock(id) => {
                let lock = |workspace: Workspace| Ok(workspace.locked(person.clone(), String::new(), now)?);
                workspaces::change(app, id.as_str(), lock).await.map(drop)
            }
            Deed::Unlock(id) => {
                workspaces::change(app, id.as_str(), |workspace: Workspace| Ok(workspace.unlocked(&person, now)?)).await?;
                runs::admit(app, id).await
            }
        }
    }

    /// Tries a few times, on any node, until there is an answer.
    async fn attempt(&self, scene: &Scene) {
        for _ in 0..MAX_TRIES {
            let node = scene.nodes.any();
            match timeout(PATIENCE, self.ask(&node.app)).await {
                Ok(Ok(()) | Err(ApiError::Refused(_))) => return,
                _ => scene.world.wait(GLANCE).await,
            }
        }
    }
}

/// Locks workspaces for a while.
pub(super) async fn lock(scene: Arc<Scene>) {
    loop {
        scene.world.wait(5_000..30_000).await;
        let workspace = scene.world.chance.pick(&scene.workspaces).clone();
        Deed::Lock(&workspace).attempt(&scene).await;
        scene.world.wait(500..8_000).await;
        Deed::Unlock(&workspace).attempt(&scene).await;
    }
}

/// Gives back what people still hold, when the world is calm.
pub(super) async fn unlock_all(scene: &Scene) {
    for workspace in &scene.workspaces {
        Deed::Unlock(workspace).attempt(scene).await;
    }
}

/// Those who wait for runs.
pub(super) type People = Tasks;
