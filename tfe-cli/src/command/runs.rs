//! `tfe run`.

mod start;

use clap::{Args, Subcommand};

use self::start::Start;
use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Cell, Table, note, status, text},
    progress::Progress,
};
use crate::{
    Action, Client, Run, Until,
    follow::{self, follow_with},
};

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub(super) enum RunCommand {
    /// Upload a directory and start a run with it.
    Start(Start),
    /// List the newest runs of a workspace.
    List {
        /// The workspace's name.
        workspace: String,
        /// Most runs to list.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a run.
    Show {
        /// The run's id.
        id: String,
    },
    /// Follow a run until it is over or waits for a decision.
    Watch {
        /// The run's id.
        id: String,
    },
    /// Print the logs of a run until it is over or waits for a decision. The exit code says only whether that worked.
    Logs {
        /// The run's id.
        id: String,
    },
    /// Confirm the plan of a run, and follow what it does.
    Apply {
        #[command(flatten)]
        decision: Decision,
        /// Do not wait for the end.
        #[arg(long)]
        no_watch: bool,
    },
    /// Give up the plan of a run.
    Discard(Decision),
    /// Stop a run.
    Cancel {
        #[command(flatten)]
        decision: Decision,
        /// At once, after stopping it gracefully did not help; changes that were made may be missing in the state.
        #[arg(long)]
        force: bool,
    },
}

/// Which run, and why.
#[derive(Debug, Args)]
pub(super) struct Decision {
    /// The run's id.
    id: String,
    /// Why, for those who look at it later.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

/// Does it.
pub(super) async fn run(context: &Context, command: RunCommand) -> Result<Done, Failure> {
    match command {
        RunCommand::Start(arguments) => start::run(context, arguments).await,
        RunCommand::List { workspace, limit } => list(context, &workspace, limit).await,
        RunCommand::Show { id } => show(context, &context.client().await?.run(&id).await?),
        RunCommand::Watch { id } => watch(context, &context.client().await?, &id, Until::NeedsDecision, follow::Start::Plan).await,
        RunCommand::Logs { id } => logs(context, &id).await,
        RunCommand::Apply { decision, no_watch } => apply(context, decision, no_watch).await,
        RunCommand::Discard(decision) => decide(context, &decision, Action::Discard, "is asked to be discarded").await,
        RunCommand::Cancel { decision, force: true } => decide(context, &decision, Action::ForceCancel, "is asked to stop at once").await,
        RunCommand::Cancel { decision, force: false } => decide(context, &decision, Action::Cancel, "is asked to stop").await,
    }
}

async fn list(context: &Context, workspace: &str, limit: usize) -> Result<Done, Failure> {
    let (client, workspace) = context.workspace(workspace).await?;
    let runs = client.runs(&workspace.id, limit).await?;
    context.output.print(&runs, || Table::list(&["id", "status", "created", "message"], runs.iter().map(row).collect()))?;
    Ok(Done::Well)
}

fn row(run: &Run) -> Vec<Cell> {
    vec![text(&run.id), status(&run.status), text(&run.created_at), text(&run.message)]
}

fn show(context: &Context, run: &Run) -> Result<Done, Failure> {
    context.output.print(run, || {
        Table::details(vec![
            ("id", text(&run.id)),
            ("status", status(&run.status)),
            ("message", text(&run.message)),
            ("created", text(&run.created_at)),
            ("has changes", text(run.has_changes)),
            ("destroys", text(run.is_destroy)),
            ("plan only", text(run.plan_only)),
            ("auto apply", text(run.auto_apply)),
            ("can be applied", text(run.actions.is_confirmable)),
            ("waits", text(run.waiting_reason.as_deref().unwrap_or_default())),
            ("place in queue", text(if run.position_in_queue > 0 { run.position_in_queue.to_string() } else { String::new() })),
            ("blocked by", text(run.blocked_by.as_deref().unwrap_or_default())),
            ("error", text(run.error_message.as_deref().unwrap_or_default())),
        ])
    })?;
    Ok(Done::Well)
}

async fn logs(context: &Context, id: &str) -> Result<Done, Failure> {
    let client = context.client().await?;
    let mut progress = Progress::new(context.output);
    follow_with(&client, id, Until::NeedsDecision, follow::Start::Plan, &mut progress).await?;
    progress.finish();
    Ok(Done::Well)
}

async fn apply(context: &Context, decision: Decision, no_watch: bool) -> Result<Done, Failure> {
    if no_watch {
        return decide(context, &decision, Action::Apply, "is confirmed").await;
    }
    let client = context.client().await?;
    client.act(&decision.id, Action::Apply, &decision.comment).await?;
    watch(context, &client, &decision.id, Until::End, follow::Start::Apply).await
}

async fn decide(context: &Context, decision: &Decision, action: Action, outcome: &str) -> Result<Done, Failure> {
    let client = context.client().await?;
    client.act(&decision.id, action, &decision.comment).await?;
    if context.output.is_json {
        return show(context, &client.run(&decision.id).await?);
    }
    context.output.say(&format!("{} {outcome}", decision.id))?;
    Ok(Done::Well)
}

/// Follows a run with its log, and says how it was left.
async fn watch(context: &Context, client: &Client, id: &str, until: Until, from: follow::Start) -> Result<Done, Failure> {
    let mut progress = Progress::new(context.output);
    let run = follow_with(client, id, until, from, &mut progress).await?;
    progress.finish();
    let done = Done::of(&run);
    if context.output.is_json {
        show(context, &run)?;
    } else {
        note(&summary(&run, done));
    }
    Ok(done)
}

fn summary(run: &Run, done: Done) -> String {
    let (id, standing) = (&run.id, run.status.replace('_', " "));
    match (done, run.error_message.as_deref()) {
        (Done::NeedsDecision, _) => format!("{id} waits for a decision; go on with: tfe run apply {id}, or: tfe run discard {id}"),
        (Done::RunFailed, Some(reason)) => format!("{id} is {standing}: {reason}"),
        _ => format!("{id} is {standing}"),
    }
}
