//! Organizations, their projects, and who belongs to them.

use serde::{Deserialize, Serialize};

use crate::{error::Invalid, id::Id, name, record, record::Field, time::Timestamp, user::User};

/// A tenant: it owns projects, workspaces and everything below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id; clients address it by name and see this as `external-id`.
    pub id: Id<Organization>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What its owners choose.
    pub settings: OrganizationSettings,
}

/// What the owners of an organization choose. Stored, accepted and shown in this one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OrganizationSettings {
    /// Its name, unique on the installation.
    pub name: String,
    /// Where notices go.
    pub email: String,
    /// The execution mode of new workspaces.
    #[serde(default)]
    pub default_execution_mode: crate::workspace::ExecutionMode,
    /// Whether plans that started before a newer commit are kept.
    #[serde(default)]
    pub speculative_plan_management_enabled: bool,
    /// Whether workspaces may be deleted although they manage resources.
    #[serde(default)]
    pub allow_force_delete_workspaces: bool,
    /// Whether cost estimates are asked for.
    #[serde(default)]
    pub cost_estimation_enabled: bool,
}

/// A group of workspaces in an organization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: Id<Project>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The organization.
    pub organization_id: Id<Organization>,
    /// Whether it takes the workspaces that name no project.
    pub is_default: bool,
    /// What its administrators choose.
    pub settings: ProjectSettings,
}

/// What the administrators of a project choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProjectSettings {
    /// Its name, unique in the organization.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
}

/// A user's place in an organization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// Its id.
    pub id: Id<Membership>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The organization.
    pub organization_id: Id<Organization>,
    /// The user.
    pub user_id: Id<User>,
    /// What the user may do there.
    pub role: Role,
}

/// What a member may do in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything in the organization.
    Owner,
    /// See the organization and nothing below it, until more is granted.
    Member,
}

/// The name of the project that every organization has from the start.
pub const DEFAULT_PROJECT: &str = "Default Project";

record!(Organization, ORGANIZATIONS = "organizations", prefix: "org",
    fields: [Field::at("name", &["settings", "name"])],
    unique: [&["name"]],
    indexes: []);

record!(Project, PROJECTS = "projects", prefix: "prj",
    fields: [
        Field::refers("organization_id", &["organization_id"], "organizations"),
        Field::at("name", &["settings", "name"]),
    ],
    unique: [&["organization_id", "name"]],
    indexes: []);

record!(Membership, MEMBERSHIPS = "memberships", prefix: "ou",
    fields: [
        Field::refers("organization_id", &["organization_id"], "organizations"),
        Field::refers("user_id", &["user_id"], "users"),
    ],
    unique: [&["organization_id", "user_id"]],
    indexes: [&["user_id"]]);

impl OrganizationSettings {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        name::check_slug("/data/attributes/name", "Name", &self.name)?;
        if self.email.contains('@') {
            Ok(())
        } else {
            Err(Invalid::attribute("email", "Email is not an address; give one like ops@example.com"))
        }
    }
}

impl ProjectSettings {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        name::check_title("/data/attributes/name", "Name", &self.name)
    }
}
