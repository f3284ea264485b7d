//! What nothing refers to is collected, and what is referred to never is.

use serde_json::json;
use tfe_core::{blob::Blob, time::Timestamp};
use tfe_server::collect::{self, Collected};
use tfe_storage::{Query, StoreExt};

use crate::harness::TestServer;

const FUTURE: Timestamp = Timestamp::from_millis(9_000_000_000_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_nothing_refers_to_is_collected() {
    let server = TestServer::start_idle().await;
    let kept = server.workspace("kept").await;
    server.configuration(&kept, "# kept", false).await;
    let gone = server.workspace("gone").await;
    server.configuration(&gone, "# gone", false).await;
    let blobs = async || server.app.store.list::<Blob>(Query::of::<Blob>()).await.unwrap().items;
    assert_eq!(blobs().await.len(), 2);
    assert_eq!(collect::round(&server.app, FUTURE).await.unwrap(), Collected::default());
    server.delete(&format!("/api/v2/workspaces/{gone}")).await.expect(204);
    // As an upload leaves it whose commit never came.
    server.app.blobs.put_bytes("blob-orphan12345678".into(), Timestamp::from_millis(0), "orphan").await.unwrap();
    assert_eq!(collect::round(&server.app, Timestamp::from_millis(0)).await.unwrap(), Collected::default(), "everything is too young");
    assert_eq!(collect::round(&server.app, FUTURE).await.unwrap(), Collected { records: 1, objects: 1 });
    let left = blobs().await;
    assert_eq!(left.len(), 1);
    server.app.blobs.read_all(&left[0], 1 << 20).await.unwrap();
    let versions = server.get(&format!("/api/v2/workspaces/{kept}/configuration-versions")).await.expect(200);
    assert_eq!(versions.json["data"][0]["attributes"]["status"], json!("uploaded"));
}
