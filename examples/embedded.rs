//! A whole server in a few lines, without a runner: it keeps state and serves the API.
//!
//! ```sh
//! cargo run -p tfe-examples --example embedded
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use tfe_server::{FirstAdmin, Server, first_admin};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().data_directory("./embedded-data").build().await?;
    let admin =
        FirstAdmin { username: "admin".to_owned(), email: "admin@example.com".to_owned(), password: None, organization: "acme".to_owned() };
    if let Some(token) = first_admin(server.app(), &admin).await? {
        println!("the administrator's token, shown once: {}", token.expose());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("serving http://{} until Ctrl-C", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let end = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        end.cancel();
    });
    Ok(server.serve(listener, None, shutdown).await?)
}
