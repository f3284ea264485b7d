//! Workspaces by tags and projects, as the CLI makes and finds them.

use crate::harness::Demo;

const CONFIGURATION: &str = "resource \"terraform_data\" \"a\" {}\n";

#[test]
fn workspaces_by_tags_are_made_listed_selected_and_deleted() {
    let demo = Demo::start();
    let project = demo.project_with(&demo.cloud("tags = [\"app\", \"net\"]"), CONFIGURATION);
    project.terraform_typing(&["init", "-no-color"], "blue\n").succeeded();
    project.terraform(&["workspace", "new", "green"]).succeeded();
    project.terraform(&["workspace", "list"]).succeeded().shows("blue").shows("* green");
    let tags = &demo.workspace("green")["attributes"]["tag-names"];
    assert_eq!(*tags, serde_json::json!(["app", "net"]));
    project.terraform(&["apply", "-auto-approve"]).succeeded();
    project.terraform(&["workspace", "select", "blue"]).succeeded();
    project.terraform(&["workspace", "delete", "green"]).failed();
    project.terraform(&["workspace", "delete", "-force", "green"]).succeeded();
    project.terraform(&["workspace", "list"]).succeeded().hides("green");
}

#[test]
fn tags_with_values_and_a_project() {
    let demo = Demo::start();
    let project = demo.project_with(&demo.cloud("project = \"payments\"\n tags = { team = \"blue\" }"), CONFIGURATION);
    project.terraform_typing(&["init", "-no-color"], "billing\n").succeeded();
    let workspace = demo.workspace("billing");
    let id = workspace["relationships"]["project"]["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(demo.get(&format!("/api/v2/projects/{id}"))["data"]["attributes"]["name"], "payments");
    project.terraform(&["workspace", "show"]).succeeded().shows("billing");
    project.terraform(&["init", "-no-color"]).succeeded();
    project.terraform(&["plan", "-no-color"]).succeeded().shows("Plan: 1 to add");
}
