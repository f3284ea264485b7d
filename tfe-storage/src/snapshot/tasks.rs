//! Doing many things at once, a few at a time, on all processors.

use tokio::task::JoinSet;

/// How many objects are on their way at once: enough to keep a network or two processors busy, few enough that their
/// pieces, a few megabytes each, fit into memory.
pub(super) const AT_ONCE: usize = 8;

/// Tasks of which a few run at a time. The first error ends all.
#[derive(Debug)]
pub(super) struct Tasks<E> {
    running: JoinSet<Result<(), E>>,
}

impl<E: Send + From<crate::Error> + 'static> Tasks<E> {
    pub(super) fn new() -> Self {
        Self { running: JoinSet::new() }
    }

    /// Starts one, after waiting until there is room.
    pub(super) async fn start(&mut self, task: impl Future<Output = Result<(), E>> + Send + 'static) -> Result<(), E> {
        while self.running.len() >= AT_ONCE {
            self.next().await?;
        }
        self.running.spawn(task);
        Ok(())
    }

    /// Waits for all.
    pub(super) async fn finish(mut self) -> Result<(), E> {
        while !self.running.is_empty() {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<(), E> {
        match self.running.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(crate::Error::unavailable(error).into()),
        }
    }
}
