//! What a database says of its schema.

use std::collections::BTreeSet;

use super::library::connection;

/// Everything by which two schemas could differ for a program: columns with their types, indexes and whether they are whole,
/// constraints and whether they are proved, and the notes. How a column is filled is not among it, nor the order of columns.
const DESCRIPTION: &str = "\
    SELECT format('column %s.%s %s %s %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), \
        a.attcollation::regcollation, a.attnotnull) \
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped \
    UNION ALL SELECT format('%s; valid %s, ready %s', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready) \
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace \
    UNION ALL SELECT format('%s on %s: %s; proved %s', conname, conrelid::regclass, pg_get_constraintdef(oid), convalidated) \
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace \
    UNION ALL SELECT format('note %s: %s', name, definition) FROM meta";

/// A line for each thing in a schema.
pub(crate) async fn description(url: &str) -> BTreeSet<String> {
    sqlx::query_scalar(DESCRIPTION).fetch_all(&mut connection(url).await).await.unwrap().into_iter().collect()
}

/// How many rows of the books have a column that is not what the body says.
pub(crate) async fn unfilled(url: &str) -> i64 {
    let sql = "SELECT count(*) FROM books WHERE (shelf_id, isbn, sequel_of, genre) IS DISTINCT FROM \
               (body ->> 'shelf_id', body ->> 'isbn', body ->> 'sequel_of', body -> 'about' ->> 'genre')";
    sqlx::query_scalar(sql).fetch_one(&mut connection(url).await).await.unwrap()
}
