//! What happened to a run and who did it, for people.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, record::Field, run::Run, time::Timestamp, user::User};

/// One entry in the history of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Its id.
    pub id: Id<RunEvent>,
    /// When it happened.
    pub created_at: Timestamp,
    /// The run.
    pub run_id: Id<Run>,
    /// What happened: the status that the run reached, or `cancel_requested`.
    pub action: String,
    /// In words, where there is more to say.
    pub description: Option<String>,
    /// Who did it.
    pub actor: Option<Id<User>>,
}

record!(RunEvent, RUN_EVENTS = "run_events", prefix: "re",
    fields: [Field::refers("run_id", &["run_id"], "runs")],
    unique: [],
    indexes: [&["run_id"]]);
