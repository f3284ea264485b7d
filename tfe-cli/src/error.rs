//! What can go wrong, by what the caller can do about it.

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such thing, or the token may not see it.
    #[error("{what} was not found, or this token may not see it; check the name and the organization")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The token is missing, wrong or expired.
    #[error("{host} does not accept the token; sign in with: tfe login --hostname {host}")]
    Unauthorized {
        /// The server's name.
        host: String,
    },
    /// The server understood and refused, with its reason.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why, in the server's words.
        detail: String,
    },
    /// The server cannot be reached, also after several tries.
    #[error("{host} cannot be reached: {reason}; check the address and that the server runs")]
    Unreachable {
        /// The server's name.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The answer is not what the protocol says.
    #[error("{host} gave an answer that is not understood: {reason}; is it a Terraform Enterprise server?")]
    Unexpected {
        /// The server's name.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something on this machine is in the way.
    #[error("{0}")]
    Local(String),
}
