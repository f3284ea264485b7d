//! The settings of snapshots.

use tfe_core::{
    retention::Retention,
    schedule::{NoSchedule, Schedule},
    secret::Secret,
};

use super::{Configuration, Objects, SnapshotSettings, reader::Reader};

/// `storage` is the object store of blobs. None if a schedule is none.
pub(super) fn snapshots(reader: &mut Reader, storage: Option<&Objects>, has_vault: bool) -> Option<SnapshotSettings> {
    let (url, password) = (reader.text("snapshots.url"), reader.secret("snapshots.password"));
    reader.require(
        url.is_none() || password.is_some() || has_vault,
        "snapshots.password",
        "with a place for snapshots, or an external vault",
    );
    let key = reader.secret("snapshots.access_key_id");
    let secret = reader.secret("snapshots.secret_access_key");
    reader.require(key.is_none() || secret.is_some(), "snapshots.secret_access_key", "together with the key");
    let (schedule, drill) = (schedule(reader, "snapshots.schedule"), schedule(reader, "snapshots.drill_schedule"));
    let mut count = |key| usize::try_from(reader.number(key)).unwrap_or(usize::MAX);
    let retention = Retention {
        hourly: count("snapshots.keep_hourly"),
        daily: count("snapshots.keep_daily"),
        weekly: count("snapshots.keep_weekly"),
        monthly: count("snapshots.keep_monthly"),
    };
    let (continuous, restore_on_boot) = (reader.switch("snapshots.continuous"), reader.switch("snapshots.restore_on_boot"));
    let key = key.zip(secret);
    let objects = url.map(|url| place(&url, storage, key.as_ref()));
    Some(SnapshotSettings { objects, key, password, schedule: schedule?, drill: drill?, retention, continuous, restore_on_boot })
}

impl Configuration {
    /// Where snapshots at an address are.
    pub fn snapshots_at(&self, url: &str) -> Objects {
        place(url, self.objects.as_ref(), self.snapshots.key.as_ref())
    }
}

/// A place for snapshots: a URL, or a directory. What it takes to reach a bucket is taken from the object store of blobs, if
/// that is of the same kind.
fn place(url: &str, storage: Option<&Objects>, key: Option<&(Secret, Secret)>) -> Objects {
    let Some((scheme, _)) = url.split_once("://") else {
        let path = std::path::absolute(url).unwrap_or_else(|_| url.into());
        return Objects { url: format!("file://{}", path.display()), options: Vec::new() };
    };
    let is_alike = |storage: &&Objects| storage.url.split_once("://").is_some_and(|(kind, _)| kind == scheme);
    let mut options = storage.filter(is_alike).map(|storage| storage.options.clone()).unwrap_or_default();
    if let Some((key, secret)) = key {
        options.retain(|(name, _)| name != "access_key_id" && name != "secret_access_key");
        options.extend([("access_key_id".to_owned(), key.clone()), ("secret_access_key".to_owned(), secret.clone())]);
    }
    Objects { url: url.to_owned(), options }
}

fn schedule(reader: &mut Reader, key: &'static str) -> Option<Schedule> {
    let text = reader.text(key)?;
    match text.parse() {
        Ok(schedule) => Some(schedule),
        Err(error @ NoSchedule(_)) => {
            reader.mistake(key, error.to_string());
            None
        }
    }
}
