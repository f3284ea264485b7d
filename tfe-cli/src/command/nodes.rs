//! `tfe node`: the servers of the installation.

use clap::Subcommand;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Cell, Table, status, text},
};
use crate::model::Node;

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List the servers.
    List,
    /// Let a server take no new work; what runs there goes on.
    #[command(after_help = "Examples:\n  tfe node drain node-a\n  tfe node drain node-a --undo")]
    Drain {
        /// The server's name.
        name: String,
        /// Let it take work again.
        #[arg(long)]
        undo: bool,
    },
}

pub(super) async fn run(context: &Context, command: NodeCommand) -> Result<Done, Failure> {
    let client = context.client().await?;
    match command {
        NodeCommand::List => {
            let nodes = client.nodes().await?;
            let names = ["name", "status", "parts", "version", "started", "last seen"];
            context.output.print(&nodes, || Table::list(&names, nodes.iter().map(row).collect()))?;
        }
        NodeCommand::Drain { name, undo } => {
            let node = client.drain_node(&name, !undo).await?;
            if context.output.is_json {
                context.output.print(&node, || Table::list(&[], vec![row(&node)]))?;
            } else if undo {
                context.output.say(&format!("{name} takes work again"))?;
            } else {
                context.output.say(&format!("{name} takes no new work; see it with: tfe node list"))?;
            }
        }
    }
    Ok(Done::Well)
}

fn row(node: &Node) -> Vec<Cell> {
    vec![
        text(&node.name),
        status(&node.status),
        status(&node.condition),
        text(&node.version),
        text(&node.started_at),
        text(&node.last_seen_at),
    ]
}
