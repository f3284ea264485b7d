//! What somebody who helps needs to see, in one archive, without a secret in it: only what is made here goes in, file by file, and
//! nothing that holds values of variables, state, plans, logs of runs, tokens or keys.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tfe_core::{
    job::Job,
    run::{Run, Status},
};
use tfe_storage::{Direction, Query, Sort, StoreExt};

use super::{agents, nodes};
use crate::{app::App, error::ApiError, metrics, recent::RECENT};

/// Most jobs and runs that are listed.
const MAX_LISTED: u64 = 500;

/// The archive: a compressed tar.
pub(crate) async fn bundle(app: &App) -> Result<Vec<u8>, ApiError> {
    let files = [
        ("about.json", pretty(&about(app))?),
        ("health.json", pretty(&health(app))?),
        ("configuration.json", pretty(&json!(app.settings.configuration))?),
        ("nodes.json", pretty(&json!(nodes::list(app).await?.iter().map(|node| &node.record).collect::<Vec<_>>()))?),
        ("workers.json", pretty(&workers(app).await?)?),
        ("queue.json", pretty(&queue(app).await?)?),
        ("runs.json", pretty(&runs(app).await?)?),
        ("snapshots.json", pretty(&snapshots(app))?),
        ("metrics.txt", metrics::render(app).await?),
        ("log.txt", RECENT.text()),
    ];
    let archive = tokio::task::spawn_blocking(move || pack(&files)).await.map_err(ApiError::internal)?;
    archive.map_err(ApiError::internal)
}

fn about(app: &App) -> Value {
    json!({
        "program": env!("CARGO_PKG_VERSION"),
        "node": app.settings.node,
        "started-at": app.started_at.to_string(),
        "made-at": app.now().to_string(),
        "system": std::fs::read_to_string("/proc/version").unwrap_or_default(),
    })
}

fn health(app: &App) -> Value {
    let report = app.health.report();
    json!(report.map(|report| report.checks))
}

async fn workers(app: &App) -> Result<Value, ApiError> {
    let present = agents::present(app, tfe_core::agent::FLEET).await?;
    Ok(json!(present.iter().map(|agent| &agent.record).collect::<Vec<_>>()))
}

/// Jobs that wait or are worked on, without what is sealed in them.
async fn queue(app: &App) -> Result<Value, ApiError> {
    let jobs = app.store.list::<Job>(Query::of::<Job>().any_of("status", ["queued", "claimed"]).limit(MAX_LISTED)).await?.items;
    let jobs = jobs.iter().map(|job| {
        json!({
            "id": job.id, "run": job.run_id, "workspace": job.workspace_id, "queue": job.queue, "phase": job.phase, "status": job.status,
            "attempts": job.attempts, "created-at": job.created_at.to_string(), "lease": job.lease,
        })
    });
    Ok(json!(jobs.collect::<Vec<_>>()))
}

/// Runs that are not over, and the last that failed.
async fn runs(app: &App) -> Result<Value, ApiError> {
    let going = Status::ALL.into_iter().filter(|status| !status.is_final());
    let newest = |query: Query| query.sort(Sort::Created, Direction::Descending).limit(MAX_LISTED);
    let mut found = app.store.list::<Run>(newest(Query::of::<Run>().any_of("status", going))).await?.items;
    found.extend(app.store.list::<Run>(newest(Query::of::<Run>().equals("status", Status::Errored))).await?.items);
    let runs = found.iter().map(
        |run| json!({ "id": run.id, "workspace": run.workspace_id, "status": run.status, "reached": run.reached, "error": run.error }),
    );
    Ok(json!(runs.collect::<Vec<_>>()))
}

fn snapshots(app: &App) -> Value {
    let Some(snapshots) = &app.snapshots else { return Value::Null };
    let (known, journal) = (snapshots.known(), snapshots.journal());
    json!({
        "taken-at": known.taken_at.map(|at| at.to_string()),
        "verified-at": known.verified.map(|(_, at)| at.to_string()),
        "error": known.error(),
        "journal-behind-since": journal.and_then(|journal| journal.behind_since).map(|at| at.to_string()),
    })
}

fn pretty(document: &Value) -> Result<String, ApiError> {
    serde_json::to_string_pretty(document).map_err(ApiError::internal)
}

fn pack(files: &[(&str, String)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("tfe-support/{name}"), content.as_bytes())?;
    }
    archive.into_inner()?.finish()
}
