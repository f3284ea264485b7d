//! From values to structures, one function per concern.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tfe_core::secret::Secret;
use tfe_runner::{
    job::EngineKind,
    tools::{Layout, ToolSettings},
};
use url::Url;

use super::{
    Configuration, Database, ExternalVault, Mistakes, Mode, Objects, Runs, Tls, Workers, reader::Reader, show, snapshots, sources::Gathered,
};
use crate::{Brokers, InitialAdmin};

const POSTGRES_PORT: u16 = 5432;
/// Where engines are kept that were fetched or imported, in the data directory.
const TOOLS_DIRECTORY: &str = "tools";
const NEEDED: &str = "in external mode";

pub(super) fn read(gathered: Gathered) -> Result<Configuration, Mistakes> {
    let (shown, file) = (show::shown(&gathered.values), show::file(&gathered.values));
    let mut reader = Reader { gathered };
    let reader = &mut reader;
    let mode = mode(reader);
    let data_directory = reader.path("server.data_dir").unwrap_or_else(|| PathBuf::from("tfe-data"));
    let listen = reader.address("server.listen").unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
    let hostname = reader.text("server.hostname");
    let public_url = reader.url("server.public_url").or_else(|| hostname.map(|name| format!("https://{name}")));
    let encryption_password = reader.secret("server.encryption_password");
    let (node, key_file, tls) = (reader.text("server.node"), reader.path("server.key_file"), tls(reader));
    let (database, objects, vault) = (database(reader, mode), objects(reader, mode), vault(reader));
    let opens = encryption_password.is_some() || vault.is_some() || reader.switch("vault.use_external");
    reader.require(mode != Mode::External || opens, "server.encryption_password", "in external mode without an external vault");
    let brokers = brokers(reader);
    let rate_limit = Some(reader.number("server.rate_limit")).filter(|limit| *limit > 0);
    let (runs, initial_admin, metrics_port) = (runs(reader, &data_directory), initial_admin(reader), metrics_port(reader));
    let workers = workers(reader);
    let snapshots = snapshots::snapshots(reader, objects.as_ref(), vault.is_some());
    let log = reader.text("log.filter").unwrap_or_default();
    let Gathered { mistakes, warnings, .. } = std::mem::take(&mut reader.gathered);
    // A schedule that is none is a mistake.
    let Some(snapshots) = snapshots.filter(|_| mistakes.is_empty()) else { return Err(Mistakes(mistakes)) };
    let is_external = mode != Mode::Demo;
    let (database, objects, vault) = (database.filter(|_| is_external), objects.filter(|_| is_external), vault.filter(|_| is_external));
    Ok(Configuration {
        mode,
        data_directory,
        listen,
        node,
        public_url,
        key_file,
        encryption_password,
        tls,
        database,
        objects,
        vault,
        runs,
        brokers,
        rate_limit,
        workers,
        initial_admin,
        snapshots,
        file,
        metrics_port,
        log,
        warnings,
        shown,
    })
}

fn mode(reader: &mut Reader) -> Mode {
    match reader.choice("server.mode") {
        Some("demo") => Mode::Demo,
        Some("external" | "active-active") => Mode::External,
        _ => Mode::Disk,
    }
}

fn tls(reader: &mut Reader) -> Tls {
    let self_made = reader.switch("tls.self_made");
    let certificate = pair(reader, "tls.cert_file", "tls.key_file", "together with the certificate");
    Tls { self_made, certificate }
}

/// Two files of which neither is of use without the other.
fn pair(reader: &mut Reader, first: &'static str, second: &'static str, why: &str) -> Option<(PathBuf, PathBuf)> {
    let (one, other) = (reader.path(first), reader.path(second));
    reader.require(one.is_none() || other.is_some(), second, why);
    reader.require(other.is_none() || one.is_some(), first, why);
    one.zip(other)
}

fn database(reader: &mut Reader, mode: Mode) -> Option<Database> {
    let (url, host) = (reader.secret("database.url"), reader.text("database.host"));
    if url.as_ref().is_some_and(|url| !url.expose().starts_with("postgres://") && !url.expose().starts_with("postgresql://")) {
        reader.mistake("database.url", "must be a URL like postgres://user:password@host:5432/name");
    }
    let is_given = url.is_some() || host.is_some();
    reader.require(is_given || mode != Mode::External, "database.host", NEEDED);
    let (host, port) = host_and_port(reader, host.unwrap_or_default());
    let uses_certificate = reader.switch("database.use_mtls");
    let certificate = pair(reader, "database.client_cert_file", "database.client_key_file", "together with the other");
    reader.require(!uses_certificate || certificate.is_some(), "database.client_cert_file", "with use_mtls");
    let authority = reader.path("database.ca_cert_file");
    reader.require(!uses_certificate || authority.is_some(), "database.ca_cert_file", "with use_mtls");
    let database = Database {
        url,
        host,
        port,
        name: reader.text("database.name").unwrap_or_default(),
        user: reader.text("database.user").unwrap_or_default(),
        password: reader.secret("database.password"),
        parameters: reader.text("database.parameters").unwrap_or_default(),
        authority,
        certificate,
        connections: u32::try_from(reader.number("database.pool")).unwrap_or(u32::MAX),
    };
    is_given.then_some(database)
}

fn host_and_port(reader: &mut Reader, address: String) -> (String, u16) {
    let Some((host, port)) = address.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']')) else {
        return (address, POSTGRES_PORT);
    };
    let Ok(port) = port.parse() else {
        reader.mistake("database.host", format!("must be host or host:port, not \"{address}\""));
        return (host.to_owned(), POSTGRES_PORT);
    };
    (host.to_owned(), port)
}

fn objects(reader: &mut Reader, mode: Mode) -> Option<Objects> {
    let prefix = reader.text("object_storage.prefix").unwrap_or_default();
    let kind = reader.choice("object_storage.type");
    reader.require(kind.is_some() || mode != Mode::External, "object_storage.type", NEEDED);
    // Read whatever the kind is, so that a mistake in any of them is seen.
    let (s3, azure, google) =
        (s3(reader, kind == Some("s3")), azure(reader, kind == Some("azure")), google(reader, kind == Some("google")));
    let (scheme, bucket, options) = match kind? {
        "s3" => ("s3", s3.0, s3.1),
        "azure" => ("az", azure.0, azure.1),
        _ => ("gs", google.0, google.1),
    };
    let options = options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Some(Objects { url: format!("{scheme}://{bucket}/{}", prefix.trim_matches('/')), options })
}

/// The bucket, and settings in the object store's names.
type Bucket = (String, Vec<(&'static str, Option<Secret>)>);

fn s3(reader: &mut Reader, is_meant: bool) -> Bucket {
    let bucket = reader.text("object_storage.s3_bucket");
    reader.require(!is_meant || bucket.is_some(), "object_storage.s3_bucket", "with type s3");
    let endpoint = reader.url("object_storage.s3_endpoint");
    let (key, secret) = (reader.secret("object_storage.s3_access_key_id"), reader.secret("object_storage.s3_secret_access_key"));
    let from_machine = reader.switch("object_storage.s3_use_instance_profile");
    reader.require(!is_meant || key.is_some() || from_machine, "object_storage.s3_access_key_id", "unless s3_use_instance_profile is true");
    reader.require(key.is_none() || secret.is_some(), "object_storage.s3_secret_access_key", "together with the access key");
    let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http:"));
    let options = vec![
        ("region", reader.text("object_storage.s3_region").map(Secret::from)),
        ("endpoint", endpoint.map(Secret::from)),
        ("aws_allow_http", is_plain.then(|| Secret::from("true"))),
        ("access_key_id", key),
        ("secret_access_key", secret),
        ("server_side_encryption", reader.choice("object_storage.s3_server_side_encryption").map(Secret::from)),
        ("sse_kms_key_id", reader.text("object_storage.s3_server_side_encryption_kms_key_id").map(Secret::from)),
    ];
    (bucket.unwrap_or_default(), options)
}

fn azure(reader: &mut Reader, is_meant: bool) -> Bucket {
    let (account, container) = (reader.text("object_storage.azure_account_name"), reader.text("object_storage.azure_container"));
    reader.require(!is_meant || account.is_some(), "object_storage.azure_account_name", "with type azure");
    reader.require(!is_meant || container.is_some(), "object_storage.azure_container", "with type azure");
    let (key, from_machine) = (reader.secret("object_storage.azure_account_key"), reader.switch("object_storage.azure_use_msi"));
    reader.require(!is_meant || key.is_some() || from_machine, "object_storage.azure_account_key", "unless azure_use_msi is true");
    let endpoint = reader.url("object_storage.azure_endpoint");
    let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http:"));
    let options = vec![
        ("account_name", account.map(Secret::from)),
        ("account_key", key),
        ("endpoint", endpoint.map(Secret::from)),
        ("azure_allow_http", is_plain.then(|| Secret::from("true"))),
        ("client_id", reader.text("object_storage.azure_client_id").map(Secret::from)),
    ];
    (container.unwrap_or_default(), options)
}

fn google(reader: &mut Reader, is_meant: bool) -> Bucket {
    let bucket = reader.text("object_storage.google_bucket");
    reader.require(!is_meant || bucket.is_some(), "object_storage.google_bucket", "with type google");
    (bucket.unwrap_or_default(), vec![("service_account_key", reader.secret("object_storage.google_credentials"))])
}

fn vault(reader: &mut Reader) -> Option<ExternalVault> {
    let is_used = reader.switch("vault.use_external");
    let (address, token) = (reader.url("vault.address"), reader.secret("vault.token"));
    let (role, secret_id) = (reader.text("vault.role_id"), reader.secret("vault.secret_id"));
    reader.require(!is_used || address.is_some(), "vault.address", "with use_external");
    reader.require(!is_used || role.is_some() || token.is_some(), "vault.role_id", "with use_external, unless there is a token");
    reader.require(role.is_none() || secret_id.is_some(), "vault.secret_id", "together with the role");
    let vault = ExternalVault {
        address: address.unwrap_or_default(),
        namespace: reader.text("vault.namespace"),
        login_mount: reader.text("vault.path").unwrap_or_default(),
        role: role.zip(secret_id),
        token,
        renew_every: Duration::from_secs(reader.number("vault.token_renew")),
        mount: reader.text("vault.mount").unwrap_or_default(),
        key: reader.text("vault.key").unwrap_or_default(),
        authority: reader.path("vault.ca_cert_file"),
    };
    is_used.then_some(vault)
}

fn brokers(reader: &mut Reader) -> Brokers {
    let coordination = redis(reader);
    let rabbitmq = reader.secret("rabbitmq.url");
    if rabbitmq.as_ref().is_some_and(|url| !url.expose().starts_with("amqp://") && !url.expose().starts_with("amqps://")) {
        reader.mistake("rabbitmq.url", "must be a URL like amqp://user:password@host:5672");
    }
    Brokers { queue: rabbitmq.or_else(|| coordination.clone()), coordination }
}

/// The parts of Redis's address as one.
fn redis(reader: &mut Reader) -> Option<Secret> {
    let (host, user) = (reader.text("redis.host"), reader.text("redis.user").unwrap_or_default());
    let (uses_tls, uses_auth) = (reader.switch("redis.use_tls"), reader.switch("redis.use_auth"));
    let password = reader.secret("redis.password");
    reader.require(!uses_auth || password.is_some(), "redis.password", "with use_auth");
    let scheme = if uses_tls { "rediss" } else { "redis" };
    let Ok(mut url) = Url::parse(&format!("{scheme}://{}", host?)) else {
        reader.mistake("redis.host", "must be host or host:port");
        return None;
    };
    if let Some(password) = password.filter(|_| uses_auth) {
        // Only addresses without a host take neither.
        let _ = url.set_username(&user);
        let _ = url.set_password(Some(password.expose()));
    }
    Some(Secret::from(String::from(url)))
}

fn runs(reader: &mut Reader, data_directory: &Path) -> Runs {
    let tools = reader.text("runs.tools_dirs").unwrap_or_default();
    Runs {
        concurrency: usize::try_from(reader.number("capacity.concurrency")).unwrap_or(usize::MAX),
        work_directory: reader.path("runs.work_dir"),
        tools_directories: tools.split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect(),
        tools: tool_sources(reader, data_directory),
        cli_config: reader.path("runs.cli_config"),
        isolated: reader.choice("runs.isolation") != Some("none"),
        memory_bytes: reader.number("capacity.memory") << 20,
        keeps_plugins: reader.switch("runs.plugin_cache"),
        plan_timeout: Duration::from_secs(reader.number("runs.plan_timeout")),
        apply_timeout: Duration::from_secs(reader.number("runs.apply_timeout")),
    }
}

fn tool_sources(reader: &mut Reader, data_directory: &Path) -> ToolSettings {
    let vendors = Layout::of(EngineKind::Tofu);
    let (index, files) = (reader.text("runs.tofu_index"), reader.text("runs.tofu_files"));
    ToolSettings {
        cache: Some(data_directory.join(TOOLS_DIRECTORY)),
        mirror: reader.text("runs.tools_mirror"),
        keys: reader.path("runs.tools_keys"),
        tofu_layout: Some(Layout { index: index.unwrap_or(vendors.index), files: files.unwrap_or(vendors.files) }),
    }
}

fn workers(reader: &mut Reader) -> Workers {
    let servers = reader.text("worker.servers").unwrap_or_default();
    Workers {
        is_embedded: reader.switch("worker.embedded"),
        token: reader.secret("worker.token"),
        agent_token: reader.secret("worker.agent_token"),
        servers: servers.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        authority: reader.path("worker.ca_cert_file"),
    }
}

fn initial_admin(reader: &mut Reader) -> InitialAdmin {
    InitialAdmin {
        token: reader.secret("initial_admin.token"),
        subnets: reader.subnets("initial_admin.subnets"),
        trusted_proxies: reader.subnets("initial_admin.trusted_proxies"),
        time_limit: Duration::from_secs(60 * reader.number("initial_admin.time_limit")),
    }
}

fn metrics_port(reader: &mut Reader) -> Option<u16> {
    let (is_enabled, port) = (reader.switch("metrics.enable"), reader.number("metrics.port"));
    u16::try_from(port).ok().filter(|_| is_enabled)
}
