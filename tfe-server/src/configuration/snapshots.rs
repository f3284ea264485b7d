//! The settings of snapshots.

use tfe_core::{
    retention::Retention,
    schedule::{NoSchedule, Schedule},
    secret::Secret,
};

use super::{Configuration, Keys, Objects, RestoreChoice, SnapshotSettings, reader::Reader};

/// `storage` is the object store of blobs. None if a schedule is none.
pub(super) fn snapshots(reader: &mut Reader, storage: Option<&Objects>, has_vault: bool) -> Option<SnapshotSettings> {
    let (url, password) = (reader.text("snapshots.url"), reader.secret("snapshots.password"));
    reader.require(
        url.is_none() || password.is_some() || has_vault,
        "snapshots.password",
        "with a place for snapshots, or an external vault",
    );
    let keys = keys(reader);
    let (schedule, drill) = (schedule(reader, "snapshots.schedule"), schedule(reader, "snapshots.drill_schedule"));
    let mut count = |key| usize::try_from(reader.number(key)).unwrap_or(usize::MAX);
    let retention = Retention {
        hourly: count("snapshots.keep_hourly"),
        daily: count("snapshots.keep_daily"),
        weekly: count("snapshots.keep_weekly"),
        monthly: count("snapshots.keep_monthly"),
    };
    let (continuous, restore_on_boot) = (reader.switch("snapshots.continuous"), restore_choice(reader));
    reader.require(url.is_some() || restore_on_boot != RestoreChoice::Required, "snapshots.url", "if a restore is required");
    let objects = url.map(|url| place(&url, storage, &keys));
    Some(SnapshotSettings { objects, keys, password, schedule: schedule?, drill: drill?, retention, continuous, restore_on_boot })
}

impl Configuration {
    /// Where snapshots at an address are.
    pub fn snapshots_at(&self, url: &str) -> Objects {
        place(url, self.objects.as_ref(), &self.snapshots.keys)
    }
}

fn keys(reader: &mut Reader) -> Keys {
    let (key, secret) = (reader.secret("snapshots.access_key_id"), reader.secret("snapshots.secret_access_key"));
    reader.require(key.is_none() || secret.is_some(), "snapshots.secret_access_key", "together with the key");
    let (azure, google) = (reader.secret("snapshots.azure_account_key"), reader.secret("snapshots.google_credentials"));
    Keys { s3: key.zip(secret), azure, google }
}

fn restore_choice(reader: &mut Reader) -> RestoreChoice {
    match reader.choice("snapshots.restore_on_boot") {
        Some("false") => RestoreChoice::Never,
        Some("required") => RestoreChoice::Required,
        _ => RestoreChoice::Newest,
    }
}

/// A place for snapshots: a URL, or a directory. What it takes to reach a bucket is taken from the object store of blobs, if
/// that is of the same kind. What the URL says after its question mark may be secret, and goes on as such.
fn place(url: &str, storage: Option<&Objects>, keys: &Keys) -> Objects {
    let Some((scheme, _)) = url.split_once("://") else {
        let path = std::path::absolute(url).unwrap_or_else(|_| url.into());
        return Objects { url: format!("file://{}", path.display()), options: Vec::new() };
    };
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let is_alike = |storage: &&Objects| storage.url.split_once("://").is_some_and(|(kind, _)| kind == scheme);
    let mut options = storage.filter(is_alike).map(|storage| storage.options.clone()).unwrap_or_default();
    // A plus is no blank here: it is in every second key.
    let query = query.replace('+', "%2B");
    let given = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), Secret::from(value.into_owned())));
    for (name, value) in given.chain(keys.options(scheme)) {
        options.retain(|(known, _)| *known != name);
        options.push((name, value));
    }
    Objects { url: address.to_owned(), options }
}

impl Keys {
    /// The options that they are for a kind of store.
    fn options(&self, scheme: &str) -> Vec<(String, Secret)> {
        let (key, secret) = self.s3.clone().unzip();
        let options = match scheme {
            "s3" => vec![("access_key_id", key), ("secret_access_key", secret)],
            "az" => vec![("account_key", self.azure.clone())],
            "gs" => vec![("service_account_key", self.google.clone())],
            _ => Vec::new(),
        };
        options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
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
