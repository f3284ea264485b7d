//! A store that looks at the plan of every query it is asked, in each database, and refuses those without an index.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tfe_core::record::Kind;

use crate::{Batch, Error, Page, Query, Result, Store, StoredRecord, View, query::Filter, sql::SqlStore};

/// Passes everything on to another store, after asking the databases how they would do it.
#[derive(Debug)]
pub struct Explaining {
    inner: Arc<dyn Store>,
    databases: Databases,
    seen: Mutex<BTreeSet<String>>,
    problems: Mutex<Vec<String>>,
}

/// Databases with the schema of all kinds; what is in them does not matter.
#[derive(Debug, Clone)]
pub struct Databases {
    /// `SQLite`.
    pub sqlite: Arc<SqlStore<sqlx::Sqlite>>,
    /// `PostgreSQL`, where there is one.
    pub postgres: Option<Arc<SqlStore<sqlx::Postgres>>>,
}

impl Explaining {
    /// Asks these databases.
    pub fn new(inner: Arc<dyn Store>, databases: Databases) -> Self {
        Self { inner, databases, seen: Mutex::default(), problems: Mutex::default() }
    }

    /// What was wrong with queries so far. A test must look here: callers may keep an error to themselves.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn check(&self, query: &Query) -> Result<()> {
        let is_new = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(shape(query));
        if !is_new || query.check().is_err() || query.matches_nothing() {
            return Ok(());
        }
        let mut problem = self.databases.sqlite.plan_problem(query).await?;
        if let Some(postgres) = &self.databases.postgres {
            problem = problem.or(postgres.plan_problem(query).await?);
        }
        problem.map_or(Ok(()), |problem| {
            let reason = format!("a query has no index: {problem}");
            self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(reason.clone());
            Err(Error::Invalid { kind: query.kind.name, reason })
        })
    }
}

#[async_trait]
impl Store for Explaining {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        self.check(query).await?;
        self.inner.query(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.inner.commit(batch).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.inner.view().await
    }
}

fn shape(query: &Query) -> String {
    let filters = query.filters.iter().map(|filter| match filter {
        Filter::Equals(field, _) => format!("{field}="),
        Filter::AnyOf(field, _) => format!("{field} in"),
        Filter::Contains(field, _) => format!("{field} contains"),
        Filter::IsNull(field) => format!("{field} null"),
        Filter::After(field, _) => format!("{field} after"),
    });
    format!("{} [{}] {:?} {:?}", query.kind.name, filters.collect::<Vec<_>>().join(", "), query.sort, query.direction)
}
