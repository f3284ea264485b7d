//! Uploads of configurations: what is wrong is named, and nothing is half-written.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tfe_server::Settings;

use crate::harness::{Answer, TestServer, archive, run_body};

async fn announced(server: &TestServer, workspace: &str) -> Answer {
    let body = json!({ "data": { "attributes": { "auto-queue-runs": false } } });
    server.post(&format!("/api/v2/workspaces/{workspace}/configuration-versions"), body).await.expect(201)
}

fn tar_with(edit: impl FnOnce(&mut tar::Builder<flate2::write::GzEncoder<Vec<u8>>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    edit(&mut tar);
    tar.into_inner().unwrap().finish().unwrap()
}

/// A header whose path the builder would refuse to write.
fn entry(path: &str, kind: tar::EntryType, link: Option<&str>) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o644);
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn evil_archives_are_refused_by_name() {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("evil").await;
    let cases = [
        ("../outside", tar::EntryType::Regular, None),
        ("/etc/outside", tar::EntryType::Regular, None),
        ("link", tar::EntryType::Symlink, Some("../../etc/passwd")),
        ("hard", tar::EntryType::Link, Some("/etc/passwd")),
        ("device", tar::EntryType::Char, None),
        ("pipe", tar::EntryType::Fifo, None),
    ];
    for (path, kind, link) in cases {
        let version = announced(&server, &workspace).await;
        let body = tar_with(|tar| tar.append(&entry(path, kind, link), std::io::empty()).unwrap());
        let refused = server.put(&version.text_at("/data/attributes/upload-url"), body).await;
        refused.expect_error(422, path);
        let shown = server.get(&format!("/api/v2/configuration-versions/{}", version.id())).await.expect(200);
        assert_eq!(shown.text_at("/data/attributes/status"), "errored", "{path}");
        server.post("/api/v2/runs", run_body(&workspace, &version.id(), json!({}))).await.expect_error(422, "not uploaded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_archive_is_refused_and_a_second_upload_conflicts() {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("broken").await;
    let whole = archive(&[("main.tf", &"# text\n".repeat(5000))]);
    for body in [whole[..whole.len() / 2].to_vec(), b"no archive".to_vec()] {
        let version = announced(&server, &workspace).await;
        server.put(&version.text_at("/data/attributes/upload-url"), body).await.expect(422);
    }
    let version = announced(&server, &workspace).await;
    let url = version.text_at("/data/attributes/upload-url");
    server.put(&url, whole.clone()).await.expect(200);
    server.put(&url, whole.clone()).await.expect_error(409, "uploaded already");
    let download = format!("/api/v2/configuration-versions/{}/download", version.id());
    let bytes = server.request(reqwest::Method::GET, &download).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes, whole, "a download gives the same bytes");
    let other = url.replace(&version.id(), "cv-other");
    server.put(&other, whole).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_too_large_or_stalls_leaves_nothing_and_can_be_repeated() {
    let settings = Settings { max_configuration_bytes: 4096, max_upload_silence: Duration::from_millis(200), ..Settings::default() };
    let server = TestServer::start_limited(settings).await;
    let workspace = server.workspace("limits").await;
    let version = announced(&server, &workspace).await;
    let url = version.text_at("/data/attributes/upload-url");
    server.put(&url, vec![0; 5000]).await.expect_error(413, "4096 bytes");
    let first = futures::stream::iter([Ok::<_, std::io::Error>(archive(&[("main.tf", "")]))]);
    let stalling = reqwest::Body::wrap_stream(first.chain(futures::stream::pending()));
    Answer::of(server.anonymous(reqwest::Method::PUT, &url).body(stalling)).await.expect_error(408, "stalled");
    let shown = server.get(&format!("/api/v2/configuration-versions/{}", version.id())).await.expect(200);
    assert_eq!(shown.text_at("/data/attributes/status"), "pending");
    server.put(&url, archive(&[("main.tf", "")])).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused() {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("bomb").await;
    let many: Vec<_> = (0..120_000).map(|number| format!("d/{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    let version = announced(&server, &workspace).await;
    let refused = server.put(&version.text_at("/data/attributes/upload-url"), archive(&many)).await;
    refused.expect_error(422, "entries");
}
