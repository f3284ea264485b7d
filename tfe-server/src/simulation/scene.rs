//! One world from its beginning to its end: a storm, a calm, and what must be true then.

use std::{sync::Arc, time::Duration};

use tfe_core::{
    agent::{AgentPool, AgentPoolSettings, FLEET},
    configuration::{ConfigurationVersion, UploadStatus},
    id::Id,
    job::JobStatus,
    jsonapi,
    organization::{Organization, Project, ProjectSettings},
    run::{Phase, Run, Status, invariants::Verdict},
    time::Timestamp,
    workspace::{ExecutionMode, LockHolder, Workspace, WorkspaceSettings},
};
use tfe_storage::{Batch, StoreExt};
use tokio::time::sleep;

use super::{
    clients::{self, People},
    machine::Machine,
    mutation::Mutation,
    nemesis,
    node::Nodes,
    oracle::{Committer, require},
    world::{Tasks, World},
};
use crate::service::logs;

/// How long a storm lasts, in milliseconds: mostly short, since many short worlds find more than few long ones.
const STORM: std::ops::Range<u64> = 4_000..12_000;
const LONG_STORM: std::ops::Range<u64> = 10_000..40_000;
/// How many storms of a thousand are long.
const LONG: u64 = 150;
/// How long after the end of all faults everything must have come to rest: the grace of an apply, leases by clocks that were half a
/// minute wrong, and the time for what was queued.
const CALM: Duration = Duration::from_mins(4);
/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(500);
/// Longest log that is read at once.
const MAX_LOG_BYTES: usize = 1 << 20;

/// An installation with all who use it.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) world: Arc<World>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) machines: Vec<Arc<Machine>>,
    pub(super) workspaces: Vec<Id<Workspace>>,
    pub(super) configuration: Id<ConfigurationVersion>,
    pub(super) people: People,
    pub(super) blows: Tasks,
    /// Those who come back after the storm.
    pub(super) late: Tasks,
}

/// How a world failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) reason: String,
    /// The last events, if they were told.
    pub(super) events: Vec<String>,
}

/// Lives through the world of a seed.
pub(super) fn live(seed: u64, mutation: Option<Mutation>, is_told: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime needs nothing");
    runtime.block_on(async {
        let world = World::new(seed, mutation, is_told);
        let outcome = tokio::select! {
            biased;
            reason = world.failed() => Err(reason),
            lived = lived(&world) => lived.map_err(|violation| violation.to_string()),
        };
        outcome.map_err(|reason| Failure { seed, reason, events: world.told() })
    })
}

async fn lived(world: &Arc<World>) -> Verdict {
    let scene = Arc::new(Scene::set(world).await);
    let load = Tasks::default();
    for client in 0..2 {
        world.spawn(&load, clients::queue_runs(scene.clone(), client, world.chance.of(2..7)));
    }
    world.spawn(&load, clients::lock(scene.clone()));
    world.spawn(&load, nemesis::run(scene.clone()));
    world.wait(if world.chance.happens(LONG) { LONG_STORM } else { STORM }).await;
    load.end();
    nemesis::heal(&scene);
    world.spawn(&load, clients::queue_runs(scene.clone(), 2, world.chance.of(0..3)));
    clients::unlock_all(&scene).await;
    scene.comes_to_rest().await?;
    scene.has_kept_its_promises().await
}

impl Scene {
    async fn set(world: &Arc<World>) -> Self {
        let (records, pool) = Records::drawn(world);
        let committer = Committer { node: "setup".to_owned(), latest: Timestamp::from_millis(0) };
        world.commit(&committer, records.batch).await.expect("the first records fit");
        let nodes = Arc::new(Nodes::start(world, world.chance.index(3) + 1));
        let machine = |number: u64, queue: &str| Machine::new(world.clone(), nodes.clone(), format!("runner-{number}"), queue.to_owned());
        let mut machines = vec![machine(0, FLEET), machine(1, pool.as_str())];
        if world.chance.happens(700) {
            machines.push(machine(2, FLEET));
        }
        let (workspaces, configuration) = (records.workspaces, records.configuration);
        let (people, blows, late) = (People::default(), Tasks::default(), Tasks::default());
        Self { world: world.clone(), nodes, machines, workspaces, configuration, people, blows, late }
    }

    /// Waits until every run is over or waits for a person.
    async fn comes_to_rest(&self) -> Verdict {
        let deadline = self.world.age() + CALM;
        loop {
            sleep(GLANCE).await;
            let restless = self.restless();
            if restless.is_none() {
                return Ok(());
            }
            require(self.world.age() < deadline, || format!("after {CALM:?} without faults {restless:?}"))?;
        }
    }

    /// Something that the system must still do.
    fn restless(&self) -> Option<String> {
        let oracle = self.world.oracle();
        let waits = |run: &Run| run.status.is_final() || matches!(run.status, Status::Planned | Status::PlannedAndSaved);
        let held = |run: &Run| oracle.workspaces.get(run.workspace_id.as_str()).is_some_and(|workspace| workspace.current_run_id.is_some());
        // One that waits behind a run that waits for a person waits for that person too.
        let blocked = |run: &Run| matches!(run.status, Status::Pending | Status::Confirmed) && held(run);
        let run = oracle.runs.values().find(|run| !waits(run) && !blocked(run)).map(|run| format!("{} is {}", run.id, run.status));
        let job =
            || oracle.jobs.values().find(|job| job.status != JobStatus::Finished).map(|job| format!("{} is {:?}", job.id, job.status));
        let lock = || {
            oracle.workspaces.values().find_map(|workspace| match &workspace.lock.as_ref()?.holder {
                LockHolder::Run(run) => {
                    let is_over = oracle.runs.get(run.as_str()).is_none_or(|run| run.status.is_final());
                    is_over.then(|| format!("{} is locked by {run}", workspace.id))
                }
                LockHolder::User(_) | LockHolder::Organization(_) => None,
            })
        };
        let machine =
            || self.machines.iter().find(|machine| machine.is_at_work()).map(|machine| format!("{} has something left", machine.name));
        run.or_else(job).or_else(lock).or_else(machine)
    }

    /// Nothing is missing of what somebody was told, and logs are what runners wrote.
    async fn has_kept_its_promises(&self) -> Verdict {
        let runs: Vec<Run> = self.world.oracle().runs.values().cloned().collect();
        let missing = self.world.ledger().runs.iter().find(|id| !runs.iter().any(|run| run.id.as_str() == id.as_str())).cloned();
        require(missing.is_none(), || format!("the run {missing:?} was acknowledged and is lost"))?;
        for run in &runs {
            for phase in [Phase::Plan, Phase::Apply] {
                if run.phase(phase).status.is_final() {
                    self.has_its_log(run, phase).await?;
                }
            }
        }
        Ok(())
    }

    async fn has_its_log(&self, run: &Run, phase: Phase) -> Verdict {
        let (app, log) = (self.nodes.at(0).app.clone(), run.phase_id(phase));
        let stored = app.store.find::<Run>(run.id.as_str()).await.expect("nothing fails now").expect("runs stay").into_record();
        let read = logs::read(&app, &stored, phase, 0, MAX_LOG_BYTES).await;
        let bytes = match &read {
            Ok(part) => part.bytes.strip_prefix(&[2]).and_then(|bytes| bytes.strip_suffix(&[3])).ok_or("it has no frame".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        require(bytes.is_ok(), || format!("the log {log} of {} cannot be read: {bytes:?}", run.id))?;
        self.world.ledger().check_log(log, bytes.unwrap_or_default())
    }
}

/// What is there before anybody does anything.
struct Records {
    batch: Batch,
    workspaces: Vec<Id<Workspace>>,
    configuration: Id<ConfigurationVersion>,
}

impl Records {
    /// Two organizations with a workspace each, one of which has a second one for agents of its own.
    fn drawn(world: &Arc<World>) -> (Self, Id<AgentPool>) {
        let now = Timestamp::from_millis(0);
        let id = |text: &str| format!("{text}-{}", world.chance.of(0..1_000_000_000));
        let pool: Id<AgentPool> = Id::from(id("apool"));
        let (mut batch, mut workspaces) = (Batch::new(), Vec::new());
        for name in ["one", "two"] {
            let settings = jsonapi::attributes(&serde_json::json!({ "name": name, "email": "a@b" })).expect("it is valid");
            let organization = Organization { id: Id::from(id("org")), created_at: now, settings };
            let settings = ProjectSettings { name: "project".to_owned(), description: None };
            let organization_id = organization.id.clone();
            let project = Project { id: Id::from(id("prj")), created_at: now, organization_id, is_default: true, settings };
            batch = batch.insert(&organization).insert(&project);
            let first = workspace(id("ws"), &project, "first", None);
            workspaces.push(first.id.clone());
            batch = batch.insert(&first);
            if name == "one" {
                let settings = AgentPoolSettings { name: "pool".to_owned(), organization_scoped: true };
                let (organization_id, allowed_workspaces) = (organization.id.clone(), Vec::new());
                let agents = AgentPool { id: pool.clone(), created_at: now, organization_id, settings, allowed_workspaces };
                let second = workspace(id("ws"), &project, "second", Some(&pool));
                workspaces.push(second.id.clone());
                batch = batch.insert(&agents).insert(&second);
            }
        }
        let configuration = configuration(id("cv"), &workspaces[0]);
        let batch = batch.insert(&configuration);
        (Self { batch, workspaces, configuration: configuration.id }, pool)
    }
}

fn workspace(id: String, project: &Project, name: &str, pool: Option<&Id<AgentPool>>) -> Workspace {
    let settings: WorkspaceSettings = jsonapi::attributes(&serde_json::json!({ "name": name })).expect("it is valid");
    let execution_mode = if pool.is_some() { ExecutionMode::Agent } else { ExecutionMode::Remote };
    Workspace {
        id: Id::from(id),
        created_at: project.created_at,
        updated_at: project.created_at,
        organization_id: project.organization_id.clone(),
        project_id: project.id.clone(),
        settings: WorkspaceSettings { execution_mode, agent_pool_id: pool.cloned(), ..settings },
        tags: Vec::new(),
        tag_index: String::new(),
        lock: None,
        current_run_id: None,
        latest_run_id: None,
        run_count: 0,
        current_state_version_id: None,
        resource_count: 0,
    }
}

fn configuration(id: String, workspace: &Id<Workspace>) -> ConfigurationVersion {
    ConfigurationVersion {
        id: Id::from(id),
        created_at: Timestamp::from_millis(0),
        workspace_id: workspace.clone(),
        status: UploadStatus::Uploaded,
        auto_queue_runs: false,
        speculative: false,
        provisional: false,
        branch: None,
        source: "tfe-api".to_owned(),
        archive: None,
        error: None,
        uploaded_at: None,
    }
}
