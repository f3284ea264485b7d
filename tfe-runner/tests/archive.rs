//! Archives from strangers: what leads out of the directory is refused by name, and nothing is written there.

use std::{fs, path::Path};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};
use tfe_runner::archive::{ArchiveError, check, unpack};

/// An entry as an attacker writes it: the path is not looked at.
struct Entry {
    path: String,
    kind: EntryType,
    link: Option<String>,
    content: Vec<u8>,
}

fn file(path: &str) -> Entry {
    Entry { path: path.to_owned(), kind: EntryType::Regular, link: None, content: b"content".to_vec() }
}

fn link(path: &str, kind: EntryType, target: &str) -> Entry {
    Entry { path: path.to_owned(), kind, link: Some(target.to_owned()), content: Vec::new() }
}

fn packed(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in entries {
        let mut header = Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        if let Some(target) = &entry.link {
            fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(entry.kind);
        header.set_mode(0o644);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        tar.append(&header, entry.content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Unpacks into a directory inside another one, which must hold nothing else afterwards.
fn unpacked(archive: &[u8]) -> Result<Vec<String>, ArchiveError> {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let done = unpack(archive, &root);
    assert_eq!(names(outer.path()), ["root"], "something was written outside");
    done.map(|_| names(&root))
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_configuration_is_unpacked_with_its_directories_and_links() {
    let archive = packed(&[file("main.tf"), file("./a/b.tf"), link("c.tf", EntryType::Symlink, "a/b.tf")]);
    assert_eq!(unpacked(&archive).unwrap(), ["a", "c.tf", "main.tf"]);
    check(archive.as_slice()).unwrap();
}

#[test]
fn what_leads_out_is_refused_by_name() {
    let cases = [
        file("../outside"),
        file("/outside"),
        file("a/../../outside"),
        link("hard", EntryType::Link, "/etc/passwd"),
        link("hard", EntryType::Link, "../../etc/passwd"),
        link("soft", EntryType::Symlink, "/etc"),
        link("soft", EntryType::Symlink, "../.."),
        link("device", EntryType::Char, ""),
        link("block", EntryType::Block, ""),
        link("pipe", EntryType::Fifo, ""),
    ];
    for case in cases {
        let name = case.path.clone();
        let archive = packed(&[file("main.tf"), case]);
        let error = unpacked(&archive).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        assert!(check(archive.as_slice()).is_err(), "checking and unpacking agree");
    }
}

#[test]
fn a_file_does_not_go_through_a_link_to_the_outside() {
    // Each link stays inside when it is looked at alone.
    let chain = [link("a", EntryType::Symlink, "b/c"), link("b", EntryType::Symlink, "."), file("a/../../outside")];
    assert!(unpacked(&packed(&chain)).is_err());
}

#[test]
fn what_is_cut_or_no_archive_is_refused() {
    let whole = packed(&[Entry { content: (0..=255).cycle().take(100_000).collect(), ..file("main.tf") }]);
    for broken in [&whole[..whole.len() / 2], b"no archive", b""] {
        assert!(matches!(check(broken), Err(ArchiveError::Unreadable(_))));
    }
}

proptest! {
    #[test]
    fn no_path_escapes(path in "(/|\\.\\./|\\./|a/|\\.\\.|b|//|\\\\){1,8}", target in "(/|\\.\\./|a/|\\.\\.|b){1,6}", soft in any::<bool>()) {
        let kind = if soft { EntryType::Symlink } else { EntryType::Regular };
        let first = Entry { path: path.clone(), kind, link: soft.then(|| target.clone()), content: Vec::new() };
        let archive = packed(&[first, file(&format!("{path}/c")), file("d")]);
        // Refused or inside: the assertion in `unpacked` is the test.
        let _ = unpacked(&archive);
    }
}
