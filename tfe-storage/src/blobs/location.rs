//! Opening an object store from an address.

use std::{path::Path, sync::Arc, time::Duration};

use object_store::{ObjectStore, RetryConfig, local::LocalFileSystem, memory::InMemory, path::Path as ObjectPath, prefix::PrefixStore};
use tfe_core::secret::Secret;

use super::{BlobError, create_private};

/// How long a request is tried again while the store does not answer or says that it is busy.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often, within that time.
const MAX_RETRIES: usize = 8;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a store may be silent in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// A setting of an object store, such as `access_key_id`, in the names of the crate `object_store`.
pub type ObjectOption = (String, Secret);

/// Opens `file:///absolute/directory`, `memory:`, `s3://bucket/prefix`, `az://container/prefix` or
/// `gs://bucket/prefix`. Settings, such as `region` and `endpoint`, are pairs of the URL's query; secret ones are `options`.
pub fn open_objects(url: &str, options: &[ObjectOption]) -> Result<Arc<dyn ObjectStore>, BlobError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = address.split_once(':').ok_or_else(|| wrong(format!("\"{address}\" has no scheme")))?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    match scheme {
        "memory" => return Ok(Arc::new(InMemory::new())),
        "file" => return directory(Path::new(rest)),
        _ => {}
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let pairs = pairs(query)?;
    let settings = pairs.into_iter().chain(options.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
    let store = cloud(scheme, bucket, settings)?;
    let prefix = ObjectPath::parse(prefix).map_err(|error| wrong(error.to_string()))?;
    Ok(if prefix.as_ref().is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) })
}

/// A directory, made if it is missing.
pub(super) fn directory(path: &Path) -> Result<Arc<dyn ObjectStore>, BlobError> {
    create_private(path).map_err(BlobError::unavailable)?;
    let objects = LocalFileSystem::new_with_prefix(path).map_err(BlobError::unavailable)?;
    Ok(Arc::new(objects.with_fsync(true)))
}

/// What the three clouds' builders have in common, which is everything but their types.
macro_rules! build {
    ($builder:expr, $settings:expr) => {{
        let mut builder = $builder.with_retry(retry());
        for (name, value) in $settings {
            let key = name.parse().map_err(|_| wrong(format!("nothing is known of the setting \"{name}\"")))?;
            builder = builder.with_config(key, value);
        }
        // The error is not shown whole: it could repeat a secret.
        Arc::new(builder.build().map_err(|_| wrong("its settings are not complete or do not fit together".to_owned()))?)
    }};
}

fn cloud(scheme: &str, bucket: &str, settings: impl Iterator<Item = (String, String)>) -> Result<Arc<dyn ObjectStore>, BlobError> {
    let timeouts = [("connect_timeout", CONNECT_TIMEOUT), ("read_timeout", READ_TIMEOUT)];
    let timeouts = timeouts.map(|(name, time)| (name.to_owned(), format!("{} seconds", time.as_secs())));
    let settings = timeouts.into_iter().chain([("timeout".to_owned(), "1 hour".to_owned())]).chain(settings);
    match scheme {
        #[cfg(feature = "s3")]
        "s3" => Ok(build!(object_store::aws::AmazonS3Builder::new().with_bucket_name(bucket), settings)),
        #[cfg(feature = "azure")]
        "az" => Ok(build!(object_store::azure::MicrosoftAzureBuilder::new().with_container_name(bucket), settings)),
        #[cfg(feature = "google")]
        "gs" => Ok(build!(object_store::gcp::GoogleCloudStorageBuilder::new().with_bucket_name(bucket), settings)),
        _ => {
            let _ = (bucket, settings);
            Err(wrong(format!("nothing is known for \"{scheme}:\"; use file:///directory, s3://bucket, az://container or gs://bucket")))
        }
    }
}

fn retry() -> RetryConfig {
    let mut retry = RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    retry.backoff.max_backoff = LONGEST_PAUSE;
    retry
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, BlobError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong(format!("\"{pair}\" is no pair of a name and a value")))?;
        Ok((name.to_owned(), decoded(value)?))
    });
    pairs.collect()
}

/// Percent-decoding, as far as addresses in a query need it.
fn decoded(value: &str) -> Result<String, BlobError> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(|| wrong(format!("\"{value}\" ends in the middle of an escape")))?;
        let number = str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(number.ok_or_else(|| wrong(format!("\"{value}\" has an escape that is none")))?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong(format!("\"{value}\" is not UTF-8")))
}

fn wrong(reason: String) -> BlobError {
    BlobError::Address(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_open_and_wrong_ones_say_why() {
        for url in [
            "memory:",
            "s3://bucket/a/b?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1:1&allow_http=true",
            "az://container?account_name=name",
            "gs://bucket?skip_signature=true",
        ] {
            open_objects(url, &[]).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        for (url, reason) in [
            ("bucket", "no scheme"),
            ("ftp://x", "nothing is known for \"ftp:\""),
            ("s3://b?x", "no pair"),
            ("s3://b?regiom=a", "\"regiom\""),
            ("s3://b?region=%4", "escape"),
        ] {
            let error = open_objects(url, &[]).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_are_in_no_error() {
        let options = [("service_account_key".to_owned(), Secret::from("hunter2"))];
        let error = open_objects("gs://bucket", &options).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
