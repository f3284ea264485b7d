//! What a plan says: counts of changes.

use serde::{Deserialize, Serialize};

/// Counts of changes, as the CLI and the pages show them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Resources added, replacements included.
    pub add: u64,
    /// Resources changed in place.
    pub change: u64,
    /// Resources destroyed, replacements included.
    pub destroy: u64,
    /// Resources imported.
    pub import: u64,
    /// Whether there is anything to apply: resources, outputs, moves or imports.
    pub has_changes: bool,
}
