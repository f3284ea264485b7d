//! Lists that are longer than a page of the store.

use tfe_core::record::Record;
use tfe_storage::{MAX_PAGE, Query, StoreExt, Versioned};

use crate::{app::App, error::ApiError};

/// What a query asks for, page by page, up to `most`. A record that leaves the list meanwhile may hide one behind it from this look.
pub(crate) async fn all<T: Record>(app: &App, query: Query, most: u64) -> Result<Vec<Versioned<T>>, ApiError> {
    let mut found: Vec<Versioned<T>> = Vec::new();
    loop {
        let read = found.len() as u64;
        let size = MAX_PAGE.min(most - read);
        let page = app.store.list::<T>(query.clone().page(read, size)).await?.items;
        let is_last = (page.len() as u64) < size;
        found.extend(page);
        if is_last || found.len() as u64 >= most {
            return Ok(found);
        }
    }
}
