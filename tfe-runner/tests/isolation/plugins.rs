//! Providers that one run downloaded and others use, with the real null provider.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Command,
};

use tfe_core::run::Phase;
use tfe_runner::{IsolationConfig, RunnerConfig, job::Outcome};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    bench::is_root,
    engine::{Site, mirror},
};

const NULL: &str = "registry.terraform.io/hashicorp/null";
const VERSION: &str = "2.1.2";
const PLATFORM: &str = "linux_amd64";
/// Prints the `h1:` hash of a directory with one file.
const HASH: &str =
    "cd $1 && sha256sum * | sha256sum | perl -MMIME::Base64 -ne '/(\\w+)/ && print \"h1:\", encode_base64(pack(\"H*\", $1), \"\")'";

/// A mirror of archives, which are unpacked in each run as those of a registry are, and a cache.
struct Depot {
    home: tempfile::TempDir,
    hash: String,
}

impl Depot {
    fn new() -> Option<Self> {
        let package = mirror()?.join(NULL).join(VERSION).join(PLATFORM);
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("mirror").join(NULL);
        fs::create_dir_all(&directory).unwrap();
        let archive = File::create(directory.join(format!("terraform-provider-null_{VERSION}_{PLATFORM}.zip"))).unwrap();
        let mut archive = ZipWriter::new(archive);
        for entry in fs::read_dir(&package).unwrap() {
            let entry = entry.unwrap();
            archive.start_file(entry.file_name().to_str().unwrap(), SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
            archive.write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
        archive.finish().unwrap();
        let printed = Command::new("sh").args(["-c", HASH, "sh"]).arg(&package).output().unwrap();
        Some(Self { home, hash: String::from_utf8(printed.stdout).unwrap() })
    }

    fn mirror(&self) -> PathBuf {
        self.home.path().join("mirror")
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("plugins")
    }

    /// What is in the cache.
    fn kept(&self) -> Vec<PathBuf> {
        fs::read_dir(self.cache()).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    fn lock(&self) -> String {
        format!("provider \"{NULL}\" {{\n  version = \"{VERSION}\"\n  hashes = [\n    \"{}\",\n  ]\n}}\n", self.hash)
    }

    /// A runner that uses the cache, for a configuration with a lock file.
    fn site(&self, script: &str, lock: &str, change: impl FnOnce(&mut RunnerConfig)) -> Site {
        let configuration = format!(
            "terraform {{\n  required_providers {{ null = {{ source = \"hashicorp/null\" }} }}\n}}\nresource \"null_resource\" \"first\" {{\n  \
             provisioner \"local-exec\" {{ command = \"{script}\" }}\n}}\n"
        );
        let mut files = vec![("main.tf", configuration.as_str())];
        if !lock.is_empty() {
            files.push((".terraform.lock.hcl", lock));
        }
        let cli_config = format!("provider_installation {{\n  filesystem_mirror {{ path = \"{}\" }}\n}}\n", self.mirror().display());
        Site::start_with(&files, IsolationConfig::default(), Some(cli_config), |config| {
            config.plugins = Some(self.cache());
            change(config);
        })
    }

    /// Plans with an engine that does more than it should after `init`, and waits until all of it is over.
    async fn plan_with(&self, lock: &str, evil: &str) -> (Outcome, String) {
        let tools = self.home.path().join("tools");
        fs::create_dir_all(&tools).unwrap();
        let script = format!(
            "#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\nterraform \"$@\"; code=$?\nhash() {{ sh -c '{}' sh \"$1\"; }}\n\
             package=$TF_DATA_DIR/providers/{NULL}/{VERSION}/{PLATFORM}\nif [ \"$1\" = init ]; then :\n{evil}\nfi\nexit $code\n",
            HASH.replace('\'', "'\\''")
        );
        fs::write(tools.join("terraform"), script).unwrap();
        fs::set_permissions(tools.join("terraform"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut site = self.site("true", lock, |config| config.tool_paths = vec![tools]);
        let outcome = site.outcome(Phase::Plan).await;
        site.drained().await;
        (outcome, site.log(Phase::Plan))
    }
}

async fn planned(site: &Site) {
    let outcome = site.outcome(Phase::Plan).await;
    assert!(matches!(outcome, Outcome::Planned { .. }), "{outcome:?}: {}", site.log(Phase::Plan));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_downloaded_once_and_no_run_can_change_it() {
    let Some(depot) = Depot::new() else { return };
    let mut first = depot.site("true", &depot.lock(), |_| {});
    planned(&first).await;
    first.drained().await;
    let package = depot.kept().remove(0);
    for entry in [package.clone()].into_iter().chain(fs::read_dir(&package).unwrap().map(|entry| entry.unwrap().path())) {
        let found = fs::metadata(&entry).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o555, "{}", entry.display());
        assert!(!is_root() || found.uid() == 0);
    }
    fs::remove_dir_all(depot.mirror()).unwrap();
    let place = package.display();
    let script = format!(
        "ls {place} && for path in {place} {place}/*; do chmod 777 $path && echo CHANGED; echo x >> $path/x && echo CHANGED; echo x >> $path && \
         echo CHANGED; done; true"
    );
    let second = depot.site(&script, &depot.lock(), |_| {});
    planned(&second).await;
    let applied = second.outcome(Phase::Apply).await;
    let log = second.log(Phase::Apply);
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}: {log}");
    assert!(log.contains("terraform-provider-null_v2.1.2_x4\n") && !log.contains("CHANGED\n"), "{log}");
    // Without a lock file nobody says which package is the right one.
    let third = depot.site("true", "", |_| {});
    assert!(matches!(third.outcome(Phase::Plan).await, Outcome::Failed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_download_the_same_at_once_keep_it_once() {
    let Some(depot) = Depot::new() else { return };
    let lock = depot.lock();
    let mut sites = [depot.site("true", &lock, |_| {}), depot.site("true", &lock, |_| {})];
    tokio::join!(planned(&sites[0]), planned(&sites[1]));
    for site in &mut sites {
        site.drained().await;
    }
    assert_eq!(depot.kept().len(), 1, "{:?}", depot.kept());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_forged_is_not_kept() {
    let Some(depot) = Depot::new() else { return };
    let forge = format!(
        "echo evil | tee -a $package/terraform-provider-null_* > /dev/null\nprintf 'provider \"{NULL}\" {{\\n  version = \"{VERSION}\"\\n  hashes = [\\n    \
         \"%s\",\\n    \"{}\",\\n  ]\\n}}\\n' $(hash $package) > .terraform.lock.hcl",
        depot.hash
    );
    let planned = |ended: &(Outcome, String)| matches!(ended.0, Outcome::Planned { .. });
    // The hash of what it made in its own lock file: the engine is content with that.
    let ended = depot.plan_with(&depot.lock(), &forge).await;
    assert!(planned(&ended), "{ended:?}");
    assert_eq!(depot.kept(), Vec::<PathBuf>::new());
    let ended = depot.plan_with("", &forge).await;
    assert!(planned(&ended), "{ended:?}");
    assert_eq!(depot.kept(), Vec::<PathBuf>::new(), "no lock file was uploaded");
    // Something else under the hash that was uploaded.
    let tamper = "echo evil | tee -a $package/terraform-provider-null_*";
    let ended = depot.plan_with(&depot.lock(), tamper).await;
    assert!(!planned(&ended), "{ended:?}");
    assert_eq!(depot.kept(), Vec::<PathBuf>::new());
    // A link to what is the right thing now.
    let link = "mv $package ${package}_ && ln -s ${package}_ $package";
    depot.plan_with(&depot.lock(), link).await;
    assert_eq!(depot.kept(), Vec::<PathBuf>::new());
    // All of that was in the way, and nothing else.
    let ended = depot.plan_with(&depot.lock(), "").await;
    assert!(planned(&ended), "{ended:?}");
    assert_eq!(depot.kept().len(), 1);
}
