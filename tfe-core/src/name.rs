//! The two rules for names.

use crate::error::Invalid;

/// Longest name; databases index it and pages show it.
pub const MAX_NAME_LENGTH: usize = 90;

/// A name that stands in URLs: letters, digits, `-` and `_`.
pub fn check_slug(pointer: &str, label: &str, name: &str) -> Result<(), Invalid> {
    check(pointer, label, name, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_', "letters, numbers, dashes, and underscores")
}

/// A name that people read: the same, with spaces and a few signs inside.
pub fn check_title(pointer: &str, label: &str, name: &str) -> Result<(), Invalid> {
    if name.trim() != name {
        return Err(Invalid::at(pointer, format!("{label} may not begin or end with a space")));
    }
    check(pointer, label, name, |c| c.is_alphanumeric() || "-_ .:/".contains(c), "letters, numbers, spaces, and - _ . : /")
}

fn check(pointer: &str, label: &str, name: &str, allowed: impl Fn(char) -> bool, words: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        Err(Invalid::at(pointer, format!("{label} can't be blank")))
    } else if name.chars().count() > MAX_NAME_LENGTH {
        Err(Invalid::at(pointer, format!("{label} is too long (maximum is {MAX_NAME_LENGTH} characters)")))
    } else if !name.chars().all(allowed) {
        Err(Invalid::at(pointer, format!("{label} may only contain {words}")))
    } else {
        Ok(())
    }
}
