//! The reference: a store in memory that is meant to be read. What it does is what every store must do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tfe_core::record::Kind;

use crate::{
    batch::{Batch, Write},
    error::{Error, Result},
    query::{Direction, Query, Sort},
    store::{Page, Store, StoredRecord, View},
};

/// Records in memory, gone with the process. Every write looks at every record of its kind, so it is for tests and
/// trials, not for a hundred thousand records.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

/// All records. Cloning is cheap and copies a table only when it is written, which is how a batch is atomic.
#[derive(Debug, Clone, Default)]
struct Tables(BTreeMap<&'static str, Arc<Table>>);

#[derive(Debug, Clone)]
struct Table {
    kind: &'static Kind,
    rows: BTreeMap<String, Arc<StoredRecord>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic cannot leave the tables half written: they are replaced as a whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        Ok(self.tables().row(kind.name, id).map(|row| StoredRecord::clone(row)))
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        query.check()?;
        if query.matches_nothing() {
            return Ok(Page::default());
        }
        Ok(self.tables().clone().page(query))
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let writes = batch.into_checked()?;
        let mut tables = self.tables();
        let mut next = tables.clone();
        writes.into_iter().try_for_each(|write| next.apply(write))?;
        *tables = next;
        Ok(())
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(self.tables().clone()))
    }
}

#[async_trait]
impl View for Tables {
    async fn page(&mut self, kind: &'static Kind, after: Option<&str>, limit: u64) -> Result<Vec<StoredRecord>> {
        Ok(Tables::page(self, &Query::by_id(kind, after, limit)).items)
    }
}

impl Tables {
    fn page(&self, query: &Query) -> Page {
        let fulfils = |row: &StoredRecord| query.filters.iter().all(|filter| filter.accepts(value(query.kind, row, filter.field())));
        let mut rows: Vec<_> = self.rows(query.kind.name).filter(|row| fulfils(row)).collect();
        rows.sort_by_key(|row| match query.sort {
            Sort::Created => (Some(row.created_at), None, &row.id),
            Sort::Field(field) => (None, value(query.kind, row, field), &row.id),
            Sort::Id => (None, None, &row.id),
        });
        if query.direction == Direction::Descending {
            rows.reverse();
        }
        let all = rows.len() as u64;
        let (offset, limit) = (at_most_usize(query.offset), at_most_usize(query.limit));
        let items: Vec<_> = rows.into_iter().skip(offset).take(limit).map(|row| StoredRecord::clone(row)).collect();
        let total = if query.counted { all } else { items.len() as u64 };
        Page { items, total }
    }

    fn apply(&mut self, write: Write) -> Result<()> {
        match write {
            Write::Insert(kind, record) => match self.row(kind.name, &record.id) {
                Some(_) => Err(Error::AlreadyExists { kind: kind.name }),
                None => self.put(kind, record),
            },
            Write::Update(kind, next) => {
                let current = self.expect(kind, &next.id, next.version)?;
                self.put(kind, StoredRecord { created_at: current.created_at, version: current.version + 1, ..next })
            }
            Write::Delete { kind, id, version } => {
                self.expect(kind, &id, version)?;
                self.delete(kind.name, &id);
                Ok(())
            }
            Write::Check { kind, id, version } => self.expect(kind, &id, version).map(drop),
        }
    }

    /// The record, if it is at that version.
    fn expect(&self, kind: &'static Kind, id: &str, version: u64) -> Result<Arc<StoredRecord>> {
        let current = self.row(kind.name, id).filter(|row| row.version == version);
        current.cloned().ok_or_else(|| Error::Conflict { kind: kind.name, id: id.to_owned() })
    }

    fn put(&mut self, kind: &'static Kind, record: StoredRecord) -> Result<()> {
        if self.rows(kind.name).any(|other| other.id != record.id && collide(kind, other, &record)) {
            return Err(Error::AlreadyExists { kind: kind.name });
        }
        let record = Arc::new(record);
        let table = self.0.entry(kind.name).or_insert_with(|| Arc::new(Table { kind, rows: BTreeMap::new() }));
        Arc::make_mut(table).rows.insert(record.id.clone(), Arc::clone(&record));
        let dangles = kind.fields.iter().any(|field| match (field.refers, field.value(&record.body)) {
            (Some(target), Some(id)) => self.row(target, id).is_none(),
            _ => false,
        });
        if dangles { Err(Error::Dangling { kind: kind.name }) } else { Ok(()) }
    }

    fn delete(&mut self, kind: &str, id: &str) {
        if let Some(table) = self.0.get_mut(kind) {
            Arc::make_mut(table).rows.remove(id);
        }
        for (kind, id) in self.referring(kind, id) {
            self.delete(kind, &id);
        }
    }

    fn referring(&self, target: &str, id: &str) -> Vec<(&'static str, String)> {
        let refers = |kind: &Kind, row: &StoredRecord| {
            kind.fields.iter().any(|field| field.refers == Some(target) && field.value(&row.body) == Some(id))
        };
        let rows = self.0.values().flat_map(|table| table.rows.values().map(|row| (table.kind, row)));
        rows.filter(|(kind, row)| refers(kind, row)).map(|(kind, row)| (kind.name, row.id.clone())).collect()
    }

    fn row(&self, kind: &str, id: &str) -> Option<&Arc<StoredRecord>> {
        self.0.get(kind)?.rows.get(id)
    }

    fn rows(&self, kind: &str) -> impl Iterator<Item = &Arc<StoredRecord>> {
        self.0.get(kind).into_iter().flat_map(|table| table.rows.values())
    }
}

/// Whether two records have the same values in a unique group.
fn collide(kind: &'static Kind, one: &StoredRecord, other: &StoredRecord) -> bool {
    let same = |field: &&'static str| value(kind, one, field).is_some_and(|text| value(kind, other, field) == Some(text));
    kind.unique.iter().any(|group| group.iter().all(same))
}

fn value<'r>(kind: &'static Kind, row: &'r StoredRecord, field: &str) -> Option<&'r str> {
    if field == "id" { Some(&row.id) } else { kind.field(field)?.value(&row.body) }
}

fn at_most_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
