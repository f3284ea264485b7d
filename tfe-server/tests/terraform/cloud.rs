//! The `cloud` block: the everyday commands.

use crate::harness::{Demo, finish, interrupt};

const CONFIGURATION: &str = r#"
variable "name" { default = "world" }
resource "terraform_data" "a" { input = "hello ${var.name}" }
resource "terraform_data" "b" { input = terraform.workspace }
output "greeting" { value = terraform_data.a.output }
output "workspace" { value = terraform_data.b.output }
output "secret" {
  value     = "hidden-${var.name}"
  sensitive = true
}
"#;

#[test]
fn init_plan_apply_output_destroy() {
    let demo = Demo::start();
    let project = demo.project("everyday", CONFIGURATION);
    project.init().shows("has been successfully initialized!").hides("Warning");
    project
        .terraform(&["plan", "-no-color"])
        .succeeded()
        .shows("Plan: 2 to add, 0 to change, 0 to destroy.")
        .shows("terraform_data.a will be created");
    let applied = project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    applied
        .shows("Apply complete! Resources: 2 added, 0 changed, 0 destroyed.")
        .shows("greeting = \"hello world\"")
        .shows("/app/demo/everyday/runs/run-");
    let outputs = project.terraform(&["output", "-json"]).succeeded().json();
    assert_eq!(outputs["greeting"]["value"], "hello world");
    assert_eq!(outputs["workspace"]["value"], "everyday");
    assert_eq!(outputs["secret"]["value"], "hidden-world");
    project.terraform(&["plan", "-no-color"]).succeeded().shows("No changes.");
    assert_eq!(project.terraform(&["plan", "-detailed-exitcode", "-var", "name=you"]).status.code(), Some(2));
    project.terraform(&["apply", "-auto-approve", "-no-color", "-var", "name=you"]).succeeded().shows("0 added, 1 changed, 0 destroyed");
    project.terraform(&["destroy", "-auto-approve", "-no-color"]).succeeded().shows("Resources: 0 added, 0 changed, 2 destroyed.");
    project.terraform(&["state", "list"]).succeeded().hides("terraform_data");
    assert_eq!(demo.workspace("everyday")["attributes"]["locked"], false);
}

#[test]
fn apply_asks_and_takes_no_for_an_answer() {
    let demo = Demo::start();
    let project = demo.project("asking", CONFIGURATION);
    project.init();
    project.terraform_typing(&["apply", "-no-color"], "no\n").failed().shows("Apply discarded.");
    assert_eq!(demo.runs("asking")[0]["attributes"]["status"], "discarded");
    project.terraform_typing(&["apply", "-no-color"], "yes\n").succeeded().shows("Apply complete!");
    assert_eq!(demo.run_until("asking", &["applied"])["attributes"]["has-changes"], true);
}

#[test]
fn an_interrupt_cancels_an_apply_and_the_state_holds_what_was_created() {
    let demo = Demo::start();
    let slow = r#"
        resource "terraform_data" "quick" {}
        resource "terraform_data" "slow" {
          depends_on = [terraform_data.quick]
          provisioner "local-exec" { command = "sleep 60" }
        }
        resource "terraform_data" "never" { depends_on = [terraform_data.slow] }
    "#;
    let project = demo.project("interrupted", slow);
    project.init();
    let apply = project.start(&["apply", "-auto-approve", "-no-color"]);
    demo.run_until("interrupted", &["applying"]);
    crate::state::until_held(&demo, "interrupted", "terraform_data.quick");
    interrupt(&apply);
    finish(apply).succeeded().shows("successfully cancelled");
    let run = demo.run_until("interrupted", &["canceled", "applied", "errored"]);
    assert_eq!(run["attributes"]["status"], "canceled");
    let held = project.terraform(&["state", "list"]).succeeded();
    held.shows("terraform_data.quick").hides("terraform_data.never");
    assert_eq!(demo.workspace("interrupted")["attributes"]["locked"], false);
}

#[test]
fn a_failing_configuration_fails_with_its_own_words() {
    let demo = Demo::start();
    let project = demo.project("failing", "resource \"terraform_data\" \"a\" { input = var.missing }");
    project.init();
    project.terraform(&["plan", "-no-color"]).failed().shows("Reference to undeclared input variable");
    let run = demo.run_until("failing", &["errored"]);
    assert_eq!(run["attributes"]["status"], "errored");
}

#[test]
fn a_real_provider_works() {
    let Some(_) = crate::secrets::mirror() else { return };
    let demo = Demo::start();
    let project = demo.project("provider", "resource \"null_resource\" \"a\" { count = 2 }");
    let mirror = crate::secrets::mirror().unwrap();
    let rc = std::fs::read_to_string(demo.text("terraform_rc")).unwrap();
    std::fs::write(
        demo.text("terraform_rc"),
        format!("{rc}\nprovider_installation {{\n  filesystem_mirror {{ path = \"{}\" }}\n}}\n", mirror.display()),
    )
    .unwrap();
    project.init();
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded().shows("Resources: 2 added");
    project.terraform(&["plan", "-no-color"]).succeeded().shows("No changes.");
}
