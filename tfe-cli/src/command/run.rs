//! `tfe run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{End, Failure, Session, progress::Progress};
use crate::{
    client::{Action, NewRun},
    follow::{Start, Until, follow_with, is_over, needs_decision},
    model::Run,
    pack::pack,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Upload a configuration, start a run, and follow it
    Start(New),
    /// List the runs of a workspace, newest first
    List {
        /// The workspace
        workspace: String,
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// Show a run
    Show(Named),
    /// Follow a run until it is over or needs a decision
    Watch(Named),
    /// Print the logs of a run, also while they grow
    Logs(Named),
    /// Confirm a run and follow its apply
    Apply(Decision),
    /// Give a run's plan up
    Discard(Decision),
    /// Stop a run, gracefully
    Cancel(Decision),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The run's id
    run: String,
}

#[derive(Debug, Args)]
pub(super) struct Decision {
    /// The run's id
    run: String,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
    /// Do not follow the run
    #[arg(long)]
    no_watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// The workspace
    workspace: String,
    /// The configuration
    #[arg(long, default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Why, for those who look at the run later
    #[arg(long, default_value = "Started with tfe", value_name = "TEXT")]
    message: String,
    /// End after the plan
    #[arg(long)]
    plan_only: bool,
    /// Destroy everything
    #[arg(long)]
    destroy: bool,
    /// Apply without asking
    #[arg(long, conflicts_with = "plan_only")]
    auto_apply: bool,
    /// Do not follow the run
    #[arg(long)]
    no_watch: bool,
}

pub(super) async fn run(command: Command, session: &Session) -> Result<End, Failure> {
    match command {
        Command::Start(new) => start(session, new).await,
        Command::List { workspace, limit } => list(session, &workspace, limit).await,
        Command::Show(Named { run }) => {
            show(session, &session.client.run(&run).await?)?;
            Ok(End::Done)
        }
        Command::Watch(Named { run }) => watch(session, &run, Until::NeedsDecision, Start::Plan).await,
        Command::Logs(Named { run }) => watch(session, &run, Until::NeedsDecision, Start::Plan).await.map(|_| End::Done),
        Command::Apply(decision) => decide(session, decision, Action::Apply).await,
        Command::Discard(decision) => decide(session, decision, Action::Discard).await,
        Command::Cancel(decision) => decide(session, decision, Action::Cancel).await,
    }
}

async fn start(session: &Session, new: New) -> Result<End, Failure> {
    let workspace = session.workspace(&new.workspace).await?;
    let archive = pack(&new.directory)?;
    let configuration = session.client.create_configuration_version(&workspace.id, new.plan_only).await?;
    session.client.upload(&configuration, archive).await?;
    let wanted = NewRun {
        workspace_id: workspace.id,
        configuration_version_id: Some(configuration.id),
        message: new.message,
        plan_only: new.plan_only,
        auto_apply: new.auto_apply,
        is_destroy: new.destroy,
        ..NewRun::default()
    };
    let run = session.client.create_run(&wanted).await?;
    session.output.say(&format!("Started {}", run.id))?;
    if new.no_watch {
        if session.output.is_json() {
            show(session, &run)?;
        }
        return Ok(End::Done);
    }
    watch(session, &run.id, Until::NeedsDecision, Start::Plan).await
}

async fn list(session: &Session, workspace: &str, limit: usize) -> Result<End, Failure> {
    let workspace = session.workspace(workspace).await?;
    let runs = session.client.runs(&workspace.id, limit).await?;
    session.output.list(&runs, ["run", "status", "started", "message"], |run| {
        [run.id.clone(), run.status.clone(), run.created_at.clone(), first_line(&run.message)]
    })?;
    Ok(End::Done)
}

async fn decide(session: &Session, decision: Decision, action: Action) -> Result<End, Failure> {
    session.client.act(&decision.run, action, &decision.comment).await?;
    if decision.no_watch {
        return Ok(End::Done);
    }
    let end = watch(session, &decision.run, Until::End, Start::Apply).await?;
    // What was asked for happened, although the run did not succeed.
    Ok(if action == Action::Apply { end } else { End::Done })
}

/// Follows the run, says how it ended, and what to do next.
async fn watch(session: &Session, id: &str, until: Until, start: Start) -> Result<End, Failure> {
    let mut progress = Progress::new(!session.output.is_json());
    let run = follow_with(&session.client, id, until, start, &mut progress).await;
    progress.clear();
    let run = run?;
    if session.output.is_json() {
        show(session, &run)?;
    } else if needs_decision(&run) {
        session.output.say(&format!("\n{id} waits for a decision: tfe run apply {id}, or tfe run discard {id}"))?;
    } else {
        session.output.say(&format!("\n{id} is {}{}", run.status, reason(&run)))?;
    }
    Ok(end(&run))
}

fn end(run: &Run) -> End {
    match run.status.as_str() {
        "errored" | "canceled" | "force_canceled" | "discarded" | "policy_soft_failed" => End::RunFailed,
        _ if is_over(run) => End::Done,
        _ => End::NeedsDecision,
    }
}

fn show(session: &Session, run: &Run) -> Result<(), Failure> {
    let lines = [
        ("run", run.id.clone()),
        ("status", run.status.clone()),
        ("message", first_line(&run.message)),
        ("started", run.created_at.clone()),
        ("changes", run.has_changes.to_string()),
        ("error", run.error_message.clone().unwrap_or_default()),
    ];
    session.output.one(run, &lines)
}

fn reason(run: &Run) -> String {
    run.error_message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
