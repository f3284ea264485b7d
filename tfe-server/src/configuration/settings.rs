//! The one list of everything that can be set. The reader, the default file, the documentation and the warnings about
//! unknown names all come from it.

use std::ops::RangeInclusive;

/// One setting.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its name in the file, with the table before the dot.
    pub key: &'static str,
    /// Its name in the environment: Terraform Enterprise's own where it has one.
    pub environment: &'static str,
    /// What it may be.
    pub form: Form,
    /// What it is when nothing is said; empty for none.
    pub default: &'static str,
    /// What it is for, with its unit.
    pub about: &'static str,
}

/// What a setting may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// A text that is never shown; may also come from a file, named by the same setting with `_file` or `_FILE` after it.
    Secret,
    /// A directory, or the URL of a bucket; what stands after its question mark may be secret and is never shown.
    Place,
    /// A path.
    Path,
    /// `true` or `false`.
    Switch,
    /// A whole number in a range.
    Number(RangeInclusive<u64>),
    /// One of these.
    Choice(&'static [&'static str]),
    /// A socket address, such as `127.0.0.1:8080`.
    Address,
    /// A URL with `http` or `https`.
    Url,
    /// Address ranges, separated by commas.
    Subnets,
}

impl Form {
    /// What is expected, for people.
    pub fn expectation(&self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Place => "a directory or a URL like s3://bucket/prefix".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Number(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
            Self::Address => "an address like 127.0.0.1:8080".to_owned(),
            Self::Url => "a URL like https://host:8200".to_owned(),
            Self::Subnets => "address ranges like 10.0.0.0/8,192.0.2.7".to_owned(),
        }
    }
}

const fn setting(key: &'static str, environment: &'static str, form: Form, default: &'static str, about: &'static str) -> Setting {
    Setting { key, environment, form, default, about }
}

const fn text(key: &'static str, environment: &'static str, default: &'static str, about: &'static str) -> Setting {
    setting(key, environment, Form::Text, default, about)
}

const fn secret(key: &'static str, environment: &'static str, about: &'static str) -> Setting {
    setting(key, environment, Form::Secret, "", about)
}

const fn path(key: &'static str, environment: &'static str, about: &'static str) -> Setting {
    setting(key, environment, Form::Path, "", about)
}

const fn switch(key: &'static str, environment: &'static str, about: &'static str) -> Setting {
    setting(key, environment, Form::Switch, "false", about)
}

const PORT: Form = Form::Number(1..=65_535);
/// Up to a week: what takes longer is stuck.
const TIMEOUT: Form = Form::Number(1..=604_800);

/// Up to what a list of snapshots is still read by people.
const KEPT: Form = Form::Number(0..=10_000);

/// Everything that can be set, by table.
pub const SETTINGS: &[Setting] = &[
    setting(
        "server.mode",
        "TFE_OPERATIONAL_MODE",
        Form::Choice(&["demo", "disk", "external", "active-active"]),
        "disk",
        "Where data lives: demo and disk below the data directory, external in PostgreSQL and an object store; active-active is external",
    ),
    setting(
        "server.data_dir",
        "TFE_DATA_DIR",
        Form::Path,
        "./tfe-data",
        "The data directory; in external mode only what runs on this node need",
    ),
    setting(
        "server.rate_limit",
        "TFE_RATE_LIMIT",
        Form::Number(0..=1_000_000),
        "0",
        "How many API requests one caller may make in a second, over all nodes; 0 for any number",
    ),
    setting("server.listen", "TFE_LISTEN", Form::Address, "127.0.0.1:8080", "Where to listen; port 0 takes a free one"),
    text(
        "server.node",
        "TFE_NODE_NAME",
        "",
        "This node's name, the same after a restart and unlike other nodes' [default: kept in the data directory]",
    ),
    text("server.hostname", "TFE_HOSTNAME", "", "The host name under which clients reach the server over HTTPS"),
    setting(
        "server.public_url",
        "TFE_PUBLIC_URL",
        Form::Url,
        "",
        "The URL under which clients reach the server, if it is not https://HOSTNAME",
    ),
    path(
        "server.key_file",
        "TFE_KEY_FILE",
        "The file with the key that opens the keyring [default: beside the data directory, with .key after its name]",
    ),
    secret(
        "server.encryption_password",
        "TFE_ENCRYPTION_PASSWORD",
        "Opens the keyring instead of a key file; needed in external mode without an external vault",
    ),
    switch("tls.self_made", "TFE_TLS_SELF_MADE", "Serve HTTPS with a certificate that is made on the spot"),
    path("tls.cert_file", "TFE_TLS_CERT_FILE", "The certificate chain, PEM; HTTPS is served with it"),
    path("tls.key_file", "TFE_TLS_KEY_FILE", "The certificate's key, PEM"),
    secret(
        "database.url",
        "TFE_DATABASE_URL",
        "The database as one URL, postgres://user:password@host:port/name, instead of the parts below",
    ),
    text("database.host", "TFE_DATABASE_HOST", "", "The PostgreSQL server, as host or host:port"),
    text("database.name", "TFE_DATABASE_NAME", "tfe", "The database"),
    text("database.user", "TFE_DATABASE_USER", "tfe", "The user"),
    secret("database.password", "TFE_DATABASE_PASSWORD", "The user's password"),
    text(
        "database.parameters",
        "TFE_DATABASE_PARAMETERS",
        "sslmode=require",
        "Parameters as in a connection URL, such as sslmode=verify-full",
    ),
    switch("database.use_mtls", "TFE_DATABASE_USE_MTLS", "Show a client certificate to the database"),
    path("database.ca_cert_file", "TFE_DATABASE_CA_CERT_FILE", "The authority that signed the database's certificate, PEM"),
    path("database.client_cert_file", "TFE_DATABASE_CLIENT_CERT_FILE", "The client certificate, PEM"),
    path("database.client_key_file", "TFE_DATABASE_CLIENT_KEY_FILE", "The client certificate's key, PEM"),
    setting("database.pool", "TFE_DATABASE_POOL", Form::Number(2..=200), "16", "Connections of this node"),
    setting("object_storage.type", "TFE_OBJECT_STORAGE_TYPE", Form::Choice(&["s3", "azure", "google"]), "", "Which object store"),
    text("object_storage.prefix", "TFE_OBJECT_STORAGE_PREFIX", "", "Below what everything is in the bucket or container"),
    text("object_storage.s3_bucket", "TFE_OBJECT_STORAGE_S3_BUCKET", "", "The S3 bucket"),
    text("object_storage.s3_region", "TFE_OBJECT_STORAGE_S3_REGION", "", "Its region"),
    setting(
        "object_storage.s3_endpoint",
        "TFE_OBJECT_STORAGE_S3_ENDPOINT",
        Form::Url,
        "",
        "The endpoint, for stores that are not Amazon's",
    ),
    secret("object_storage.s3_access_key_id", "TFE_OBJECT_STORAGE_S3_ACCESS_KEY_ID", "The access key"),
    secret("object_storage.s3_secret_access_key", "TFE_OBJECT_STORAGE_S3_SECRET_ACCESS_KEY", "The secret of the access key"),
    switch(
        "object_storage.s3_use_instance_profile",
        "TFE_OBJECT_STORAGE_S3_USE_INSTANCE_PROFILE",
        "Take credentials from the machine that this runs on",
    ),
    setting(
        "object_storage.s3_server_side_encryption",
        "TFE_OBJECT_STORAGE_S3_SERVER_SIDE_ENCRYPTION",
        Form::Choice(&["AES256", "aws:kms"]),
        "",
        "Let the store encrypt once more what is encrypted already",
    ),
    text(
        "object_storage.s3_server_side_encryption_kms_key_id",
        "TFE_OBJECT_STORAGE_S3_SERVER_SIDE_ENCRYPTION_KMS_KEY_ID",
        "",
        "With which key",
    ),
    text("object_storage.azure_account_name", "TFE_OBJECT_STORAGE_AZURE_ACCOUNT_NAME", "", "The Azure storage account"),
    secret("object_storage.azure_account_key", "TFE_OBJECT_STORAGE_AZURE_ACCOUNT_KEY", "Its key"),
    text("object_storage.azure_container", "TFE_OBJECT_STORAGE_AZURE_CONTAINER", "", "The container"),
    setting(
        "object_storage.azure_endpoint",
        "TFE_OBJECT_STORAGE_AZURE_ENDPOINT",
        Form::Url,
        "",
        "The endpoint, if it is not the public one",
    ),
    switch("object_storage.azure_use_msi", "TFE_OBJECT_STORAGE_AZURE_USE_MSI", "Take credentials from the machine that this runs on"),
    text("object_storage.azure_client_id", "TFE_OBJECT_STORAGE_AZURE_CLIENT_ID", "", "Which of the machine's identities"),
    text("object_storage.google_bucket", "TFE_OBJECT_STORAGE_GOOGLE_BUCKET", "", "The Google Cloud Storage bucket"),
    secret(
        "object_storage.google_credentials",
        "TFE_OBJECT_STORAGE_GOOGLE_CREDENTIALS",
        "The service account's key as JSON; none to take the machine's own",
    ),
    switch("vault.use_external", "TFE_VAULT_USE_EXTERNAL", "Seal secrets with the transit engine of HashiCorp Vault or OpenBao"),
    setting("vault.address", "TFE_VAULT_ADDRESS", Form::Url, "", "Where it is"),
    text("vault.namespace", "TFE_VAULT_NAMESPACE", "", "The namespace"),
    text("vault.path", "TFE_VAULT_PATH", "auth/approle", "Where AppRole is mounted"),
    text("vault.role_id", "TFE_VAULT_ROLE_ID", "", "The role"),
    secret("vault.secret_id", "TFE_VAULT_SECRET_ID", "The role's secret id"),
    secret("vault.token", "TFE_VAULT_TOKEN", "A token, instead of role and secret id"),
    setting(
        "vault.token_renew",
        "TFE_VAULT_TOKEN_RENEW",
        Form::Number(10..=86_400),
        "3600",
        "How often the token is renewed at least, in seconds",
    ),
    text("vault.mount", "TFE_VAULT_MOUNT", "transit", "Where the transit engine is mounted"),
    text("vault.key", "TFE_VAULT_KEY", "tfe", "The name of the key; made if it is missing and the policy allows it"),
    path("vault.ca_cert_file", "TFE_VAULT_CA_CERT_FILE", "The authority that signed the vault's certificate, PEM"),
    text(
        "redis.host",
        "TFE_REDIS_HOST",
        "",
        "Redis, as host or host:port: several nodes tell each other of changes through it at once, without it within a second",
    ),
    text("redis.user", "TFE_REDIS_USER", "", "The user"),
    secret("redis.password", "TFE_REDIS_PASSWORD", "The password"),
    switch("redis.use_tls", "TFE_REDIS_USE_TLS", "Talk to it over TLS"),
    switch("redis.use_auth", "TFE_REDIS_USE_AUTH", "Sign in with user and password"),
    secret(
        "rabbitmq.url",
        "TFE_RABBITMQ_URL",
        "RabbitMQ, as amqp://user:password@host:port: hints to background loops go through it, else through Redis",
    ),
    setting("capacity.concurrency", "TFE_CAPACITY_CONCURRENCY", Form::Number(1..=1_000), "4", "How many runs at once on this node"),
    setting(
        "capacity.memory",
        "TFE_CAPACITY_MEMORY",
        Form::Number(0..=16_777_216),
        "2048",
        "How much memory a run may use, in MiB; 0 for as much as there is",
    ),
    setting(
        "worker.embedded",
        "TFE_WORKER_EMBEDDED",
        Form::Switch,
        "true",
        "Whether this server runs jobs itself; false leaves them to workers",
    ),
    secret(
        "worker.token",
        "TFE_WORKER_TOKEN",
        "What workers on other machines join with, the same on servers and workers; without it a server takes none",
    ),
    secret("worker.agent_token", "TFE_AGENT_TOKEN", "On a worker, the token of the agent pool whose jobs it takes, instead"),
    text("worker.servers", "TFE_WORKER_SERVERS", "", "On a worker, the servers of the installation, separated by commas"),
    path("worker.ca_cert_file", "TFE_WORKER_CA_CERT_FILE", "On a worker, an authority that is trusted besides the system's, PEM"),
    setting(
        "runs.isolation",
        "TFE_RUN_ISOLATION",
        Form::Choice(&["sandbox", "none"]),
        "sandbox",
        "How runs are kept apart from this machine: with none, whoever can start a run can do here what the server can",
    ),
    setting(
        "runs.plan_timeout",
        "TFE_PLAN_TIMEOUT",
        TIMEOUT,
        "7200",
        "How long a plan may take, in seconds; then it is interrupted, and killed if it does not end",
    ),
    setting(
        "runs.apply_timeout",
        "TFE_APPLY_TIMEOUT",
        TIMEOUT,
        "86400",
        "How long an apply may take, in seconds; then it is interrupted, saves its state, and is killed if it does not end",
    ),
    setting(
        "runs.plugin_cache",
        "TFE_PLUGIN_CACHE",
        Form::Switch,
        "true",
        "Keep verified provider plugins in the data directory, for runs whose dependency lock file names them",
    ),
    path(
        "runs.work_dir",
        "TFE_WORK_DIR",
        "Where runs work, in clear, until they end [default: a private directory in memory, or the temporary one]",
    ),
    text(
        "runs.tools_dirs",
        "TFE_TOOLS_DIRS",
        "",
        "More places with terraform or tofu, separated by colons: DIR/terraform, or DIR/terraform/VERSION/terraform",
    ),
    text(
        "runs.tools_mirror",
        "TFE_TOOLS_MIRROR",
        "",
        "Where versions are fetched from that are not installed: a directory, or a URL such as https://releases.hashicorp.com; empty for nowhere",
    ),
    path(
        "runs.tools_keys",
        "TFE_TOOLS_KEYS",
        "The public keys that sign the mirror's releases [default: the vendors' own, as hashicorp.asc and opentofu.asc in the mirror]",
    ),
    text(
        "runs.tofu_index",
        "TFE_TOFU_INDEX",
        "",
        "Where OpenTofu's list of versions is [default: tofu/api.json in the mirror], such as https://get.opentofu.org/tofu/api.json",
    ),
    text(
        "runs.tofu_files",
        "TFE_TOFU_FILES",
        "",
        "Where OpenTofu's files are, with {version} and {file} for what they say [default: tofu/v{version}/{file} in the mirror]",
    ),
    path("runs.cli_config", "TFE_RUN_CLI_CONFIG", "A terraform CLI configuration for runs, such as one with a provider mirror"),
    secret(
        "initial_admin.token",
        "TFE_IACT_TOKEN",
        "Allows to create the first administrator [default: derived from the installation's key]",
    ),
    setting(
        "initial_admin.subnets",
        "TFE_IACT_SUBNETS",
        Form::Subnets,
        "",
        "From where that token may be fetched over HTTP; empty for nowhere",
    ),
    setting("initial_admin.trusted_proxies", "TFE_IACT_TRUSTED_PROXIES", Form::Subnets, "", "Whose X-Forwarded-For is believed"),
    setting(
        "initial_admin.time_limit",
        "TFE_IACT_TIME_LIMIT",
        Form::Number(1..=10_080),
        "60",
        "How long after the start the token is good, in minutes",
    ),
    setting(
        "snapshots.url",
        "TFE_BACKUP_URL",
        Form::Place,
        "",
        "Where snapshots are kept: a directory, or s3://bucket/prefix, az://container/prefix, gs://bucket/prefix; empty for no snapshots",
    ),
    secret(
        "snapshots.password",
        "TFE_BACKUP_PASSWORD",
        "Seals the snapshots; without one the external vault does. Keep it elsewhere: without it they are worth nothing",
    ),
    secret("snapshots.access_key_id", "TFE_BACKUP_S3_ACCESS_KEY_ID", "The key for their bucket [default: that of the object storage]"),
    secret("snapshots.secret_access_key", "TFE_BACKUP_S3_SECRET_ACCESS_KEY", "Its secret"),
    secret(
        "snapshots.azure_account_key",
        "TFE_BACKUP_AZURE_ACCOUNT_KEY",
        "The key of the Azure storage account that their container is in [default: that of the object storage]",
    ),
    secret(
        "snapshots.google_credentials",
        "TFE_BACKUP_GOOGLE_CREDENTIALS",
        "The service account's key for their Google bucket, as JSON [default: that of the object storage, or the machine's own]",
    ),
    text("snapshots.schedule", "TFE_BACKUP_SCHEDULE", "hourly", "When they are taken: hourly, daily, or a cron expression, in UTC"),
    text("snapshots.drill_schedule", "TFE_BACKUP_DRILL_SCHEDULE", "daily", "When the newest is restored for trial"),
    setting("snapshots.keep_hourly", "TFE_BACKUP_KEEP_HOURLY", KEPT, "24", "How many hours keep a snapshot"),
    setting("snapshots.keep_daily", "TFE_BACKUP_KEEP_DAILY", KEPT, "31", "How many days keep one"),
    setting("snapshots.keep_weekly", "TFE_BACKUP_KEEP_WEEKLY", KEPT, "8", "How many weeks keep one"),
    setting("snapshots.keep_monthly", "TFE_BACKUP_KEEP_MONTHLY", KEPT, "12", "How many months keep one"),
    setting(
        "snapshots.continuous",
        "TFE_BACKUP_CONTINUOUS",
        Form::Switch,
        "true",
        "Whether what is committed between snapshots is shipped within a second, where the records are in the data directory",
    ),
    setting(
        "snapshots.restore_on_boot",
        "TFE_BACKUP_RESTORE_ON_BOOT",
        Form::Choice(&["true", "false", "required"]),
        "true",
        "Whether a start without any data restores the newest snapshot first; with required it fails where there is none",
    ),
    switch("metrics.enable", "TFE_METRICS_ENABLE", "Serve Prometheus metrics"),
    setting("metrics.port", "TFE_METRICS_HTTP_PORT", PORT, "9090", "On which port, of the address that the server listens on"),
    text("log.filter", "TFE_LOG", "warn", "What to log, as in info,tfe_server=debug"),
];

/// Other names in the environment that mean the same.
pub(super) const ALIASES: &[(&str, &str)] = &[("TFE_DISK_PATH", "TFE_DATA_DIR"), ("TFE_ATLAS_DB_POOL", "TFE_DATABASE_POOL")];

/// Beginnings of names that Terraform Enterprise knows and that mean nothing here, or that other programs of this
/// project read; with the reason.
pub(super) const WITHOUT_MEANING: &[(&str, &str)] = &[
    ("TFE_LICENSE", "there is no license"),
    ("TFE_USAGE_REPORTING", "nothing is reported to anybody"),
    ("TFE_RUN_PIPELINE", "runs are processes of the node, without an image"),
    ("TFE_DISK_CACHE", "there is no cache volume"),
    ("TFE_ATLAS", "there is no process to tune"),
    ("TFE_CAPACITY_CPU", "runs are not limited yet"),
    ("TFE_VAULT_CLUSTER_ADDRESS", "there is no vault inside"),
    ("TFE_VAULT_DISABLE_MLOCK", "there is no vault inside"),
    ("TFE_TLS_", "the certificate's own defaults hold"),
    ("TFE_HTTP_PORT", "TFE_LISTEN says where to listen"),
    ("TFE_HTTPS_PORT", "TFE_LISTEN says where to listen"),
    ("TFE_REDIS_", "Redis is not needed"),
    ("TFE_LOG_FORWARDING", "the log goes to the standard error"),
    ("TFE_OBJECT_STORAGE_S3_UPLOAD", "uploads choose their own parts"),
    ("TFE_OBJECT_STORAGE_S3_ENABLE_MD5", "contents are authenticated"),
    ("TFE_OBJECT_STORAGE_GOOGLE_PROJECT", "the credentials name it"),
    ("TFE_DATABASE_MONITOR", "connections are always watched"),
    ("TFE_IPV6_ENABLED", "TFE_LISTEN says where to listen"),
    ("TFE_TOKEN", "it is for clients"),
    ("TFE_ADDRESS", "it is for clients"),
    ("TFE_ORGANIZATION", "it is for clients"),
    ("TFE_TEST_", "it is for tests"),
    ("TFE_CONFIG", "it names this configuration"),
];
