//! Every store keeps the promises.

mod support;

mod memory {
    use std::sync::Arc;

    use tfe_storage::{MemoryStore, Store};

    async fn with_store(test: impl AsyncFnOnce(Arc<dyn Store>)) {
        test(Arc::new(MemoryStore::new())).await;
    }

    tfe_storage::store_conformance!(with_store);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::Arc;

    use tfe_storage::{Store, open_store, testing::kinds};

    async fn with_store(test: impl AsyncFnOnce(Arc<dyn Store>)) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/test.db", directory.path().display());
        test(open_store(&url, kinds::ALL).await.unwrap()).await;
    }

    tfe_storage::store_conformance!(with_store);
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use tfe_storage::{Store, open_store, testing::kinds};

    async fn with_store(test: impl AsyncFnOnce(Arc<dyn Store>)) {
        super::support::with_postgres(async |url: String| test(open_store(&url, kinds::ALL).await.unwrap()).await).await;
    }

    tfe_storage::store_conformance!(with_store);
}
