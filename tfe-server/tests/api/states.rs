//! State versions: the rules that keep a state from being lost.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tfe_core::state::md5_hex;

use crate::harness::{Answer, TestServer};

struct Locked {
    server: TestServer,
    id: String,
}

impl Locked {
    async fn start() -> Self {
        let server = TestServer::start_idle().await;
        let id = server.workspace("state").await;
        server.post(&format!("/api/v2/workspaces/{id}/actions/lock"), json!({})).await.expect(200);
        Self { server, id }
    }

    async fn announce(&self, attributes: Value) -> Answer {
        let body = json!({ "data": { "type": "state-versions", "attributes": attributes } });
        self.server.post(&format!("/api/v2/workspaces/{}/state-versions", self.id), body).await
    }

    /// Announces and uploads a state.
    async fn upload(&self, content: &str, serial: u64) -> Answer {
        let made = self.announce(json!({ "serial": serial, "md5": md5_hex(content.as_bytes()), "lineage": "line" })).await.expect(201);
        self.server.put(&made.text_at("/data/attributes/hosted-state-upload-url"), content.as_bytes().to_vec()).await.expect(200);
        made
    }

    async fn current_serial(&self) -> u64 {
        let current = self.server.get(&format!("/api/v2/workspaces/{}/current-state-version", self.id)).await.expect(200);
        current.json["data"]["attributes"]["serial"].as_u64().unwrap()
    }
}

fn state(serial: u64, output: &str) -> String {
    let outputs =
        json!({ "name": { "value": output, "type": "string" }, "hidden": { "value": "s3cret", "type": "string", "sensitive": true } });
    json!({ "version": 4, "terraform_version": "1.11.4", "serial": serial, "lineage": "line", "outputs": outputs, "resources": [] })
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_announced_uploaded_current_and_downloaded_unchanged() {
    let locked = Locked::start().await;
    let content = state(1, "first");
    let made = locked.upload(&content, 1).await;
    let shown = locked.server.get(&format!("/api/v2/state-versions/{}?include=outputs", made.id())).await.expect(200);
    assert_eq!(shown.text_at("/data/attributes/status"), "finalized");
    assert!(!shown.text.contains("s3cret"));
    let download = locked.server.get(&shown.text_at("/data/attributes/hosted-state-download-url")).await.expect(200);
    assert_eq!(download.text, content);
    let outputs = locked.server.get(&format!("/api/v2/state-versions/{}/outputs", made.id())).await.expect(200);
    let hidden = outputs.json["data"].as_array().unwrap().iter().find(|output| output["attributes"]["name"] == "hidden").unwrap().clone();
    assert_eq!(hidden["attributes"]["value"], Value::Null);
    let revealed = locked.server.get(&format!("/api/v2/state-version-outputs/{}", hidden["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(revealed.text_at("/data/attributes/value"), "s3cret");
    locked.server.post(&format!("/api/v2/workspaces/{}/actions/unlock", locked.id), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_foreign_and_damaged_states_are_refused() {
    let locked = Locked::start().await;
    locked.upload(&state(5, "a"), 5).await;
    let md5 = |content: &str| md5_hex(content.as_bytes());
    locked.announce(json!({ "serial": 4, "md5": md5("x"), "lineage": "line" })).await.expect_error(412, "serial");
    locked.announce(json!({ "serial": 5, "md5": md5("x"), "lineage": "line" })).await.expect_error(409, "MD5");
    locked.announce(json!({ "serial": 5, "md5": md5(&state(5, "a")), "lineage": "line" })).await.expect(201);
    locked.announce(json!({ "serial": 6, "md5": md5("x"), "lineage": "other" })).await.expect_error(409, "lineage");
    let damaged = locked.announce(json!({ "serial": 6, "md5": md5(&state(6, "b")), "lineage": "line" })).await.expect(201);
    let url = damaged.text_at("/data/attributes/hosted-state-upload-url");
    locked.server.put(&url, b"{}".to_vec()).await.expect_error(422, "MD5");
    assert_eq!(locked.current_serial().await, 5);
    let unlock = format!("/api/v2/workspaces/{}/actions/unlock", locked.id);
    locked.server.post(&unlock, json!({})).await.expect_error(409, "latest state version is still pending");
    locked.server.put(&url, state(6, "b").into_bytes()).await.expect(200);
    locked.server.put(&url, state(6, "b").into_bytes()).await.expect(200);
    assert_eq!(locked.current_serial().await, 6);
    locked.server.post(&unlock, json!({})).await.expect(200);
    locked.announce(json!({ "serial": 7, "md5": md5("x") })).await.expect_error(409, "not locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_the_document_counts_and_an_old_one_can_be_gone_back_to() {
    let locked = Locked::start().await;
    let first = locked.upload(&state(1, "first"), 1).await;
    let second = state(2, "second");
    let inline = json!({ "serial": 2, "md5": md5_hex(second.as_bytes()), "lineage": "line", "state": STANDARD.encode(&second) });
    locked.announce(inline).await.expect(201);
    assert_eq!(locked.current_serial().await, 2);
    let back = json!({ "data": { "type": "state-versions", "relationships": { "rollback-state-version": { "data": { "type": "state-versions", "id": first.id() } } } } });
    let path = format!("/api/v2/workspaces/{}/state-versions", locked.id);
    let rolled = locked.server.patch(&path, back).await.expect(201);
    assert_eq!(locked.current_serial().await, 3);
    let outputs = locked.server.get(&format!("/api/v2/state-versions/{}/outputs", rolled.id())).await.expect(200);
    assert!(outputs.text.contains("first"), "{}", outputs.text);
    let list = locked.server.get("/api/v2/state-versions?filter[organization][name]=acme&filter[workspace][name]=state").await.expect(200);
    assert_eq!(list.json["meta"]["pagination"]["total-count"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_unlock_gives_up_what_never_came() {
    let locked = Locked::start().await;
    let announced = locked.announce(json!({ "serial": 1, "md5": md5_hex(b"x"), "lineage": "line" })).await.expect(201);
    locked.server.post(&format!("/api/v2/workspaces/{}/actions/force-unlock", locked.id), json!({})).await.expect(200);
    let url = announced.text_at("/data/attributes/hosted-state-upload-url");
    locked.server.put(&url, b"x".to_vec()).await.expect_error(409, "given up");
}
