//! `tfe-server demo`: from nothing to an applied configuration, and then a server to work with.

use std::{net::SocketAddr, path::Path, process::ExitCode};

use clap::Args;
use tfe_cli::Access;
use tfe_core::secret::Secret;
use tfe_server::{App, FirstAdmin, configuration::Configuration, embedded::DirectoryLock, first_admin, service_token};
use tokio_util::sync::CancellationToken;

use super::{Failure, compose, options::ServeOptions, sample, serve::ended};

/// The organization and administrator of a demo.
const ORGANIZATION: &str = "demo";
const ADMINISTRATOR: &str = "admin";
/// The name by which configurations know a demo over HTTP. It does not depend on the port, so a configuration goes on
/// working when the port changes; it has a dot, without which the CLI refuses module addresses; and names below
/// `localhost` never leave the machine.
const HOSTNAME: &str = "tfe.localhost";

/// What a demo can be told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    serve: ServeOptions,
    /// Exit after the sample: 0 only if it was applied
    #[arg(long)]
    once: bool,
}

/// Starts everything, applies the sample, and serves.
#[expect(clippy::print_stdout, reason = "the binary owns the terminal")]
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let configuration = options.serve.read(&[("server.mode", "demo")]).await?;
    let lock = DirectoryLock::acquire(&configuration.data_directory)?;
    let server = compose::server(&configuration, lock).await?;
    let listener = compose::listener(&configuration).await?;
    let access = access(&configuration, server.app(), listener.local_addr()?).await?;
    access.write(&configuration.data_directory)?;
    println!(
        "The server is at {}; its data is in {}, the key to it in {}.",
        access.url,
        shown(&configuration.data_directory),
        shown(&configuration.key_path())
    );
    let shutdown = CancellationToken::new();
    let acceptor = compose::acceptor(&configuration)?;
    let serving = tokio::spawn(server.serve(listener, acceptor, shutdown.clone()));
    let applied = tokio::select! {
        applied = sample::apply(&access) => applied?,
        () = ended(CancellationToken::new()) => false,
    };
    if !options.once && applied {
        explain(&access);
        ended(shutdown.clone()).await;
    }
    shutdown.cancel();
    serving.await??;
    Ok(if applied { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How clients reach this demo: with the token of an earlier start, or a new one.
async fn access(configuration: &Configuration, app: &App, address: SocketAddr) -> Result<Access, Failure> {
    let scheme = if compose::is_encrypted(configuration) { "https" } else { "http" };
    let data_dir = std::path::absolute(&configuration.data_directory)?;
    let token = match Access::read(&data_dir) {
        Some(earlier) => earlier.token,
        None => new_token(app).await?,
    };
    Ok(Access {
        url: format!("{scheme}://{address}"),
        // With HTTPS the CLI asks the server itself, so the name must lead to it.
        hostname: if compose::is_encrypted(configuration) { format!("localhost:{}", address.port()) } else { HOSTNAME.to_owned() },
        organization: ORGANIZATION.to_owned(),
        token,
        terraform_rc: data_dir.join("terraform.rc"),
        ca_file: compose::authority(configuration).map(std::path::absolute).transpose()?,
    })
}

async fn new_token(app: &App) -> Result<Secret, Failure> {
    let first = FirstAdmin {
        username: ADMINISTRATOR.to_owned(),
        email: format!("{ADMINISTRATOR}@{HOSTNAME}.invalid"),
        password: None,
        organization: ORGANIZATION.to_owned(),
    };
    match first_admin(app, &first).await? {
        Some(token) => Ok(token),
        // The directory is older than its demo.json.
        None => Ok(service_token(app, ADMINISTRATOR).await?),
    }
}

#[expect(clippy::print_stdout, reason = "the binary owns the terminal")]
fn explain(access: &Access) {
    let Access { url, hostname, organization, terraform_rc, ca_file, .. } = access;
    println!(
        r#"
Use it from your own directory, with this in a .tf file:

  terraform {{
    cloud {{
      hostname     = "{hostname}"
      organization = "{organization}"
      workspaces {{ name = "my-app" }}
    }}
  }}

  export TF_CLI_CONFIG_FILE={}{}
  terraform init && terraform apply
  and see it at {url}/app/{organization} (sign in with the token in {})"#,
        shown(terraform_rc),
        trust(ca_file.as_deref()),
        shown(&terraform_rc.with_file_name("demo.json")),
    );
    println!();
    println!("Serving until Ctrl-C.");
}

fn trust(ca_file: Option<&Path>) -> String {
    ca_file.map(|path| format!(" SSL_CERT_FILE={}", shown(path))).unwrap_or_default()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
