//! The real terraform in the sandbox, from an archive to an outcome.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use tfe_core::{id::Id, run::Phase, secret::Secret};
use tfe_runner::{
    IsolationConfig, Runner, RunnerConfig, Timeouts,
    isolation::Limits,
    job::{Assignment, EngineKind, Outcome, PlanOptions, Spec},
    tools::ToolSettings,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    bench::{PATIENCE, supervisor},
    control::{MemoryControl, Records},
};

/// A runner with a control plane.
pub(crate) struct Site {
    home: tempfile::TempDir,
    control: Arc<MemoryControl>,
    runner: JoinHandle<()>,
    drain: CancellationToken,
}

impl Site {
    pub(crate) fn start(files: &[(&str, &str)], isolation: IsolationConfig, cli_config: Option<String>) -> Self {
        Self::start_with(files, isolation, cli_config, |_| {})
    }

    pub(crate) fn start_with(
        files: &[(&str, &str)],
        isolation: IsolationConfig,
        cli_config: Option<String>,
        change: impl FnOnce(&mut RunnerConfig),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let control = Arc::new(MemoryControl::default());
        control.with(|records| records.archive = packed(files).into());
        let mut config = RunnerConfig {
            name: "test".to_owned(),
            work_root: home.path().join("work"),
            spool_root: home.path().join("spool"),
            supervisor: supervisor(),
            tool_paths: Vec::new(),
            tools: ToolSettings::default(),
            cli_config,
            plugins: None,
            concurrency: 1,
            courier: None,
            timeouts: Timeouts::default(),
            isolation,
        };
        change(&mut config);
        let drain = CancellationToken::new();
        let runner = tokio::spawn(Runner::new(config, control.clone()).run(drain.clone(), CancellationToken::new()));
        Self { home, control, runner, drain }
    }

    /// The outcome of a phase.
    pub(crate) async fn outcome(&self, phase: Phase) -> Outcome {
        self.queue(phase);
        self.ended(phase).await
    }

    /// Lets the runner end, with all that it does after an outcome.
    pub(crate) async fn drained(&mut self) {
        self.drain.cancel();
        (&mut self.runner).await.unwrap();
    }

    pub(crate) fn queue(&self, phase: Phase) {
        self.control.with(|records| records.waiting.push_back(assignment(phase)));
    }

    pub(crate) async fn ended(&self, phase: Phase) -> Outcome {
        self.until(|records| records.outcomes.iter().find(|(ended, _)| *ended == phase).map(|(_, outcome)| outcome.clone())).await
    }

    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&mut Records) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.control.with(&mut look) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited too long: {:?}", self.control.with(|records| records.outcomes.clone()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn log(&self, phase: Phase) -> String {
        self.control.with(|records| String::from_utf8_lossy(&records.log[&job(phase)]).into_owned())
    }

    /// The run's own directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.home.path().join("work/run-1")
    }

    fn state_holds(&self, name: &str) -> bool {
        let state = self.control.with(|records| records.state.clone());
        state.is_some_and(|state| String::from_utf8_lossy(&state).contains(&format!("\"name\": \"{name}\"")))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

fn job(phase: Phase) -> Id<tfe_core::job::Job> {
    Id::from(format!("job-{phase:?}"))
}

fn assignment(phase: Phase) -> Assignment {
    Assignment {
        job: job(phase),
        run: Id::from("run-1"),
        phase,
        fencing_token: 0,
        run_token: Secret::from("run-token"),
        // Base64 of 32 bytes.
        spool_key: Secret::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        spec: Spec {
            engine: EngineKind::Terraform,
            version: "latest".to_owned(),
            workspace: "test".to_owned(),
            working_directory: String::new(),
            environment: Vec::new(),
            variables: Vec::new(),
            plan: PlanOptions { refresh: true, ..PlanOptions::default() },
            structured_log: false,
            builds: Vec::new(),
            warning: None,
        },
    }
}

fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn sandbox() -> IsolationConfig {
    IsolationConfig::default()
}

/// A provisioner that does a shell script.
fn provisioned(script: &str) -> String {
    let script = script.replace('"', "\\\"");
    format!(
        "resource \"terraform_data\" \"first\" {{}}\nresource \"terraform_data\" \"second\" {{\n  depends_on = [terraform_data.first]\n  \
         provisioner \"local-exec\" {{ command = \"{script}\" }}\n}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_planned_and_applied_in_the_sandbox() {
    let script = "id -u; pwd; ls -a /; tail -n +1 /proc/1/cmdline; [ -e /root ] || echo alone; test ! -e ../../../spool && echo apart";
    let site = Site::start(&[("main.tf", &provisioned(script))], sandbox(), None);
    let planned = site.outcome(Phase::Plan).await;
    assert!(matches!(&planned, Outcome::Planned { summary } if summary.add == 2), "{planned:?}: {}", site.log(Phase::Plan));
    let applied = site.outcome(Phase::Apply).await;
    let log = site.log(Phase::Apply);
    assert!(matches!(applied, Outcome::Applied { summary } if summary.add == 2), "{applied:?}: {log}");
    assert!(log.contains("alone") && log.contains("apart"), "{log}");
    assert!(site.state_holds("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_interrupted_saves_its_state() {
    let script = "while [ ! -e stop ]; do sleep 0.05; done";
    let site = Site::start(&[("main.tf", &provisioned(script))], sandbox(), None);
    assert!(matches!(site.outcome(Phase::Plan).await, Outcome::Planned { .. }), "{}", site.log(Phase::Plan));
    site.queue(Phase::Apply);
    // The snapshot of a state that another user wrote.
    site.until(|records| String::from_utf8_lossy(records.state.as_ref()?).contains("\"first\"").then_some(())).await;
    site.control.with(|records| records.interrupts = true);
    let ended = site.ended(Phase::Apply).await;
    let log = site.log(Phase::Apply);
    assert!(matches!(ended, Outcome::Canceled { .. }), "{ended:?}: {log}");
    assert!(log.contains("Interrupt received"), "terraform itself was told: {log}");
    assert!(site.state_holds("second"), "what was being made is in the state, as tainted");
}

/// What becomes of an apply with these limits.
async fn limited(limits: Limits, script: &str) -> (String, String) {
    let site = Site::start(&[("main.tf", &provisioned(script))], IsolationConfig { limits, ..sandbox() }, None);
    assert!(matches!(site.outcome(Phase::Plan).await, Outcome::Planned { .. }), "{}", site.log(Phase::Plan));
    let applied = site.outcome(Phase::Apply).await;
    let Outcome::Failed { message, .. } = applied else { panic!("{applied:?}: {}", site.log(Phase::Apply)) };
    assert!(site.state_holds("first"), "what was made is in the state");
    (message, site.log(Phase::Apply))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_have_too_much_memory_together_end_the_run_with_the_reason() {
    let limits = Limits { memory_bytes: 400 << 20, ..Limits::default() };
    // Each of them would be within the limit.
    let hog = "perl -e '$x = \"x\" x (70 << 20); sleep 100'";
    let (message, log) = limited(limits, &format!("for i in 1 2 3 4 5; do {hog} & done; wait")).await;
    assert!(message.starts_with("out of memory: peak ") && message.contains(" of a limit of 400 MiB; raise"), "{message}");
    assert!(message.contains("terraform_data.second"), "{message}");
    assert!(log.contains("Error: out of memory"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_grows_too_large_ends_the_run_with_the_reason() {
    let limits = Limits { disk_bytes: 64 << 20, ..Limits::default() };
    for script in [
        "i=0; while head -c 8M /dev/zero > f$i; do i=$((i+1)); sleep 0.05; done",
        "mkdir d; cd d; seq 1 1000000 | xargs touch; sleep 100",
        "perl -e 'for (1..3000) { mkdir(1); chdir(1) } sleep 100'",
    ] {
        let (message, _) = limited(limits, script).await;
        assert!(message.starts_with("disk full: the run's directory has "), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_read_in_the_sandbox_when_planning() {
    let configuration = "output \"seen\" { value = try(file(\"/etc/shadow\"), fileexists(\"/root/.bashrc\") ? \"all\" : \"little\") }\n";
    let site = Site::start(&[("main.tf", configuration)], sandbox(), None);
    let planned = site.outcome(Phase::Plan).await;
    let log = site.log(Phase::Plan);
    assert!(matches!(planned, Outcome::Planned { .. }), "{planned:?}: {log}");
    assert!(log.contains("little"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_of_the_configurations_own_does_not_take_the_state() {
    let backend = "terraform {\n  backend \"http\" { address = \"http://127.0.0.1:9/\" }\n}\n";
    let json = "{\"terraform\": {\"backend\": {\"http\": {\"address\": \"http://127.0.0.1:9/\"}}}}";
    let state = "{\"version\": 4, \"terraform_version\": \"1.11.4\", \"serial\": 7, \"lineage\": \"other\", \"outputs\": {\"a\": \
                 {\"value\": \"b\", \"type\": \"string\"}}, \"resources\": []}";
    for (name, content) in [("zzzz_override.tf", backend), ("zzzz_override.tf.json", json), ("terraform.tfstate", state)] {
        let site = Site::start(&[("main.tf", "resource \"terraform_data\" \"first\" {}\n"), (name, content)], sandbox(), None);
        let planned = site.outcome(Phase::Plan).await;
        assert!(matches!(planned, Outcome::Planned { .. }), "{name}: {planned:?}: {}", site.log(Phase::Plan));
        let applied = site.outcome(Phase::Apply).await;
        assert!(matches!(applied, Outcome::Applied { .. }), "{name}: {applied:?}: {}", site.log(Phase::Apply));
        assert!(site.state_holds("first"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_a_mirror_is_used_and_cannot_be_changed() {
    let Some(mirror) = mirror() else { return };
    let cli_config = format!("provider_installation {{\n  filesystem_mirror {{ path = \"{}\" }}\n}}\n", mirror.display());
    let script = format!("find {} -type f | while read file; do echo x >> $file && echo CHANGED; done; true", mirror.display());
    let configuration = format!(
        "terraform {{\n  required_providers {{ null = {{ source = \"hashicorp/null\" }} }}\n}}\nresource \"null_resource\" \"first\" {{\n  \
         provisioner \"local-exec\" {{ command = \"{script}\" }}\n}}\n"
    );
    let site = Site::start(&[("main.tf", &configuration)], sandbox(), Some(cli_config));
    let planned = site.outcome(Phase::Plan).await;
    assert!(matches!(planned, Outcome::Planned { .. }), "{planned:?}: {}", site.log(Phase::Plan));
    let applied = site.outcome(Phase::Apply).await;
    let log = site.log(Phase::Apply);
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}: {log}");
    assert!(log.contains("(local-exec)") && !log.contains("CHANGED\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_puts_in_place_of_its_files_is_not_followed() {
    for script in [
        // The state, while it is watched.
        "rm -rf $PLACE/state/test && ln -s /etc $PLACE/state/test",
        "rm -f $PLACE/state/test/terraform.tfstate && mkfifo $PLACE/state/test/terraform.tfstate",
        "ln -sf /etc/shadow errored.tfstate; ln -sf /etc/shadow $PLACE/state/test/terraform.tfstate",
    ] {
        let site = Site::start(&[("main.tf", "resource \"terraform_data\" \"first\" {}\n")], sandbox(), None);
        assert!(matches!(site.outcome(Phase::Plan).await, Outcome::Planned { .. }));
        // As a program of the plan could have done it.
        let place = site.work();
        let done =
            std::process::Command::new("/bin/sh").args(["-c", script]).env("PLACE", &place).current_dir(place.join("config")).status();
        assert!(done.is_ok());
        let applied = site.outcome(Phase::Apply).await;
        assert!(matches!(applied, Outcome::Applied { .. }), "{script}: {applied:?}: {}", site.log(Phase::Apply));
        assert!(site.state_holds("first"), "{script}");
    }
}

/// A mirror with the null provider; see scripts/lib/provider.sh.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn mirror() -> Option<PathBuf> {
    let path = std::env::var_os("TFE_TEST_MIRROR").map(PathBuf::from);
    assert!(path.is_some() || std::env::var_os("TFE_TEST_REQUIRE").is_none(), "TFE_TEST_MIRROR is not set");
    if path.is_none() {
        eprintln!("skipped: TFE_TEST_MIRROR is not set");
    }
    path.filter(|path| Path::new(path).is_dir())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_nothing_behind_that_another_user_owns() {
    let script = "mkdir -p deep/er && chmod 0 deep";
    let site = Site::start(&[("main.tf", &provisioned(script))], sandbox(), None);
    assert!(matches!(site.outcome(Phase::Plan).await, Outcome::Planned { .. }));
    site.control.with(|records| records.is_over = true);
    assert!(matches!(site.outcome(Phase::Apply).await, Outcome::Applied { .. }), "{}", site.log(Phase::Apply));
    site.until(|_| (!fs::exists(site.work()).unwrap()).then_some(())).await;
}
