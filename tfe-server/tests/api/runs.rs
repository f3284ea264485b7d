//! Runs, from upload to state.

use serde_json::json;

use crate::harness::{TestServer, run_body};

const HELLO: &str = r#"
resource "terraform_data" "hello" { input = "hello" }
output "message" { value = terraform_data.hello.output }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_planned_confirmed_and_applied() {
    let server = TestServer::start().await;
    let workspace = server.workspace("hello").await;
    let configuration = server.configuration(&workspace, HELLO, false).await;
    let run = server.run(&workspace, &configuration, json!({ "message": "first" })).await;
    let planned = server.run_until(&run, &["planned", "errored"]).await;
    assert_eq!(planned.text_at("/data/attributes/status"), "planned", "{}", planned.text);
    assert_eq!(planned.json.pointer("/data/attributes/actions/is-confirmable"), Some(&json!(true)));
    let plan = server.get(&format!("/api/v2/runs/{run}/plan")).await.expect(200);
    assert_eq!(plan.json.pointer("/data/attributes/resource-additions"), Some(&json!(1)));
    let log = server.get(&plan.text_at("/data/attributes/log-read-url")).await.expect(200).text;
    assert!(log.starts_with('\u{2}') && log.ends_with('\u{3}'), "{log:?}");
    server.get(&format!("/api/v2/workspaces/{workspace}/current-state-version")).await.expect(404);

    server.post(&format!("/api/v2/runs/{run}/actions/apply"), json!({ "comment": "go" })).await.expect(202);
    server.run_until(&run, &["applied"]).await;
    let outputs = server.get(&format!("/api/v2/workspaces/{workspace}/current-state-version-outputs")).await.expect(200);
    assert_eq!(outputs.text_at("/data/0/attributes/value"), "hello");
    let workspace = server.get(&format!("/api/v2/workspaces/{workspace}")).await.expect(200);
    assert_eq!(workspace.json.pointer("/data/attributes/locked"), Some(&json!(false)));
}

/// An output whose type no database takes.
const KEYED: &str = r#"
resource "terraform_data" "made" {}
output "keyed" { value = { "a\u0000b" = terraform_data.made.id } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_stored_ends_its_run_and_can_be_opened_where_it_is_kept() {
    let server = TestServer::start().await;
    let workspace = server.workspace("keyed").await;
    let configuration = server.configuration(&workspace, KEYED, false).await;
    let run = server.run(&workspace, &configuration, json!({ "auto-apply": true })).await;
    let ended = server.run_until(&run, &["applied", "errored"]).await;
    let message = ended.text_at("/data/attributes/error-message");
    assert!(message.contains("NUL character"), "{message}");
    let shown = server.get(&format!("/api/v2/workspaces/{workspace}")).await.expect(200);
    assert_eq!(shown.json.pointer("/data/attributes/locked"), Some(&json!(false)));

    let place = message.split_once(" in /").and_then(|(_, rest)| rest.split_once(". Before")).expect("it says where").0;
    let kept = std::path::PathBuf::from(format!("/{place}"));
    let data = kept.ancestors().nth(4).expect("it is in spool/kept/JOB of the data directory");
    let mut open = std::process::Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    let opened = open.env_clear().args(["open-state", "--data-dir"]).arg(data).arg(&kept).output().unwrap();
    let (state, errors) = (String::from_utf8_lossy(&opened.stdout), String::from_utf8_lossy(&opened.stderr));
    assert!(opened.status.success() && state.contains("\"name\": \"made\""), "{state}{errors}");
    assert!(!String::from_utf8_lossy(&std::fs::read(&kept).unwrap()).contains("made"), "it is sealed where it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_runs_wait_and_go_in_order() {
    let server = TestServer::start().await;
    let workspace = server.workspace("queue").await;
    let configuration = server.configuration(&workspace, HELLO, false).await;
    let first = server.run(&workspace, &configuration, json!({})).await;
    server.run_until(&first, &["planned"]).await;
    let second = server.run(&workspace, &configuration, json!({})).await;
    let third = server.run(&workspace, &configuration, json!({})).await;
    server.run_until(&second, &["pending"]).await;
    server.post(&format!("/api/v2/runs/{first}/actions/discard"), json!({})).await.expect(202);
    server.run_until(&second, &["planned"]).await;
    server.run_until(&third, &["pending"]).await;
    server.post(&format!("/api/v2/runs/{third}/actions/cancel"), json!({})).await.expect(202);
    server.run_until(&third, &["canceled"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_while_a_person_holds_the_lock() {
    let server = TestServer::start().await;
    let workspace = server.workspace("locked").await;
    let configuration = server.configuration(&workspace, HELLO, false).await;
    server.post(&format!("/api/v2/workspaces/{workspace}/actions/lock"), json!({})).await.expect(200);
    let run = server.run(&workspace, &configuration, json!({ "auto-apply": true })).await;
    server.run_until(&run, &["pending"]).await;
    server.post(&format!("/api/v2/workspaces/{workspace}/actions/unlock"), json!({})).await.expect(200);
    server.run_until(&run, &["applied"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_engine_is_an_error_on_the_run() {
    let server = TestServer::start().await;
    let workspace = server.workspace_with(json!({ "name": "old", "terraform-version": "0.1.2" })).await;
    let configuration = server.configuration(&workspace, HELLO, false).await;
    let run = server.run(&workspace, &configuration, json!({})).await;
    let errored = server.run_until(&run, &["errored"]).await;
    assert!(errored.text_at("/data/attributes/error-message").contains("0.1.2"), "{}", errored.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_run_is_cancelled_at_once() {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("idle").await;
    let configuration = server.configuration(&workspace, HELLO, false).await;
    let run = server.run(&workspace, &configuration, json!({})).await;
    server.run_until(&run, &["plan_queued"]).await;
    server.post(&format!("/api/v2/runs/{run}/actions/apply"), json!({})).await.expect_error(409, "transition not allowed");
    server.post(&format!("/api/v2/runs/{run}/actions/cancel"), json!({})).await.expect(202);
    let workspace = server.get(&format!("/api/v2/workspaces/{workspace}")).await.expect(200);
    assert_eq!(workspace.json.pointer("/data/attributes/locked"), Some(&json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_runs_are_refused_with_a_pointer() {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("strict").await;
    let unknown = run_body(&workspace, "cv-unknown", json!({}));
    server.post("/api/v2/runs", unknown).await.expect(404);
    server.post("/api/v2/runs", json!({ "data": { "attributes": {} } })).await.expect_error(422, "/data/relationships/workspace");
    let configuration = server.configuration(&workspace, HELLO, false).await;
    let wrong = run_body(&workspace, &configuration, json!({ "auto-apply": "x" }));
    server.post("/api/v2/runs", wrong).await.expect_error(422, "/data/attributes/auto-apply");
    server.get("/api/v2/runs/run-unknown").await.expect(404);
    server.get("/api/v2/runs/run-unknown?include=nothing").await.expect_error(400, "Invalid include parameter");
}
