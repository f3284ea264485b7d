//! Versions that an administrator registered.

use tfe_core::engine_version::Build;
use tfe_runner::{
    job::EngineKind::Terraform,
    tools::{Installed, Platform, ToolError, Tools},
};

use crate::{
    bench::{Machine, digest, said, script, zipped},
    site::{Manner, Site},
};

fn build(url: &str, sha: String) -> Build {
    let Platform { os, arch } = Platform::current();
    Build { url: url.to_owned(), sha, os, arch }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_build_is_fetched_from_a_path_or_a_url() {
    let archive = zipped("terraform", &script("1.9.8"));
    let site = Site::start([("any/name.zip".to_owned(), archive.clone())].into(), Manner::Whole).await;
    let machine = Machine::new();
    let path = machine.write("own.zip", &archive);
    for url in [path.to_str().unwrap(), &format!("{}/any/name.zip?key=secret", site.url)] {
        let machine = Machine::new();
        let builds = [build(url, digest(&archive))];
        let program = machine.offline().provide(Terraform, "1.9.8", &builds).await.unwrap();
        assert_eq!(said(&program.path), "1.9.8");
        assert!(program.path.ends_with(format!("terraform/1.9.8/{}/terraform", digest(&archive))));
        // From now on without the place it came from.
        let gone = [build("/nowhere.zip", digest(&archive))];
        assert_eq!(machine.offline().provide(Terraform, "1.9.8", &gone).await.unwrap(), program);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_digest_is_another_program() {
    let machine = Machine::new();
    let (first, second) =
        (zipped("terraform", &script("1.9.8")), zipped("terraform", &[script("1.9.8"), b"# patched\n".to_vec()].concat()));
    let path = machine.write("own.zip", &first);
    let builds = |sha| [build(path.to_str().unwrap(), sha)];
    let before = machine.offline().provide(Terraform, "1.9.8", &builds(digest(&first))).await.unwrap();
    let wrong = machine.offline().provide(Terraform, "1.9.8", &builds(digest(&second))).await.unwrap_err();
    assert!(matches!(&wrong, ToolError::Untrusted(text) if text.contains("is registered with")), "{wrong:?}");
    machine.write("own.zip", &second);
    let after = machine.offline().provide(Terraform, "1.9.8", &builds(digest(&second))).await.unwrap();
    assert_ne!(before.path, after.path);
    assert_eq!(machine.cached().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_a_build_for_this_machine_says_whom_to_ask() {
    let machine = Machine::new();
    let foreign = Build { arch: "mips".to_owned(), ..build("/own.zip", "a".repeat(64)) };
    let error = machine.offline().provide(Terraform, "1.9.8", &[foreign]).await.unwrap_err();
    assert!(matches!(&error, ToolError::Missing(text) if text.contains("ask a site administrator to add")), "{error:?}");
    let gone = machine.offline().provide(Terraform, "1.9.8", &[build("/nowhere.zip", "a".repeat(64))]).await.unwrap_err();
    assert!(matches!(&gone, ToolError::Missing(text) if text.contains("there is nothing at /nowhere.zip")), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_needs_no_archive() {
    let machine = Machine::new();
    let program = machine.write("installed/terraform/1.9.8/terraform", &script("1.9.8"));
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let tools = Tools::new(Installed::discover(&[machine.path("installed")]));
    let builds = [build("/nowhere.zip", "a".repeat(64))];
    assert_eq!(tools.provide(Terraform, "1.9.8", &builds).await.unwrap().path, program);
    let uncached = tools.provide(Terraform, "1.9.9", &builds).await.unwrap_err();
    assert!(uncached.to_string().contains("terraform 1.9.9 is not installed on the runner"), "{uncached}");
}
