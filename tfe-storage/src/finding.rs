//! What a check of a backend found, for operators.

use serde::Serialize;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried, as words that follow "it can".
    pub what: String,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What happened.
    pub reason: String,
    /// What the operator can do.
    pub remedy: String,
}

impl Finding {
    /// A finding from a result.
    pub fn of<T>(what: impl Into<String>, result: Result<T, impl ToString>, remedy: impl Into<String>) -> Self {
        let problem = result.err().map(|error| Problem { reason: error.to_string(), remedy: remedy.into() });
        Self { what: what.into(), problem }
    }

    /// Whether it went well.
    pub fn is_good(&self) -> bool {
        self.problem.is_none()
    }
}
