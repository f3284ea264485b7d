//! A mirror behind a network, with all that networks do.

use std::sync::Arc;

use futures::future::join_all;
use tfe_runner::{
    job::EngineKind::{Terraform, Tofu},
    tools::{Layout, Location, Mirror, ToolError},
};

use crate::{
    bench::{Files, Machine, release, said, script, tarred, terraform},
    site::{Manner, Site},
};

fn indexed(mut files: Files, versions: &[&str]) -> Files {
    let versions: serde_json::Map<_, _> =
        versions.iter().map(|version| ((*version).to_owned(), serde_json::json!({ "builds": [] }))).collect();
    let index = serde_json::json!({ "name": "terraform", "versions": versions }).to_string();
    files.insert("terraform/index.json".to_owned(), index.into_bytes());
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_want_the_same_version_at_once_share_one_transfer() {
    let machine = Machine::new();
    let files = indexed(terraform(&machine.vendor, "1.9.8", "1.9.8"), &["1.9.8", "0.1.0-old", "nonsense"]);
    let site = Site::start(files, Manner::Whole).await;
    let tools = machine.with(&site.url);
    let programs = join_all((0..8).map(|_| tools.provide(Terraform, "latest", &[]))).await;
    let programs: Vec<_> = programs.into_iter().map(Result::unwrap).collect();
    assert!(programs.iter().all(|program| *program == programs[0]));
    assert_eq!(site.count(".zip"), 1);
    assert_eq!(said(&programs[0].path), "1.9.8");
    let asked = site.count("");
    tools.provide(Terraform, "latest", &[]).await.unwrap();
    assert_eq!(site.count(""), asked, "what is here needs no network");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_breaks_off_is_begun_anew() {
    let machine = Machine::new();
    let site = Site::start(indexed(terraform(&machine.vendor, "1.9.8", "1.9.8"), &["1.9.8"]), Manner::Broken(1)).await;
    let program = machine.with(&site.url).provide(Terraform, "1.9.8", &[]).await.unwrap();
    assert_eq!((said(&program.path).as_str(), site.count(".zip")), ("1.9.8", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_always_breaks_off_leaves_nothing_and_the_next_one_works() {
    let machine = Machine::new();
    let site = Site::start(indexed(terraform(&machine.vendor, "1.9.8", "1.9.8"), &["1.9.8"]), Manner::Broken(3)).await;
    let tools = machine.with(&site.url);
    let error = tools.provide(Terraform, "1.9.8", &[]).await.unwrap_err();
    assert!(
        matches!(&error, ToolError::Unavailable(text) if text.contains("could not be fetched") && text.contains("try again")),
        "{error:?}"
    );
    assert!(machine.cached().is_empty());
    assert_eq!(said(&tools.provide(Terraform, "1.9.8", &[]).await.unwrap().path), "1.9.8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_given_up_leaves_nothing() {
    let machine = Machine::new();
    let site = Site::start(indexed(terraform(&machine.vendor, "1.9.8", "1.9.8"), &["1.9.8"]), Manner::Stalled).await;
    let tools = Arc::new(machine.with(&site.url));
    let transfer = tokio::spawn({
        let tools = tools.clone();
        async move { tools.provide(Terraform, "1.9.8", &[]).await }
    });
    site.stalled().await;
    transfer.abort();
    assert!(transfer.await.unwrap_err().is_cancelled());
    assert!(machine.cached().is_empty(), "{:?}", machine.cached());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_away_is_said_without_its_password() {
    let machine = Machine::new();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let error = machine.with(&format!("http://me:hunter2@{address}")).provide(Terraform, "1.9.8", &[]).await.unwrap_err();
    assert!(matches!(error, ToolError::Unavailable(_)));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && !text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opentofus_index_and_files_may_be_in_different_places() {
    let machine = Machine::new();
    let mut files = release(&machine.vendor, Tofu, "1.8.0", &[(".tar.gz", tarred("tofu", &script("1.8.0")))]);
    files.insert("api.json".to_owned(), br#"{"versions": [{"id": "1.8.0", "files": []}, {"id": "1.6.0-alpha1", "files": []}]}"#.to_vec());
    let site = Site::start(files, Manner::Whole).await;
    let layout = Layout { index: format!("{}/api.json", site.url), files: format!("{}/tofu/v{{version}}/{{file}}", site.url) };
    let nowhere = Location::Path(machine.path("nowhere"));
    let base = Location::parse(&site.url).unwrap();
    for base in [base, nowhere] {
        let mirror = Mirror::new(base).with_layout(Tofu, layout.clone()).with_keys(Some(machine.path("vendor.asc")));
        let tools = machine.offline().with_source(Arc::new(mirror));
        assert_eq!(said(&tools.provide(Tofu, "latest", &[]).await.unwrap().path), "1.8.0");
    }
}
