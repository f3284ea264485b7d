//! Why a rule says no, in the two ways that callers can act on.

/// The request itself is wrong; sending it again changes nothing. Becomes a 422 with a pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Invalid {
    /// JSON pointer into the request, such as `/data/attributes/name`; empty when the whole is meant.
    pub pointer: String,
    /// What is wrong and what would be right, for the user.
    pub detail: String,
}

/// The request is fine, the state of things forbids it now. Becomes a 409.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Invalid {
    /// Wrong at a place of the request.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// Wrong in the attribute of that name.
    pub fn attribute(name: &str, detail: impl Into<String>) -> Self {
        Self::at(format!("/data/attributes/{name}"), detail)
    }
}

impl Refused {
    /// With the reason for the user.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// An error with its causes, for a log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
