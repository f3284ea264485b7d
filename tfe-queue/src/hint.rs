//! What a queue carries.

use serde::{Deserialize, Serialize};

/// "Look at this." The receiver loads the thing and decides by what it finds there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// A run may have something to do next.
    RunChanged {
        /// Its id.
        run: String,
    },
    /// A workspace may be free for its next run.
    WorkspaceChanged {
        /// Its id.
        workspace: String,
    },
    /// A job waits for a runner.
    JobQueued {
        /// Its id.
        job: String,
    },
}
