//! Who may do what: one table.

use crate::{
    id::Id,
    organization::{Organization, Role},
    user::User,
    workspace::Workspace,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A person.
    User {
        /// Who.
        id: Id<User>,
        /// Whether everything is allowed.
        site_admin: bool,
    },
    /// The token of an organization.
    Organization(Id<Organization>),
    /// A run, through the token that its runner has.
    Run {
        /// The run's workspace.
        workspace: Id<Workspace>,
        /// The workspace's organization.
        organization: Id<Organization>,
    },
}

/// What is asked for, in an organization or a workspace of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See the organization.
    ReadOrganization,
    /// Change the organization, its tokens and members.
    ManageOrganization,
    /// Make projects and workspaces.
    CreateWorkspace,
    /// See the workspace and its runs.
    ReadWorkspace,
    /// Read state and outputs.
    ReadState,
    /// Write state and take the lock.
    WriteState,
    /// See variables.
    ReadVariables,
    /// Change variables.
    WriteVariables,
    /// Plan.
    QueueRun,
    /// Confirm, discard, cancel.
    ApplyRun,
    /// Change or delete the workspace.
    ManageWorkspace,
}

/// What the permission is asked on.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'s> {
    /// The organization.
    pub organization: &'s Id<Organization>,
    /// The workspace, if it is about one.
    pub workspace: Option<&'s Id<Workspace>>,
}

/// Whether the subject may do it. `role` is the user's role in the scope's organization, if there is one.
pub fn allows(subject: &Subject, role: Option<Role>, permission: Permission, scope: Scope<'_>) -> bool {
    use Permission::{ReadOrganization, ReadState, ReadWorkspace};
    match subject {
        Subject::User { site_admin: true, .. } => true,
        Subject::User { .. } => match role {
            Some(Role::Owner) => true,
            Some(Role::Member) => permission == ReadOrganization,
            None => false,
        },
        Subject::Organization(id) => id == scope.organization,
        Subject::Run { workspace, organization } => {
            organization == scope.organization
                && match permission {
                    ReadOrganization => true,
                    ReadWorkspace | ReadState => scope.workspace == Some(workspace),
                    _ => false,
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reaches_into_another_organization() {
        let (mine, other, workspace) = (Id::from("org-mine"), Id::from("org-other"), Id::from("ws-1"));
        let user = |site_admin| Subject::User { id: Id::from("user-1"), site_admin };
        let run = Subject::Run { workspace: workspace.clone(), organization: mine.clone() };
        let at = |organization| Scope { organization, workspace: Some(&workspace) };
        for permission in [Permission::ReadOrganization, Permission::ReadWorkspace, Permission::WriteState, Permission::ManageWorkspace] {
            assert!(!allows(&user(false), None, permission, at(&other)));
            assert!(!allows(&Subject::Organization(mine.clone()), None, permission, at(&other)));
            assert!(!allows(&run, None, permission, at(&other)));
            assert!(allows(&user(true), None, permission, at(&other)));
            assert!(allows(&user(false), Some(Role::Owner), permission, at(&mine)));
        }
    }

    #[test]
    fn a_run_reads_its_own_workspace_and_changes_nothing() {
        let (organization, own, foreign) = (Id::from("org-1"), Id::from("ws-1"), Id::from("ws-2"));
        let run = Subject::Run { workspace: own.clone(), organization: organization.clone() };
        let may = |permission, workspace| allows(&run, None, permission, Scope { organization: &organization, workspace: Some(workspace) });
        assert!(may(Permission::ReadState, &own));
        assert!(!may(Permission::ReadState, &foreign));
        for permission in [Permission::WriteState, Permission::QueueRun, Permission::ApplyRun, Permission::ReadVariables] {
            assert!(!may(permission, &own));
        }
    }
}
