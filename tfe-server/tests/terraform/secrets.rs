//! What must not be found anywhere.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{
    harness::{Demo, until},
    modes::tfe,
};

const PLANTED: &str = "planted-5ecret-value";

/// A provider mirror for runs, where the test command made one. Without it only CI must fail.
pub(crate) fn mirror() -> Option<OsString> {
    let mirror = std::env::var_os("TFE_TEST_MIRROR");
    assert!(mirror.is_some() || std::env::var_os("TFE_TEST_REQUIRE").is_none(), "TFE_TEST_MIRROR is not set");
    mirror
}

#[test]
fn no_secret_in_the_data_directory_the_logs_or_the_process_list() {
    let demo = Demo::start();
    let configuration = r#"
        variable "password" {
          type      = string
          sensitive = true
        }
        resource "terraform_data" "a" {
          input = var.password
          provisioner "local-exec" { command = "echo given $FROM_ENVIRONMENT; while [ ! -e ${path.module}/go ]; do sleep 0.1; done" }
        }
        output "password" {
          value     = terraform_data.a.output
          sensitive = true
        }
    "#;
    let project = demo.project("secrets", configuration);
    project.init();
    let id = demo.workspace("secrets")["id"].as_str().unwrap().to_owned();
    for (key, category) in [("password", "terraform"), ("FROM_ENVIRONMENT", "env")] {
        let attributes = json!({ "key": key, "value": PLANTED, "category": category, "sensitive": true });
        let made = demo.post(&format!("/api/v2/workspaces/{id}/vars"), &json!({ "data": { "type": "vars", "attributes": attributes } }));
        assert_eq!(made["data"]["attributes"]["value"], json!(null));
    }
    let apply = project.start(&["apply", "-auto-approve", "-no-color"]);
    demo.run_until("secrets", &["applying"]);
    // In the middle of the apply, with everything in motion.
    let waiting = until("the provisioner", || find(&demo.home.path().join("work"), "main.tf"));
    let processes = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
    assert!(processes.contains("terraform"), "the list shows the engine");
    assert!(!processes.contains(PLANTED) && !processes.contains(demo.text("token")));
    assert_clean(&demo);
    fs::write(waiting.with_file_name("go"), "").unwrap();
    crate::harness::finish(apply).succeeded().hides(PLANTED);
    demo.run_until("secrets", &["applied"]);
    assert_clean(&demo);
    let outputs = project.terraform(&["output", "-json"]).succeeded().json();
    assert_eq!(outputs["password"]["value"], PLANTED, "the secret did take part");
    assert_clean_bundle(&demo);
}

/// What is passed on to whoever helps holds what they need, and no secret.
fn assert_clean_bundle(demo: &Demo) {
    let path = demo.home.path().join("support.tar.gz");
    tfe(demo, &["support-bundle", "--output", path.to_str().unwrap()]).succeeded();
    let output = Command::new("tar").args(["-xzOf"]).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for wanted in ["\"database\"", "server.listen", "tfe_http_requests", "runs are isolated"] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let key = fs::read(demo.home.path().join("data.key")).unwrap();
    let has = |needle: &[u8]| output.stdout.windows(needle.len()).any(|window| window == needle);
    assert!(!has(PLANTED.as_bytes()) && !has(demo.text("token").as_bytes()) && !has(key.trim_ascii()), "a secret is in {text}");
}

/// Looks into every file below the data directory and at the server's own log.
fn assert_clean(demo: &Demo) {
    let token = demo.text("token").to_owned();
    let key = fs::read(demo.home.path().join("data.key")).unwrap();
    for path in files(&demo.data_directory()).into_iter().chain([demo.home.path().join("server.log")]) {
        // Files come and go while a run is at work.
        let Ok(content) = fs::read(&path) else { continue };
        let has = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
        assert!(!has(PLANTED.as_bytes()), "{} holds the secret", path.display());
        assert!(!has(key.trim_ascii()), "{} holds the key", path.display());
        // These two hand the token to the demo's user.
        let is_handed_over = path.ends_with("demo.json") || path.ends_with("terraform.rc");
        assert!(is_handed_over || !has(token.as_bytes()), "{} holds the token", path.display());
    }
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    files(directory).into_iter().find(|path| path.ends_with(name))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
