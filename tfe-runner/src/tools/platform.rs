//! What machine an engine is built for, in the words of its vendors.

use std::fmt;

/// A system and an architecture, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub arch: String,
}

impl Platform {
    /// That of this machine.
    pub fn current() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self { os: os.to_owned(), arch: arch.to_owned() }
    }
}

impl fmt::Display for Platform {
    /// As in the name of an archive: `linux_amd64`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", self.os, self.arch)
    }
}
