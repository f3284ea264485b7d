//! Plans with options, and saved plans.

use serde_json::json;

use crate::harness::Demo;

const CONFIGURATION: &str = r#"
resource "terraform_data" "a" { input = "one" }
resource "terraform_data" "b" { input = "two" }
"#;

#[test]
fn a_saved_plan_is_shown_and_applied_once() {
    let demo = Demo::start();
    let project = demo.project("saved", CONFIGURATION);
    project.init();
    project.terraform(&["plan", "-out=tfplan", "-no-color"]).succeeded().shows("Plan: 2 to add");
    assert_eq!(demo.runs("saved")[0]["attributes"]["status"], "planned_and_saved");
    project.terraform(&["show", "-no-color", "tfplan"]).succeeded().shows("terraform_data.a will be created");
    let shown = project.terraform(&["show", "-json", "tfplan"]).succeeded().json();
    assert_eq!(shown["resource_changes"].as_array().unwrap().len(), 2);
    project.terraform(&["apply", "-no-color", "tfplan"]).succeeded().shows("Apply complete! Resources: 2 added");
    project.terraform(&["apply", "-no-color", "tfplan"]).failed();
    demo.run_until("saved", &["applied"]);
}

#[test]
fn refresh_only_replace_and_target() {
    let demo = Demo::start();
    let project = demo.project("options", CONFIGURATION);
    project.init();
    project.terraform(&["apply", "-auto-approve", "-no-color", "-target=terraform_data.a"]).succeeded().shows("Resources: 1 added");
    project.terraform(&["state", "list"]).succeeded().shows("terraform_data.a").hides("terraform_data.b");
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded().shows("Resources: 1 added");
    project.terraform(&["plan", "-refresh-only", "-no-color"]).succeeded().shows("No changes.");
    project.terraform(&["apply", "-refresh-only", "-auto-approve", "-no-color"]).succeeded();
    project.terraform(&["refresh", "-no-color"]).succeeded();
    project.terraform(&["plan", "-refresh=false", "-no-color"]).succeeded().shows("No changes.");
    project
        .terraform(&["apply", "-auto-approve", "-no-color", "-replace=terraform_data.b"])
        .succeeded()
        .shows("1 added, 0 changed, 1 destroyed");
}

#[test]
fn an_empty_apply_happens_when_it_is_allowed() {
    let demo = Demo::start();
    let project = demo.project("empty", CONFIGURATION);
    project.init();
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    let last = demo.runs("empty")[0].clone();
    let body = |attributes| {
        json!({ "data": { "attributes": attributes, "relationships": {
            "workspace": last["relationships"]["workspace"],
            "configuration-version": last["relationships"]["configuration-version"],
        } } })
    };
    demo.post("/api/v2/runs", &body(json!({ "auto-apply": true })));
    demo.run_until("empty", &["planned_and_finished"]);
    demo.post("/api/v2/runs", &body(json!({ "auto-apply": true, "allow-empty-apply": true })));
    demo.run_until("empty", &["applied"]);
}

#[test]
fn workspace_variables_reach_the_run_and_the_command_line_wins() {
    let demo = Demo::start();
    let configuration = r#"
        variable "text" { default = "default" }
        variable "list" { type = list(string) }
        resource "terraform_data" "a" { input = [var.text, var.list] }
        output "all" { value = terraform_data.a.output }
    "#;
    let project = demo.project("variables", configuration);
    project.init();
    let id = demo.workspace("variables")["id"].as_str().unwrap().to_owned();
    for (key, value, hcl) in [("text", "a ${literal} \"quoted\"", false), ("list", "[\"x\", \"y\"]", true)] {
        let attributes = json!({ "key": key, "value": value, "hcl": hcl, "category": "terraform" });
        demo.post(&format!("/api/v2/workspaces/{id}/vars"), &json!({ "data": { "type": "vars", "attributes": attributes } }));
    }
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    let all = &project.terraform(&["output", "-json"]).succeeded().json()["all"]["value"];
    assert_eq!(*all, json!(["a ${literal} \"quoted\"", ["x", "y"]]));
    project.terraform(&["apply", "-auto-approve", "-var", "text=mine"]).succeeded();
    assert_eq!(project.terraform(&["output", "-json"]).json()["all"]["value"][0], "mine");
}
