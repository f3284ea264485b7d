//! Getting a job's directories ready, and the instructions for its supervisor.

use std::{
    ffi::OsString,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures::TryStreamExt;
use tfe_core::{hcl, run::Phase};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::{
    archive::{self, ArchiveError},
    config::{Courier, Letter, RunnerConfig},
    control::{Control, ControlError, Ticket},
    environment,
    files::{private_directory, remove_tree, write_fresh},
    isolation::{
        Isolation,
        of_run::{self, Ground, IsolationError, of_run},
    },
    job::{ArtifactKind, Assignment, PlanOptions, Spec, Variable},
    paths::{Paths, lock_file, names, relative},
    plugins::Plugins,
    retry::until_acknowledged,
    supervisor::{
        instructions::{Instructions, Orphanage, Step, StepName},
        orphan::RUNNER_LOCK,
    },
    tools::{Platform, Program, ToolError, Tools},
};

/// The override that keeps the state here ends so; before it come as many `z` as it takes to be the last.
const OVERRIDE_END: &str = "_override.tf";

/// Where engines look for providers too, as a list of directories.
const DATA_DIRECTORIES: &str = "XDG_DATA_DIRS";

/// Why a job could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The control plane did not give what is needed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The configuration is not usable.
    #[error("the configuration cannot be unpacked: {0}")]
    Archive(#[from] ArchiveError),
    /// The engine is not here and cannot be had.
    #[error(transparent)]
    Engine(#[from] ToolError),
    /// The disk, most likely.
    #[error("the run's directory cannot be prepared: {0}")]
    Io(#[from] io::Error),
    /// The run would not be kept apart.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// Something that a person can change.
    #[error("{0}")]
    Unusable(String),
}

/// Makes the directories ready and says what the supervisor has to do. All of it is done again when the control plane goes away
/// in the middle: a server that dies then must not cost the job.
pub(crate) async fn prepare(
    config: &RunnerConfig,
    found: (&Tools, Option<&Plugins>),
    control: &dyn Control,
    ticket: &Ticket,
    assignment: &Assignment,
    paths: &Paths,
) -> Result<Instructions, PrepareError> {
    let attempt = async || match prepare_once(config, found, control, ticket, assignment, paths).await {
        Err(PrepareError::Control(error @ ControlError::Unavailable(_))) => Err(error),
        other => Ok(other),
    };
    until_acknowledged(attempt).await?
}

async fn prepare_once(
    config: &RunnerConfig,
    (tools, plugins): (&Tools, Option<&Plugins>),
    control: &dyn Control,
    ticket: &Ticket,
    assignment: &Assignment,
    paths: &Paths,
) -> Result<Instructions, PrepareError> {
    let spec = &assignment.spec;
    let is_planned = assignment.phase == Phase::Apply && paths.planned().exists();
    // What a plan's programs may have put where this process is about to write goes away.
    let stale = if is_planned { paths.states() } else { paths.work.clone() };
    remove_tree(&stale)?;
    for directory in paths.directories() {
        private_directory(&directory)?;
    }
    let program = tools.provide(spec.engine, &spec.version, &spec.builds).await?;
    if !is_planned {
        unpack(control, ticket, paths).await?;
    }
    let directory = working_directory(paths, &spec.working_directory)?;
    if !is_planned {
        forget_state(&directory)?;
        let cli_config = offered(config, plugins, assignment, paths, &directory).await?;
        write_fresh(&paths.cli_config(), cli_config.as_bytes())?;
        write_fresh(&paths.variables(), variables_file(&spec.variables).as_bytes())?;
        write_fresh(&directory.join(override_name(&directory)?), override_file(paths, spec, &directory)?.as_bytes())?;
    }
    if assignment.phase == Phase::Apply && !is_planned {
        fetch(control, ticket, ArtifactKind::PlanFile, &paths.made(names::PLAN)).await?;
        fetch(control, ticket, ArtifactKind::LockFile, &lock_file(&directory)).await?;
    }
    seed_state(control, ticket, &paths.state(&spec.workspace)).await?;
    begin_log(paths, assignment.phase, spec, &program)?;
    let isolation = isolation(config, paths, &program.path).await?;
    Ok(instructions(config, assignment, paths, &program.path, directory, is_planned, isolation)?)
}

/// The CLI configuration of a run, with the providers that are kept for it.
async fn offered(
    config: &RunnerConfig,
    plugins: Option<&Plugins>,
    assignment: &Assignment,
    paths: &Paths,
    directory: &Path,
) -> Result<String, PrepareError> {
    let text = config.cli_config.clone().unwrap_or_default();
    // Where a workspace says where providers are, that would be hidden.
    let Some(plugins) = plugins.cloned().filter(|_| assignment.spec.environment.iter().all(|given| given.name != DATA_DIRECTORIES)) else {
        return Ok(text);
    };
    let (config, paths, lock) = (config.clone(), paths.clone(), lock_file(directory));
    let offered = move || {
        if !plugins.is_within_reach(of_run::level(&config.isolation, &config.supervisor)?) {
            return Ok(text);
        }
        Ok(plugins.offer(&paths, &lock, &text).unwrap_or_else(|error| {
            tracing::warn!(%error, "a run is not given the providers that are kept here");
            text
        }))
    };
    tokio::task::spawn_blocking(offered).await.map_err(io::Error::other)?
}

async fn isolation(config: &RunnerConfig, paths: &Paths, program: &Path) -> Result<Isolation, PrepareError> {
    let (config, paths, program) = (config.clone(), paths.clone(), program.to_owned());
    let isolated = move || {
        let ground = Ground {
            work: &paths.work,
            readable: vec![paths.cli_config(), paths.variables()],
            shared: Plugins::offered(&paths),
            writable: paths.writable().into(),
            program: &program,
            cli_config: config.cli_config.as_deref().unwrap_or_default(),
        };
        of_run(&config.isolation, &config.supervisor, &ground)
    };
    Ok(tokio::task::spawn_blocking(isolated).await.map_err(io::Error::other)??)
}

async fn unpack(control: &dyn Control, ticket: &Ticket, paths: &Paths) -> Result<(), PrepareError> {
    // An archive that ends since the connection did is not a bad archive.
    let broken = Arc::new(Mutex::new(None));
    let note = broken.clone();
    let content = control.configuration(ticket).await?.map_err(move |error| {
        let told = io::Error::new(error.kind(), error.to_string());
        *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        told
    });
    let archive = SyncIoBridge::new(StreamReader::new(content));
    let root = paths.configuration();
    let unpacked = tokio::task::spawn_blocking(move || archive::unpack(archive, &root)).await.map_err(io::Error::other)?;
    match broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(interrupted(error)),
        None => unpacked.map(drop).map_err(PrepareError::from),
    }
}

/// The directory where the engine starts; it must be in the configuration, whatever links say.
fn working_directory(paths: &Paths, relative: &str) -> Result<PathBuf, PrepareError> {
    let root = paths.configuration().canonicalize()?;
    match root.join(relative.trim_matches('/')).canonicalize() {
        Ok(directory) if directory.starts_with(&root) && directory.is_dir() => Ok(directory),
        _ => Err(PrepareError::Unusable(format!(
            "the working directory \"{relative}\" is not in the configuration; change the workspace's working directory or upload it"
        ))),
    }
}

/// A name that sorts after every override file, since the last one wins.
fn override_name(directory: &Path) -> io::Result<OsString> {
    let mut last = String::from("z");
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        while name.contains("override.t") && format!("{last}{OVERRIDE_END}") <= name {
            last.push('z');
            if last.len() > name.len() + 1 {
                // Something that sorts after any number of z: a character beyond all others.
                last.insert(0, '\u{10FFFF}');
            }
        }
    }
    Ok(OsString::from(last + OVERRIDE_END))
}

/// Removes a state that came with the configuration: `init` would ask whether the workspace is to have it.
fn forget_state(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join("terraform.tfstate")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps the state in the run's own directory, whatever `cloud` or `backend` the configuration has. The paths are relative to
/// where the engine starts: a plan file repeats them, and the worker that applies it may be another one, elsewhere.
fn override_file(paths: &Paths, spec: &Spec, directory: &Path) -> io::Result<String> {
    let text = |path: PathBuf| Ok::<_, io::Error>(hcl::string_literal(&backend_path(paths, directory, &path)?.to_string_lossy()));
    let (path, states) = (text(paths.state(&spec.workspace))?, text(paths.states())?);
    Ok(format!("terraform {{\n  backend \"local\" {{\n    path          = {path}\n    workspace_dir = {states}\n  }}\n}}\n"))
}

/// How a path of the run is written in its configuration.
fn backend_path(paths: &Paths, directory: &Path, path: &Path) -> io::Result<PathBuf> {
    let work = paths.work.canonicalize()?;
    let path = path.strip_prefix(&paths.work).ok().and_then(|path| relative(&work, directory, &work.join(path)));
    path.ok_or(io::Error::from(io::ErrorKind::InvalidInput))
}

fn variables_file(variables: &[Variable]) -> String {
    let line = |variable: &Variable| {
        let value = variable.value.expose();
        let value = if variable.hcl { value.to_owned() } else { hcl::string_literal(value) };
        format!("{} = {value}\n", variable.name)
    };
    variables.iter().map(line).collect()
}

async fn seed_state(control: &dyn Control, ticket: &Ticket, path: &Path) -> Result<(), PrepareError> {
    if let Some(directory) = path.parent() {
        private_directory(directory)?;
    }
    match control.state(ticket).await? {
        Some(state) => Ok(write_fresh(path, &state)?),
        None if path.exists() => Ok(fs::remove_file(path)?),
        None => Ok(()),
    }
}

async fn fetch(control: &dyn Control, ticket: &Ticket, kind: ArtifactKind, path: &Path) -> Result<(), PrepareError> {
    let Some(mut content) = control.artifact(ticket, kind).await? else { return Ok(()) };
    let mut bytes = Vec::new();
    while let Some(part) = content.try_next().await.map_err(interrupted)? {
        bytes.extend_from_slice(&part);
    }
    Ok(write_fresh(path, &bytes)?)
}

/// The end of a transfer before its end.
fn interrupted(error: io::Error) -> PrepareError {
    ControlError::Unavailable(error.into()).into()
}

/// Three lines that the CLI expects, and of an apply even skips (contract 1.6); and a warning, once for the run.
fn begin_log(paths: &Paths, phase: Phase, spec: &Spec, program: &Program) -> io::Result<()> {
    let (title, version, platform) = (spec.engine.title(), &program.version, Platform::current());
    let mut header = format!("{title} v{version}\non {platform}\nInitializing plugins and modules...\n");
    if let Some(warning) = spec.warning.as_ref().filter(|_| phase == Phase::Plan) {
        let _ = write!(header, "\nWarning: {warning}\n\n");
    }
    append(&paths.log(phase), header.as_bytes())
}

/// Adds to a log, which may be that of an earlier attempt.
pub(crate) fn append(path: &Path, text: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut fs::File::options().append(true).create(true).open(path)?, text)
}

fn instructions(
    config: &RunnerConfig,
    assignment: &Assignment,
    paths: &Paths,
    program: &Path,
    directory: PathBuf,
    is_planned: bool,
    isolation: Isolation,
) -> io::Result<Instructions> {
    let backend_path = backend_path(paths, &directory, &paths.state(&assignment.spec.workspace))?;
    let steps = Steps { program, paths, log: paths.log(assignment.phase) };
    let init = (!is_planned).then(|| vec![steps.init()]);
    let stages = match assignment.phase {
        Phase::Plan => vec![vec![steps.plan(&assignment.spec)], vec![steps.show(), steps.schemas()]],
        Phase::Apply => vec![vec![steps.apply(&assignment.spec)]],
    };
    Ok(Instructions {
        spool: paths.spool.clone(),
        supervisor: config.supervisor.clone(),
        isolation,
        limits: config.isolation.limits,
        timeout: Some(config.timeouts.of(assignment.phase)),
        directory,
        environment: environment::of(assignment, paths, config.isolation.limits.memory_bytes),
        stages: init.into_iter().chain(stages).collect(),
        work: paths.work.clone(),
        data: paths.data(),
        state: paths.state(&assignment.spec.workspace),
        backend_path,
        is_apply: assignment.phase == Phase::Apply,
        spool_key: assignment.spool_key.clone(),
        context: assignment.job.to_string(),
        orphanage: config.courier.as_ref().map(|courier| orphanage(config, courier, assignment)),
    })
}

fn orphanage(config: &RunnerConfig, courier: &Courier, assignment: &Assignment) -> Orphanage {
    let letter = courier.letter.clone().map(|letter| Letter { job: assignment.job.to_string(), ..letter });
    let command = if letter.is_some() { courier.command.clone() } else { Vec::new() };
    // A letter is strings and paths, which always become JSON.
    let letter = letter.and_then(|letter| serde_json::to_string(&letter).ok()).unwrap_or_default();
    Orphanage {
        runner_lock: std::path::absolute(config.spool_root.join(RUNNER_LOCK)).unwrap_or_else(|_| config.spool_root.join(RUNNER_LOCK)),
        patience_millis: u64::try_from(courier.patience.as_millis()).unwrap_or(u64::MAX),
        courier: command,
        letter: letter.into(),
    }
}

/// The calls of the engine.
struct Steps<'s> {
    program: &'s Path,
    paths: &'s Paths,
    log: PathBuf,
}

impl Steps<'_> {
    fn init(&self) -> Step {
        let log = self.paths.output(names::INIT_LOG);
        self.step(StepName::Init, vec!["init".into(), "-input=false".into()], log.clone(), log)
    }

    fn plan(&self, spec: &Spec) -> Step {
        let mut arguments: Vec<OsString> = ["plan", "-input=false", "-lock=false", "-detailed-exitcode"].map(OsString::from).into();
        arguments.push(assigned("-out=", self.paths.made(names::PLAN).as_os_str()));
        arguments.push(assigned("-var-file=", self.paths.variables().as_os_str()));
        arguments.extend(plan_options(&spec.plan, self.paths));
        arguments.extend(spec.structured_log.then(|| "-json".into()));
        self.step(StepName::Plan, arguments, self.log.clone(), self.log.clone())
    }

    fn show(&self) -> Step {
        let arguments = vec!["show".into(), "-json".into(), self.paths.made(names::PLAN).into()];
        self.step(StepName::ShowPlan, arguments, self.paths.output(names::PLAN_JSON), self.log.clone())
    }

    fn schemas(&self) -> Step {
        let arguments = vec!["providers".into(), "schema".into(), "-json".into()];
        self.step(StepName::Schemas, arguments, self.paths.output(names::SCHEMAS), self.log.clone())
    }

    fn apply(&self, spec: &Spec) -> Step {
        let mut arguments: Vec<OsString> = ["apply", "-input=false", "-lock=false"].map(OsString::from).into();
        arguments.extend(spec.structured_log.then(|| "-json".into()));
        arguments.push(self.paths.made(names::PLAN).into());
        self.step(StepName::Apply, arguments, self.log.clone(), self.log.clone())
    }

    fn step(&self, name: StepName, arguments: Vec<OsString>, output: PathBuf, errors: PathBuf) -> Step {
        Step { name, program: self.program.to_owned(), arguments, output, errors }
    }
}

fn plan_options(options: &PlanOptions, paths: &Paths) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    arguments.extend(options.destroy.then(|| "-destroy".into()));
    arguments.extend((!options.refresh).then(|| "-refresh=false".into()));
    arguments.extend(options.refresh_only.then(|| "-refresh-only".into()));
    arguments.extend(options.targets.iter().map(|address| assigned("-target=", address.as_ref())));
    arguments.extend(options.replace.iter().map(|address| assigned("-replace=", address.as_ref())));
    arguments.extend(options.generate_configuration.then(|| assigned("-generate-config-out=", paths.made(names::GENERATED).as_os_str())));
    arguments
}

fn assigned(option: &str, value: &std::ffi::OsStr) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(value);
    argument
}
