//! What is masked in a job's log, as it was when the job began, sealed in the spool: the engine prints the values that it was given,
//! and where the log goes on depends on how long they are, whatever they were changed to since.

use std::{fs, io, path::Path};

use tfe_core::secret::Secret;

use crate::{files::write_durably, job::Assignment, supervisor::snapshot};

const FILE: &str = "masks.sealed";

/// The values that the job's log must not show, as they are now.
pub(crate) fn of(assignment: &Assignment) -> Vec<Secret> {
    let given = assignment.spec.variables.iter().chain(&assignment.spec.environment);
    given.filter(|variable| variable.sensitive).map(|variable| variable.value.clone()).collect()
}

/// Keeps them for whoever takes the job up.
pub(crate) fn keep(spool: &Path, assignment: &Assignment) -> io::Result<()> {
    let secrets = of(assignment);
    let values: Vec<&str> = secrets.iter().map(Secret::expose).collect();
    let sealed = snapshot::seal(&assignment.spool_key, &context(assignment), &serde_json::to_vec(&values)?)?;
    write_durably(&spool.join(FILE), &sealed)
}

/// Those that were kept. None in a job of an earlier release.
pub(crate) fn kept(spool: &Path, assignment: &Assignment) -> Option<Vec<Secret>> {
    let sealed = fs::read(spool.join(FILE)).ok()?;
    let text = snapshot::open(&assignment.spool_key, &context(assignment), &sealed)?;
    let values: Vec<String> = serde_json::from_slice(&text).ok()?;
    Some(values.into_iter().map(Secret::from).collect())
}

/// Not that of snapshots, so that none can be put in the other's place.
fn context(assignment: &Assignment) -> String {
    format!("{}:masks", assignment.job)
}
