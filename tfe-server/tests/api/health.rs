//! What load balancers and Prometheus see.

use std::time::{Duration, Instant};

use reqwest::Method;
use tfe_core::node::Node;
use tfe_server::{InitialAdmin, Settings};
use tfe_storage::Batch;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, TestServer};

/// More than two rounds of checks take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_every_part_and_needs_no_token() {
    let server = TestServer::start_idle().await;
    let answer = Answer::of(server.anonymous(Method::GET, "/api/v1/health/readiness?timeout=30")).await.expect(200);
    assert_eq!(answer.text_at("/status"), "OK");
    let checks: Vec<_> = answer.json["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["database", "object-storage", "vault", "queue", "redis", "clock"]);
    for timeout in ["0", "31", "soon"] {
        Answer::of(server.anonymous(Method::GET, &format!("/api/v1/health/readiness?timeout={timeout}")))
            .await
            .expect_error(400, "1 to 30");
    }
    let text = server.anonymous(Method::GET, "/_health_check").header("accept", "text/plain");
    assert!(Answer::of(text).await.expect(200).text.contains("database: OK\n"));
    Answer::of(server.anonymous(Method::GET, "/api/v1/health/liveness")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_differs_from_another_nodes_is_told_and_nothing_stops() {
    let server = TestServer::start_idle().await;
    let now = server.app.now();
    let other = Node {
        id: server.app.new_id(),
        created_at: now,
        name: "other".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: now,
        last_seen_at: now.plus_seconds(3600),
        drain_requested: false,
        left: false,
        condition: "OK".to_owned(),
    };
    server.app.store.commit(Batch::new().insert(&other)).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let clock = loop {
        let answer = Answer::of(server.anonymous(Method::GET, "/api/v1/health/readiness")).await.expect(200);
        let clock = answer.json["checks"].as_array().unwrap().iter().find(|check| check["check"] == "clock").unwrap().clone();
        if clock["status"] == "ERROR" {
            break clock;
        }
        assert!(Instant::now() < deadline, "{clock}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(clock["reason"].as_str().unwrap().starts_with("the clock of other is 35"), "{clock}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_happens() {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("measured").await;
    let configuration = server.configuration(&workspace, "# nothing", false).await;
    server.run(&workspace, &configuration, serde_json::json!({})).await;
    let text = tfe_server::metrics::render(&server.app).await.unwrap();
    for line in [
        "tfe_http_requests_total{method=\"POST\",route=\"/api/v2/runs\",status=\"201\"} 1",
        "tfe_runs{status=\"plan_queued\"} 1",
        "tfe_jobs{status=\"queued\"} 1",
        "tfe_calls_total{part=\"store\",operation=\"commit\",outcome=\"ok\"}",
        "tfe_calls_total{part=\"vault\",operation=\"seal\",outcome=\"ok\"}",
        "tfe_blob_bytes_total{direction=\"written\"}",
        "tfe_process_resident_memory_bytes",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains(&workspace), "labels are patterns, not ids");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_administrator_is_made_once_and_only_with_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let initial_admin = InitialAdmin { subnets: vec!["127.0.0.0/8".parse().unwrap()], ..InitialAdmin::default() };
    let settings = Settings { initial_admin, ..Settings::default() };
    let server = tfe_server::Server::builder().data_directory(directory.path().join("data")).settings(settings).build().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    tokio::spawn(server.serve(listener, None, shutdown.clone()));
    let http = reqwest::Client::new();
    let token = http.get(format!("{url}/admin/retrieve-iact")).send().await.unwrap().text().await.unwrap();
    let create = async |token: &str, password: &str| {
        let body = serde_json::json!({ "username": "admin", "email": "admin@example.com", "password": password });
        let answer = http.post(format!("{url}/admin/initial-admin-user?token={token}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap_or_default())
    };
    assert_eq!(create("wrong", "long enough to use").await.0, 404);
    assert_eq!(create(&token, "short").await.0, 422);
    let (status, created) = create(&token, "long enough to use").await;
    assert_eq!((status, created["status"].as_str()), (200, Some("created")));
    let account = http.get(format!("{url}/api/v2/account/details")).bearer_auth(created["token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(account.status(), 200);
    assert_eq!(create(&token, "long enough to use").await.0, 404, "there is a user now");
    assert_eq!(http.get(format!("{url}/admin/retrieve-iact")).send().await.unwrap().status(), 404);
    shutdown.cancel();
}
