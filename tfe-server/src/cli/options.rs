//! What both `demo` and `serve` can be told.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use sha2::{Digest, Sha256};
use tfe_core::secret::Secret;
use tfe_runner::RunnerConfig;
use tfe_server::{Server, ServerBuilder, Settings, embedded::KeySource, tls};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Failure;

/// How many runs at once; the default of Terraform Enterprise is ten, on machines for ten.
const DEFAULT_CONCURRENCY: usize = 4;
/// Where to look for memory-backed directories: runs hold secrets in clear while they work, and these never reach a disk.
const MEMORY_DIRECTORY: &str = "/dev/shm";

/// Where data is, where to listen, how to run.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Where everything is kept; made at the first start
    #[arg(long, default_value = "./tfe-data", env = "TFE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", env = "TFE_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// The file with the key that opens the data [default: DIR.key, beside the data directory]
    #[arg(long, env = "TFE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Serve HTTPS, with a certificate made on the spot unless one is given
    #[arg(long)]
    pub(crate) tls: bool,
    /// The certificate chain, PEM
    #[arg(long, requires = "tls_key", value_name = "FILE", env = "TFE_TLS_CERT_FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, requires = "tls_certificate", value_name = "FILE", env = "TFE_TLS_KEY_FILE")]
    tls_key: Option<PathBuf>,
    /// The URL under which clients reach this server, if not the one they use
    #[arg(long, env = "TFE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Where runs work, in clear, until they end [default: a private directory in memory, or the temporary one]
    #[arg(long, env = "TFE_WORK_DIR", value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// How many runs at once
    #[arg(long, default_value_t = DEFAULT_CONCURRENCY, env = "TFE_CAPACITY_CONCURRENCY", value_name = "N")]
    concurrency: usize,
    /// More places with terraform or tofu, besides PATH: DIR/terraform, or DIR/terraform/VERSION/terraform
    #[arg(long = "tools-dir", value_name = "DIR")]
    tools_dirs: Vec<PathBuf>,
    /// A terraform CLI configuration for runs, such as one with a provider mirror
    #[arg(long, env = "TFE_RUN_CLI_CONFIG", value_name = "FILE")]
    run_cli_config: Option<PathBuf>,
}

impl ServeOptions {
    /// The server's parts, as chosen.
    pub(crate) fn builder(&self) -> Result<ServerBuilder, Failure> {
        let settings = Settings { public_url: self.public_url.clone(), tls: self.tls(), ..Settings::default() };
        Ok(Server::builder().data_directory(&self.data_dir).key(self.key()).runner(self.runner()?).settings(settings))
    }

    /// Whether connections are encrypted.
    pub(crate) fn tls(&self) -> bool {
        self.tls || self.tls_certificate.is_some()
    }

    /// The listening socket.
    pub(crate) async fn listener(&self) -> Result<TcpListener, Failure> {
        TcpListener::bind(self.listen).await.map_err(|error| {
            format!("{} cannot be listened on: {error}; choose another address with --listen, port 0 for a free one", self.listen).into()
        })
    }

    /// The certificate, if connections are encrypted.
    pub(crate) fn acceptor(&self) -> Result<Option<TlsAcceptor>, Failure> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(tls::acceptor(certificate, key)?)),
            _ if self.tls => {
                let names = ["localhost", "tfe.localhost", "127.0.0.1", "::1"].map(str::to_owned);
                Ok(Some(tls::self_made(&self.tls_directory(), &names)?))
            }
            _ => Ok(None),
        }
    }

    /// The authority that clients must trust, if the certificate was made on the spot.
    pub(crate) fn authority(&self) -> Option<PathBuf> {
        (self.tls && self.tls_certificate.is_none()).then(|| self.tls_directory().join("ca.pem"))
    }

    /// The file with the key that opens the data.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| {
            let mut name = OsString::from(self.data_dir.components().as_path());
            name.push(".key");
            PathBuf::from(name)
        })
    }

    fn key(&self) -> KeySource {
        match std::env::var("TFE_ENCRYPTION_PASSWORD") {
            Ok(password) if !password.is_empty() => KeySource::Password(Secret::from(password)),
            _ => KeySource::File(self.key_file()),
        }
    }

    /// The certificate's key is a key, so it lies beside the data directory and not in it.
    fn tls_directory(&self) -> PathBuf {
        let mut name = OsString::from(self.data_dir.components().as_path());
        name.push(".tls");
        PathBuf::from(name)
    }

    fn runner(&self) -> Result<RunnerConfig, Failure> {
        let program = std::env::current_exe()?;
        let supervisor = vec![program.into_os_string(), OsString::from("supervise")];
        let work_root = self.work_dir.clone().unwrap_or_else(|| default_work_root(&self.data_dir));
        let cli_config = self.run_cli_config.as_ref().map(std::fs::read_to_string).transpose();
        let cli_config = cli_config.map_err(|error| format!("the CLI configuration for runs cannot be read: {error}"))?;
        Ok(RunnerConfig {
            name: "embedded".to_owned(),
            work_root,
            spool_root: self.data_dir.join("spool"),
            supervisor,
            tool_paths: self.tools_dirs.clone(),
            cli_config,
            concurrency: self.concurrency.max(1),
        })
    }
}

/// A directory of its own for each data directory, in memory where that is possible.
fn default_work_root(data_dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    let name = digest.iter().take(6).fold(String::from("tfe-work-"), |text, byte| text + &format!("{byte:02x}"));
    let memory = Path::new(MEMORY_DIRECTORY);
    if memory.is_dir() { memory.join(name) } else { std::env::temp_dir().join(name) }
}
