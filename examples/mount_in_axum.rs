//! The API as a part of another axum application.
//!
//! ```sh
//! cargo run -p tfe-examples --example mount_in_axum
//! ```

use axum::{Router, routing::get};
use tfe_server::Server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().data_directory("./embedded-data").build().await?;
    let app = Router::new().route("/hello", get(async || "hello from the outer application")).merge(server.router());
    // The background work: without it, runs would not go on.
    tokio::spawn(server.work(CancellationToken::new()));
    axum::serve(TcpListener::bind("127.0.0.1:8081").await?, app).await?;
    Ok(())
}
