//! Versions of the engines: registered by site administrators, and what they mean for runs.

use std::{
    io::{Cursor, Write},
    path::Path,
};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tfe_core::user::User;
use tfe_runner::{Tools, job::EngineKind, tools::ToolSettings};
use tfe_storage::{Batch, Query, StoreExt};

use crate::harness::{Answer, TestServer, run_body};

const PATH: &str = "/api/v2/admin/terraform-versions";
const OPENTOFU: &str = "/api/v2/admin/opentofu-versions";
const NOTHING: &str = "output \"a\" { value = 1 }";

fn body(attributes: Value) -> Value {
    json!({ "data": { "type": "terraform-versions", "attributes": attributes } })
}

/// A version with what must be said of it.
fn version(version: &str, more: Value) -> Value {
    let mut attributes = json!({ "version": version, "url": format!("https://example.com/{version}.zip"), "sha": "ab".repeat(32) });
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body(attributes)
}

async fn register(server: &TestServer, name: &str, more: Value) -> String {
    server.post(PATH, version(name, more)).await.expect(201).id()
}

async fn names(server: &TestServer, path: &str) -> Vec<String> {
    let list = server.get(path).await.expect(200).json;
    list["data"].as_array().unwrap().iter().map(|version| version["attributes"]["version"].as_str().unwrap().to_owned()).collect()
}

/// Queues a run in a new workspace that wants this version.
async fn run(server: &TestServer, name: &str, wanted: &str) -> Answer {
    let workspace = server.workspace_with(json!({ "name": name, "terraform-version": wanted })).await;
    let configuration = server.configuration(&workspace, NOTHING, false).await;
    server.post("/api/v2/runs", run_body(&workspace, &configuration, json!({}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_registered_changed_and_deleted() {
    let server = TestServer::start_idle().await;
    let made = server.post(PATH, version("1.9.8", json!({}))).await.expect(201);
    let attributes = &made.json["data"]["attributes"];
    let expected = json!({
        "version": "1.9.8", "url": "https://example.com/1.9.8.zip", "sha": "ab".repeat(32),
        "archs": [{ "url": "https://example.com/1.9.8.zip", "sha": "ab".repeat(32), "os": "linux", "arch": "amd64" }],
        "official": false, "enabled": true, "beta": false, "deprecated": false, "deprecated-reason": null, "usage": 0,
        "created-at": attributes["created-at"],
    });
    assert_eq!((attributes, made.text_at("/data/type").as_str()), (&expected, "terraform-versions"));
    assert!(made.id().starts_with("tool-"));
    let own = format!("{PATH}/{}", made.id());
    assert_eq!(server.get(&own).await.expect(200).json["data"], made.json["data"]);

    let change = json!({ "version": "1.9.9", "url": "https://example.com/new.zip", "deprecated": true, "deprecated-reason": "old" });
    let changed = server.patch(&own, body(change)).await.expect(200).json["data"]["attributes"].clone();
    assert_eq!(changed["version"], "1.9.9");
    assert_eq!((&changed["url"], &changed["sha"]), (&json!("https://example.com/new.zip"), &json!("ab".repeat(32))));
    assert_eq!((&changed["archs"][0]["url"], &changed["deprecated-reason"]), (&changed["url"], &json!("old")));
    let changed = server.patch(&own, body(json!({ "deprecated": false }))).await.expect(200);
    assert_eq!(changed.json.pointer("/data/attributes/deprecated-reason"), Some(&Value::Null));

    server.delete(&own).await.expect(204);
    server.get(&own).await.expect(404);
    server.delete(&own).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_newest_first_and_found_by_their_text() {
    let server = TestServer::start_idle().await;
    for name in ["1.9.8", "1.10.0", "1.9.10", "1.12.0-rc1"] {
        register(&server, name, json!({})).await;
    }
    server.post(OPENTOFU, version("1.9.8", json!({}))).await.expect(201);
    assert_eq!(names(&server, PATH).await, ["1.12.0-rc1", "1.10.0", "1.9.10", "1.9.8"]);
    assert_eq!(names(&server, &format!("{PATH}?filter[version]=1.9.8")).await, ["1.9.8"]);
    assert_eq!(names(&server, &format!("{PATH}?filter[version]=9")).await, [""; 0]);
    assert_eq!(names(&server, &format!("{PATH}?search[version]=1.9")).await, ["1.9.10", "1.9.8"]);
    let page = server.get(&format!("{PATH}?page[number]=2&page[size]=3")).await.expect(200).json;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["meta"]["pagination"]["total-count"]), (1, &json!(4)));
    let beyond = server.get(&format!("{PATH}?page[number]=999&page[size]=100")).await.expect(200).json;
    assert_eq!((&beyond["data"], &beyond["meta"]["pagination"]["current-page"]), (&json!([]), &json!(999)));
    let opentofu = server.get(OPENTOFU).await.expect(200);
    assert_eq!(opentofu.text_at("/data/0/type"), "opentofu-versions");
    let id = opentofu.text_at("/data/0/id");
    server.get(&format!("{PATH}/{id}")).await.expect(404);
    server.get(&format!("{OPENTOFU}/{id}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let server = TestServer::start_idle().await;
    let id = register(&server, "1.9.8", json!({ "official": true })).await;
    server.post(PATH, version("1.9.8", json!({}))).await.expect_error(422, "Version has already been taken");
    server.post(PATH, version("latest", json!({}))).await.expect_error(422, "Version must be three numbers");
    server.post(PATH, body(json!({ "version": "1.9.9" }))).await.expect_error(422, "Give url and sha of the archive");
    server.post(PATH, version("1.9.9", json!({ "sha": "12" }))).await.expect_error(422, "64 hexadecimal digits");
    server.post(PATH, version("1.9.9", json!({ "url": "ftp://a" }))).await.expect_error(422, "Url must be");
    server.post(PATH, body(json!({}))).await.expect(422);
    server.delete(&format!("{PATH}/{id}")).await.expect_error(422, "Official versions cannot be deleted");
    assert_eq!(names(&server, PATH).await, ["1.9.8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_workspaces_name_stays() {
    let server = TestServer::start_idle().await;
    let id = register(&server, "1.9.8", json!({})).await;
    let own = format!("{PATH}/{id}");
    let workspace = server.workspace_with(json!({ "name": "pinned", "terraform-version": "1.9.8" })).await;
    server.workspace_with(json!({ "name": "ranging", "terraform-version": "~> 1.9.0" })).await;
    server.workspace_with(json!({ "name": "other", "terraform-version": "1.9.8", "engine": "tofu" })).await;
    assert_eq!(server.get(&own).await.expect(200).json.pointer("/data/attributes/usage"), Some(&json!(1)));
    server.delete(&own).await.expect_error(422, "used by 1 workspaces and cannot be deleted");
    server.patch(&own, body(json!({ "version": "1.9.9" }))).await.expect_error(422, "cannot be renamed");
    server.patch(&own, body(json!({ "enabled": false }))).await.expect(200);
    let change = json!({ "data": { "attributes": { "terraform-version": "latest" } } });
    server.patch(&format!("/api/v2/workspaces/{workspace}"), change).await.expect(200);
    server.delete(&own).await.expect(204);
}

/// For others there is no such place, also for the owner of an organization and its token.
#[tokio::test(flavor = "multi_thread")]
async fn versions_are_for_site_administrators() {
    let server = TestServer::start_idle().await;
    let id = register(&server, "1.9.8", json!({})).await;
    let token =
        server.post("/api/v2/organizations/acme/authentication-token", json!({})).await.expect(201).text_at("/data/attributes/token");
    set_site_admin(&server, false).await;
    for path in [PATH, OPENTOFU] {
        let own = format!("{path}/{id}");
        for (method, path) in [
            (Method::GET, path),
            (Method::POST, path),
            (Method::GET, own.as_str()),
            (Method::PATCH, own.as_str()),
            (Method::DELETE, own.as_str()),
        ] {
            let request = || server.anonymous(method.clone(), path).body(version("1.10.0", json!({})).to_string());
            for token in [&token, &server.token] {
                Answer::of(request().bearer_auth(token)).await.expect_error(404, "not found");
            }
            Answer::of(request()).await.expect(401);
        }
    }
    set_site_admin(&server, true).await;
    assert_eq!(names(&server, PATH).await, ["1.9.8"]);
}

/// Makes the one user of the server, who owns the organization, an ordinary one or a site administrator.
async fn set_site_admin(server: &TestServer, site_admin: bool) {
    let user = server.app.store.list::<User>(Query::of::<User>()).await.unwrap().items.remove(0);
    let next = User { site_admin, ..user.record.clone() };
    server.app.store.commit(Batch::new().update(&user, &next)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_gets_an_enabled_version_and_keeps_it() {
    let server = TestServer::start_idle().await;
    let before = run(&server, "before", "~> 1.9.0").await.expect(201);
    assert_eq!(before.text_at("/data/attributes/terraform-version"), "~> 1.9.0", "nothing is registered: the runner chooses");
    register(&server, "1.9.8", json!({})).await;
    register(&server, "1.10.0", json!({ "beta": true })).await;
    register(&server, "1.11.4", json!({ "enabled": false })).await;
    for (place, (wanted, version)) in [("latest", "1.9.8"), ("~> 1.9.0", "1.9.8"), ("1.10.0", "1.10.0")].iter().enumerate() {
        let run = run(&server, &format!("given-{place}"), wanted).await.expect(201);
        assert_eq!(run.text_at("/data/attributes/terraform-version"), *version, "{wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_version_is_refused_when_a_run_is_created() {
    let server = TestServer::start_idle().await;
    register(&server, "1.9.8", json!({})).await;
    let id = register(&server, "1.11.4", json!({ "enabled": false })).await;
    let refused = "Terraform 1.11.4 is disabled here; choose another in the workspace's settings (1.9.8), \
                   or ask a site administrator to enable or add it";
    for (place, wanted) in ["1.11.4", "~> 1.11.0"].iter().enumerate() {
        let answer = run(&server, &format!("refused-{place}"), wanted).await.expect_error(422, refused);
        assert_eq!(answer.text_at("/errors/0/source/pointer"), "/data/attributes/terraform-version");
    }
    run(&server, "unknown", "2.0.0").await.expect_error(422, "no version of Terraform here fits \\\"2.0.0\\\"");
    server.patch(&format!("{PATH}/{id}"), body(json!({ "enabled": true }))).await.expect(200);
    run(&server, "allowed", "1.11.4").await.expect(201);
}

/// Whoever starts the run reads in its log that the version is deprecated; it runs all the same, with what is installed.
#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_version_runs_with_a_warning_in_the_log() {
    let server = TestServer::start().await;
    let installed = Tools::open(&[], &ToolSettings::default()).names(EngineKind::Terraform).pop().expect("terraform is on the PATH");
    register(&server, &installed, json!({ "deprecated": true, "deprecated-reason": "ends in May" })).await;
    let run = run(&server, "old", "latest").await.expect(201).id();
    server.run_until(&run, &["planned", "planned_and_finished"]).await;
    let plan = server.get(&format!("/api/v2/runs/{run}/plan")).await.expect(200);
    let log = server.get(&plan.text_at("/data/attributes/log-read-url")).await.expect(200).text;
    let warning =
        format!("Warning: Terraform {installed} is deprecated here (ends in May); choose a newer version in the workspace's settings");
    assert!(log.contains(&warning), "{log}");
}

/// A version that nobody installed is fetched from where it is registered, and plans and applies.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_gets_a_registered_version_that_is_not_installed() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (archive, sha) = engine(directory.path(), "0.99.1");
    server.post(PATH, body(json!({ "version": "0.99.1", "archs": archs(&archive, &sha) }))).await.expect(201);
    let run = run(&server, "fetched", "latest").await.expect(201).id();
    server.run_until(&run, &["planned"]).await;
    server.post(&format!("/api/v2/runs/{run}/actions/apply"), json!({})).await.expect(202);
    server.run_until(&run, &["applied"]).await;
    for phase in ["plan", "apply"] {
        let shown = server.get(&format!("/api/v2/runs/{run}/{phase}")).await.expect(200);
        let log = server.get(&shown.text_at("/data/attributes/log-read-url")).await.expect(200).text;
        assert!(log.contains("Terraform v0.99.1\n"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_version_that_cannot_be_fetched_ends_the_run_with_what_to_do() {
    let server = TestServer::start().await;
    let archs = archs("/nowhere/engine.zip", &"0".repeat(64));
    server.post(PATH, body(json!({ "version": "0.99.1", "archs": archs }))).await.expect(201);
    let run = run(&server, "unfetched", "0.99.1").await.expect(201).id();
    let message = server.run_until(&run, &["errored"]).await.text_at("/data/attributes/error-message");
    assert!(message.contains("there is nothing at /nowhere/engine.zip") && message.contains("ask a site administrator"), "{message}");
}

/// The same build for whatever machine the test runs on.
fn archs(url: &str, sha: &str) -> Value {
    ["amd64", "arm64"].map(|arch| json!({ "url": url, "sha": sha, "os": "linux", "arch": arch })).into_iter().collect()
}

/// An archive of the installed terraform that says that it is another version; its path and digest.
fn engine(directory: &Path, version: &str) -> (String, String) {
    let path = std::env::var_os("PATH").unwrap();
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join("terraform"));
    let installed = programs.find(|program| program.is_file()).expect("terraform is on the PATH");
    let says = format!("if [ \"$1\" = version ]; then echo '{{\"terraform_version\": \"{version}\"}}'; exit; fi");
    let script = format!("#!/bin/sh\n{says}\nexec {} \"$@\"\n", installed.display());
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("terraform", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(script.as_bytes()).unwrap();
    let archive = zip.finish().unwrap().into_inner();
    let sha = Sha256::digest(&archive).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let path = directory.join("engine.zip");
    std::fs::write(&path, archive).unwrap();
    (path.to_str().unwrap().to_owned(), sha)
}
