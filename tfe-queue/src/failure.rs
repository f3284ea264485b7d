//! What went wrong with a broker, as text.

use std::{fmt, sync::Arc};

use crate::{
    coordination::CoordinationError,
    queue::{CALL_TIMEOUT, QueueError},
};

/// Why a broker did not do what it was asked for.
///
/// Only the words of an error are kept: they never hold an address with its password, which the structures that
/// clients put into their errors might, and one failure can be told to all who waited for it.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Arc<str>);

impl Failure {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string().into())
    }

    pub(crate) fn timeout() -> Self {
        Self::new(format_args!("no answer within {} seconds", CALL_TIMEOUT.as_secs()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.into())
    }
}

impl From<Failure> for CoordinationError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.into())
    }
}
