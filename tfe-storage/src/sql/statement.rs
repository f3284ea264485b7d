//! The five statements: select, count, insert, update, delete (and a select that holds a version).

use sqlx::{Database, Encode, QueryBuilder, Type, types::Json};
use tfe_core::record::Kind;

use super::dialect::Dialect;
use crate::{
    batch::Write,
    query::{Direction, Filter, Query, Sort},
    store::{FIRST_VERSION, StoredRecord},
};

/// A record in the columns that [`select`] asks for.
pub(super) type Row = (String, i64, i64, Json<serde_json::Value>);

/// Gives [`Row`]s.
pub(super) fn select<DB: Database>(query: &Query) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let mut sql = QueryBuilder::new("");
    push_select(&mut sql, query);
    sql
}

/// Gives the database's plan for the select.
#[cfg(feature = "testing")]
pub(super) fn explain<DB: Dialect>(query: &Query) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let mut sql = QueryBuilder::new(DB::EXPLAIN);
    push_select(&mut sql, query);
    sql
}

fn push_select<DB: Database>(sql: &mut QueryBuilder<DB>, query: &Query)
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    sql.push("SELECT id, created_at, version, body FROM ");
    push_name(sql, query.kind.name);
    push_filters(sql, &query.filters);
    push_order(sql, query);
    sql.push(" LIMIT ").push_bind(signed(query.limit)).push(" OFFSET ").push_bind(signed(query.offset));
}

/// Gives the number of records that fulfil the filters.
pub(super) fn count<DB: Database>(query: &Query) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut sql = QueryBuilder::new("SELECT count(*) FROM ");
    push_name(&mut sql, query.kind.name);
    push_filters(&mut sql, &query.filters);
    sql
}

/// Whether a page with `found` records shows that there are no more, so that counting can be spared.
pub(super) fn is_last_page(query: &Query, found: u64) -> bool {
    found < query.limit && (found > 0 || query.offset == 0)
}

/// Gives the id if the write found what it wanted, else nothing.
pub(super) fn write<DB: Dialect>(write: &Write) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Json<serde_json::Value>: Encode<'q, DB> + Type<DB>,
{
    match write {
        Write::Insert(kind, record) => insert(kind, record),
        Write::Update(kind, record) => {
            let mut sql = QueryBuilder::new("UPDATE ");
            push_name(&mut sql, kind.name);
            sql.push(" SET version = version + 1, body = ").push_bind(Json(record.body.clone()));
            push_version(&mut sql, &record.id, record.version);
            sql.push(" RETURNING id");
            sql
        }
        Write::Delete { kind, id, version } => {
            let mut sql = QueryBuilder::new("DELETE FROM ");
            push_name(&mut sql, kind.name);
            push_version(&mut sql, id, *version);
            sql.push(" RETURNING id");
            sql
        }
        Write::Check { kind, id, version } => {
            let mut sql = QueryBuilder::new("SELECT id FROM ");
            push_name(&mut sql, kind.name);
            push_version(&mut sql, id, *version);
            sql.push(DB::KEEP);
            sql
        }
    }
}

fn insert<DB: Database>(kind: &Kind, record: &StoredRecord) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Json<serde_json::Value>: Encode<'q, DB> + Type<DB>,
{
    let mut sql = QueryBuilder::new("INSERT INTO ");
    push_name(&mut sql, kind.name);
    sql.push(" (id, created_at, version, body) VALUES (");
    let mut values = sql.separated(", ");
    values.push_bind(record.id.clone()).push_bind(record.created_at.as_millis());
    values.push_bind(signed(FIRST_VERSION)).push_bind(Json(record.body.clone()));
    sql.push(") RETURNING id");
    sql
}

fn push_version<DB: Database>(sql: &mut QueryBuilder<DB>, id: &str, version: u64)
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    sql.push(" WHERE id = ").push_bind(id.to_owned()).push(" AND version = ").push_bind(signed(version));
}

fn push_filters<DB: Database>(sql: &mut QueryBuilder<DB>, filters: &[Filter])
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    for (index, filter) in filters.iter().enumerate() {
        sql.push(if index == 0 { " WHERE " } else { " AND " });
        push_filter(sql, filter);
    }
}

fn push_filter<DB: Database>(sql: &mut QueryBuilder<DB>, filter: &Filter)
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    match filter {
        Filter::Equals(field, value) => {
            push_name(sql, field);
            sql.push(" = ").push_bind(value.clone());
        }
        Filter::AnyOf(field, values) => {
            push_name(sql, field);
            sql.push(" IN (");
            let mut list = sql.separated(", ");
            for value in values {
                list.push_bind(value.clone());
            }
            sql.push(")");
        }
        Filter::Contains(field, text) => {
            // The columns' byte order makes lower() change ASCII only, on both databases.
            sql.push("lower(");
            push_name(sql, field);
            sql.push(") LIKE ").push_bind(format!("%{}%", escaped(&text.to_ascii_lowercase()))).push(" ESCAPE '\\'");
        }
        Filter::IsNull(field) => {
            push_name(sql, field);
            sql.push(" IS NULL");
        }
        Filter::After(field, value) => {
            push_name(sql, field);
            sql.push(" > ").push_bind(value.clone());
        }
    }
}

fn push_order<DB: Database>(sql: &mut QueryBuilder<DB>, query: &Query) {
    let direction = if query.direction == Direction::Ascending { " ASC" } else { " DESC" };
    // Said only where there can be nulls: PostgreSQL does not use an index for an order that spells it out.
    let nulls = if query.direction == Direction::Ascending { " NULLS FIRST" } else { " NULLS LAST" };
    sql.push(" ORDER BY ");
    match query.sort {
        Sort::Created => {
            sql.push("created_at").push(direction).push(", ");
        }
        Sort::Field(field) => {
            push_name(sql, field);
            sql.push(direction).push(nulls).push(", ");
        }
        Sort::Id => {}
    }
    sql.push("id").push(direction);
}

/// Quoted, since a kind may be called like a word of SQL.
fn push_name<DB: Database>(sql: &mut QueryBuilder<DB>, name: &'static str) {
    sql.push('"').push(name).push('"');
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Databases count in signed numbers; no version, limit or offset that occurs is cut.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
