//! How a command ends, and the exit code for it.

use std::{io, process::ExitCode};

use crate::{BootstrapError, ClientError, LoginError, PackError, Run, credentials::CredentialsError, follow};

/// How a command ended that did what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// All is well.
    Well,
    /// The run that was watched failed, was cancelled or discarded.
    RunFailed,
    /// The run that was watched waits for a decision.
    NeedsDecision,
}

impl Done {
    /// What it means that a run was left like this.
    pub(super) fn of(run: &Run) -> Self {
        match run.status.as_str() {
            "errored" | "canceled" | "force_canceled" | "discarded" | "policy_soft_failed" => Self::RunFailed,
            _ if follow::needs_decision(run) => Self::NeedsDecision,
            _ => Self::Well,
        }
    }
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        match done {
            Done::Well => Self::SUCCESS,
            Done::RunFailed => Self::from(1),
            Done::NeedsDecision => Self::from(3),
        }
    }
}

/// Why a command could not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Something is missing in what was typed.
    #[error("{0}")]
    Usage(String),
    /// Anything else, with what to do about it.
    #[error("{0}")]
    Other(String),
    #[error("the output cannot be written: {0}; check where it goes")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code that the help promises.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// Whether the reader of the output went away.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Credentials(CredentialsError::NoHost { .. } | CredentialsError::BadName { .. }) => 2,
            Self::Client(ClientError::Unauthorized { .. }) | Self::Credentials(CredentialsError::NoToken { .. }) => 4,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(document: serde_json::Value) -> Run {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_run_that_is_left_says_how_it_went() {
        let confirmable = serde_json::json!({ "is-confirmable": true });
        for (document, done) in [
            (serde_json::json!({ "id": "r", "status": "applied" }), Done::Well),
            (serde_json::json!({ "id": "r", "status": "planned_and_finished" }), Done::Well),
            (serde_json::json!({ "id": "r", "status": "errored" }), Done::RunFailed),
            (serde_json::json!({ "id": "r", "status": "force_canceled" }), Done::RunFailed),
            (serde_json::json!({ "id": "r", "status": "planned", "actions": confirmable }), Done::NeedsDecision),
        ] {
            assert_eq!(Done::of(&run(document.clone())), done, "{document}");
        }
    }

    #[test]
    fn failures_have_the_promised_codes_and_say_what_to_do() {
        let host = || "tfe.example.com".to_owned();
        let failures = [
            (Failure::from(ClientError::Unauthorized { host: host() }), 4, "tfe login"),
            (Failure::from(CredentialsError::NoToken { host: host() }), 4, "tfe login"),
            (Failure::from(CredentialsError::NoHost { known: "no server is known yet".to_owned() }), 2, "--hostname"),
            (Failure::from(ClientError::NotFound { what: "workspace a/b".to_owned() }), 1, "check the name"),
        ];
        for (failure, code, advice) in failures {
            assert_eq!(failure.code(), code, "{failure}");
            assert!(failure.to_string().contains(advice), "{failure}");
        }
    }
}
