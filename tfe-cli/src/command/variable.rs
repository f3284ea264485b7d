//! `tfe variable`.

use std::io::{self, Read};

use clap::{Args, Subcommand, ValueEnum};
use tfe_core::secret::Secret;

use super::{End, Failure, Session};
use crate::client::NewVariable;

/// Longest value that is read from standard input: what servers take.
const MAX_VALUE_BYTES: u64 = 256 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make or change a variable
    Set(New),
    /// List the variables of a workspace
    List {
        /// The workspace
        workspace: String,
    },
    /// Delete a variable
    Delete {
        /// The workspace
        workspace: String,
        /// The variable's name
        key: String,
        /// Where its value goes
        #[arg(long, value_enum, default_value_t)]
        category: Category,
    },
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// The workspace
    workspace: String,
    /// The variable's name
    key: String,
    /// Its value; without it, or with -, it is read from standard input, where other users of the machine cannot see it
    value: Option<String>,
    /// Where its value goes
    #[arg(long, value_enum, default_value_t)]
    category: Category,
    /// The value is an HCL expression
    #[arg(long)]
    hcl: bool,
    /// Never show the value
    #[arg(long)]
    sensitive: bool,
}

/// Where the value of a variable goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Category {
    /// To an input variable of the configuration
    #[default]
    Terraform,
    /// To an environment variable
    Env,
}

pub(super) async fn run(command: Command, session: &Session) -> Result<End, Failure> {
    match command {
        Command::Set(new) => set(session, new).await?,
        Command::List { workspace } => {
            let workspace = session.workspace(&workspace).await?;
            let variables = session.client.variables(&workspace.id).await?;
            session.output.list(&variables, ["key", "category", "value"], |variable| {
                let value = if variable.sensitive { "(sensitive)".to_owned() } else { variable.value.clone().unwrap_or_default() };
                [variable.key.clone(), variable.category.clone(), value]
            })?;
        }
        Command::Delete { workspace, key, category } => delete(session, &workspace, &key, category).await?,
    }
    Ok(End::Done)
}

async fn set(session: &Session, new: New) -> Result<(), Failure> {
    let workspace = session.workspace(&new.workspace).await?;
    let value = match new.value {
        Some(text) if text != "-" => Secret::from(text),
        _ => read_value()?,
    };
    let wanted = NewVariable { key: new.key, value, category: new.category.name().to_owned(), hcl: new.hcl, sensitive: new.sensitive };
    let variable = session.client.set_variable(&workspace.id, &wanted).await?;
    session.output.one(&variable, &[("set", variable.key.clone()), ("category", variable.category.clone())])
}

async fn delete(session: &Session, workspace: &str, key: &str, category: Category) -> Result<(), Failure> {
    let workspace = session.workspace(workspace).await?;
    let variables = session.client.variables(&workspace.id).await?;
    let known = variables.iter().find(|known| known.key == key && known.category == category.name());
    let missing = || Failure::Other(format!("there is no {} variable {key}; see tfe variable list {}", category.name(), workspace.name));
    session.client.delete_variable(&workspace.id, &known.ok_or_else(missing)?.id).await?;
    session.output.say(&format!("Deleted {key}"))
}

fn read_value() -> Result<Secret, Failure> {
    let mut text = String::new();
    io::stdin().take(MAX_VALUE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_VALUE_BYTES {
        return Err(Failure::Other(format!("the value is longer than {MAX_VALUE_BYTES} bytes")));
    }
    // What `echo` puts at the end is not meant.
    Ok(Secret::from(text.strip_suffix('\n').unwrap_or(&text)))
}

impl Category {
    fn name(self) -> &'static str {
        match self {
            Self::Terraform => "terraform",
            Self::Env => "env",
        }
    }
}
