//! A machine is lost, and its installation comes back: how much of it, how fast, and what must not go on as if nothing had
//! happened.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    crash::{go_in, in_the_middle},
    fleet::Worker,
    harness::{Demo, Outcome, command, until},
    services::{Database, ExternalVault, Settings, external, owned, variable},
    state::held,
};

const PASSWORD: (&str, &str) = ("TFE_BACKUP_PASSWORD", "correct horse battery staple");
const TOKEN: (&str, &str) = ("TFE_WORKER_TOKEN", "the-fleets-own-token");
/// How old what was acknowledged must be to be safe, here with the slowness of a busy test machine in it.
const SAFE: Duration = Duration::from_secs(5);

/// Settings with snapshots in a directory.
fn kept_in(directory: &Path, settings: Settings) -> Settings {
    settings.into_iter().chain(owned(&[("TFE_BACKUP_URL", directory.to_str().unwrap()), PASSWORD, ("TFE_LOG", "info")])).collect()
}

/// What `tfe-server` does with these arguments and settings.
fn server(home: &Path, settings: &Settings, arguments: &[&str]) -> Outcome {
    let output = command(home, settings).args(arguments).args(["--data-dir", home.join("data").to_str().unwrap()]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Outcome { status: output.status, text: format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)), stdout }
}

/// Takes away everything that the machine had.
fn lose(demo: &mut Demo) {
    demo.kill();
    for name in ["data", "data.key"] {
        let path = demo.home.path().join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

fn serve_again(demo: &mut Demo) {
    let listen = demo.text("url").trim_start_matches("http://").to_owned();
    demo.serve_again_at(&listen);
}

/// Waits until there is a snapshot that leads on to now.
fn until_protected(demo: &Demo) {
    until("a snapshot", || demo.get("/api/v2/admin/snapshots")["data"].as_array().filter(|found| !found.is_empty()).map(drop));
}

fn create_workspace(demo: &Demo, name: &str) -> bool {
    let body = json!({ "data": { "type": "workspaces", "attributes": { "name": name } } });
    demo.post("/api/v2/organizations/demo/workspaces", &body)["data"]["id"].is_string()
}

#[test]
fn a_lost_machine_costs_no_more_than_what_was_on_its_way() {
    let backup = tempfile::tempdir().unwrap();
    let mut demo = Demo::serve(kept_in(backup.path(), owned(&[])));
    let access = fs::read(demo.data_directory().join("terraform.rc")).unwrap();
    until_protected(&demo);
    {
        let project = demo.project("kept", "resource \"terraform_data\" \"a\" {}\n");
        project.init();
        project.terraform(&["apply", "-auto-approve"]).succeeded();
    }
    let mut acknowledged = BTreeMap::new();
    let begun = Instant::now();
    for number in 0.. {
        let name = format!("acknowledged-{number}");
        assert!(create_workspace(&demo, &name));
        acknowledged.insert(name, Instant::now());
        if begun.elapsed() > 2 * SAFE {
            break;
        }
    }
    let lost_at = Instant::now();
    lose(&mut demo);
    let settings = kept_in(backup.path(), owned(&[]));
    let begun = Instant::now();
    let restored = server(demo.home.path(), &settings, &["restore", "--json"]).succeeded().json();
    eprintln!("restored {} records and {} commits after {} ms", restored["records"], restored["commits"], begun.elapsed().as_millis());
    fs::write(demo.data_directory().join("terraform.rc"), access).unwrap();
    serve_again(&mut demo);
    let (mut missing, mut latest) = (Vec::new(), Duration::ZERO);
    for (name, at) in &acknowledged {
        if demo.workspace(name)["id"].is_null() {
            let age = lost_at.duration_since(*at);
            latest = latest.max(age);
            missing.push((name, age));
        }
    }
    eprintln!("{} acknowledged, {} lost, the oldest of these {} ms before the loss", acknowledged.len(), missing.len(), latest.as_millis());
    assert!(latest < SAFE, "{missing:?}");
    assert_eq!(held(&demo, "kept"), ["terraform_data.a"]);
    // Once more is refused, since there is an installation.
    demo.kill();
    server(demo.home.path(), &settings, &["restore"]).failed().shows("there is an installation already");
}

#[test]
fn what_was_in_flight_ends_and_nothing_is_applied_by_itself_until_an_operator_says_so() {
    let backup = tempfile::tempdir().unwrap();
    let settings = kept_in(backup.path(), owned(&[TOKEN, ("TFE_WORKER_EMBEDDED", "false")]));
    let mut demo = Demo::serve(settings.clone());
    let access = fs::read(demo.data_directory().join("terraform.rc")).unwrap();
    let worker = Worker::start(demo.text("url"), TOKEN);
    until_protected(&demo);
    let flight = {
        let (_project, run) = in_the_middle(&demo, "flight");
        run["id"].as_str().unwrap().to_owned()
    };
    demo.post("/api/v2/admin/snapshots", &Value::Null);
    lose(&mut demo);
    // A start where nothing is restores by itself.
    serve_again(&mut demo);
    fs::write(demo.data_directory().join("terraform.rc"), access).unwrap();
    let run = demo.get(&format!("/api/v2/runs/{flight}"));
    assert_eq!(run["data"]["attributes"]["status"], "errored", "{run}");
    assert!(run["data"]["attributes"]["error-message"].as_str().unwrap().starts_with("restored"), "{run}");
    assert_eq!(demo.workspace("flight")["attributes"]["locked"], false);
    let before = held(&demo, "flight");
    // The worker still applies; what it brings home is refused.
    go_in(&worker.work());
    until("the old worker to be told", || worker.said().contains("another runner has the job").then_some(()));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(held(&demo, "flight"), before);

    let restoration = demo.get("/api/v2/admin/restoration");
    assert_eq!(restoration["data"]["attributes"]["restoration"]["applies-paused"], true, "{restoration}");
    let project = demo.project("flight", "resource \"terraform_data\" \"again\" {}\n");
    project.init();
    let applying = project.start(&["apply", "-auto-approve", "-no-color"]);
    let held_back = demo.run_until("flight", &["planned"]);
    assert!(held_back["attributes"]["waiting-reason"].as_str().is_some_and(|reason| reason.contains("paused")), "{held_back}");
    let discarded = demo.post(&format!("/api/v2/runs/{}/actions/discard", held_back["id"].as_str().unwrap()), &json!({}));
    assert!(discarded.is_null() || discarded["errors"].is_null(), "{discarded}");
    crate::harness::finish(applying);
    demo.post("/api/v2/admin/restoration/actions/resume-applies", &Value::Null);
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded().shows("Apply complete!");
}

#[test]
fn two_nodes_that_start_with_nothing_restore_once() {
    let backup = tempfile::tempdir().unwrap();
    let demo = {
        let demo = Demo::serve(kept_in(backup.path(), owned(&[])));
        until_protected(&demo);
        for number in 0..40 {
            assert!(create_workspace(&demo, &format!("many-{number}")));
        }
        demo.post("/api/v2/admin/snapshots", &Value::Null);
        demo
    };
    let Some(database) = Database::create() else { return };
    let settings = kept_in(backup.path(), external(&database.address, &database.name).unwrap());
    let started: Vec<Demo> = thread::scope(|scope| {
        let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| demo.join(settings.clone()))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let said = |node: &Demo| fs::read_to_string(node.home.path().join("server.log")).unwrap();
    let restored = started.iter().filter(|node| said(node).contains("there was no data here; a snapshot was restored")).count();
    assert_eq!(restored, 1, "{} {}", said(&started[0]), said(&started[1]));
    for node in &started {
        assert!(node.workspace("many-39")["id"].is_string());
    }
}

#[test]
fn a_snapshot_of_any_mode_is_restored_in_any_other() {
    let (Some(first), Some(second)) = (Database::create(), Database::create()) else { return };
    let Some(vault) = ExternalVault::create() else { return };
    let disk = owned(&[("TFE_OPERATIONAL_MODE", "disk")]);
    let shared = external(&first.address, &first.name).unwrap();
    let sealed = vault.settings(external(&second.address, &second.name).unwrap());
    let backups: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let demo = Demo::serve(kept_in(backups[0].path(), disk.clone()));
    let access = demo.access.clone();
    let project =
        demo.project("moved", "resource \"terraform_data\" \"a\" {}\noutput \"secret\" {\n  value = \"planted\"\n  sensitive = true\n}\n");
    project.init();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    let directory = project.directory;
    demo.post("/api/v2/admin/snapshots", &Value::Null);
    let mut installations = vec![demo];
    for (settings, from, to) in [(shared, 0, 1), (sealed, 1, 2), (disk, 2, 2)] {
        installations.last_mut().unwrap().kill();
        let home = tempfile::tempdir().unwrap();
        // Restored by the start, from where the last installation left its snapshots; then it leaves its own.
        let settings = kept_in(backups[from].path(), settings);
        server(home.path(), &settings, &["restore"]).succeeded().shows("restored");
        let elsewhere = kept_in(backups[to].path(), settings.into_iter().filter(|(name, _)| name != "TFE_BACKUP_URL").collect());
        let next = Demo::join_at(home, &access, elsewhere);
        assert_eq!(held(&next, "moved"), ["terraform_data.a"]);
        let output = next.start_terraform(directory.path(), &["output", "-raw", "secret"]);
        crate::harness::finish(output).succeeded().shows("planted");
        assert_eq!(next.answer("POST", "/api/v2/admin/snapshots", &json!({})).0, 201);
        installations.push(next);
    }
}

#[test]
fn a_drill_finds_damage_and_names_it() {
    let backup = tempfile::tempdir().unwrap();
    let settings: Settings = kept_in(backup.path(), owned(&[("TFE_BACKUP_DRILL_SCHEDULE", "* * * * *")]));
    let demo = Demo::serve(settings.clone());
    until_protected(&demo);
    let project = demo.project("drilled", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    demo.post("/api/v2/admin/snapshots", &Value::Null);
    let good = server(demo.home.path(), &settings, &["snapshot", "verify", "--json"]).succeeded().json();
    assert!(good["records"].as_u64().unwrap() > 10 && good["states"] == 1, "{good}");
    let log = || fs::read_to_string(demo.home.path().join("server.log")).unwrap();
    until("the scheduled drill", || log().contains("restored for trial, and is good").then_some(()));
    // One object of the snapshot.
    let blob = newest_blob(backup.path());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
    server(demo.home.path(), &settings, &["snapshot", "verify"]).failed().shows(&name);
    until("the scheduled drill to fail", || {
        log().lines().any(|line| line.contains("snapshots do not work") && line.contains(&name)).then_some(())
    });
}

fn newest_blob(backup: &Path) -> std::path::PathBuf {
    let directories = fs::read_dir(backup.join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    let files = directories.flat_map(|directory| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    files.max_by_key(|file| fs::metadata(file).unwrap().modified().unwrap()).unwrap()
}

#[test]
fn a_wrong_password_says_so_and_changes_nothing() {
    let backup = tempfile::tempdir().unwrap();
    let demo = Demo::serve(kept_in(backup.path(), owned(&[])));
    until_protected(&demo);
    let home = tempfile::tempdir().unwrap();
    let wrong: Settings = owned(&[("TFE_BACKUP_URL", backup.path().to_str().unwrap()), ("TFE_BACKUP_PASSWORD", "wrong")]);
    server(home.path(), &wrong, &["restore"]).failed().shows("does not open the repository of snapshots");
    let good = kept_in(backup.path(), owned(&[]));
    server(home.path(), &good, &["restore"]).succeeded();
}

#[test]
fn a_snapshot_where_there_is_no_installation_is_refused_and_makes_nothing() {
    let (home, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = kept_in(&backup.path().join("new"), owned(&[]));
    server(home.path(), &settings, &["snapshot", "create"]).failed().shows("there is no installation here");
    assert!(!home.path().join("data").exists() && !home.path().join("data.key").exists() && !backup.path().join("new").exists());
}

#[test]
fn a_machine_that_was_restored_takes_over_and_the_one_before_is_refused() {
    let backup = tempfile::tempdir().unwrap();
    let settings = kept_in(backup.path(), owned(&[]));
    let mut first = Demo::serve(settings.clone());
    until_protected(&first);
    let access = first.access.clone();
    first.kill();
    let home = tempfile::tempdir().unwrap();
    server(home.path(), &settings, &["restore"]).succeeded();
    let second = Demo::join_at(home, &access, settings.clone());
    let taken = second.answer("POST", "/api/v2/admin/snapshots", &json!({}));
    assert_eq!(taken.0, 201, "{}", taken.1);
    let create = |words: &[&str]| server(first.home.path(), &settings, &[&["snapshot", "create"][..], words].concat());
    create(&[]).failed().shows("of this one before or after a restore").shows("--claim");
    server(first.home.path(), &settings, &["snapshot", "prune"]).failed().shows("--claim");
    create(&["--claim"]).succeeded();
    create(&[]).succeeded();
    let refused = second.answer("POST", "/api/v2/admin/snapshots", &json!({}));
    assert!(refused.0 >= 400 && refused.1.contains("--claim"), "{}", refused.1);
}

#[test]
fn snapshots_are_listed_shown_and_pruned() {
    if variable("TFE_TEST_S3").is_none() {
        return;
    }
    let bucket = format!("s3://{}/snapshots-{}", std::env::var("TFE_TEST_S3_BUCKET").unwrap(), std::process::id());
    let endpoint = std::env::var("TFE_TEST_S3").unwrap().replace(':', "%3A").replace('/', "%2F");
    let url = format!("{bucket}?region=us-east-1&allow_http=true&endpoint={endpoint}");
    let keys = [("TFE_BACKUP_S3_ACCESS_KEY_ID", "test"), ("TFE_BACKUP_S3_SECRET_ACCESS_KEY", "test")];
    let settings: Settings = owned(&[("TFE_BACKUP_URL", &url), PASSWORD]).into_iter().chain(owned(&keys)).collect();
    let demo = Demo::serve(settings.clone());
    until_protected(&demo);
    let create = || server(demo.home.path(), &settings, &["snapshot", "create", "--json"]).succeeded().json();
    let (older, taken) = (create(), create());
    let listed = server(demo.home.path(), &settings, &["snapshot", "list", "--json"]).succeeded().json();
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&taken["id"], &older["id"]));
    let count = listed.as_array().unwrap().len();
    assert!(count >= 3, "{listed}");
    let shown = server(demo.home.path(), &settings, &["snapshot", "show", taken["id"].as_str().unwrap()]).succeeded();
    shown.shows("organizations").shows("users");
    // A place that is named by hand is reached with the same keys.
    let elsewhere: Settings = settings.iter().filter(|(name, _)| name != "TFE_BACKUP_URL").cloned().collect();
    let by_hand = server(demo.home.path(), &elsewhere, &["snapshot", "list", "--from", &url, "--json"]).succeeded().json();
    assert_eq!(by_hand, listed);
    let pruned = server(demo.home.path(), &settings, &["snapshot", "prune", "--json"]).succeeded().json();
    // All are of one hour. The newest stays, and the newest that the server took: what it ships leads on from that one.
    let pruned = pruned["snapshots"].as_array().unwrap();
    assert!(pruned.len() == count - 2 && pruned.contains(&older["id"]), "{pruned:?}");
    server(demo.home.path(), &settings, &["snapshot", "verify"]).succeeded();
}

#[test]
fn snapshots_of_every_release_are_restored() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let releases: Vec<_> = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!releases.is_empty());
    for release in releases {
        let home = tempfile::tempdir().unwrap();
        let copied = std::process::Command::new("cp").arg("-a").arg(&release).arg(home.path().join("backup")).status().unwrap();
        assert!(copied.success());
        let settings = owned(&[("TFE_BACKUP_URL", home.path().join("backup").to_str().unwrap()), ("TFE_BACKUP_PASSWORD", "golden")]);
        server(home.path(), &settings, &["snapshot", "verify"]).succeeded().shows("is good");
        let restored = server(home.path(), &settings, &["restore", "--json"]).succeeded().json();
        assert!(restored["records"].as_u64().unwrap() > 20, "{restored}");
    }
}

#[test]
fn programs_that_are_killed_anywhere_leave_every_snapshot_whole() {
    let backup = tempfile::tempdir().unwrap();
    let quiet = |directory: &Path| kept_in(directory, owned(&[("TFE_BACKUP_RESTORE_ON_BOOT", "false")]));
    let demo = Demo::serve(quiet(backup.path()));
    until_protected(&demo);
    let project = demo.project("whole", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    let settings = quiet(backup.path());
    for (number, millis) in (0..).zip([1, 3, 8, 15, 30, 60, 90, 120, 180, 250]) {
        assert!(create_workspace(&demo, &format!("more-{number}")));
        for arguments in [&["snapshot", "create"][..], &["snapshot", "prune", "--keep-hourly", "0", "--keep-daily", "0"]] {
            killed_after(Duration::from_millis(millis), demo.home.path(), &settings, arguments);
        }
        server(demo.home.path(), &settings, &["snapshot", "verify"]).succeeded();
        let home = tempfile::tempdir().unwrap();
        killed_after(Duration::from_millis(2 * millis), home.path(), &settings, &["restore"]);
        let again = server(home.path(), &settings, &["restore"]);
        // One that was through before the kill has left an installation.
        assert!(again.status.success() || again.text.contains("there is an installation already"), "{}", again.text);
    }
}

/// Starts `tfe-server` with these arguments and kills it after a while, unless it is through by then.
fn killed_after(time: Duration, home: &Path, settings: &Settings, arguments: &[&str]) {
    let mut command = command(home, settings);
    command.args(arguments).args(["--data-dir", home.join("data").to_str().unwrap()]);
    let mut process = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    thread::sleep(time);
    let _ = process.kill();
    process.wait().unwrap();
}
