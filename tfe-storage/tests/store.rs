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

mod faulty {
    use std::sync::Arc;

    use tfe_storage::{
        Batch, Error, MemoryStore, Store, StoreExt,
        testing::{
            faulty::{Fault, Faulty},
            kinds::{Shelf, shelf},
        },
    };

    async fn with_store(test: impl AsyncFnOnce(Arc<dyn Store>)) {
        test(Arc::new(Faulty::new(MemoryStore::new()))).await;
    }

    tfe_storage::store_conformance!(with_store);

    #[tokio::test]
    async fn fails_once_before_or_after_the_commit() {
        let store = Faulty::new(MemoryStore::new());
        for (fault, id, is_kept) in [(Fault::Lost, "shelf-1", false), (Fault::Unanswered, "shelf-2", true)] {
            store.fail_next(fault);
            assert!(matches!(store.commit(Batch::new().insert(&shelf(id))).await, Err(Error::Unavailable(_))));
            assert_eq!(store.find::<Shelf>(id).await.unwrap().is_some(), is_kept);
        }
        store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    }
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
