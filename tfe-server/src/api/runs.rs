//! Runs: queue one, see it, confirm, discard, cancel.

use std::collections::BTreeMap;

use axum::{extract::Path, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tfe_core::{
    access::Permission,
    configuration::{ConfigurationVersion, UploadStatus},
    error::Invalid,
    event::RunEvent,
    jsonapi::{self, Document, Linkage, Resource},
    run::{Event, Run, RunOptions, RunVariable, Status},
    time::Timestamp,
    user::User,
    version::Constraint,
    workspace::Workspace,
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use super::{account, applies, configurations, plans, workspace_rendering};
use crate::{
    error::{ApiError, Reply},
    http::{body, context::Context, parameters::Parameters, respond, routes::Routes},
    service::{
        self, assignments, runs,
        waiting::{self, Waiting},
    },
};

/// What `include` may name; `task_stages` and others are known and empty until those features exist.
const INCLUDES: &[&str] =
    &["plan", "apply", "workspace", "created-by", "configuration-version", "task-stages", "cost-estimate", "run-events", "confirmed-by"];

pub(crate) fn routes() -> Routes {
    Routes::new()
        .post("/api/v2/runs", create)
        .get("/api/v2/runs/{id}", show)
        .get("/api/v2/workspaces/{id}/runs", list)
        .post("/api/v2/runs/{id}/actions/apply", confirm)
        .post("/api/v2/runs/{id}/actions/discard", discard)
        .post("/api/v2/runs/{id}/actions/cancel", cancel)
        .post("/api/v2/runs/{id}/actions/force-cancel", force_cancel)
        .get("/api/v2/runs/{id}/run-events", events)
        .get("/api/v2/run-events/{id}", event)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct NewRun {
    auto_apply: Option<bool>,
    plan_only: Option<bool>,
    save_plan: Option<bool>,
    allow_empty_apply: Option<bool>,
    allow_config_generation: Option<bool>,
    is_destroy: Option<bool>,
    refresh: Option<bool>,
    refresh_only: Option<bool>,
    target_addrs: Option<Vec<String>>,
    replace_addrs: Option<Vec<String>>,
    terraform_version: Option<String>,
    message: Option<String>,
    variables: Option<Vec<RunVariable>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Attributes<'r> {
    actions: Actions,
    allow_config_generation: bool,
    allow_empty_apply: bool,
    auto_apply: bool,
    canceled_at: Option<String>,
    created_at: String,
    error_message: Option<&'r str>,
    force_cancel_available_at: Option<String>,
    has_changes: bool,
    is_destroy: bool,
    message: &'r str,
    permissions: Permissions,
    plan_only: bool,
    position_in_queue: u64,
    refresh: bool,
    refresh_only: bool,
    replace_addrs: &'r [String],
    save_plan: bool,
    source: &'r str,
    status: Status,
    status_timestamps: Map<String, Value>,
    target_addrs: &'r [String],
    terraform_version: &'r str,
    trigger_reason: &'static str,
    variables: Option<Vec<RunVariable>>,
    /// Why the run cannot go on at present. An addition of this server.
    waiting_reason: Option<String>,
    /// The id of what it waits for, if it is one thing. An addition of this server.
    blocked_by: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Actions {
    is_cancelable: bool,
    is_confirmable: bool,
    is_discardable: bool,
    is_force_cancelable: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Permissions {
    can_apply: bool,
    can_cancel: bool,
    can_comment: bool,
    can_discard: bool,
    can_force_cancel: bool,
    can_force_execute: bool,
    can_override_policy_check: bool,
}

async fn create(context: Context, body::Input(input): body::Input) -> Reply {
    let id = input.one("workspace").ok_or_else(|| Invalid::at("/data/relationships/workspace", "Workspace must be given"))?;
    let workspace = context.workspace(&id, Permission::QueueRun).await?;
    let wanted: NewRun = jsonapi::attributes(&input.attributes)?;
    let configuration = configuration(&context, &workspace, input.one("configuration-version")).await?;
    let options = options(&wanted, &workspace, &configuration, context.is_cloud_integration)?;
    let new = runs::NewRun {
        configuration: configuration.id.clone(),
        options,
        variables: wanted.variables.unwrap_or_default(),
        message: wanted.message.filter(|text| !text.is_empty()).unwrap_or_else(|| "Triggered via API".to_owned()),
        source: "tfe-api".to_owned(),
        created_by: context.user_id(),
    };
    let run = runs::create(&context.app, &workspace.id, new).await?;
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    Ok(respond::created(&render(&context, &run, &workspace).await?))
}

async fn show(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let wanted = parameters.include(INCLUDES)?;
    let (run, workspace) = context.run(&id, Permission::ReadWorkspace).await?;
    let document = Document::one(&render(&context, &run, &workspace).await?);
    let included = included(&context, &run, &workspace, &wanted).await?;
    Ok(respond::document(StatusCode::OK, &document.including(included)))
}

async fn list(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let wanted = parameters.include(INCLUDES)?;
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    let page = parameters.page();
    let mut query = Query::of::<Run>().equals("workspace_id", &workspace.id).sort(Sort::Created, Direction::Descending);
    let statuses = parameters.list("filter[status]");
    if !statuses.is_empty() {
        query = query.any_of("status", statuses);
    }
    let list = context.app.store.list::<Run>(query.page(page.offset(), page.size).counted()).await?;
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    for run in &list.items {
        resources.push(render(&context, run, &workspace).await?);
        others.extend(included(&context, run, &workspace, &wanted).await?);
    }
    let document = respond::page_document(&context, &parameters, &resources, list.total).including(others);
    Ok(respond::document(StatusCode::OK, &document))
}

async fn confirm(context: Context, Path(id): Path<String>) -> Reply {
    let event = Event::ConfirmRequested { by: context.user_id() };
    act(&context, &id, &event, "not awaiting confirmation").await
}

async fn discard(context: Context, Path(id): Path<String>) -> Reply {
    act(&context, &id, &Event::DiscardRequested, "not discardable").await
}

async fn cancel(context: Context, Path(id): Path<String>) -> Reply {
    act(&context, &id, &Event::CancelRequested, "not cancelable").await
}

async fn force_cancel(context: Context, Path(id): Path<String>) -> Reply {
    act(&context, &id, &Event::ForceCancelRequested, "not force-cancelable yet; cancel it first and wait for force-cancel-available-at")
        .await
}

async fn act(context: &Context, id: &str, event: &Event, otherwise: &str) -> Reply {
    let (run, workspace) = context.run(id, Permission::ApplyRun).await?;
    let done = runs::step(&context.app, &run.id, event, context.user_id().as_ref(), Batch::new()).await;
    match done {
        Err(ApiError::Refused(refused)) => {
            Err(tfe_core::error::Refused::because(format!("transition not allowed: the run is {otherwise} ({refused})")).into())
        }
        Err(error) => Err(error),
        Ok(_) => {
            service::admit_next(&context.app, &workspace.id).await;
            Ok(respond::accepted())
        }
    }
}

/// All events of a run, oldest first; the CLI reads one page and does not ask for more.
async fn events(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = context.run(&id, Permission::ReadWorkspace).await?;
    let events = context.app.store.list::<RunEvent>(Query::of::<RunEvent>().equals("run_id", &run.id)).await?.items;
    let resources: Vec<_> = events.iter().map(|event| render_event(event)).collect();
    Ok(respond::document(StatusCode::OK, &Document::all(&resources)))
}

async fn event(context: Context, Path(id): Path<String>) -> Reply {
    let event: Versioned<RunEvent> = context.any(&id).await?;
    context.run(event.run_id.as_str(), Permission::ReadWorkspace).await?;
    Ok(respond::shown(&render_event(&event)))
}

async fn configuration(
    context: &Context,
    workspace: &Workspace,
    named: Option<String>,
) -> Result<Versioned<ConfigurationVersion>, ApiError> {
    let pointer = "/data/relationships/configuration-version";
    let found = match named {
        Some(id) => Some(context.any::<ConfigurationVersion>(&id).await?).filter(|found| found.workspace_id == workspace.id),
        None => configurations::newest(&context.app, &workspace.id).await?,
    };
    match found {
        Some(found) if found.status == UploadStatus::Uploaded => Ok(found),
        Some(_) => Err(Invalid::at(pointer, "Configuration version is not uploaded; upload it first").into()),
        None => Err(Invalid::at(pointer, "Configuration version is missing; upload a configuration to this workspace first").into()),
    }
}

fn options(wanted: &NewRun, workspace: &Workspace, configuration: &ConfigurationVersion, is_cloud: bool) -> Result<RunOptions, Invalid> {
    let plan_only = configuration.speculative || wanted.plan_only.unwrap_or(false);
    let is_destroy = wanted.is_destroy.unwrap_or(false);
    if is_destroy && !plan_only && !workspace.settings.allow_destroy_plan {
        return Err(Invalid::attribute("is-destroy", "Destroy plans are not allowed in this workspace; its settings can allow them"));
    }
    let refresh_only = wanted.refresh_only.unwrap_or(false);
    if refresh_only && (is_destroy || wanted.refresh == Some(false)) {
        return Err(Invalid::attribute("refresh-only", "Refresh-only cannot be combined with is-destroy or with refresh set to false"));
    }
    let terraform_version = match &wanted.terraform_version {
        Some(version) if plan_only => Constraint::parse(version).map(|_| version.clone())?,
        Some(_) => return Err(Invalid::attribute("terraform-version", "Terraform version can be chosen for plan-only runs only")),
        None => workspace.settings.terraform_version.clone(),
    };
    Ok(RunOptions {
        plan_only,
        save_plan: wanted.save_plan.unwrap_or(false),
        auto_apply: wanted.auto_apply.unwrap_or(workspace.settings.auto_apply),
        allow_empty_apply: wanted.allow_empty_apply.unwrap_or(false),
        is_destroy,
        refresh: wanted.refresh.unwrap_or(true),
        refresh_only,
        target_addrs: wanted.target_addrs.clone().unwrap_or_default(),
        replace_addrs: wanted.replace_addrs.clone().unwrap_or_default(),
        allow_config_generation: wanted.allow_config_generation.unwrap_or(false),
        terraform_version,
        // The remote backend prints lines as they are, so only the cloud integration gets JSON (contract 1.4).
        structured_log: is_cloud && workspace.settings.structured_run_output_enabled,
        branch: configuration.branch.clone(),
    })
}

pub(crate) async fn included(context: &Context, run: &Run, workspace: &Workspace, wanted: &[String]) -> Result<Vec<Resource>, ApiError> {
    let mut resources = Vec::new();
    for name in wanted {
        match name.as_str() {
            "plan" => resources.push(plans::render(context, run)),
            "apply" => resources.push(applies::render(context, run)),
            "workspace" => resources.push(workspace_rendering::render(context, workspace).await?),
            "configuration-version" => {
                let version: Versioned<ConfigurationVersion> = context.any(run.configuration_version_id.as_str()).await?;
                resources.push(configurations::render(&version));
            }
            "created-by" => {
                if let Some(id) = &run.created_by {
                    let user: Versioned<User> = context.any(id.as_str()).await?;
                    resources.push(account::render(&user));
                }
            }
            _ => {}
        }
    }
    Ok(resources)
}

/// A run as clients see it.
pub(crate) async fn render(context: &Context, run: &Run, workspace: &Workspace) -> Result<Resource, ApiError> {
    let now = context.app.now();
    let scope = tfe_core::access::Scope { organization: &workspace.organization_id, workspace: Some(&workspace.id) };
    let may_apply = context.may(Permission::ApplyRun, scope).await?;
    let variables = match assignments::run_variables(&context.app, run).await {
        // They are not known while the vault is away, which is no reason to show nothing of the run.
        Err(ApiError::Unavailable(_)) => None,
        variables => Some(variables?),
    };
    let waiting = waiting::of(&context.app, run, workspace).await?;
    Ok(Resource::new("runs", &run.id)
        .attributes(&attributes(run, now, may_apply, variables, waiting))
        .one("workspace", &Linkage::to("workspaces", &workspace.id))
        .one("plan", &Linkage::to("plans", &run.plan_id))
        .one("apply", &Linkage::to("applies", &run.apply_id))
        .one("configuration-version", &Linkage::to("configuration-versions", &run.configuration_version_id))
        .maybe("created-by", run.created_by.as_ref().map(|id| Linkage::to("users", id)))
        .maybe("confirmed-by", run.confirmed_by.as_ref().map(|id| Linkage::to("users", id)))
        .many("task-stages", [])
        .many("policy-checks", [])
        .related("run-events", format!("/api/v2/runs/{}/run-events", run.id))
        .link("self", format!("/api/v2/runs/{}", run.id)))
}

fn attributes(run: &Run, now: Timestamp, may_apply: bool, variables: Option<Vec<RunVariable>>, waiting: Option<Waiting>) -> Attributes<'_> {
    let position_in_queue = waiting.as_ref().map_or(0, |waiting| waiting.position);
    let (waiting_reason, blocked_by) = waiting.map_or((None, None), |waiting| (Some(waiting.reason), waiting.blocked_by));
    Attributes {
        actions: Actions {
            is_cancelable: run.allows(&Event::CancelRequested, now),
            is_confirmable: run.allows(&Event::ConfirmRequested { by: None }, now),
            is_discardable: run.allows(&Event::DiscardRequested, now),
            is_force_cancelable: run.allows(&Event::ForceCancelRequested, now),
        },
        allow_config_generation: run.options.allow_config_generation,
        allow_empty_apply: run.options.allow_empty_apply,
        auto_apply: run.options.auto_apply,
        canceled_at: run.cancel.as_ref().map(|cancel| cancel.requested_at.to_string()),
        created_at: run.created_at.to_string(),
        error_message: run.error.as_deref(),
        force_cancel_available_at: run.cancel.as_ref().map(|cancel| cancel.force_available_at.to_string()),
        has_changes: run.plan.summary.has_changes,
        is_destroy: run.options.is_destroy,
        message: &run.message,
        permissions: Permissions {
            can_apply: may_apply,
            can_cancel: may_apply,
            can_comment: may_apply,
            can_discard: may_apply,
            can_force_cancel: may_apply,
            can_force_execute: may_apply,
            can_override_policy_check: may_apply,
        },
        plan_only: run.options.plan_only,
        position_in_queue,
        refresh: run.options.refresh,
        refresh_only: run.options.refresh_only,
        replace_addrs: &run.options.replace_addrs,
        save_plan: run.options.save_plan,
        source: &run.source,
        status: run.status,
        status_timestamps: timestamps(&run.reached),
        target_addrs: &run.options.target_addrs,
        terraform_version: &run.options.terraform_version,
        trigger_reason: "manual",
        variables,
        waiting_reason,
        blocked_by,
    }
}

/// `plan_queued` reached at a time is `plan-queued-at`.
pub(crate) fn timestamps(reached: &BTreeMap<String, Timestamp>) -> Map<String, Value> {
    let entry = |(name, at): (&String, &Timestamp)| (format!("{}-at", name.replace('_', "-")), at.to_string().into());
    reached.iter().map(entry).collect()
}

fn render_event(event: &RunEvent) -> Resource {
    Resource::new("run-events", &event.id)
        .attribute("action", event.action.clone())
        .attribute("created-at", event.created_at.to_string())
        .attribute("description", event.description.clone())
        .maybe("actor", event.actor.as_ref().map(|id| Linkage::to("users", id)))
        .maybe("comment", None)
}
