//! An object store that a process uses which dies after so many writes, or of which answers are lost. Its lists have no order.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, path::Path,
};

/// Passes on until it has written so often, and fails then.
#[derive(Debug)]
pub(crate) struct Dying {
    inner: Arc<dyn ObjectStore>,
    left: Arc<AtomicI64>,
    written: AtomicI64,
    /// Whether the next answer to a write is lost.
    is_unanswered: AtomicBool,
}

impl Dying {
    pub(crate) fn after(inner: &Arc<dyn ObjectStore>, writes: i64) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            left: Arc::new(AtomicI64::new(writes)),
            written: AtomicI64::new(0),
            is_unanswered: AtomicBool::new(false),
        })
    }

    pub(crate) fn written(&self) -> i64 {
        self.written.load(Ordering::SeqCst)
    }

    /// The next write happens, and nobody hears of it.
    pub(crate) fn lose_answer(&self) {
        self.is_unanswered.store(true, Ordering::SeqCst);
    }

    fn spend(&self) -> Result<()> {
        self.written.fetch_add(1, Ordering::SeqCst);
        alive(self.left.fetch_sub(1, Ordering::SeqCst) > 0)
    }
}

fn alive(is_alive: bool) -> Result<()> {
    if is_alive { Ok(()) } else { Err(object_store::Error::Generic { store: "dying", source: "the process is dead".into() }) }
}

impl std::fmt::Display for Dying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dying")
    }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.spend()?;
        let put = self.inner.put_opts(location, payload, opts).await?;
        alive(!self.is_unanswered.swap(false, Ordering::SeqCst)).map(|()| put)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.spend()?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, left) = (self.inner.clone(), self.left.clone());
        let deleted = locations.then(move |path| {
            let (inner, left) = (inner.clone(), left.clone());
            async move {
                alive(left.fetch_sub(1, Ordering::SeqCst) > 0)?;
                let path = path?;
                object_store::ObjectStoreExt::delete(&inner, &path).await.map(|()| path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix).collect::<Vec<_>>();
        stream::once(listed).flat_map(|listed| stream::iter(listed.into_iter().rev())).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.spend()?;
        self.inner.copy_opts(from, to, options).await
    }
}
