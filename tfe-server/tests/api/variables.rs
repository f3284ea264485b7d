//! Variables: what is sensitive goes in and never out.

use serde_json::{Value, json};

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_sensitive_value_never_comes_back() {
    let server = TestServer::start_idle().await;
    let path = format!("/api/v2/workspaces/{}/vars", server.workspace("secret").await);
    let body = |attributes: Value| json!({ "data": { "type": "vars", "attributes": attributes } });
    let made = server
        .post(&path, body(json!({ "key": "password", "value": "hunter22", "category": "terraform", "sensitive": true })))
        .await
        .expect(201);
    let one = format!("{path}/{}", made.id());
    let renamed = server.patch(&one, body(json!({ "description": "for the database" }))).await.expect(200);
    for answer in [&made, &renamed, &server.get(&one).await, &server.get(&path).await] {
        assert!(!answer.text.contains("hunter22"), "{}", answer.text);
    }
    assert_eq!(made.json.pointer("/data/attributes/value"), Some(&Value::Null));
    server.patch(&one, body(json!({ "sensitive": false }))).await.expect_error(422, "cannot be taken back");
    server.delete(&one).await.expect(204);
    server.get(&one).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_changes_when_the_value_does() {
    let server = TestServer::start_idle().await;
    let path = format!("/api/v2/workspaces/{}/vars", server.workspace("versions").await);
    let body = |value: &str| json!({ "data": { "attributes": { "key": "a", "value": value, "category": "env" } } });
    let made = server.post(&path, body("1")).await.expect(201);
    let one = format!("{path}/{}", made.id());
    let version = "/data/attributes/version-id";
    assert_eq!(server.patch(&one, body("1")).await.expect(200).text_at(version), made.text_at(version));
    assert_ne!(server.patch(&one, body("2")).await.expect(200).text_at(version), made.text_at(version));
    assert_eq!(server.get(&one).await.text_at("/data/attributes/value"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_variables_are_pointed_at() {
    let server = TestServer::start_idle().await;
    let path = format!("/api/v2/workspaces/{}/vars", server.workspace("wrong").await);
    let create = async |attributes: Value| server.post(&path, json!({ "data": { "attributes": attributes } })).await;
    create(json!({ "key": "a", "category": "terraform" })).await.expect(201);
    create(json!({ "key": "a", "category": "terraform" })).await.expect_error(422, "Key has already been taken");
    create(json!({ "key": "a", "category": "env" })).await.expect(201);
    create(json!({ "key": "1a", "category": "terraform" })).await.expect_error(422, "Key is invalid");
    create(json!({ "key": "", "category": "terraform" })).await.expect_error(422, "/data/attributes/key");
    create(json!({ "key": "b" })).await.expect_error(422, "/data/attributes/category");
    create(json!({ "key": "b", "category": "moon" })).await.expect_error(422, "/data/attributes/category");
    server.get(&format!("{path}/var-unknown")).await.expect(404);
}
