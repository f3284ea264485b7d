//! The sample of the first minute, applied through the public API like by any client.

use std::io::{IsTerminal, Write};

use tfe_cli::{Access, Client, ClientError, Host, NewRun, Plain, Until, Workspace, follow, pack_files};
use url::Url;

use super::Failure;

const WORKSPACE: &str = "hello";
const CONFIGURATION: &str = include_str!("../../../examples/hello/main.tf");

/// Applies the sample unless an earlier start did, and prints its outputs. Whether it is applied.
#[expect(clippy::print_stdout, reason = "the binary owns the terminal")]
pub(crate) async fn apply(access: &Access) -> Result<bool, Failure> {
    let client = Client::new(&host(access)?)?;
    let workspace = workspace(&client, &access.organization).await?;
    let is_applied = client.runs(&workspace.id, 1).await?.first().is_some_and(|run| run.status == "applied");
    if !is_applied && !run(&client, access, &workspace).await? {
        return Ok(false);
    }
    println!("\nThe sample is applied; its outputs are");
    for output in client.outputs(&workspace.id).await? {
        println!("  {} = {}", output.name, if output.sensitive { "(sensitive)".to_owned() } else { output.value.to_string() });
    }
    Ok(true)
}

/// Uploads the sample and applies it with the log on the terminal. Whether it was applied.
#[expect(clippy::print_stdout, reason = "the binary owns the terminal")]
async fn run(client: &Client, access: &Access, workspace: &Workspace) -> Result<bool, Failure> {
    let configuration = client.create_configuration_version(&workspace.id, false).await?;
    client.upload(&configuration, pack_files(&[("main.tf", CONFIGURATION)])).await?;
    let new = NewRun {
        workspace_id: workspace.id.clone(),
        configuration_version_id: Some(configuration.id),
        message: "The sample of tfe-server demo".to_owned(),
        auto_apply: true,
        ..NewRun::default()
    };
    let run = client.create_run(&new).await?;
    println!(
        "\nApplying examples/hello in workspace {}/{WORKSPACE}: {}/app/{0}/{WORKSPACE}/runs/{}\n",
        access.organization, access.url, run.id
    );
    let mut plain = (!std::io::stdout().is_terminal()).then(Plain::default);
    let run = follow(client, &run.id, Until::End, &mut |text| {
        match &mut plain {
            Some(plain) => print!("{}", plain.take(text)),
            None => print!("{text}"),
        }
        // A reader that went away must not end the server.
        let _ = std::io::stdout().flush();
    })
    .await?;
    if run.status != "applied" {
        let reason = run.error_message.unwrap_or_else(|| "its log above says why".to_owned());
        println!("\nThe sample was not applied, the run is {}: {reason}", run.status);
    }
    Ok(run.status == "applied")
}

fn host(access: &Access) -> Result<Host, Failure> {
    Ok(Host {
        name: access.hostname.clone(),
        api: Url::parse(&format!("{}/api/v2/", access.url))?,
        token: access.token.clone(),
        authority: access.ca_file.clone(),
    })
}

async fn workspace(client: &Client, organization: &str) -> Result<Workspace, ClientError> {
    match client.workspace(organization, WORKSPACE).await {
        Err(ClientError::NotFound { .. }) => client.create_workspace(organization, WORKSPACE).await,
        found => found,
    }
}
