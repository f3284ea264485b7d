//! State: pulled, pushed, moved, migrated, locked.

use serde_json::{Value, json};

use crate::harness::{Demo, until};

const CONFIGURATION: &str = r#"
resource "terraform_data" "a" { input = "one" }
resource "terraform_data" "b" { input = "two" }
"#;

/// Waits until the workspace's state, as the server has it, holds the resource.
pub(crate) fn until_held(demo: &Demo, workspace: &str, address: &str) {
    until(&format!("{address} in the state of {workspace}"), || held(demo, workspace).contains(&address.to_owned()).then_some(()));
}

/// The resources in the workspace's state, as the server has it.
pub(crate) fn held(demo: &Demo, workspace: &str) -> Vec<String> {
    let id = demo.workspace(workspace)["id"].as_str().unwrap().to_owned();
    let state = demo.get(&format!("/api/v2/workspaces/{id}/current-state-version"));
    let resources = state["data"]["attributes"]["resources"].as_array().cloned().unwrap_or_default();
    let text = |resource: &Value, key: &str| resource[key].as_str().unwrap_or_default().to_owned();
    resources.iter().map(|resource| format!("{}.{}", text(resource, "type"), text(resource, "name"))).collect()
}

#[test]
fn pull_list_show_move_remove_push_taint() {
    let demo = Demo::start();
    let project = demo.project("state", CONFIGURATION);
    project.init();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a").shows("terraform_data.b");
    project.terraform(&["state", "show", "-no-color", "terraform_data.a"]).succeeded().shows("\"one\"");
    project.terraform(&["show", "-no-color"]).succeeded().shows("terraform_data.a");
    let before = project.terraform(&["state", "pull"]).succeeded().json();
    project.terraform(&["state", "mv", "terraform_data.a", "terraform_data.c"]).succeeded();
    project.terraform(&["state", "rm", "terraform_data.b"]).succeeded();
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.c").hides("terraform_data.b");
    let after = project.terraform(&["state", "pull"]).succeeded().json();
    assert!(after["serial"].as_u64() > before["serial"].as_u64());
    project.terraform(&["taint", "terraform_data.c"]).succeeded();
    project.terraform(&["untaint", "terraform_data.c"]).succeeded();

    let mut pushed = project.terraform(&["state", "pull"]).succeeded().json();
    pushed["serial"] = json!(pushed["serial"].as_u64().unwrap() + 1);
    pushed["resources"] = before["resources"].clone();
    project.write("pushed.tfstate", &pushed.to_string());
    project.terraform(&["state", "push", "pushed.tfstate"]).succeeded();
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a").shows("terraform_data.b");
    project.write("old.tfstate", &before.to_string());
    project.terraform(&["state", "push", "old.tfstate"]).failed().shows("serial");
    assert_eq!(demo.workspace("state")["attributes"]["locked"], false);
}

#[test]
fn local_state_is_migrated() {
    let demo = Demo::start();
    let project = demo.project_with("", CONFIGURATION);
    project.terraform(&["init"]).succeeded();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    project.write("backend.tf", &demo.cloud("name = \"migrated\""));
    project.terraform_typing(&["init", "-no-color"], "yes\n").succeeded();
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a");
    assert_eq!(held(&demo, "migrated").len(), 2);
    project.terraform(&["plan", "-no-color"]).succeeded().shows("No changes.");
}

#[test]
fn local_execution_keeps_only_the_state_here() {
    let demo = Demo::start();
    let project = demo.project("local", CONFIGURATION);
    project.init();
    let id = demo.workspace("local")["id"].as_str().unwrap().to_owned();
    demo.patch(&format!("/api/v2/workspaces/{id}"), &json!({ "data": { "attributes": { "execution-mode": "local" } } }));
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded().shows("Apply complete!");
    assert_eq!(held(&demo, "local").len(), 2);
    assert!(demo.runs("local").is_empty());
    project.terraform(&["destroy", "-auto-approve"]).succeeded();
    assert!(held(&demo, "local").is_empty());
}

#[test]
fn a_lock_keeps_others_out_until_it_is_forced() {
    let demo = Demo::start();
    let project = demo.project("locking", CONFIGURATION);
    project.init();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    let id = demo.workspace("locking")["id"].as_str().unwrap().to_owned();
    demo.post(&format!("/api/v2/workspaces/{id}/actions/lock"), &json!({ "reason": "mine" }));
    project.terraform(&["state", "rm", "terraform_data.a"]).failed().shows("already locked");
    project.terraform(&["force-unlock", "-force", "demo/locking"]).succeeded();
    project.terraform(&["state", "rm", "terraform_data.a"]).succeeded();
}

#[test]
fn import_console_and_graph_work_on_the_remote_state() {
    let demo = Demo::start();
    let project = demo.project("tools", CONFIGURATION);
    project.init();
    project.terraform(&["import", "-no-color", "terraform_data.a", "imported-id"]).succeeded().shows("Import successful!");
    project.terraform_typing(&["console"], "1 + 1\n").succeeded().shows("2");
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a");
    project.terraform(&["providers"]).succeeded().shows("terraform.io/builtin/terraform");
}
