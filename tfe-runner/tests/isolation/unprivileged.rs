//! The sandbox without root, which needs a user namespace.

use std::process::Command;

use super::bench::{is_root, supervisor};

/// Nobody.
const USER: &str = "65534";

/// The tests that say most, run again as another user by this same program.
const AGAIN: [&str; 6] = [
    "attacks::no_attack_reaches_anything_from_the_sandbox",
    "life::an_interrupt_reaches_the_engine_once_and_it_ends_by_itself",
    "life::killing_the_launcher_ends_everything_at_once",
    "life::what_a_machine_gives_is_tried",
    "limits::",
    "network::",
];

fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program).current_dir("/").env_remove("TFE_TEST_REQUIRE");
    command
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn the_sandbox_holds_without_root_too() {
    let can = |mut command: Command| command.output().is_ok_and(|output| output.status.success());
    let mut namespace = as_nobody("unshare");
    namespace.args(["-U", "true"]);
    let mut launcher = as_nobody("test");
    launcher.arg("-x").arg(&supervisor()[0]);
    if !is_root() || !can(namespace) || !can(launcher) {
        eprintln!("skipped: not root, no user namespaces, or the programs of this test are not for every user");
        return;
    }
    let output = as_nobody(std::env::current_exe().unwrap()).args(AGAIN).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("running 0 tests"), "{text}");
}
