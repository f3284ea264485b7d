//! Workspaces: names, tags, locks, deletion.

use serde_json::{Value, json};

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_made_found_changed_and_deleted() {
    let server = TestServer::start_idle().await;
    let id = server.workspace_with(json!({ "name": "one", "auto-apply": true })).await;
    let named = server.get("/api/v2/organizations/acme/workspaces/one?include=organization").await.expect(200);
    assert_eq!(named.id(), id);
    assert_eq!(named.text_at("/included/0/attributes/email"), "admin@example.com");
    let body = json!({ "data": { "attributes": { "description": "mine", "terraform-version": "~> 1.9", "unknown": 1 } } });
    let patched = server.patch(&format!("/api/v2/workspaces/{id}"), body).await.expect(200);
    assert_eq!(patched.text_at("/data/attributes/description"), "mine");
    assert_eq!(patched.json.pointer("/data/attributes/auto-apply"), Some(&json!(true)), "what is not sent stays");
    let cleared = server.patch(&format!("/api/v2/workspaces/{id}"), json!({ "data": { "attributes": { "description": null } } })).await;
    assert_eq!(cleared.json.pointer("/data/attributes/description"), Some(&Value::Null));
    server.post(&format!("/api/v2/workspaces/{id}/actions/safe-delete"), json!({})).await.expect(204);
    server.get(&format!("/api/v2/workspaces/{id}")).await.expect_error(404, "not found");
    server.delete(&format!("/api/v2/workspaces/{id}")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_pointed_at() {
    let server = TestServer::start_idle().await;
    server.workspace("taken").await;
    let create = async |attributes: Value| {
        server.post("/api/v2/organizations/acme/workspaces", json!({ "data": { "attributes": attributes } })).await
    };
    create(json!({ "name": "taken" })).await.expect_error(422, "Name has already been taken");
    create(json!({ "name": "a b" })).await.expect_error(422, "/data/attributes/name");
    create(json!({ "name": "a", "auto-apply": "x" })).await.expect_error(422, "/data/attributes/auto-apply");
    create(json!({ "name": "a", "execution-mode": "moon" })).await.expect_error(422, "/data/attributes/execution-mode");
    create(json!({ "name": "a", "terraform-version": "new" })).await.expect_error(422, "/data/attributes/terraform-version");
    create(json!({ "name": "a", "working-directory": "../b" })).await.expect_error(422, "/data/attributes/working-directory");
    let wrong = server.request(reqwest::Method::POST, "/api/v2/organizations/acme/workspaces").body("{\"data\":");
    crate::harness::Answer::of(wrong).await.expect_error(422, "EOF");
    server.post("/api/v2/organizations/nowhere/workspaces", json!({ "data": { "attributes": { "name": "a" } } })).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_bound_listed_searched_and_removed() {
    let server = TestServer::start_idle().await;
    let id = server.workspace("tagged").await;
    server.workspace("other").await;
    let bindings = format!("/api/v2/workspaces/{id}/tag-bindings");
    let tag = |key: &str, value: &str| json!({ "type": "tag-bindings", "attributes": { "key": key, "value": value } });
    server.patch(&bindings, json!({ "data": [tag("team", "blue"), tag("app", "")] })).await.expect(200);
    let found = async |query: &str| {
        let list = server.get(&format!("/api/v2/organizations/acme/workspaces?{query}")).await.expect(200);
        list.json["meta"]["pagination"]["total-count"].as_u64().unwrap()
    };
    assert_eq!(found("search[tags]=app").await, 1);
    assert_eq!(found("search[tags]=ap").await, 0);
    assert_eq!(found("search[tags]=app,team").await, 1);
    assert_eq!(found("filter[tagged][0][key]=team&filter[tagged][0][value]=blue").await, 1);
    assert_eq!(found("filter[tagged][0][key]=team&filter[tagged][0][value]=red").await, 0);
    assert_eq!(found("search[name]=OTH").await, 1);
    let many: Vec<_> = (0..11).map(|number| tag(&format!("k{number}"), "")).collect();
    server.patch(&bindings, json!({ "data": many })).await.expect_error(422, "cannot exceed 10 bindings per resource");
    let names = format!("/api/v2/workspaces/{id}/relationships/tags");
    let gone = server.request(reqwest::Method::DELETE, &names).body(json!({ "data": [{ "attributes": { "name": "app" } }] }).to_string());
    crate::harness::Answer::of(gone).await.expect(204);
    let left = server.get(&names).await.expect(200);
    assert_eq!(left.json["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_has_one_holder() {
    let server = TestServer::start_idle().await;
    let id = server.workspace("lock").await;
    let act = async |action: &str| server.post(&format!("/api/v2/workspaces/{id}/actions/{action}"), json!({ "reason": "why" })).await;
    act("unlock").await.expect_error(409, "already unlocked");
    act("force-unlock").await.expect(409);
    let locked = act("lock").await.expect(200);
    assert_eq!(locked.json.pointer("/data/attributes/locked"), Some(&json!(true)));
    assert_eq!(locked.text_at("/data/relationships/locked-by/data/type"), "users");
    act("lock").await.expect_error(409, "workspace already locked");
    act("safe-delete").await.expect_error(409, "locked");
    let token =
        server.post("/api/v2/organizations/acme/authentication-token", json!({})).await.expect(201).text_at("/data/attributes/token");
    let other = server.anonymous(reqwest::Method::POST, &format!("/api/v2/workspaces/{id}/actions/unlock")).bearer_auth(&token);
    crate::harness::Answer::of(other).await.expect_error(409, "is locked by User");
    act("force-unlock").await.expect(200);
    act("lock").await.expect(200);
    act("unlock").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages() {
    let server = TestServer::start_idle().await;
    for name in ["a", "b", "c"] {
        server.workspace(name).await;
    }
    let page = server.get("/api/v2/organizations/acme/workspaces?page[size]=2&page[number]=2&search[name]=").await.expect(200);
    assert_eq!(page.text_at("/data/0/attributes/name"), "c");
    assert_eq!(page.json["meta"]["pagination"]["total-pages"], 2);
    assert_eq!(page.json["links"]["next"], Value::Null);
    assert!(page.text_at("/links/prev").contains("page%5Bnumber%5D=1"), "{}", page.text);
    let beyond = server.get("/api/v2/organizations/acme/workspaces?page[number]=999").await.expect(200);
    assert_eq!(beyond.json["data"], json!([]));
    assert_eq!(beyond.json["meta"]["pagination"]["total-count"], 3);
}
