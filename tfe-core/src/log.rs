//! The log of a phase while it grows: numbered chunks, joined into one blob when the phase ends.

use serde::{Deserialize, Serialize};

use crate::{
    id::Id,
    record,
    record::{Field, Seal},
    run::Run,
    secret::Sealed,
    time::Timestamp,
};

/// A piece of a log. Its id is made of the phase's id and the offset, so that a piece sent twice is stored once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogChunk {
    /// See [`LogChunk::id_for`].
    pub id: Id<LogChunk>,
    /// When it came.
    pub created_at: Timestamp,
    /// The run.
    pub run_id: Id<Run>,
    /// The id of the plan or apply.
    pub log: String,
    /// Where in the log it begins, in bytes.
    pub offset: u64,
    /// How many bytes it holds.
    pub length: u64,
    /// The bytes, sealed by the vault.
    pub content: Sealed,
}

/// Largest piece in bytes: what the CLI asks for at once.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

record!(LogChunk, LOG_CHUNKS = "log_chunks", prefix: "log",
    fields: [Field::refers("run_id", &["run_id"], "runs"), Field::at("log", &["log"])],
    unique: [],
    indexes: [&["log"], &["run_id"]],
    seals: [LogChunk::CONTENT]);

impl LogChunk {
    /// Where the content is.
    pub const CONTENT: Seal = Seal { path: &["content"], context: "log:{id}" };

    /// The id of the chunk of a log at an offset; ids of one log sort by offset.
    pub fn id_for(log: &str, offset: u64) -> Id<Self> {
        Id::from(format!("{log}.{offset:012}"))
    }

    /// What sorts before the ids of all chunks of a log, and after those of the logs before it.
    pub fn before_all(log: &str) -> String {
        format!("{log}.")
    }

    /// What sorts after the ids of all chunks of a log, and before those of the logs after it.
    pub fn after_all(log: &str) -> String {
        // The character after the dot.
        format!("{log}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_of_a_log_are_apart_from_those_of_others() {
        let own = [0, 9, 1 << 28].map(|offset| LogChunk::id_for("plan-b", offset).to_string());
        assert!(own.is_sorted());
        assert!(own.iter().all(|id| *id > LogChunk::before_all("plan-b") && *id < LogChunk::after_all("plan-b")));
        assert!(LogChunk::id_for("plan-a", 1 << 28).to_string() < LogChunk::before_all("plan-b"));
        assert!(LogChunk::id_for("plan-c", 0).to_string() > LogChunk::after_all("plan-b"));
    }
}
