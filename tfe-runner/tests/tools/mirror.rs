//! A mirror in a directory: what it offers, and what is refused of it.

use tfe_runner::{
    job::EngineKind::{Terraform, Tofu},
    tools::{Location, Mirror, Platform, ToolError, ToolSource},
};

use crate::bench::{Files, Machine, Vendor, mode, real_terraform, release, said, script, tarred, terraform, zipped};

#[tokio::test(flavor = "multi_thread")]
async fn the_real_terraform_comes_out_of_a_mirror_and_works_offline_from_then_on() {
    let machine = Machine::new();
    let (program, version) = real_terraform();
    machine.publish(&release(&machine.vendor, Terraform, &version, &[(".zip", zipped("terraform", &program))]));
    let fetched = machine.tools().provide(Terraform, "latest", &[]).await.unwrap();
    assert_eq!((fetched.version.to_string(), said(&fetched.path)), (version.clone(), version.clone()));
    assert_eq!(mode(&fetched.path), 0o555);
    assert_eq!(machine.cached(), std::slice::from_ref(&fetched.path), "nothing else is left of it");
    std::fs::remove_dir_all(machine.path("mirror")).unwrap();
    for wanted in ["latest", &version, "~> 1.0"] {
        assert_eq!(machine.offline().provide(Terraform, wanted, &[]).await.unwrap(), fetched);
    }
    assert_eq!(machine.offline().names(Terraform), [version]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_gets_the_newest_release_that_fits_unless_one_that_fits_is_here() {
    let machine = Machine::new();
    for version in ["1.9.7", "1.9.8", "1.10.0", "1.12.0-rc1"] {
        machine.publish(&terraform(&machine.vendor, version, version));
    }
    let tools = machine.tools();
    for (wanted, version) in [("~> 1.9.0", "1.9.8"), ("1.9.7", "1.9.7"), ("1.12.0-rc1", "1.12.0-rc1")] {
        assert_eq!(tools.provide(Terraform, wanted, &[]).await.unwrap().version.to_string(), version, "{wanted}");
    }
    assert_eq!(tools.provide(Terraform, "latest", &[]).await.unwrap().version.to_string(), "1.9.8", "no look at what is not needed");
    assert_eq!(tools.provide(Terraform, ">= 1.10", &[]).await.unwrap().version.to_string(), "1.10.0");
    assert_eq!(tools.names(Terraform), ["1.9.7", "1.9.8", "1.10.0", "1.12.0-rc1"]);
    let unknown = tools.provide(Terraform, "2.0.0", &[]).await.unwrap_err();
    let installed = "installed are 1.9.7, 1.9.8, 1.10.0, 1.12.0-rc1. Install it there, or change the workspace's terraform version";
    assert!(matches!(&unknown, ToolError::Missing(text) if text.contains(installed)), "{unknown}");
    assert!(matches!(tools.provide(Tofu, "latest", &[]).await, Err(ToolError::Missing(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn opentofu_comes_as_tar_or_as_zip() {
    let machine = Machine::new();
    let (tar, zip) = ((".tar.gz", tarred("tofu", &script("1.8.0"))), (".zip", zipped("tofu", &script("1.8.0"))));
    machine.publish(&release(&machine.vendor, Tofu, "1.8.0", &[tar]));
    machine.publish(&release(&machine.vendor, Tofu, "1.7.0", &[(".zip", zipped("tofu", &script("1.7.0")))]));
    assert_eq!(said(&machine.tools().provide(Tofu, "1.8.0", &[]).await.unwrap().path), "1.8.0");
    assert_eq!(said(&machine.tools().provide(Tofu, "1.7.0", &[]).await.unwrap().path), "1.7.0");
    let both = Machine::new();
    let files = release(&both.vendor, Tofu, "1.8.0", &[(".tar.gz", b"signed, but not copied".to_vec()), zip]);
    both.publish(&files.into_iter().filter(|(name, _)| !name.ends_with("tar.gz")).collect());
    assert_eq!(said(&both.tools().provide(Tofu, "latest", &[]).await.unwrap().path), "1.8.0");
}

/// What somebody does to a file, who may have keys of their own.
type Change = fn(&mut Vec<u8>, &Vendor);

/// Everything that somebody between the vendor and this machine can change is noticed, and nothing stays of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_on_the_way_is_refused() {
    let stranger = Vendor::new();
    let changes: [(&str, Change, &str); 6] = [
        ("amd64.zip", |zip, _| *zip.last_mut().unwrap() ^= 1, "but its vendor signed"),
        ("amd64.zip", |zip, _| *zip = zipped("terraform", &script("1.9.8 evil")), "but its vendor signed"),
        ("SHA256SUMS", |sums, _| sums[0] ^= 1, "the signature of the checksums is not good"),
        ("SUMS.sig", |signature, _| *signature.last_mut().unwrap() ^= 1, "the signature of the checksums is not good"),
        ("SUMS.sig", |signature, _| signature.clear(), "the signature of the checksums cannot be read"),
        ("SUMS.sig", |signature, stranger| *signature = stranger.sign(b"x"), "none of the keys signed this list"),
    ];
    for (file, change, why) in changes {
        let machine = Machine::new();
        let mut files = terraform(&machine.vendor, "1.9.8", "1.9.8");
        let platform = Platform::current().arch;
        let (_, content) = files.iter_mut().find(|(name, _)| name.ends_with(&file.replace("amd64", &platform))).unwrap();
        change(content, &stranger);
        refused(&machine, &files, why).await;
    }
    // A list of the stranger's own, rightly signed by the stranger.
    let machine = Machine::new();
    refused(&machine, &terraform(&stranger, "1.9.8", "1.9.8"), "none of the keys signed this list").await;
    let machine = Machine::new();
    let mut unsigned = terraform(&machine.vendor, "1.9.8", "1.9.8");
    unsigned.retain(|name, _| !name.ends_with("SUMS.sig"));
    refused(&machine, &unsigned, "is not signed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_version_is_refused_though_it_is_signed() {
    let machine = Machine::new();
    refused(&machine, &terraform(&machine.vendor, "1.9.8", "1.5.0"), "says that it is 1.5.0").await;
    let machine = Machine::new();
    let silent = release(&machine.vendor, Terraform, "1.9.8", &[(".zip", zipped("terraform", b"#!/bin/sh\nexit 1\n"))]);
    refused(&machine, &silent, "does not start and say its version").await;
    let machine = Machine::new();
    let empty = release(&machine.vendor, Terraform, "1.9.8", &[(".zip", zipped("../terraform", &script("1.9.8")))]);
    refused(&machine, &empty, "no program \"terraform\"").await;
}

async fn refused(machine: &Machine, files: &Files, why: &str) {
    machine.publish(files);
    let error = machine.tools().provide(Terraform, "1.9.8", &[]).await.unwrap_err();
    assert!(matches!(&error, ToolError::Untrusted(text) if text.contains(why)), "{why} is not in {error:?}");
    assert!(machine.cached().is_empty(), "{:?}", machine.cached());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_this_machines_archive_is_missing() {
    let machine = Machine::new();
    let sums = format!("{}  terraform_1.9.8_plan9_mips.zip\n", "a".repeat(64));
    let place = "mirror/terraform/1.9.8/terraform_1.9.8_SHA256SUMS";
    machine.write(place, sums.as_bytes());
    machine.write(&format!("{place}.sig"), &machine.vendor.sign(sums.as_bytes()));
    let error = machine.tools().provide(Terraform, "1.9.8", &[]).await.unwrap_err();
    let wanted = format!("has no archive of terraform_1.9.8_{}", Platform::current());
    assert!(matches!(&error, ToolError::Missing(text) if text.contains(&wanted)), "{error:?}");
}

/// A key that lies beside the releases proves nothing by that: only the vendor's own counts, by its fingerprint.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_mirror_counts_only_if_it_is_the_vendors() {
    let machine = Machine::new();
    machine.publish(&terraform(&machine.vendor, "1.9.8", "1.9.8"));
    let mirror = Mirror::new(Location::Path(machine.path("mirror")));
    let tools = machine.offline().with_source(std::sync::Arc::new(mirror));
    let absent = tools.provide(Terraform, "1.9.8", &[]).await.unwrap_err();
    assert!(absent.to_string().contains("there is no public key to check Terraform with"), "{absent}");
    machine.write("mirror/hashicorp.asc", machine.vendor.public.as_bytes());
    let foreign = tools.provide(Terraform, "1.9.8", &[]).await.unwrap_err();
    assert!(foreign.to_string().contains("c874011f0ab405110d02105534365d9472d7468f"), "{foreign}");
    assert!(machine.cached().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_listed_by_its_versions() {
    let machine = Machine::new();
    for name in ["terraform/1.9.8/x", "terraform/index.json", "terraform/not-a-version/x", "tofu/v1.8.0/x", "tofu/1.7.0/x"] {
        machine.write(&format!("mirror/{name}"), b"");
    }
    let mirror = Mirror::new(Location::Path(machine.path("mirror")));
    let names = async |kind| mirror.list(kind).await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((names(Terraform).await, names(Tofu).await), (vec!["1.9.8".to_owned()], vec!["1.8.0".to_owned()]));
}
