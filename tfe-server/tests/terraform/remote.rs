//! The `remote` backend, which prints logs as they are and approves by itself.

use crate::harness::Demo;

const CONFIGURATION: &str = r#"
resource "terraform_data" "a" { input = "remote" }
output "value" { value = terraform_data.a.output }
"#;

#[test]
fn the_everyday_commands() {
    let demo = Demo::start();
    let project = demo.project_with(&demo.remote("name = \"old-style\""), CONFIGURATION);
    project.init().shows("Successfully configured the backend \"remote\"!");
    project.terraform(&["plan", "-no-color"]).succeeded().shows("Plan:").hides("\"@level\"");
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded().shows("Apply complete!").hides("\"@level\"");
    let outputs = project.terraform(&["output", "-json"]).succeeded().json();
    assert_eq!(outputs["value"]["value"], "remote");
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a");
    project.terraform(&["plan", "-refresh-only", "-no-color"]).succeeded().shows("No changes.");
    project.terraform(&["destroy", "-auto-approve", "-no-color"]).succeeded().shows("Resources: 0 added, 0 changed, 1 destroyed.");
    assert_eq!(demo.workspace("old-style")["attributes"]["resource-count"], 0);
}

#[test]
fn workspaces_by_prefix() {
    let demo = Demo::start();
    let project = demo.project_with(&demo.remote("prefix = \"app-\""), CONFIGURATION);
    project.terraform_typing(&["init", "-no-color"], "");
    project.terraform(&["workspace", "new", "blue"]).succeeded();
    project.terraform(&["workspace", "new", "green"]).succeeded();
    project.terraform(&["workspace", "list"]).succeeded().shows("blue").shows("* green");
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    assert_eq!(demo.workspace("app-green")["attributes"]["resource-count"], 1);
    project.terraform(&["workspace", "select", "blue"]).succeeded();
    project.terraform(&["workspace", "delete", "-force", "green"]).succeeded();
    assert_eq!(demo.workspace("app-green"), serde_json::Value::Null);
}

#[test]
fn saying_no_discards() {
    let demo = Demo::start();
    let project = demo.project_with(&demo.remote("name = \"no\""), CONFIGURATION);
    project.init();
    project.terraform_typing(&["apply", "-no-color"], "no\n").failed().shows("Apply discarded.");
    assert_eq!(demo.runs("no")[0]["attributes"]["status"], "discarded");
}
