//! The main job in every operational mode: one list of flows, a table of modes. And what the modes promise beyond it.

use std::{fs, process::Command};

use serde_json::json;

use crate::{
    harness::{Demo, Outcome, command, tool},
    services::{Database, ExternalVault, Settings, external, owned, variable},
};

const PLANTED: &str = "planted-5ecret-value";
const SECRETS: &str = r#"
variable "password" {
  type      = string
  sensitive = true
}
resource "terraform_data" "a" { input = var.password }
output "password" {
  value     = terraform_data.a.output
  sensitive = true
}
"#;

#[test]
fn the_main_job_works_in_disk_mode() {
    every_flow(&mut Demo::serve(owned(&[("TFE_OPERATIONAL_MODE", "disk")])));
}

#[test]
fn the_main_job_works_in_external_mode() {
    let Some((_database, settings)) = external_mode() else { return };
    every_flow(&mut Demo::serve(settings));
}

#[test]
fn the_main_job_works_with_an_external_vault() {
    let (Some((_database, settings)), Some(vault)) = (external_mode(), ExternalVault::create()) else { return };
    every_flow(&mut Demo::serve(vault.settings(settings)));
}

#[test]
fn with_an_external_vault_nobody_reads_secrets_in_database_or_bucket() {
    let (Some((database, settings)), Some(vault)) = (external_mode(), ExternalVault::create()) else { return };
    let demo = Demo::serve(vault.settings(settings));
    apply_a_secret(&demo);
    let token = demo.text("token");
    let dump = database.dump();
    assert!(dump.contains("secrets"), "the dump has the workspace");
    for secret in [PLANTED, token] {
        assert!(!dump.contains(secret), "the database holds {secret}");
    }
    let objects = objects_below(&database.name);
    assert!(objects.len() > 3, "the bucket has the state, plans and logs");
    for (name, content) in objects {
        let has = |needle: &str| content.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(!has(PLANTED) && !has(token), "{name} holds a secret");
    }
    vault.call("POST", &format!("{}/keys/tfe/config", vault.mount), &json!({ "deletion_allowed": true }));
    vault.call("DELETE", &format!("{}/keys/tfe", vault.mount), &serde_json::Value::Null);
    let workspace = demo.workspace("secrets");
    let path = format!("/api/v2/workspaces/{}/vars", workspace["id"].as_str().unwrap());
    assert_eq!(demo.answer("GET", &path, &json!(null)).0, 200, "what needs no secret can be read");
    let state = demo.get(&format!("/api/v2/workspaces/{}/current-state-version", workspace["id"].as_str().unwrap()));
    let url = state["data"]["attributes"]["hosted-state-download-url"].as_str().unwrap().to_owned();
    let output = Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "500", "without the key a state is unreadable");
}

#[test]
fn a_second_server_on_a_directory_is_refused_and_a_copy_of_it_boots() {
    let settings = owned(&[("TFE_OPERATIONAL_MODE", "disk")]);
    let demo = Demo::serve(settings.clone());
    apply_a_secret(&demo);
    let refused = serve_once(demo.home.path(), &settings);
    assert!(refused.contains("in use by another server"), "{refused}");
    let copy = tempfile::tempdir().unwrap();
    for name in ["data", "data.key"] {
        let copied = Command::new("cp").arg("-a").arg(demo.home.path().join(name)).arg(copy.path()).status().unwrap();
        assert!(copied.success());
    }
    let copy = Demo::serve_in(copy, settings);
    read_the_secret(&copy);
}

#[test]
fn a_wrong_password_changes_nothing_and_says_so_within_a_second_or_so() {
    let Some((database, settings)) = external_mode() else { return };
    let mut demo = Demo::serve(settings.clone());
    demo.kill();
    let before = keyring(&database);
    let home = tempfile::tempdir().unwrap();
    let wrong: Settings = settings
        .iter()
        .map(|(name, value)| match name.as_str() {
            "TFE_ENCRYPTION_PASSWORD" => (name.clone(), "wrong".to_owned()),
            _ => (name.clone(), value.clone()),
        })
        .collect();
    let said = serve_once(home.path(), &wrong);
    assert!(said.contains("does not open the keyring in the database"), "{said}");
    assert_eq!(keyring(&database), before);
    demo.kill_and_serve_again();
}

#[test]
fn keys_are_rotated_and_everything_sealed_anew_while_the_server_works() {
    let Some((_database, settings)) = external_mode() else { return };
    let demo = Demo::serve(settings);
    apply_a_secret(&demo);
    let rotated = tfe(&demo, &["keys", "rotate", "--json"]).succeeded().json();
    assert_eq!(rotated["version"], 2);
    let progress = tfe(&demo, &["keys", "rewrap", "--json"]).succeeded().json();
    assert_eq!(progress["status"], "finished");
    assert!(progress["changed"].as_u64().unwrap() > 5, "{progress}");
    read_the_secret(&demo);
    let again = tfe(&demo, &["keys", "rewrap", "--json"]).succeeded().json();
    assert_eq!(again["changed"], 0, "everything has the newest key already");
}

#[test]
fn a_sealed_configuration_in_an_object_store_is_all_that_a_fresh_machine_needs() {
    let Some((database, settings)) = external_mode() else { return };
    let home = tempfile::tempdir().unwrap();
    let value = |name: &str| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    let file = format!(
        "[server]\nmode = \"external\"\nencryption_password = 'plain'\n[database]\nhost = \"{}\"\nname = \"{}\"\nuser = \"postgres\"\n\
         parameters = \"sslmode=disable\"\n[object_storage]\ntype = \"s3\"\ns3_bucket = \"{}\"\ns3_region = \"us-east-1\"\ns3_endpoint = \"{}\"\n\
         s3_access_key_id = \"test\"\ns3_secret_access_key = \"test\"\nprefix = \"{}\"\n",
        value("TFE_DATABASE_HOST"),
        database.name,
        value("TFE_OBJECT_STORAGE_S3_BUCKET"),
        value("TFE_OBJECT_STORAGE_S3_ENDPOINT"),
        database.name,
    );
    fs::write(home.path().join("tfe.toml"), file).unwrap();
    let place = format!("s3://{}/{}/tfe-setup-data", value("TFE_OBJECT_STORAGE_S3_BUCKET"), database.name);
    let mut machine: Settings =
        settings.into_iter().filter(|(name, _)| name.starts_with("TFE_OBJECT_STORAGE_S3_") && !name.ends_with("BUCKET")).collect();
    machine.extend(owned(&[("TFE_CONFIG_PASSWORD", "opens it")]));
    let mut seal = command(home.path(), &machine);
    let sealed = seal.args(["config", "seal", "--to", &place]).arg(home.path().join("tfe.toml")).output().unwrap();
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    machine.push(("TFE_CONFIG".to_owned(), place));
    let demo = Demo::serve(machine.clone());
    apply_a_secret(&demo);
    machine.iter_mut().filter(|(name, _)| name == "TFE_CONFIG_PASSWORD").for_each(|(_, password)| *password = "wrong".to_owned());
    let said = serve_once(tempfile::tempdir().unwrap().path(), &machine);
    assert!(said.contains("give the right one"), "{said}");
}

#[test]
fn an_installation_moves_to_other_services_and_back() {
    let Some((_database, settings)) = external_mode() else { return };
    let home = tempfile::tempdir().unwrap();
    let demo = Demo::serve_in(home, owned(&[("TFE_OPERATIONAL_MODE", "disk")]));
    apply_a_secret(&demo);
    let mut demo = demo;
    demo.kill();
    let data = demo.data_directory().display().to_string();
    let expected = migrated(&demo, &settings, &["--digest", "--from", &data]);
    let there = migrated(&demo, &settings, &["--from", &data, "--to", "env"]);
    assert_eq!(there["digest"], expected["digest"]);
    let back = demo.home.path().join("back/data").display().to_string();
    let here = migrated(&demo, &settings, &["--from", "env", "--to", &back]);
    assert_eq!(here["digest"], expected["digest"]);
    let external = Demo::serve_in(with_access(&demo, "data"), settings);
    read_the_secret(&external);
    drop(external);
    let home = tempfile::tempdir().unwrap();
    fs::rename(demo.home.path().join("back/data"), home.path().join("data")).unwrap();
    fs::rename(demo.home.path().join("back/data.key"), home.path().join("data.key")).unwrap();
    fs::copy(demo.data_directory().join("demo.json"), home.path().join("data/demo.json")).unwrap();
    read_the_secret(&Demo::serve_in(home, owned(&[("TFE_OPERATIONAL_MODE", "disk")])));
}

#[test]
fn a_migration_that_is_killed_goes_on_and_nobody_serves_its_half() {
    let Some((database, settings)) = external_mode() else { return };
    let mut demo = Demo::serve(owned(&[("TFE_OPERATIONAL_MODE", "disk")]));
    apply_a_secret(&demo);
    demo.kill();
    let data = demo.data_directory().display().to_string();
    let expected = migrated(&demo, &settings, &["--digest", "--from", &data]);
    let mut killed = 0;
    for delay in (0..40).map(|step| step * 15) {
        let mut migrate = command(demo.home.path(), &settings);
        let mut process = migrate.args(["migrate", "--from", &data, "--to", "env"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200 + delay));
        let finished = process.try_wait().unwrap().is_some();
        process.kill().unwrap();
        process.wait().unwrap();
        if finished {
            break;
        }
        killed += 1;
    }
    assert!(killed > 0, "at least one was killed half-way");
    migrated(&demo, &settings, &["--from", &data, "--to", "env"]);
    // As a migration leaves it that is killed before it has verified everything.
    let half = "UPDATE installations SET body = jsonb_set(body, '{unfinished}', 'true'), version = version + 1";
    crate::services::psql(&database.address, &database.name, half);
    let said = serve_once(tempfile::tempdir().unwrap().path(), &settings);
    assert!(said.contains("is not complete"), "{said}");
    let moved = migrated(&demo, &settings, &["--from", &data, "--to", "env"]);
    assert_eq!(moved["digest"], expected["digest"]);
    assert_eq!(migrated(&demo, &settings, &["--digest", "--from", &data])["digest"], expected["digest"]);
}

/// The settings of external mode with a database of its own.
pub(crate) fn external_mode() -> Option<(Database, Settings)> {
    let database = Database::create()?;
    let settings = external(&database.address, &database.name)?;
    Some((database, settings))
}

/// What every mode must do.
fn every_flow(demo: &mut Demo) {
    for flow in [apply_a_secret, states_have_a_history, destroy_leaves_nothing] {
        flow(demo);
    }
    demo.kill_and_serve_again();
    read_the_secret(demo);
    let (status, text) = demo.answer("GET", "/api/v1/health/readiness?timeout=5", &json!(null));
    assert_eq!((status, text.contains("\"status\":\"OK\"")), (200, true), "{text}");
}

/// A variable, an apply with a provisioned resource, a sensitive output.
pub(crate) fn apply_a_secret(demo: &Demo) {
    let project = demo.project("secrets", SECRETS);
    project.init();
    let id = demo.workspace("secrets")["id"].as_str().unwrap().to_owned();
    let attributes = json!({ "key": "password", "value": PLANTED, "category": "terraform", "sensitive": true });
    demo.post(&format!("/api/v2/workspaces/{id}/vars"), &json!({ "data": { "type": "vars", "attributes": attributes } }));
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded().shows("1 added").hides(PLANTED);
    let outputs = project.terraform(&["output", "-json"]).succeeded().json();
    assert_eq!(outputs["password"]["value"], PLANTED);
}

/// What an earlier server stored under another key, bucket or port is still there.
pub(crate) fn read_the_secret(demo: &Demo) {
    let project = demo.project("secrets", SECRETS);
    project.init();
    let outputs = project.terraform(&["output", "-json"]).succeeded().json();
    assert_eq!(outputs["password"]["value"], PLANTED);
    project.terraform(&["plan", "-no-color"]).succeeded().shows("No changes");
}

fn states_have_a_history(demo: &Demo) {
    let project = demo.project("history", "output \"o\" { value = 1 }");
    project.init();
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    project.write("main.tf", "output \"o\" { value = 2 }");
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    let state = project.terraform(&["state", "pull"]).succeeded().json();
    assert_eq!(state["outputs"]["o"]["value"], 2);
    let versions = demo.get("/api/v2/state-versions?filter%5Borganization%5D%5Bname%5D=demo&filter%5Bworkspace%5D%5Bname%5D=history");
    assert_eq!(versions["data"].as_array().unwrap().len(), 2);
}

fn destroy_leaves_nothing(demo: &Demo) {
    let project = demo.project("gone", "resource \"terraform_data\" \"a\" {}");
    project.init();
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    project.terraform(&["destroy", "-auto-approve", "-no-color"]).succeeded().shows("1 destroyed");
    assert_eq!(demo.workspace("gone")["attributes"]["resource-count"], 0);
}

/// Serves where that must fail, and gives what was said; a server that does serve is killed after a moment.
fn serve_once(home: &std::path::Path, settings: &Settings) -> String {
    let mut serve = command(home, settings);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.join("data"));
    let process = serve.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let (begun, id) = (std::time::Instant::now(), process.id());
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(5));
        // The pid is still this process's: it is waited for below.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id.try_into().unwrap()), nix::sys::signal::Signal::SIGTERM);
    });
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{said}");
    said
}

fn keyring(database: &Database) -> String {
    crate::services::psql(&database.address, &database.name, "SELECT version, body FROM keyrings")
}

/// Runs `tfe` against the server.
pub(crate) fn tfe(demo: &Demo, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(tool());
    command.args(arguments).env_clear().env("HOME", demo.home.path()).env("TF_CLI_CONFIG_FILE", demo.text("terraform_rc"));
    crate::harness::finish(
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    )
}

fn migrated(demo: &Demo, settings: &Settings, arguments: &[&str]) -> serde_json::Value {
    let mut migrate = command(demo.home.path(), settings);
    let output = migrate.arg("migrate").args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A new home with only the token of another, for a node without a disk of its own.
fn with_access(demo: &Demo, name: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(name)).unwrap();
    fs::copy(demo.data_directory().join("demo.json"), home.path().join(name).join("demo.json")).unwrap();
    home
}

/// Every object below a prefix, read from the bucket itself.
fn objects_below(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let (endpoint, bucket) = (variable("TFE_TEST_S3").unwrap(), std::env::var("TFE_TEST_S3_BUCKET").unwrap());
    let get = |path: &str| Command::new("curl").args(["-sf", &format!("{endpoint}/{bucket}{path}")]).output().unwrap().stdout;
    let list = String::from_utf8(get(&format!("?list-type=2&prefix={prefix}/"))).unwrap();
    let names = list.split("<Key>").skip(1).filter_map(|part| part.split("</Key>").next());
    names.map(|name| (name.to_owned(), get(&format!("/{name}")))).collect()
}
