//! Real services, and a place of its own in each for a test. `scripts/test` says where they are.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Settings, by their names in the environment.
pub(crate) type Settings = Vec<(String, String)>;

/// A variable of the environment; without it a test is skipped, or fails where it must run.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        assert!(std::env::var_os("TFE_TEST_REQUIRE").is_none(), "{name} must be set; scripts/test does that");
        eprintln!("skipped: {name} is not set");
    }
    value
}

/// A database of its own, dropped with the value.
pub(crate) struct Database {
    pub(crate) address: String,
    pub(crate) name: String,
}

impl Database {
    /// In the shared server.
    pub(crate) fn create() -> Option<Self> {
        let url = variable("TFE_TEST_POSTGRES")?;
        let address = url.split('@').next_back().unwrap().split('/').next().unwrap().to_owned();
        let name = format!("tfe_server_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let database = Self { address, name };
        psql(&database.address, "postgres", &format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    /// Everything in it, as text.
    pub(crate) fn dump(&self) -> String {
        let (host, port) = self.address.split_once(':').unwrap();
        let mut command = program("pg_dump");
        let output = command.args(["-h", host, "-p", port, "-U", "postgres", "--inserts", &self.name]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        psql(&self.address, "postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// One of PostgreSQL's programs.
pub(crate) fn program(name: &str) -> Command {
    let directory = std::env::var("TFE_TEST_POSTGRES_PROGRAMS").expect("TFE_TEST_POSTGRES_PROGRAMS is set with TFE_TEST_POSTGRES");
    let mut command = Command::new(format!("{directory}/{name}"));
    command.current_dir("/");
    command
}

/// Runs SQL as the superuser.
pub(crate) fn psql(address: &str, database: &str, sql: &str) -> String {
    let (host, port) = address.split_once(':').unwrap();
    let mut command = program("psql");
    let output = command.args(["-qAt", "-h", host, "-p", port, "-U", "postgres", "-d", database, "-c", sql]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The name of the queue in RabbitMQ that the installation in that database has its hints in.
pub(crate) fn queue_of_hints(address: &str, database: &str) -> String {
    let name = psql(address, database, "SELECT body ->> 'name' FROM installations");
    format!("tfe-{}", name.trim())
}

/// Deletes a queue from RabbitMQ, with all that waits in it.
pub(crate) fn delete_queue(rabbitmq: &str, queue: &str) {
    let delete = async {
        let connection = lapin::Connection::connect(rabbitmq, lapin::ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.queue_delete(queue.into(), lapin::options::QueueDeleteOptions::default()).await?;
        connection.close(0, "deleted".into()).await
    };
    Runtime::new().unwrap().block_on(delete).unwrap();
}

/// The settings of external mode with that database, in a place of its own in the object store.
pub(crate) fn external(address: &str, name: &str) -> Option<Settings> {
    let endpoint = variable("TFE_TEST_S3")?;
    let bucket = std::env::var("TFE_TEST_S3_BUCKET").unwrap();
    let settings = [
        ("TFE_OPERATIONAL_MODE", "external"),
        ("TFE_DATABASE_HOST", address),
        ("TFE_DATABASE_NAME", name),
        ("TFE_DATABASE_USER", "postgres"),
        ("TFE_DATABASE_PARAMETERS", "sslmode=disable"),
        ("TFE_OBJECT_STORAGE_TYPE", "s3"),
        ("TFE_OBJECT_STORAGE_S3_BUCKET", &bucket),
        ("TFE_OBJECT_STORAGE_S3_REGION", "us-east-1"),
        ("TFE_OBJECT_STORAGE_S3_ENDPOINT", &endpoint),
        ("TFE_OBJECT_STORAGE_S3_ACCESS_KEY_ID", "test"),
        ("TFE_OBJECT_STORAGE_S3_SECRET_ACCESS_KEY", "test"),
        ("TFE_OBJECT_STORAGE_PREFIX", name),
        ("TFE_ENCRYPTION_PASSWORD", "pass'word $with \"everything\""),
    ];
    Some(owned(&settings))
}

/// A mount and role of its own in a vault.
pub(crate) struct ExternalVault {
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) mount: String,
    role: (String, String),
}

impl ExternalVault {
    /// In the shared service.
    pub(crate) fn create() -> Option<Self> {
        Some(Self::at(&variable("TFE_TEST_VAULT")?, &variable("TFE_TEST_VAULT_TOKEN")?))
    }

    /// In a service, with the least policy.
    pub(crate) fn at(address: &str, token: &str) -> Self {
        let name = format!("server-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let role = (String::new(), String::new());
        let mut vault = Self { address: address.to_owned(), token: token.to_owned(), mount: format!("transit-{name}"), role };
        vault.call("POST", &format!("sys/mounts/{}", vault.mount), &json!({ "type": "transit" }));
        vault.call("POST", "sys/auth/approle", &json!({ "type": "approle" }));
        let policy = include_str!("../../../scripts/lib/vault-policy.hcl").replace("\"transit/", &format!("\"{}/", vault.mount));
        vault.call("PUT", &format!("sys/policies/acl/{name}"), &json!({ "policy": policy }));
        vault.call("POST", &format!("auth/approle/role/{name}"), &json!({ "token_policies": name }));
        let id = vault.call("GET", &format!("auth/approle/role/{name}/role-id"), &Value::Null);
        let secret = vault.call("POST", &format!("auth/approle/role/{name}/secret-id"), &json!({}));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        vault.role = (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]));
        vault
    }

    /// The settings that name it, instead of a password.
    pub(crate) fn settings(&self, external: Settings) -> Settings {
        let own = [
            ("TFE_VAULT_USE_EXTERNAL", "true"),
            ("TFE_VAULT_ADDRESS", self.address.as_str()),
            ("TFE_VAULT_MOUNT", self.mount.as_str()),
            ("TFE_VAULT_ROLE_ID", self.role.0.as_str()),
            ("TFE_VAULT_SECRET_ID", self.role.1.as_str()),
        ];
        external.into_iter().filter(|(name, _)| name != "TFE_ENCRYPTION_PASSWORD").chain(owned(&own)).collect()
    }

    /// A request with the root token.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-H", &format!("X-Vault-Token: {}", self.token)]);
        if !body.is_null() {
            command.args(["--data-binary", &body.to_string()]);
        }
        let output = command.arg(format!("{}/v1/{path}", self.address)).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

pub(crate) fn owned(settings: &[(&str, &str)]) -> Settings {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
