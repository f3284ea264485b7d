//! Defects that can be built into a world, to prove that the simulation would find them.

/// One defect, in a part of the simulation that stands for a part of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    /// The store writes over whatever is there.
    UncheckedVersions,
    /// A runner that was restarted begins its applies anew.
    RestartedApplies,
    /// A runner that was restarted sends its log from the beginning, at the end of what is stored.
    RepeatedLogs,
    /// Applies are given up as soon as their lease ends.
    NoGrace,
    /// Jobs are given up by whichever node notices.
    NoDuty,
    /// The scheduler takes every workspace for a free one.
    HeldLooksFree,
    /// Nobody looks for what was lost.
    NoReconciler,
}
