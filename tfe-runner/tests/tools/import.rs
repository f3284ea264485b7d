//! Engines on a machine without a network.

use tfe_runner::{
    job::EngineKind::{Terraform, Tofu},
    tools::{
        Platform, ToolError,
        import::{Trust, import},
    },
};

use crate::bench::{Machine, Vendor, digest, release, said, script, tarred, terraform, zipped};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_imported_as_far_as_it_is_good() {
    let (machine, stranger) = (Machine::new(), Vendor::new());
    machine.publish(&terraform(&machine.vendor, "1.9.8", "1.9.8"));
    machine.publish(&terraform(&stranger, "1.10.0", "1.10.0"));
    machine.publish(&release(&machine.vendor, Tofu, "1.8.0", &[(".tar.gz", tarred("tofu", &script("1.8.0")))]));
    let trust = Trust { keys: Some(machine.path("vendor.asc")), sha256: None };
    let imported = import(&machine.cache(), &machine.path("mirror"), &trust).await.unwrap();
    let names: Vec<_> = imported.releases.iter().map(ToString::to_string).collect();
    let platform = Platform::current();
    assert_eq!(names, [format!("terraform_1.9.8_{platform}"), format!("tofu_1.8.0_{platform}")]);
    assert!(matches!(&imported.skipped[..], [(skipped, ToolError::Untrusted(_))] if skipped.version.to_string() == "1.10.0"));
    let tools = machine.offline();
    assert_eq!((tools.names(Terraform), tools.names(Tofu)), (vec!["1.9.8".to_owned()], vec!["1.8.0".to_owned()]));
    assert_eq!(said(&tools.provide(Tofu, "latest", &[]).await.unwrap().path), "1.8.0");
    let nothing = machine.write("nothing/readme", b"");
    let empty = import(&machine.cache(), nothing.parent().unwrap(), &trust).await.unwrap_err();
    assert!(empty.to_string().contains("terraform/{version}/{file}"), "{empty}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_needs_somebody_to_vouch_for_it() {
    let machine = Machine::new();
    let archive = zipped("terraform", &script("1.9.8"));
    let name = format!("terraform_1.9.8_{}.zip", Platform::current());
    let path = machine.write(&format!("bundle/{name}"), &archive);
    let keys = Some(machine.path("vendor.asc"));
    let by_keys = Trust { keys: keys.clone(), sha256: None };
    let alone = import(&machine.cache(), &path, &by_keys).await.unwrap_err();
    assert!(alone.to_string().contains("put its vendor's signed SHA256SUMS beside it, or give its digest with --sha256"), "{alone}");
    let wrong = Trust { keys: None, sha256: Some("a".repeat(64)) };
    assert!(matches!(import(&machine.cache(), &path, &wrong).await, Err(ToolError::Untrusted(_))));
    assert!(machine.cached().is_empty());

    let by_digest = Trust { keys: None, sha256: Some(digest(&archive).to_uppercase()) };
    import(&machine.cache(), &path, &by_digest).await.unwrap();
    assert_eq!(machine.offline().names(Terraform), ["1.9.8"]);

    let sums = format!("{}  {name}\n", digest(&archive));
    machine.write("bundle/terraform_1.9.8_SHA256SUMS", sums.as_bytes());
    machine.write("bundle/terraform_1.9.8_SHA256SUMS.sig", &machine.vendor.sign(sums.as_bytes()));
    import(&machine.cache(), &path, &by_keys).await.unwrap();
    assert_eq!(machine.cached().len(), 1, "the same archive is the same place");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_for_this_machine_or_has_no_name_is_refused() {
    let machine = Machine::new();
    let trust = Trust { keys: None, sha256: Some("a".repeat(64)) };
    for (name, why) in [
        ("terraform_1.9.8_plan9_mips.zip", "is not for this machine"),
        ("terraform.zip", "give it its vendor's name"),
        ("terraform_1.9.8_linux_amd64.rar", "give it its vendor's name"),
        ("packer_1.9.8_linux_amd64.zip", "give it its vendor's name"),
    ] {
        let path = machine.write(name, b"");
        let error = import(&machine.cache(), &path, &trust).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
