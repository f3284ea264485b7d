//! `tfe agent-pool`: groups of workers of an organization's own.

use clap::Subcommand;
use serde::Serialize;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Cell, Table, text},
};
use crate::model::AgentPool;

/// What can be done with agent pools.
#[derive(Debug, Subcommand)]
pub(super) enum PoolCommand {
    /// List the pools of the organization.
    List,
    /// Make a pool.
    Create {
        /// Its name.
        name: String,
    },
    /// Make a token with which workers join the pool, and print it; it is shown only now.
    #[command(
        after_help = "Examples:\n  TFE_AGENT_TOKEN=$(tfe agent-pool token apool-CZcmD7eagjhyX0vN) tfe-server worker --server https://tfe.example.com"
    )]
    Token {
        /// The pool's id.
        id: String,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
}

#[derive(Debug, Serialize)]
struct Made {
    token: String,
}

pub(super) async fn run(context: &Context, command: PoolCommand) -> Result<Done, Failure> {
    let client = context.client().await?;
    match command {
        PoolCommand::List => {
            let pools = client.agent_pools(context.organization()?).await?;
            context.output.print(&pools, || Table::list(&["id", "name", "agents"], pools.iter().map(row).collect()))?;
        }
        PoolCommand::Create { name } => {
            let pool = client.create_agent_pool(context.organization()?, &name).await?;
            context.output.print(&pool, || Table::details(vec![("id", text(&pool.id)), ("name", text(&pool.name))]))?;
        }
        PoolCommand::Token { id, description } => {
            let token = client.create_agent_token(&id, &description).await?;
            if context.output.is_json {
                context.output.print(&Made { token }, || Table::list(&[], Vec::new()))?;
            } else {
                context.output.say(&token)?;
            }
        }
    }
    Ok(Done::Well)
}

fn row(pool: &AgentPool) -> Vec<Cell> {
    vec![text(&pool.id), text(&pool.name), text(pool.agent_count)]
}
