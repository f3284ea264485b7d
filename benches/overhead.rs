//! What an apply through the server costs beyond terraform itself.
//!
//! For each configuration, in turn and several times: the baseline, a local `init`, `plan -out` and `apply`; and
//! `terraform apply -auto-approve` through a demo server, less the sleeps that the CLI makes on every such command
//! whatever the server does. The figure is the ratio of the medians. It can be below one: the server works while the
//! CLI sleeps, which is why the whole time is printed too. Needs a release build of `tfe-server`:
//!
//! ```sh
//! cargo build --release -p tfe-server && cargo bench -p tfe-benches --bench overhead
//! ```
#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The CLI's own sleeps in `apply -auto-approve` (terraform 1.11): 500 ms before it asks about the configuration, 1 s
/// before it asks about the run for the plan, 1 s before it asks about the run for the apply.
const FIXED_SLEEPS: Duration = Duration::from_millis(2500);
/// How often each is measured.
const ROUNDS: usize = 7;
/// The ratio that the project promises.
const PROMISE: f64 = 1.5;

fn main() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut demo = Demo::start(home.path());
    println!("{:<28} {:>9} {:>18} {:>16} {:>6}", "configuration", "local ms", "through server ms", "less sleeps ms", "ratio");
    let mut worst: f64 = 0.0;
    for (name, configuration) in configurations() {
        let (local, whole) = measure(home.path(), name, &configuration);
        let remote = whole.saturating_sub(FIXED_SLEEPS);
        let ratio = remote.as_secs_f64() / local.as_secs_f64();
        worst = worst.max(ratio);
        println!("{name:<28} {:>9} {:>18} {:>16} {ratio:>6.2}", local.as_millis(), whole.as_millis(), remote.as_millis());
    }
    println!("worst ratio {worst:.2}, promised at most {PROMISE}");
    demo.stop();
}

fn configurations() -> Vec<(&'static str, String)> {
    let resources = |count: usize| format!("resource \"terraform_data\" \"a\" {{\n  count = {count}\n  input = count.index\n}}\n");
    let work = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"sleep 3\" }\n}\n";
    vec![
        ("1 resource", resources(1)),
        ("100 resources", resources(100)),
        ("400 resources", resources(400)),
        ("1 resource that takes 3 s", work.to_owned()),
    ]
}

fn measure(home: &Path, name: &str, configuration: &str) -> (Duration, Duration) {
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let directory = home.join(format!("local-{round}-{}", slug(name)));
        local.push(run_locally(&directory, configuration));
        let directory = home.join(format!("remote-{round}-{}", slug(name)));
        remote.push(run_remotely(home, &directory, configuration, &format!("{}-{round}", slug(name))));
    }
    (median(local), median(remote))
}

fn run_locally(directory: &Path, configuration: &str) -> Duration {
    fs::create_dir_all(directory).expect("a directory");
    fs::write(directory.join("main.tf"), configuration).expect("a file");
    let start = Instant::now();
    for arguments in [&["init", "-input=false"][..], &["plan", "-input=false", "-out=tfplan"], &["apply", "-input=false", "tfplan"]] {
        terraform(directory, None, arguments);
    }
    start.elapsed()
}

fn run_remotely(home: &Path, directory: &Path, configuration: &str, workspace: &str) -> Duration {
    let cloud = "terraform {\n  cloud {\n    hostname = \"tfe.localhost\"\n    organization = \"demo\"\n";
    let cloud = format!("{cloud}    workspaces {{ name = \"{workspace}\" }}\n  }}\n}}\n");
    fs::create_dir_all(directory).expect("a directory");
    fs::write(directory.join("main.tf"), cloud + configuration).expect("a file");
    let rc = home.join("data/terraform.rc");
    terraform(directory, Some(&rc), &["init", "-input=false"]);
    let start = Instant::now();
    terraform(directory, Some(&rc), &["apply", "-auto-approve", "-input=false"]);
    start.elapsed()
}

fn terraform(directory: &Path, rc: Option<&Path>, arguments: &[&str]) {
    let mut command = Command::new("terraform");
    command.args(arguments).current_dir(directory).env("CHECKPOINT_DISABLE", "1").stdout(Stdio::null());
    command.env("TF_CLI_CONFIG_FILE", rc.unwrap_or(Path::new("/dev/null")));
    let status = command.status().expect("terraform is on the PATH");
    assert!(status.success(), "terraform {arguments:?} ended with {status}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn slug(name: &str) -> String {
    name.replace(' ', "-")
}

/// A demo server, ended with the value.
struct Demo(Child);

impl Demo {
    fn start(home: &Path) -> Self {
        let log = home.join("server.log");
        let output = fs::File::create(&log).expect("a log");
        let mut command = Command::new(program());
        command.args(["demo", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.join("data")).arg("--work-dir").arg(home.join("work"));
        let demo = Self(command.stdout(output).spawn().expect("the server starts; build it with cargo build --release -p tfe-server"));
        let deadline = Instant::now() + Duration::from_mins(1);
        while !fs::read_to_string(&log).is_ok_and(|text| text.contains("Ctrl-C")) {
            assert!(Instant::now() < deadline, "the demo is not ready");
            thread::sleep(Duration::from_millis(20));
        }
        demo
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The release build beside this program's own directory.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    own.ancestors().nth(2).expect("it lies in target/release/deps").join("tfe-server")
}
