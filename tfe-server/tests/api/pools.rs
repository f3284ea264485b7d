//! Agent pools and the jobs that wait for them.

use std::time::Duration;

use serde_json::json;
use tfe_core::job::Job;
use tfe_runner::{
    control::{Control, HttpControl},
    job::RunnerInfo,
};
use tfe_storage::{Query, StoreExt};

use crate::harness::TestServer;

/// A server with a pool, a workspace that runs on it, and a run that waits for its agents; their ids.
async fn waiting() -> (TestServer, String, String, String) {
    let server = TestServer::start_idle().await;
    let body = json!({ "data": { "type": "agent-pools", "attributes": { "name": "pool" } } });
    let pool = server.post("/api/v2/organizations/acme/agent-pools", body).await.expect(201).id();
    let workspace = server.workspace_with(json!({ "name": "app", "execution-mode": "agent", "agent-pool-id": pool })).await;
    let configuration = server.configuration(&workspace, "", false).await;
    let run = server.run(&workspace, &configuration, json!({})).await;
    (server, pool, workspace, run)
}

async fn move_to_the_fleet(server: &TestServer, workspace: &str) {
    let body = json!({ "data": { "type": "workspaces", "attributes": { "execution-mode": "remote" } } });
    server.patch(&format!("/api/v2/workspaces/{workspace}"), body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_run_follows_its_workspace_to_other_workers() {
    let (server, pool, workspace, run) = waiting().await;
    let path = format!("/api/v2/agent-pools/{pool}");
    server.delete(&path).await.expect_error(409, "workspaces still run on this pool");
    move_to_the_fleet(&server, &workspace).await;
    let jobs = server.app.store.list::<Job>(Query::of::<Job>().equals("run_id", &run)).await.unwrap().items;
    assert_eq!(jobs.iter().map(|job| job.queue.as_str()).collect::<Vec<_>>(), ["fleet"]);
    server.delete(&path).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_agents_are_at_work_is_not_deleted() {
    let (server, pool, workspace, run) = waiting().await;
    let body = json!({ "data": { "type": "authentication-tokens", "attributes": { "description": "of the test" } } });
    let token = server.post(&format!("/api/v2/agent-pools/{pool}/authentication-tokens"), body).await.expect(201);
    let token = token.text_at("/data/attributes/token");
    let agent = HttpControl::new(std::slice::from_ref(&server.url), token.as_str().into(), &[]).unwrap();
    let info = RunnerInfo { name: "agent".to_owned(), concurrency: 1, ..RunnerInfo::default() };
    let given = agent.claim(&info, Duration::from_secs(1)).await.unwrap().expect("the run waits for it");
    assert_eq!(given.run.as_str(), run);
    move_to_the_fleet(&server, &workspace).await;
    server.delete(&format!("/api/v2/agent-pools/{pool}")).await.expect_error(409, "1 runs still wait for agents of this pool");
}
