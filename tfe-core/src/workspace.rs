//! Workspaces: what their administrators choose, who holds the lock, which run is current.

use serde::{Deserialize, Serialize};

use crate::{
    agent::{AgentPool, FLEET},
    error::{Invalid, Refused},
    id::Id,
    name,
    organization::{Organization, Project},
    record,
    record::Field,
    run::Run,
    state_version::StateVersion,
    time::Timestamp,
    user::User,
    version::Constraint,
};

/// The unit of state: one configuration applied to one set of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workspace {
    /// Its id.
    pub id: Id<Workspace>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings, lock, current run or state changed last.
    pub updated_at: Timestamp,
    /// The organization.
    pub organization_id: Id<Organization>,
    /// The project.
    pub project_id: Id<Project>,
    /// What its administrators choose.
    pub settings: WorkspaceSettings,
    /// Tags, as keys with an optional value.
    pub tags: Vec<TagBinding>,
    /// The tags as one text for substring filters, see [`TagBinding::index`].
    pub tag_index: String,
    /// Who keeps others from changing the state.
    pub lock: Option<Lock>,
    /// The run that may change the state; at most one, and it holds the lock.
    pub current_run_id: Option<Id<Run>>,
    /// The run that was current last; what clients see as `current-run`.
    pub latest_run_id: Option<Id<Run>>,
    /// The number of the newest run; the queue's order.
    pub run_count: u64,
    /// The newest state that is whole.
    pub current_state_version_id: Option<Id<StateVersion>>,
    /// How many resources the current state holds.
    pub resource_count: u64,
}

/// What the administrators of a workspace choose. Stored, accepted and shown in this one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkspaceSettings {
    /// Its name, unique in the organization.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Where runs happen.
    #[serde(default)]
    pub execution_mode: ExecutionMode,
    /// Whose agents run it, in agent mode.
    #[serde(default)]
    pub agent_pool_id: Option<Id<AgentPool>>,
    /// An exact version, a constraint, or `latest`.
    #[serde(default = "latest")]
    pub terraform_version: String,
    /// Which engine runs it; an extension, absent in Terraform Enterprise.
    #[serde(default)]
    pub engine: Engine,
    /// The directory in the configuration where the engine starts.
    #[serde(default)]
    pub working_directory: Option<String>,
    /// Whether plans with changes are applied without asking.
    #[serde(default)]
    pub auto_apply: bool,
    /// The same for runs started by another workspace's run.
    #[serde(default)]
    pub auto_apply_run_trigger: bool,
    /// Whether destroy plans may be queued.
    #[serde(default = "yes")]
    pub allow_destroy_plan: bool,
    /// Whether runs are queued for every new configuration.
    #[serde(default)]
    pub queue_all_runs: bool,
    /// Whether pull requests get a speculative plan.
    #[serde(default = "yes")]
    pub speculative_enabled: bool,
    /// Whether only changes below certain paths start runs.
    #[serde(default = "yes")]
    pub file_triggers_enabled: bool,
    /// Paths that start runs.
    #[serde(default)]
    pub trigger_prefixes: Vec<String>,
    /// Patterns of paths that start runs.
    #[serde(default)]
    pub trigger_patterns: Vec<String>,
    /// Whether all workspaces of the organization may read this state.
    #[serde(default)]
    pub global_remote_state: bool,
    /// Whether logs are JSON lines that the CLI renders.
    #[serde(default = "yes")]
    pub structured_run_output_enabled: bool,
    /// Whether drift is looked for.
    #[serde(default)]
    pub assessments_enabled: bool,
    /// Who made the workspace, for display.
    #[serde(default)]
    pub source_name: Option<String>,
    /// Where to read about that.
    #[serde(default)]
    pub source_url: Option<String>,
}

/// Where the runs of a workspace happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionMode {
    /// On the fleet of this installation.
    #[default]
    Remote,
    /// On the machine of whoever runs the CLI; only state is kept here.
    Local,
    /// On agents of the organization.
    Agent,
}

/// The two equal engines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// HashiCorp Terraform.
    #[default]
    Terraform,
    /// OpenTofu.
    Tofu,
}

/// A tag: a bare key, or a key with a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TagBinding {
    /// The key.
    pub key: String,
    /// The value; empty for a bare tag.
    #[serde(default)]
    pub value: String,
}

/// The right to change the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who holds it.
    pub holder: LockHolder,
    /// Why, in the holder's words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Who can hold the lock of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockHolder {
    /// A person.
    User(Id<User>),
    /// An organization's token.
    Organization(Id<Organization>),
    /// The current run.
    Run(Id<Run>),
}

/// Most tags that one workspace can have: the limit that clients test for.
pub const MAX_TAG_BINDINGS: usize = 10;
/// Longest tag key or value.
pub const MAX_TAG_LENGTH: usize = 255;

record!(Workspace, WORKSPACES = "workspaces", prefix: "ws",
    fields: [
        Field::refers("organization_id", &["organization_id"], "organizations"),
        Field::refers("project_id", &["project_id"], "projects"),
        Field::at("name", &["settings", "name"]),
        Field::at("tag_index", &["tag_index"]),
        Field::at("engine", &["settings", "engine"]),
        Field::at("terraform_version", &["settings", "terraform-version"]),
    ],
    unique: [&["organization_id", "name"]],
    indexes: [&["project_id"], &["terraform_version"]]);

fn yes() -> bool {
    true
}

fn latest() -> String {
    "latest".to_owned()
}

impl Workspace {
    /// Takes the lock for `holder`, or says who has it.
    pub fn locked(mut self, holder: LockHolder, reason: String, now: Timestamp) -> Result<Self, Refused> {
        if self.lock.is_some() {
            return Err(Refused::because("workspace already locked"));
        }
        self.lock = Some(Lock { holder, reason, since: now });
        self.updated_at = now;
        Ok(self)
    }

    /// Gives the lock back. Only its holder may; the texts are matched by clients (go-tfe `workspace.go`).
    pub fn unlocked(mut self, holder: &LockHolder, now: Timestamp) -> Result<Self, Refused> {
        let Some(lock) = &self.lock else {
            return Err(Refused::because("workspace already unlocked, or locked by a different user"));
        };
        match (&lock.holder, holder) {
            (LockHolder::Run(run), _) => return Err(Refused::because(format!("workspace is locked by Run {run}"))),
            (held, asked) if held != asked => {
                return Err(Refused::because("workspace is locked by User other than you; ask them to unlock it, or force-unlock it"));
            }
            _ => {}
        }
        self.lock = None;
        self.updated_at = now;
        Ok(self)
    }

    /// Takes the lock from whoever holds it, except from a run: its state may still be on the way.
    pub fn force_unlocked(mut self, now: Timestamp) -> Result<Self, Refused> {
        match &self.lock {
            None => Err(Refused::because("workspace already unlocked")),
            Some(Lock { holder: LockHolder::Run(run), .. }) => {
                Err(Refused::because(format!("workspace is locked by Run {run}; cancel or discard the run instead")))
            }
            Some(_) => {
                self.lock = None;
                self.updated_at = now;
                Ok(self)
            }
        }
    }

    /// Whether this holder may change the state now.
    pub fn is_locked_by(&self, holder: &LockHolder) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.holder == *holder)
    }

    /// Replaces the tags, sorted and checked, and their index with them.
    pub fn tagged(mut self, mut tags: Vec<TagBinding>, now: Timestamp) -> Result<Self, Invalid> {
        tags.sort();
        tags.dedup_by(|later, earlier| later.key == earlier.key);
        if tags.len() > MAX_TAG_BINDINGS {
            return Err(Invalid::at("/data", format!("cannot exceed {MAX_TAG_BINDINGS} bindings per resource")));
        }
        for tag in &tags {
            tag.check()?;
        }
        self.tag_index = TagBinding::index(&tags);
        self.tags = tags;
        self.updated_at = now;
        Ok(self)
    }
}

impl WorkspaceSettings {
    /// Whose workers do its jobs: the queue's name.
    pub fn queue(&self) -> &str {
        match (self.execution_mode, &self.agent_pool_id) {
            (ExecutionMode::Agent, Some(pool)) => pool.as_str(),
            _ => FLEET,
        }
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        name::check_slug("/data/attributes/name", "Name", &self.name)?;
        if Constraint::parse(&self.terraform_version).is_err() {
            let detail = format!(
                "Terraform version \"{}\" is neither a version, a constraint such as \"~> 1.9.0\", nor \"latest\"",
                self.terraform_version
            );
            return Err(Invalid::attribute("terraform-version", detail));
        }
        // The texts are those that clients match (contract, "422 validation texts").
        match (self.execution_mode, &self.agent_pool_id) {
            (ExecutionMode::Agent, None) => {
                return Err(Invalid::attribute("agent-pool-id", "Agent pool must be specified when using 'agent' execution mode"));
            }
            (ExecutionMode::Remote | ExecutionMode::Local, Some(_)) => {
                let detail = "Agent pool must not be specified unless using 'agent' execution mode";
                return Err(Invalid::attribute("agent-pool-id", detail));
            }
            _ => {}
        }
        match self.working_directory.as_deref() {
            Some(path) if path.starts_with('/') || path.split('/').any(|part| part == "..") => {
                Err(Invalid::attribute("working-directory", "Working directory must be a path inside the configuration"))
            }
            _ => Ok(()),
        }
    }
}

impl TagBinding {
    /// The text that substring filters search: `,key,key=value,` for each tag, so that neither a part of a key
    /// nor a key that looks like another's value is found.
    pub fn index(tags: &[Self]) -> String {
        tags.iter().fold(String::from(","), |text, tag| text + &format!("{0},{0}={1},", tag.key, tag.value))
    }

    /// What to search for in the index.
    pub fn needle(&self, with_value: bool) -> String {
        if with_value { format!(",{}={},", self.key, self.value) } else { format!(",{},", self.key) }
    }

    fn check(&self) -> Result<(), Invalid> {
        let allowed = |c: char| c.is_alphanumeric() || "-_:.@/ ".contains(c);
        if self.key.is_empty() || self.key.len() > MAX_TAG_LENGTH || !self.key.chars().all(allowed) {
            return Err(Invalid::at("/data", "Tag keys are 1 to 255 letters, numbers, spaces, and - _ : . @ /"));
        }
        if self.value.len() > MAX_TAG_LENGTH || self.value.contains([',', '=']) {
            return Err(Invalid::at("/data", "Tag values are at most 255 characters without commas and equals signs"));
        }
        Ok(())
    }
}
