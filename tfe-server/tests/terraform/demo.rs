//! The demo itself: the first minute, and HTTPS.

use std::process::{Command, Stdio};

use crate::harness::{Demo, finish};

const CONFIGURATION: &str =
    "resource \"terraform_data\" \"a\" { input = \"over tls\" }\noutput \"a\" { value = terraform_data.a.output }\n";

#[test]
fn once_applies_the_sample_prints_its_outputs_and_ends() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
        command.args(["demo", "--once", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.path().join("data"));
        command.arg("--work-dir").arg(home.path().join("work")).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap()).succeeded().shows("message = \"Hello from hello\"").hides("\u{1b}[");
    }
}

#[test]
fn without_an_engine_once_fails_and_says_why() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    command.args(["demo", "--once", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.path().join("data"));
    command.arg("--work-dir").arg(home.path().join("work")).env("PATH", "/nonexistent").stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap()).failed().shows("was not applied").shows("terraform");
}

#[test]
fn over_https_the_cli_discovers_the_server_itself() {
    let demo = Demo::start_with(&["--tls"]);
    assert!(demo.text("url").starts_with("https://"));
    let project = demo.project("encrypted", CONFIGURATION);
    project.init();
    let applied = project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    applied.shows(&format!("https://{}/app/demo/encrypted/runs/run-", demo.text("hostname"))).shows("a = \"over tls\"");
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a");
}
