//! A real OpenBao for tests.

use std::{
    env,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// How long a service may take to begin.
const READY_TENTHS: u32 = 300;

/// A service, and a mount and key in it for one test.
pub(crate) struct Bao {
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) mount: String,
    pub(crate) key: String,
    unseal_key: String,
    process: Option<(Child, TempDir)>,
}

/// Gives the test a mount of its own in the shared service.
pub(crate) async fn with_bao(test: impl AsyncFnOnce(Bao)) {
    let (Some(address), Some(token)) = (variable("TFE_TEST_VAULT"), variable("TFE_TEST_VAULT_TOKEN")) else { return };
    let bao = Bao::at(&address, &token);
    bao.prepare().await;
    test(bao).await;
}

/// Gives the test a service of its own, which it may seal.
pub(crate) async fn with_own_bao(test: impl AsyncFnOnce(Bao)) {
    let Some(program) = variable("TFE_TEST_VAULT_PROGRAM") else { return };
    let bao = Bao::start(&program).await;
    bao.prepare().await;
    test(bao).await;
}

impl Bao {
    /// A service that runs already.
    pub(crate) fn at(address: &str, token: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let (mount, key) = (format!("transit-{name}"), format!("key-{name}"));
        Self { address: address.to_owned(), token: token.to_owned(), mount, key, unseal_key: String::new(), process: None }
    }

    async fn start(program: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        let config = directory.path().join("config.hcl");
        let text = format!(
            "storage \"inmem\" {{}}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\napi_addr = \"{address}\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("server").arg(format!("-config={}", config.display())).env("HOME", directory.path());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut bao = Self::at(&address, "");
        bao.process = Some((process, directory));
        bao.reachable().await;
        let keys = bao.call("PUT", "sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 })).await;
        bao.unseal_key = keys["keys"][0].as_str().unwrap().to_owned();
        bao.token = keys["root_token"].as_str().unwrap().to_owned();
        bao.unseal().await;
        bao
    }

    async fn prepare(&self) {
        self.call("POST", &format!("sys/mounts/{}", self.mount), json!({ "type": "transit" })).await;
        // It may be there already.
        self.call("POST", "sys/auth/approle", json!({ "type": "approle" })).await;
    }

    /// A new role with this policy; its id and secret id.
    pub(crate) async fn role(&self, policy: &str, lifetime: &str) -> (String, String) {
        let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.call("PUT", &format!("sys/policies/acl/{name}"), json!({ "policy": policy })).await;
        let path = format!("auth/approle/role/{name}");
        self.call("POST", &path, json!({ "token_policies": name, "token_ttl": lifetime })).await;
        let role = self.call("GET", &format!("{path}/role-id"), Value::Null).await;
        let secret = self.call("POST", &format!("{path}/secret-id"), json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&role["data"]["role_id"]), text(&secret["data"]["secret_id"]))
    }

    pub(crate) async fn seal(&self) {
        self.call("PUT", "sys/seal", json!({})).await;
    }

    pub(crate) async fn unseal(&self) {
        self.call("PUT", "sys/unseal", json!({ "key": self.unseal_key })).await;
        for _ in 0..READY_TENTHS {
            let health = reqwest::get(format!("{}/v1/sys/health", self.address)).await;
            if health.is_ok_and(|health| health.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the service was not unsealed");
    }

    /// A request with the root token; null if the answer is not JSON.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = reqwest::Client::new().request(method, format!("{}/v1/{path}", self.address));
        let request = request.header("X-Vault-Token", &self.token);
        let request = if body.is_null() { request } else { request.json(&body) };
        request.send().await.unwrap().json().await.unwrap_or_default()
    }

    async fn reachable(&self) {
        for _ in 0..READY_TENTHS {
            if reqwest::get(format!("{}/v1/sys/health", self.address)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the service did not begin");
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok();
    if value.is_none() {
        let required = ["CI", "TFE_TEST_REQUIRE"].iter().any(|name| env::var_os(name).is_some());
        assert!(!required, "{name} must be set; scripts/test does that");
        eprintln!("skipped: {name} is not set");
    }
    value
}
