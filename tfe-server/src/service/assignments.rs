//! What a runner is told to run, from the run, its workspace and their variables.

use tfe_core::{
    organization::Organization,
    run::{Run, RunVariable},
    secret::Secret,
    variable::{Category, Variable, merge},
    workspace::{Engine, Workspace},
};
use tfe_runner::job::{self, EngineKind, PlanOptions, Spec};
use tfe_storage::{Query, StoreExt};

use super::versions;
use crate::{app::App, error::ApiError};

/// A value on its way to the engine.
struct Value {
    text: Secret,
    hcl: bool,
    sensitive: bool,
}

/// What to run for this run.
pub(crate) async fn spec(app: &App, run: &Run) -> Result<Spec, ApiError> {
    let workspace = app.store.find::<Workspace>(run.workspace_id.as_str()).await?.ok_or(ApiError::NotFound)?;
    let organization = app.store.find::<Organization>(run.organization_id.as_str()).await?.ok_or(ApiError::NotFound)?;
    let facts = facts(run, &workspace, &organization);
    let merged = merge([facts, workspace_values(app, &workspace).await?, run_values(app, run).await?]);
    let registered = versions::named(app, workspace.settings.engine, &run.options.terraform_version).await?;
    let (variables, environment) = merged.into_iter().partition::<Vec<_>, _>(|(category, ..)| *category == Category::Terraform);
    Ok(Spec {
        engine: match workspace.settings.engine {
            Engine::Terraform => EngineKind::Terraform,
            Engine::Tofu => EngineKind::Tofu,
        },
        version: run.options.terraform_version.clone(),
        workspace: workspace.settings.name.clone(),
        working_directory: workspace.settings.working_directory.clone().unwrap_or_default(),
        environment: environment.into_iter().map(for_engine).collect(),
        variables: variables.into_iter().map(for_engine).collect(),
        plan: PlanOptions {
            destroy: run.options.is_destroy,
            refresh: run.options.refresh,
            refresh_only: run.options.refresh_only,
            targets: run.options.target_addrs.clone(),
            replace: run.options.replace_addrs.clone(),
            generate_configuration: run.options.allow_config_generation,
        },
        structured_log: run.options.structured_log,
        warning: registered.as_ref().and_then(|version| version.warning()),
        builds: registered.map(|version| version.into_record().settings.builds).unwrap_or_default(),
    })
}

/// What configurations and providers can learn about the run they are in; the names are Terraform Enterprise's.
fn facts(run: &Run, workspace: &Workspace, organization: &Organization) -> Vec<(Category, String, Value)> {
    let name = &workspace.settings.name;
    let slug = format!("{}/{name}", organization.settings.name);
    let facts = [
        ("TFC_RUN_ID", run.id.to_string()),
        ("TFC_WORKSPACE_NAME", name.clone()),
        ("TFC_WORKSPACE_SLUG", slug),
        ("TFC_WORKSPACE_ID", workspace.id.to_string()),
        ("TFC_ORGANIZATION_NAME", organization.settings.name.clone()),
    ];
    facts.map(|(key, text)| (Category::Env, key.to_owned(), Value { text: text.into(), hcl: false, sensitive: false })).into()
}

async fn workspace_values(app: &App, workspace: &Workspace) -> Result<Vec<(Category, String, Value)>, ApiError> {
    let mut values = Vec::new();
    for variable in app.store.list::<Variable>(Query::of::<Variable>().equals("workspace_id", &workspace.id)).await?.items {
        let text = open_variable(app, &variable).await?;
        values.push((variable.category, variable.key.clone(), Value { text, hcl: variable.hcl, sensitive: variable.sensitive }));
    }
    Ok(values)
}

/// The value of a variable in clear.
pub(crate) async fn open_variable(app: &App, variable: &Variable) -> Result<Secret, ApiError> {
    let Some(sealed) = &variable.value else { return Ok(Secret::default()) };
    let bytes = app.vault.open(&Variable::VALUE.context(&variable.id), sealed).await?;
    String::from_utf8(bytes.to_vec()).map(Secret::from).map_err(ApiError::internal)
}

async fn run_values(app: &App, run: &Run) -> Result<Vec<(Category, String, Value)>, ApiError> {
    let values = run_variables(app, run).await?;
    let values = values.into_iter().map(|variable| {
        let value = Value { text: Secret::from(variable.value), hcl: true, sensitive: false };
        (Category::Terraform, variable.key, value)
    });
    Ok(values.collect())
}

/// The values that were given with the run.
pub(crate) async fn run_variables(app: &App, run: &Run) -> Result<Vec<RunVariable>, ApiError> {
    let Some(sealed) = &run.variables else { return Ok(Vec::new()) };
    let bytes = app.vault.open(&Run::VARIABLES.context(&run.id), sealed).await?;
    serde_json::from_slice(&bytes).map_err(ApiError::internal)
}

fn for_engine((_, name, value): (Category, String, Value)) -> job::Variable {
    job::Variable { name, value: value.text, hcl: value.hcl, sensitive: value.sensitive }
}
