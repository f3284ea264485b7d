//! The runner with the real terraform, its supervisor as a process, and a control plane that misbehaves.

mod control;
mod stopping;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use control::{MemoryControl, Records};
use flate2::{Compression, write::GzEncoder};
use tfe_core::{id::Id, run::Phase, secret::Secret};
use tfe_runner::{
    IsolationConfig, Runner, RunnerConfig, Timeouts,
    control::ControlError,
    isolation::Limits,
    job::{ArtifactKind, Assignment, EngineKind, Outcome, PlanOptions, Spec, Variable},
    tools::ToolSettings,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// A runner with a place to work, a control plane, and a file that a configuration waits for.
struct Bench {
    home: tempfile::TempDir,
    control: Arc<MemoryControl>,
    runner: JoinHandle<()>,
}

impl Bench {
    /// Starts a runner for a configuration in which `GO` stands for the file to wait for.
    fn start(configuration: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let control = Arc::new(MemoryControl::default());
        let text = configuration.replace("GO", home.path().join("go").to_str().unwrap());
        control.with(|records| records.archive = packed(&text).into());
        let runner = runner(&home, &control);
        Self { home, control, runner }
    }

    /// The same with another supervisor, a script in which `SPOOL` stands for the directory of the job.
    fn start_supervised_by(script: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let control = Arc::new(MemoryControl::default());
        control.with(|records| records.archive = packed("").into());
        let spool = home.path().join("spool").join(job(Phase::Plan).as_str());
        let script = script.replace("SPOOL", spool.to_str().unwrap());
        let config = RunnerConfig { supervisor: ["/bin/sh", "-c", &script].map(Into::into).into(), ..config(&home) };
        let runner = started(config, &control);
        Self { home, control, runner }
    }

    /// Puts another runner in the place of this one, as after a crash.
    async fn replace_runner(&mut self, change: impl FnOnce(&mut RunnerConfig)) {
        self.runner.abort();
        let _ = (&mut self.runner).await;
        let mut config = config(&self.home);
        change(&mut config);
        self.runner = started(config, &self.control);
    }

    fn queue(&self, phase: Phase) {
        self.control.with(|records| records.waiting.push_back(assignment(phase)));
    }

    /// Plans, and begins to apply.
    async fn applying(&self) {
        self.queue(Phase::Plan);
        self.until(|records| (records.outcomes.len() == 1).then_some(())).await;
        self.queue(Phase::Apply);
        self.until(|records| records.state.as_ref().filter(|state| holds(state, "first"))?.len().into()).await;
    }

    /// Lets the configuration go on.
    fn go(&self) {
        fs::write(self.home.path().join("go"), "").unwrap();
    }

    /// The outcome of the apply.
    async fn applied(&self) -> Outcome {
        self.until(|records| records.outcomes.get(1).map(|(_, outcome)| outcome.clone())).await
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut Records) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.control.with(&mut look) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited too long: {:?}", self.control.with(|records| records.outcomes.clone()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self, phase: Phase) -> String {
        self.control.with(|records| String::from_utf8_lossy(records.log.get(&job(phase)).unwrap()).into_owned())
    }

    /// Waits until nothing of a job is in a directory.
    async fn until_empty(&self, name: &str) {
        let path = self.home.path().join(name);
        self.until(|_| fs::read_dir(&path).unwrap().all(|entry| entry.unwrap().path().is_file()).then_some(())).await;
    }
}

const SLOW: &str = r#"
resource "terraform_data" "first" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "while [ ! -e GO ]; do sleep 0.05; done" }
}
"#;

fn runner(home: &tempfile::TempDir, control: &Arc<MemoryControl>) -> JoinHandle<()> {
    started(config(home), control)
}

fn started(config: RunnerConfig, control: &Arc<MemoryControl>) -> JoinHandle<()> {
    tokio::spawn(Runner::new(config, control.clone()).run(CancellationToken::new(), CancellationToken::new()))
}

fn config(home: &tempfile::TempDir) -> RunnerConfig {
    RunnerConfig {
        name: "test".to_owned(),
        work_root: home.path().join("work"),
        spool_root: home.path().join("spool"),
        supervisor: vec![env!("CARGO_BIN_EXE_tfe-supervisor").into()],
        tool_paths: Vec::<PathBuf>::new(),
        tools: ToolSettings::default(),
        cli_config: None,
        plugins: None,
        concurrency: 2,
        courier: None,
        timeouts: Timeouts::default(),
        // These configurations wait for files outside of the run; tests/isolation has those that do not.
        isolation: IsolationConfig::none(),
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

fn packed(configuration: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(configuration.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "main.tf", configuration.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

fn holds(state: &[u8], name: &str) -> bool {
    String::from_utf8_lossy(state).contains(&format!("\"name\": \"{name}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_its_apply_leave_documents_state_and_no_files() {
    let bench = Bench::start("resource \"terraform_data\" \"first\" {}\n");
    bench.queue(Phase::Plan);
    let planned = bench.until(|records| records.outcomes.first().cloned()).await;
    assert!(matches!(&planned.1, Outcome::Planned { summary } if summary.add == 1), "{planned:?}");
    assert!(bench.log(Phase::Plan).contains("1 to add"));
    for kind in [ArtifactKind::PlanFile, ArtifactKind::PlanJson, ArtifactKind::PlanRedacted, ArtifactKind::ProviderSchemas] {
        assert!(bench.control.with(|records| records.artifacts.contains_key(&kind)), "{kind:?}");
    }
    bench.queue(Phase::Apply);
    assert!(matches!(bench.applied().await, Outcome::Applied { summary } if summary.add == 1));
    assert!(bench.log(Phase::Apply).contains("Apply complete!"));
    assert!(bench.control.with(|records| holds(records.state.as_ref().unwrap(), "first")));
    bench.until_empty("spool").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_of_an_engine_holds_nothing_of_the_runners() {
    let bench =
        Bench::start("resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"env | cut -d= -f1 > GO\" }\n}\n");
    bench.queue(Phase::Plan);
    bench.until(|records| (records.outcomes.len() == 1).then_some(())).await;
    bench.queue(Phase::Apply);
    bench.applied().await;
    let names = fs::read_to_string(bench.home.path().join("go")).unwrap();
    for foreign in ["CARGO", "CARGO_MANIFEST_DIR", "USER", "LOGNAME", "RUST_BACKTRACE"] {
        assert!(!names.lines().any(|name| name == foreign), "{foreign} in {names}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_of_the_configurations_own_is_not_used() {
    let backend = "terraform {\n  backend \"http\" { address = \"http://127.0.0.1:9/\" }\n}\nresource \"terraform_data\" \"first\" {}\n";
    let bench = Bench::start(backend);
    bench.queue(Phase::Plan);
    bench.until(|records| (records.outcomes.len() == 1).then_some(())).await;
    bench.queue(Phase::Apply);
    let applied = bench.applied().await;
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}: {}", bench.log(Phase::Apply));
    assert!(bench.control.with(|records| holds(records.state.as_ref().unwrap(), "first")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_goes_on_while_the_control_plane_is_away() {
    let bench = Bench::start(SLOW);
    bench.applying().await;
    bench.control.with(|records| records.is_away = true);
    bench.go();
    let done = bench.home.path().join("spool");
    bench.until(|_| find(&done, "done.json").then_some(())).await;
    bench.control.with(|records| records.is_away = false);
    assert!(matches!(bench.applied().await, Outcome::Applied { summary } if summary.add == 2));
    assert!(bench.control.with(|records| holds(records.state.as_ref().unwrap(), "slow")));
    assert!(bench.log(Phase::Apply).contains("Apply complete!"));
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_break_off_cost_no_job() {
    let bench = Bench::start("resource \"terraform_data\" \"first\" {}\n");
    bench.control.with(|records| records.breaks = 2);
    bench.queue(Phase::Plan);
    let planned = bench.until(|records| records.outcomes.first().cloned()).await;
    assert!(matches!(planned.1, Outcome::Planned { .. }), "{planned:?}");
    // As on another runner than the plan's, which has to fetch everything.
    fs::remove_dir_all(bench.home.path().join("work")).unwrap();
    bench.control.with(|records| records.breaks = 4);
    bench.queue(Phase::Apply);
    let applied = bench.applied().await;
    assert!(matches!(applied, Outcome::Applied { summary } if summary.add == 1), "{applied:?}");
    assert_eq!(bench.control.with(|records| records.breaks), 0, "all broke");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_comes_back_takes_up_what_it_left() {
    let mut bench = Bench::start(SLOW);
    bench.applying().await;
    bench.runner.abort();
    let _ = (&mut bench.runner).await;
    bench.go();
    bench.runner = runner(&bench.home, &bench.control);
    assert!(matches!(bench.applied().await, Outcome::Applied { summary } if summary.add == 2));
    assert_eq!(bench.log(Phase::Apply).matches("Apply complete!").count(), 1, "the log is whole and nothing is twice in it");
    bench.until_empty("spool").await;
    assert_eq!(bench.control.with(|records| records.outcomes.len()), 2, "reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_cannot_go_on_is_taken_up_again_and_ends() {
    let bench = Bench::start("resource \"terraform_data\" \"first\" {}\n");
    bench.queue(Phase::Plan);
    bench.until(|records| (records.outcomes.len() == 1).then_some(())).await;
    // Once as it was, once as a failure, and so again after it was taken up.
    bench.control.with(|records| records.refused_reports = 4);
    bench.queue(Phase::Apply);
    let applied = bench.applied().await;
    assert!(matches!(applied, Outcome::Applied { summary } if summary.add == 1), "{applied:?}");
    assert_eq!(bench.log(Phase::Apply).matches("Apply complete!").count(), 1, "the log is whole and nothing is twice in it");
    bench.until_empty("spool").await;
}

/// Requires that an apply ended with an error that says where its state is, and gives that state.
fn kept(bench: &Bench, outcome: Outcome) -> Vec<u8> {
    let path = bench.home.path().join("spool/kept").join(job(Phase::Apply).as_str()).join("state.sealed");
    let Outcome::Failed { message, .. } = outcome else { panic!("{outcome:?}") };
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(bench.log(Phase::Apply).contains(&format!("Error: {message}")), "{}", bench.log(Phase::Apply));
    let assignment = assignment(Phase::Apply);
    tfe_runner::open_snapshot(&assignment.spool_key, assignment.job.as_str(), &fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_refused_is_kept_and_the_run_says_where() {
    let bench = Bench::start("resource \"terraform_data\" \"first\" {}\n");
    bench.queue(Phase::Plan);
    bench.until(|records| (records.outcomes.len() == 1).then_some(())).await;
    bench.control.with(|records| records.state_error = Some(|| ControlError::Refused("it has too many outputs".to_owned())));
    bench.queue(Phase::Apply);
    let applied = bench.applied().await;
    assert!(matches!(&applied, Outcome::Failed { message, .. } if message.contains("it has too many outputs")), "{applied:?}");
    assert!(holds(&kept(&bench, applied), "first"));
    bench.until(|_| (!bench.home.path().join("spool").join(job(Phase::Apply).as_str()).exists()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_end_does_not_wait_for_a_state_that_is_never_taken() {
    let bench = Bench::start(SLOW);
    bench.applying().await;
    bench.control.with(|records| {
        records.state_error = Some(|| ControlError::Unavailable("it is damaged".into()));
        records.interrupts = true;
    });
    let spool = bench.home.path().join("spool");
    bench.until(|_| find(&spool, "done.json").then_some(())).await;
    bench.control.with(|records| records.kills = true);
    let applied = bench.applied().await;
    // The engine had been interrupted, and has saved what it was making.
    assert!(holds(&kept(&bench, applied), "slow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_cannot_go_on_is_ended_before_it_is_given_back() {
    // It has an outcome that is not taken, and would go on until it is told to end.
    let script = "cat > SPOOL/read; exec 9> SPOOL/lock; flock 9; \
                  echo '{\"steps\":[],\"stopped\":false,\"error\":\"x\"}' > SPOOL/new; mv SPOOL/new SPOOL/done.json; \
                  until [ -e SPOOL/kill ]; do sleep 0.02; done; echo > SPOOL/../ended";
    let bench = Bench::start_supervised_by(script);
    bench.control.with(|records| records.refused_reports = u32::MAX);
    bench.queue(Phase::Plan);
    let ended = bench.home.path().join("spool/ended");
    bench.until(|_| ended.exists().then_some(())).await;
    bench.until_empty("spool").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_up_masks_what_it_began_with() {
    let mut bench = Bench::start(
        "resource \"terraform_data\" \"first\" {\n  provisioner \"local-exec\" {\n    command = \"echo is $TOKEN; while [ ! -e GO ]; do sleep 0.05; done; echo was $TOKEN\"\n  }\n}\n",
    );
    let token = |value: &str| Variable { name: "TOKEN".to_owned(), value: Secret::from(value.to_owned()), hcl: false, sensitive: true };
    let queue = |phase| {
        let mut assignment = assignment(phase);
        assignment.spec.environment = vec![token("a-value-that-is-rotated")];
        bench.control.with(|records| records.waiting.push_back(assignment));
    };
    queue(Phase::Plan);
    bench.until(|records| (records.outcomes.len() == 1).then_some(())).await;
    queue(Phase::Apply);
    let shown = |records: &mut Records| String::from_utf8_lossy(records.log.get(&job(Phase::Apply))?).contains("is ***").then_some(());
    bench.until(shown).await;
    bench.control.with(|records| {
        for assignment in records.claimed.values_mut() {
            assignment.spec.environment = vec![token("short")];
        }
    });
    bench.replace_runner(|_| {}).await;
    bench.go();
    let applied = bench.applied().await;
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}");
    let log = bench.log(Phase::Apply);
    assert!(log.contains("was ***") && !log.contains("a-value-that-is-rotated"), "{log}");
    assert_eq!(log.matches("Apply complete!").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_without_the_job_interrupts_its_engine_and_brings_the_last_state() {
    let bench = Bench::start(SLOW);
    bench.applying().await;
    bench.control.with(|records| records.claimed.clear());
    bench.until_empty("spool").await;
    assert_eq!(bench.control.with(|records| records.outcomes.len()), 1, "only the plan was reported");
    let sealed = bench.control.with(|records| records.late.remove(&job(Phase::Apply))).expect("the late state is brought");
    let assignment = assignment(Phase::Apply);
    let state = tfe_runner::open_snapshot(&assignment.spool_key, assignment.job.as_str(), &sealed).unwrap();
    assert!(holds(&state, "first"));
    // The interrupted resource was saved as tainted, which an engine that is killed cannot do.
    assert!(holds(&state, "slow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_supervisor_still_writes_is_awaited_before_its_directory_goes() {
    // It holds the lock, and has much to write after it was told to end.
    let script = "cat > SPOOL/read; exec 9> SPOOL/lock; flock 9; until [ -e SPOOL/kill ]; do sleep 0.02; done; \
                  for i in $(seq 300); do echo x > SPOOL/$i || exit; sleep 0.001; done; echo last > SPOOL/state.sealed";
    let bench = Bench::start_supervised_by(script);
    bench.queue(Phase::Plan);
    let lock = bench.home.path().join("spool").join(job(Phase::Plan).as_str()).join("lock");
    bench.until(|_| lock.exists().then_some(())).await;
    bench.control.with(|records| records.claimed.clear());
    bench.until_empty("spool").await;
    let late = bench.control.with(|records| records.late.remove(&job(Phase::Plan))).expect("what was written last is brought");
    assert_eq!(late, "last\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_for_two_jobs_are_done_one_after_the_other() {
    let mut bench = Bench::start(SLOW);
    let limits = Limits { memory_bytes: 1 << 60, ..Limits::default() };
    bench.replace_runner(|config| config.isolation = IsolationConfig { limits, ..IsolationConfig::none() }).await;
    bench.applying().await;
    bench.queue(Phase::Plan);
    // No event says that nothing happens; a job that is taken is taken at once.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.control.with(|records| records.waiting.len()), 1);
    bench.go();
    assert!(matches!(bench.applied().await, Outcome::Applied { .. }));
    bench.until(|records| records.waiting.is_empty().then_some(())).await;
}

fn find(directory: &std::path::Path, name: &str) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.into_iter().any(|path| path.ends_with(name) || (path.is_dir() && find(&path, name)))
}
