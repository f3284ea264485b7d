//! `tfe variable`.

use std::io::{self, IsTerminal, Read};

use clap::{Args, Subcommand, ValueEnum};
use tfe_core::secret::Secret;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Cell, Table, note, text},
};
use crate::{NewVariable, Variable};

/// Longest value that is read from the standard input, in bytes: more than servers take.
const MAX_VALUE_BYTES: u64 = 1024 * 1024;

/// What can be done with variables.
#[derive(Debug, Subcommand)]
pub(super) enum VariableCommand {
    /// List the variables of a workspace.
    List {
        /// The workspace's name.
        workspace: String,
    },
    /// Make a variable, or change the one of that name and category.
    Set(Set),
    /// Delete a variable.
    Delete {
        /// The workspace's name.
        workspace: String,
        /// The variable's name.
        key: String,
        /// Which of two variables with that name.
        #[arg(long)]
        category: Option<Category>,
    },
}

/// The variable to set.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tfe variable set my-workspace region eu-1\n  \
    tfe variable set my-workspace zones '[\"a\", \"b\"]' --hcl\n  \
    printf %s \"$KEY\" | tfe variable set my-workspace AWS_SECRET_ACCESS_KEY --category env --sensitive")]
pub(super) struct Set {
    /// The workspace's name.
    workspace: String,
    /// The variable's name.
    key: String,
    /// The value; without it, or with -, it is read from the standard input, where no other process sees it.
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    /// Whether it is for the configuration or for the process.
    #[arg(long, default_value = "terraform")]
    category: Category,
    /// The value is an HCL expression.
    #[arg(long)]
    hcl: bool,
    /// Never show the value again; this cannot be undone.
    #[arg(long)]
    sensitive: bool,
}

/// What a variable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Category {
    /// An environment variable of the process.
    Env,
    /// A variable of the configuration.
    Terraform,
}

impl Category {
    fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Terraform => "terraform",
        }
    }
}

/// Does it.
pub(super) async fn run(context: &Context, command: VariableCommand) -> Result<Done, Failure> {
    match command {
        VariableCommand::List { workspace } => list(context, &workspace).await,
        VariableCommand::Set(arguments) => set(context, arguments).await,
        VariableCommand::Delete { workspace, key, category } => delete(context, &workspace, &key, category).await,
    }
}

async fn list(context: &Context, workspace: &str) -> Result<Done, Failure> {
    let (client, workspace) = context.workspace(workspace).await?;
    let variables = client.variables(&workspace.id).await?;
    context.output.print(&variables, || table(&variables))?;
    Ok(Done::Well)
}

async fn set(context: &Context, arguments: Set) -> Result<Done, Failure> {
    let value = match arguments.value {
        Some(value) if value != "-" => Secret::from(value),
        _ => read_value()?,
    };
    let (client, workspace) = context.workspace(&arguments.workspace).await?;
    let category = arguments.category.as_str().to_owned();
    let new = NewVariable { key: arguments.key, value, category, hcl: arguments.hcl, sensitive: arguments.sensitive };
    let variable = client.set_variable(&workspace.id, &new).await?;
    context.output.print(&variable, || table(std::slice::from_ref(&variable)))?;
    Ok(Done::Well)
}

async fn delete(context: &Context, workspace: &str, key: &str, category: Option<Category>) -> Result<Done, Failure> {
    let (client, workspace) = context.workspace(workspace).await?;
    let variables = client.variables(&workspace.id).await?;
    let is_meant = |known: &&Variable| known.key == key && category.is_none_or(|category| known.category == category.as_str());
    let meant: Vec<&Variable> = variables.iter().filter(is_meant).collect();
    match meant.as_slice() {
        [variable] => client.delete_variable(&workspace.id, &variable.id).await?,
        [] => return Err(Failure::Other(format!("there is no variable {key:?}; see: tfe variable list {}", workspace.name))),
        _ => return Err(Failure::Usage(format!("there are two variables {key:?}; say which with --category"))),
    }
    context.output.say(&format!("{key} is deleted"))?;
    Ok(Done::Well)
}

fn table(variables: &[Variable]) -> Table {
    Table::list(&["key", "value", "category", "hcl", "id"], variables.iter().map(row).collect())
}

fn row(variable: &Variable) -> Vec<Cell> {
    let Variable { id, key, value, category, hcl, sensitive, .. } = variable;
    let value = if *sensitive { "(sensitive)" } else { value.as_deref().unwrap_or_default() };
    vec![text(key), text(value), text(category), text(hcl), text(id)]
}

/// The standard input, without the line break that most tools end a text with.
fn read_value() -> Result<Secret, Failure> {
    if io::stdin().is_terminal() {
        note("Type the value, then press Ctrl-D on a new line:");
    }
    let mut value = String::new();
    let read = io::stdin().take(MAX_VALUE_BYTES + 1).read_to_string(&mut value);
    read.map_err(|error| Failure::Usage(format!("the value cannot be read: {error}; pipe it in as text")))?;
    let value = Secret::from(value);
    if value.expose().len() as u64 > MAX_VALUE_BYTES {
        return Err(Failure::Usage(format!("the value has more than {MAX_VALUE_BYTES} bytes; give a shorter one")));
    }
    let text = value.expose();
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Secret::from(text))
}
