//! Directories in which terraform runs against a server, and what it did.

use std::{
    fs,
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Demo;

/// A directory with a configuration.
pub(crate) struct Project<'d> {
    demo: &'d Demo,
    pub(crate) directory: TempDir,
}

/// What terraform did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) text: String,
    pub(crate) stdout: String,
}

impl<'d> Project<'d> {
    /// An empty one.
    pub(crate) fn new(demo: &'d Demo) -> Self {
        Self { demo, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    /// Runs terraform and waits for it.
    pub(crate) fn terraform(&self, arguments: &[&str]) -> Outcome {
        self.terraform_typing(arguments, "")
    }

    /// The same with something typed at its prompts.
    pub(crate) fn terraform_typing(&self, arguments: &[&str], typed: &str) -> Outcome {
        let mut child = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        finish(child)
    }

    /// Starts terraform without waiting for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `terraform init`, which must succeed.
    pub(crate) fn init(&self) -> Outcome {
        self.terraform(&["init", "-input=false", "-no-color"]).succeeded()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.demo.terraform(self.directory.path(), arguments)
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}: {}", self.status, self.text);
        self
    }

    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert_eq!(self.status.code(), Some(1), "{}", self.text);
        self
    }

    /// Requires a text in what the user saw.
    #[track_caller]
    pub(crate) fn shows(self, wanted: &str) -> Self {
        assert!(self.text.contains(wanted), "{wanted:?} is not in:\n{}", self.text);
        self
    }

    /// Requires that the user did not see a text.
    #[track_caller]
    pub(crate) fn hides(self, unwanted: &str) -> Self {
        assert!(!self.text.contains(unwanted), "{unwanted:?} is in:\n{}", self.text);
        self
    }

    /// What terraform printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Waits for a process that was started with pipes.
pub(crate) fn finish(mut child: Child) -> Outcome {
    let mut errors = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let status = child.wait().unwrap();
    let text = format!("{stdout}{}", errors.join().unwrap());
    Outcome { status, text, stdout }
}
