//! Versions.
use crate::error::Invalid;
/// A constraint.
#[derive(Debug)]
pub struct Constraint;
impl Constraint {
    /// Reads one.
    pub fn parse(_text: &str) -> Result<Self, Invalid> {
        Ok(Self)
    }
}
