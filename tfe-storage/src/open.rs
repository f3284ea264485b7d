//! Opening a store from an address.

use std::sync::Arc;

use tfe_core::record::Kind;

use crate::{
    error::{Error, Result},
    memory::MemoryStore,
    store::Store,
};

/// Opens `memory:`, `sqlite:///absolute/path`, `sqlite:relative/path` or `postgres://user@host/database`, and brings
/// its schema up to the kinds.
pub async fn open_store(url: &str, kinds: &[&'static Kind]) -> Result<Arc<dyn Store>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "memory" => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let path = std::path::Path::new(rest.strip_prefix("//").unwrap_or(rest));
            Ok(Arc::new(crate::sql::SqlStore::<sqlx::Sqlite>::open(path, kinds).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            // The error is not shown: it could repeat the password.
            let options = url.parse().map_err(|_| Error::Address("it is not a PostgreSQL URL".to_owned()))?;
            Ok(Arc::new(crate::sql::SqlStore::<sqlx::Postgres>::connect(options, crate::sql::DEFAULT_CONNECTIONS, kinds).await?))
        }
        _ => {
            let _ = (rest, kinds);
            Err(Error::Address(format!("nothing is known for \"{scheme}:\"; use memory:, sqlite:PATH or postgres://…")))
        }
    }
}
