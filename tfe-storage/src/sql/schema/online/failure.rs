//! What a failed step means.

use crate::error::Error;

/// Codes of `PostgreSQL`: a lock was not to be had in time, or two sessions waited for each other.
const CONTENTION: [&str; 2] = ["55P03", "40P01"];
/// Codes of `PostgreSQL`: rows with the same values, and a reference to nothing.
const VIOLATIONS: [&str; 2] = ["23505", "23503"];

/// Whether somebody was in the way, so that the step can be tried again.
pub(super) fn is_contention(error: &Error) -> bool {
    has_code(error, &CONTENTION)
}

/// Whether records that are there already break what is being promised.
pub(super) fn is_violation(error: &Error) -> bool {
    has_code(error, &VIOLATIONS)
}

/// The error for records that break what `name` promises: it goes away with them and not by waiting.
pub(super) fn violated(name: &str, error: &Error) -> Error {
    let reason = cause(error).map_or_else(
        || error.to_string(),
        |cause| {
            let detail = cause.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|cause| cause.detail());
            format!("{} ({})", cause.message(), detail.unwrap_or_default())
        },
    );
    Error::Incompatible(format!("{name} cannot be added: {reason}; older programs can go on; change these records and start again"))
}

fn has_code(error: &Error, codes: &[&str]) -> bool {
    cause(error).and_then(sqlx::error::DatabaseError::code).is_some_and(|code| codes.contains(&&*code))
}

fn cause(error: &Error) -> Option<&dyn sqlx::error::DatabaseError> {
    let Error::Unavailable(source) = error else { return None };
    source.downcast_ref::<sqlx::Error>()?.as_database_error()
}
