//! A vendor with a throw-away key, its releases in a directory, and a machine without any engine.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use pgp::{
    composed::{ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey},
    crypto::hash::HashAlgorithm,
    ser::Serialize,
    types::Password,
};
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tfe_runner::{
    job::EngineKind,
    tools::{Cache, Installed, Layout, Location, Mirror, Platform, Tools},
};
use zip::{CompressionMethod, write::SimpleFileOptions};

/// Somebody who signs releases.
pub(crate) struct Vendor {
    key: SignedSecretKey,
    /// The public key, armored.
    pub(crate) public: String,
}

impl Vendor {
    pub(crate) fn new() -> Self {
        let mut key = SecretKeyParamsBuilder::default();
        key.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true).primary_user_id("vendor <v@example.com>".to_owned());
        let key = key.build().unwrap().generate(OsRng).unwrap();
        let public = key.to_public_key().to_armored_string(ArmorOptions::default()).unwrap();
        Self { key, public }
    }

    pub(crate) fn sign(&self, document: &[u8]) -> Vec<u8> {
        let key = &self.key.primary_key;
        let signature = DetachedSignature::sign_binary_data(OsRng, key, &Password::empty(), HashAlgorithm::Sha256, document);
        signature.unwrap().to_bytes().unwrap()
    }
}

/// A mirror's files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The files of a release, for this machine.
pub(crate) fn release(vendor: &Vendor, kind: EngineKind, version: &str, archives: &[(&str, Vec<u8>)]) -> Files {
    let (program, platform) = (kind.program(), Platform::current());
    let named = archives.iter().map(|(suffix, archive)| (format!("{program}_{version}_{platform}{suffix}"), archive.clone()));
    let mut files: Files = named.collect();
    let sums = files.iter().fold(String::new(), |sums, (name, archive)| sums + &format!("{}  {name}\n", digest(archive)));
    let suffix = if kind == EngineKind::Terraform { "sig" } else { "gpgsig" };
    files.insert(format!("{program}_{version}_SHA256SUMS.{suffix}"), vendor.sign(sums.as_bytes()));
    files.insert(format!("{program}_{version}_SHA256SUMS"), sums.into_bytes());
    let place = |name: String| Layout::of(kind).files.replace("{version}", version).replace("{file}", &name);
    files.into_iter().map(|(name, content)| (place(name), content)).collect()
}

/// A release of terraform whose program says that it is `says`.
pub(crate) fn terraform(vendor: &Vendor, version: &str, says: &str) -> Files {
    release(vendor, EngineKind::Terraform, version, &[(".zip", zipped("terraform", &script(says)))])
}

/// A machine without engines, and a directory for a mirror.
pub(crate) struct Machine {
    home: TempDir,
    pub(crate) vendor: Vendor,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self { home: tempfile::tempdir().unwrap(), vendor: Vendor::new() };
        machine.write("vendor.asc", machine.vendor.public.as_bytes());
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Puts files into the mirror.
    pub(crate) fn publish(&self, files: &Files) {
        for (name, content) in files {
            self.write(&format!("mirror/{name}"), content);
        }
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::at(self.path("cache"))
    }

    /// What the machine has by itself, and its cache.
    pub(crate) fn offline(&self) -> Tools {
        Tools::new(Installed::default()).with_cache(self.cache())
    }

    /// The same with a mirror whose releases are signed by the vendor.
    pub(crate) fn with(&self, base: &str) -> Tools {
        let mirror = Mirror::new(Location::parse(base).unwrap()).with_keys(Some(self.path("vendor.asc")));
        self.offline().with_source(Arc::new(mirror))
    }

    /// The same with the mirror in its directory.
    pub(crate) fn tools(&self) -> Tools {
        self.with(self.path("mirror").to_str().unwrap())
    }

    /// All files in the cache; whatever failed must leave none.
    pub(crate) fn cached(&self) -> Vec<PathBuf> {
        files(&self.path("cache"))
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A program that says its version and nothing else.
pub(crate) fn script(version: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho '{{\"terraform_version\": \"{version}\"}}'\n").into_bytes()
}

/// The terraform of this machine and its version.
pub(crate) fn real_terraform() -> (Vec<u8>, String) {
    let path = std::env::var_os("PATH").unwrap();
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join("terraform"));
    let program = programs.find(|program| program.is_file()).expect("terraform is on the PATH");
    (fs::read(&program).unwrap(), said(&program))
}

/// The version that a program says.
pub(crate) fn said(program: &Path) -> String {
    let output = Command::new(program).args(["version", "-json"]).env("CHECKPOINT_DISABLE", "1").output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    document["terraform_version"].as_str().unwrap().to_owned()
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A zip as vendors make it; without compression, which takes long here.
pub(crate) fn zipped(name: &str, program: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o755);
    for (name, content) in [("LICENSE.txt", b"free".as_slice()), (name, program)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A tar.gz as OpenTofu makes it.
pub(crate) fn tarred(name: &str, program: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in [("LICENSE", b"free".as_slice()), (name, program)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
