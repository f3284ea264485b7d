//! The tool `tfe` against a demo, with the credentials that terraform uses.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{Demo, Outcome, finish};

const CONFIGURATION: &str = r#"
variable "text" { default = "default" }
resource "terraform_data" "a" { input = var.text }
output "text" {
  value     = terraform_data.a.output
  sensitive = true
}
"#;

fn tfe(demo: &Demo, arguments: &[&str], typed: &str) -> Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_tfe-server")).with_file_name("tfe");
    assert!(program.exists(), "build the tool first: cargo build -p tfe-cli");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", demo.home.path()).env("TFE_ORGANIZATION", demo.text("organization"));
    command.env("TF_CLI_CONFIG_FILE", demo.text("terraform_rc"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    finish(child)
}

#[test]
fn a_run_is_started_decided_and_looked_at() {
    let demo = Demo::start();
    let project = demo.project("tool", CONFIGURATION);
    project.init();
    let directory = project.directory.path().to_str().unwrap();
    tfe(&demo, &["whoami"], "").succeeded().shows("admin");
    tfe(&demo, &["workspace", "list"], "").succeeded().shows("hello").shows("tool").hides("\u{1b}[");
    tfe(&demo, &["variable", "set", "tool", "text", "--sensitive"], "from-stdin\n").succeeded();
    tfe(&demo, &["variable", "list", "tool"], "").succeeded().shows("text").hides("from-stdin");

    let started = tfe(&demo, &["run", "start", "tool", "--directory", directory], "");
    assert_eq!(started.status.code(), Some(3), "the run waits for a decision: {}", started.text);
    let run = demo.runs("tool")[0]["id"].as_str().unwrap().to_owned();
    tfe(&demo, &["run", "apply", &run], "").succeeded().shows("Apply complete!");
    tfe(&demo, &["run", "logs", &run], "").succeeded().shows("Plan:").shows("Apply complete!");
    let shown = tfe(&demo, &["run", "show", &run, "--json"], "").succeeded().json();
    assert_eq!(shown["status"], "applied");
    assert_eq!(tfe(&demo, &["run", "list", "tool", "--json"], "").succeeded().json().as_array().unwrap().len(), 1);

    let state = tfe(&demo, &["state", "download", "tool"], "").succeeded().json();
    assert_eq!(state["outputs"]["text"]["value"], "from-stdin");
    tfe(&demo, &["state", "show", "tool"], "").succeeded();
    assert_eq!(tfe(&demo, &["state", "list", "tool", "--json"], "").json()[0]["serial"], state["serial"]);
    tfe(&demo, &["variable", "delete", "tool", "text"], "").succeeded();
    let variables: Value = tfe(&demo, &["variable", "list", "tool", "--json"], "").succeeded().json();
    assert_eq!(variables, serde_json::json!([]));
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let demo = Demo::start();
    let code = |arguments: &[&str]| tfe(&demo, arguments, "").status.code();
    assert_eq!(code(&["nonsense"]), Some(2));
    assert_eq!(code(&["workspace", "show", "missing"]), Some(1));
    assert_eq!(code(&["whoami", "--hostname", "tfe.example.com"]), Some(4));
    let failing = demo.project("broken", "output \"a\" { value = var.missing }");
    failing.init();
    let directory = failing.directory.path().to_str().unwrap();
    let run = tfe(&demo, &["run", "start", "broken", "--directory", directory], "");
    assert_eq!(run.status.code(), Some(1), "{}", run.text);
}
