//! Storage: records, blobs and secrets, each behind a small trait that an embedder can bring an own backend for.
//!
//! There are no repositories. A [`Store`] knows records of described kinds ([`tfe_core::record::Kind`]), answers
//! [`Query`]s and commits [`Batch`]es; everything typed is sugar in [`StoreExt`]. Three methods make a backend, and
//! the suite in `testing` (feature `testing`) says whether it keeps the promises.

mod batch;
pub mod blobs;
mod error;
pub mod fail_point;
mod finding;
mod memory;
pub mod migrate;
mod open;
mod query;
mod rewrap;
pub mod snapshot;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod sql;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vault;

pub use batch::{Batch, MAX_INDEXED_BYTES, MAX_WRITES, Write};
pub use blobs::{BlobError, BlobObserver, BlobStream, Blobs, open_objects};
pub use error::{Error, Result};
pub use finding::{Finding, Problem};
pub use memory::MemoryStore;
pub use open::open_store;
pub use query::{Direction, Filter, MAX_CHOICES, MAX_PAGE, MAX_VALUE_BYTES, Query, Sort};
pub use rewrap::{REWRAP_PAGE, RewrapError, RewrapStep, rewrap_page};
pub use store::{FIRST_VERSION, List, MAX_UPDATE_ATTEMPTS, Page, Store, StoreExt, StoredRecord, Versioned, View};
#[cfg(feature = "transit")]
pub use vault::transit::{TransitLogin, TransitSettings, TransitVault};
pub use vault::{LocalVault, MemoryVault, RootSecret, Vault, VaultError};
