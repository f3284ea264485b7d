//! What an object store can do, found out by doing it.
//!
//! "S3-compatible" is a wide word: stores exist that ignore conditions, cut ranges or refuse multipart uploads. It is
//! better to know at the first start than at the first large state.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};

use crate::finding::Finding;

/// Length of a part of the trial upload: the least that S3 takes for one that is not the last.
const PART_LENGTH: usize = 5 * 1024 * 1024;
/// How much the clocks may differ; S3 refuses requests that are 15 minutes off.
const MAX_CLOCK_SECONDS: u64 = 300;
/// Below what the trial objects are.
const SCRATCH: &str = "probe";

/// Tries everything that blobs and configurations need, in a scratch place that is emptied afterwards.
pub async fn probe(objects: &dyn ObjectStore) -> Vec<Finding> {
    let place = Path::from_iter([SCRATCH, &scratch_name()]);
    let small = place.clone().join("small");
    let large = place.clone().join("large");
    let mut findings = vec![Finding::of("write an object", objects.put(&small, PutPayload::from_static(b"0123456789")).await, WRITE)];
    if findings[0].problem.is_none() {
        findings.push(Finding::of("read a range", read_range(objects, &small).await, READ));
        findings.push(Finding::of("refuse to overwrite when asked to", refuse_second(objects, &small).await, CONDITION));
        findings.push(Finding::of("upload in parts", upload(objects, &large).await, MULTIPART));
        findings.push(Finding::of("agree on the time", same_time(objects, &small).await, CLOCK));
        findings.push(Finding::of("list objects", list(objects, &place).await, LIST));
    }
    let emptied = async {
        delete(objects, &large).await?;
        delete(objects, &small).await
    };
    findings.push(Finding::of("delete an object", emptied.await, DELETE));
    findings
}

const WRITE: &str = "check the address, the bucket's name, the credentials, and that they may put objects (s3:PutObject)";
const READ: &str = "allow reading objects (s3:GetObject), and use a store that answers range requests";
const CONDITION: &str = "use a store that keeps the condition \"If-None-Match: *\"; this one would let two nodes write one object";
const MULTIPART: &str = "allow multipart uploads (s3:PutObject, s3:AbortMultipartUpload); without them contents over 8 MiB cannot be kept";
const CLOCK: &str = "set the clock of this machine by a time server; signatures are refused when it is wrong";
const LIST: &str = "allow listing the bucket (s3:ListBucket); without it orphans are not collected";
const DELETE: &str = "allow deleting objects (s3:DeleteObject); without it old contents stay for ever";

async fn read_range(objects: &dyn ObjectStore, path: &Path) -> Result<(), String> {
    let bytes = objects.get_range(path, 2..5).await.map_err(|error| error.to_string())?;
    if bytes == Bytes::from_static(b"234") { Ok(()) } else { Err(format!("asked for 3 bytes, got {}", bytes.len())) }
}

async fn refuse_second(objects: &dyn ObjectStore, path: &Path) -> Result<(), String> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match objects.put_opts(path, PutPayload::from_static(b"again"), options).await {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it was overwritten".to_owned()),
    }
}

async fn upload(objects: &dyn ObjectStore, path: &Path) -> object_store::Result<()> {
    let mut upload = objects.put_multipart(path).await?;
    let parts = async {
        upload.put_part(vec![0; PART_LENGTH].into()).await?;
        upload.put_part(PutPayload::from_static(b"end")).await?;
        upload.complete().await
    };
    match parts.await {
        Ok(_) => Ok(()),
        Err(error) => {
            // What counts is the first error.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

/// The object was written just now, so its time should be about that of this machine.
async fn same_time(objects: &dyn ObjectStore, path: &Path) -> Result<(), String> {
    let written = objects.head(path).await.map_err(|error| error.to_string())?.last_modified;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let difference = written.timestamp().unsigned_abs().abs_diff(now);
    if difference <= MAX_CLOCK_SECONDS { Ok(()) } else { Err(format!("the clocks differ by {difference} s")) }
}

async fn list(objects: &dyn ObjectStore, place: &Path) -> Result<(), String> {
    let found: Vec<_> = objects.list(Some(place)).try_collect().await.map_err(|error| error.to_string())?;
    if found.len() == 2 { Ok(()) } else { Err(format!("2 objects were written and {} are listed", found.len())) }
}

async fn delete(objects: &dyn ObjectStore, path: &Path) -> object_store::Result<()> {
    match objects.delete(path).await {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        result => result,
    }
}

/// Two nodes may probe one store at the same time.
fn scratch_name() -> String {
    getrandom::u64().map_or_else(|_| "trial".to_owned(), |random| format!("{random:016x}"))
}
