//! What can be said on the command line, and the configuration that it becomes part of.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::Args;
use tfe_server::configuration::{Configuration, Sources};

use super::{Failure, sealed};

/// Where a configuration comes from.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct ConfigOptions {
    /// The configuration file, or where it is sealed in an object store: s3://…, az://…, gs://…
    #[arg(long, env = "TFE_CONFIG", value_name = "FILE|URL")]
    pub(crate) config: Option<String>,
}

/// Flags that win over file and environment.
#[derive(Debug, Args, Clone)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    config: ConfigOptions,
    /// Where everything is kept, or in external mode what this node needs; made at the first start [default: ./tfe-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The file with the key that opens the data [default: DIR.key, beside the data directory]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Serve HTTPS, with a certificate made on the spot unless one is given
    #[arg(long)]
    tls: bool,
    /// The certificate chain, PEM
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The URL under which clients reach this server, if not the one they use
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Where runs work, in clear, until they end [default: a private directory in memory, or the temporary one]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// How many runs at once [default: 4]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// More places with terraform or tofu, besides PATH: DIR/terraform, or DIR/terraform/VERSION/terraform
    #[arg(long = "tools-dir", value_name = "DIR")]
    tools_dirs: Vec<PathBuf>,
    /// A terraform CLI configuration for runs, such as one with a provider mirror
    #[arg(long, value_name = "FILE")]
    run_cli_config: Option<PathBuf>,
    /// Run no jobs here; workers on this or other machines do
    #[arg(long)]
    no_worker: bool,
    /// Take over from the server that starts this one, on standard input
    #[arg(long, hide = true)]
    pub(crate) take_over: bool,
}

impl ConfigOptions {
    /// The configuration of file and environment.
    pub(crate) async fn read(&self) -> Result<Configuration, Failure> {
        self.read_with(Vec::new()).await
    }

    /// The same with flags.
    pub(crate) async fn read_with(&self, flags: Vec<(&'static str, String)>) -> Result<Configuration, Failure> {
        let file = match &self.config {
            None => None,
            Some(place) if sealed::is_remote(place) => Some(sealed::fetch(place).await?),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| format!("the configuration {path} cannot be read: {error}"))?;
                Some(sealed::open(path, text).await?)
            }
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let sources = Sources { file, environment: environment.collect(), flags };
        Ok(Configuration::read(&sources, &|path| std::fs::read_to_string(path))?)
    }
}

impl ServeOptions {
    /// The whole configuration; `more` flags win over all.
    pub(crate) async fn read(&self, more: &[(&'static str, &str)]) -> Result<Configuration, Failure> {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let configuration = self.config.read_with(self.flags()?.into_iter().chain(more).collect()).await?;
        for warning in &configuration.warnings {
            tracing::warn!("{warning}");
        }
        Ok(configuration)
    }

    fn flags(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let tools = self.tools_dirs.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
        let paths = [
            ("server.data_dir", &self.data_dir),
            ("server.key_file", &self.key_file),
            ("tls.cert_file", &self.tls_certificate),
            ("tls.key_file", &self.tls_key),
            ("runs.work_dir", &self.work_dir),
            ("runs.cli_config", &self.run_cli_config),
        ];
        let mut flags = Vec::new();
        for (key, path) in paths {
            if let Some(path) = path {
                flags.push((key, text(path)?));
            }
        }
        flags.extend(self.listen.map(|address| ("server.listen", address.to_string())));
        flags.extend(self.public_url.clone().map(|url| ("server.public_url", url)));
        flags.extend(self.concurrency.map(|number| ("capacity.concurrency", number.to_string())));
        flags.extend(self.no_worker.then(|| ("worker.embedded", "false".to_owned())));
        flags.extend(self.tls.then(|| ("tls.self_made", "true".to_owned())));
        flags.extend((!tools.is_empty()).then(|| ("runs.tools_dirs", tools.join(":"))));
        Ok(flags)
    }
}

pub(super) fn text(path: &std::path::Path) -> Result<String, Failure> {
    let text = OsString::from(path).into_string();
    text.map_err(|path| format!("the path {} is not UTF-8; choose another", path.display()).into())
}
