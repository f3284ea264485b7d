//! The databases' plans for queries, for tests: a list without an index is fast until somebody has much.

use sqlx::{ColumnIndex, Decode, Encode, Executor, IntoArguments, Row, Type};

use super::{SqlStore, dialect::Dialect, statement};
use crate::{
    error::{Error, Result},
    query::{Filter, Query},
};

impl<DB: Dialect> SqlStore<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    /// What is wrong with the way in which the database would answer a query: nothing if it goes by an index.
    pub async fn plan_problem(&self, query: &Query) -> Result<Option<String>> {
        let mut transaction = self.write.begin_with(DB::BEGIN).await.map_err(Error::unavailable)?;
        for sql in DB::PREPARE_EXPLAIN {
            (&mut *transaction).execute(*sql).await.map_err(Error::unavailable)?;
        }
        let rows = statement::explain::<DB>(query).build().fetch_all(&mut *transaction).await.map_err(Error::unavailable)?;
        // The plan is in the last column of each line.
        let lines: Vec<String> = rows.iter().map(|row| row.get(row.len() - 1)).collect();
        let filtered = query.filters.iter().any(|filter| !matches!(filter, Filter::Contains(..)));
        Ok(is_scan(&lines, filtered).then(|| format!("{query:?}\n{}", lines.join("\n"))))
    }
}

/// Whether a plan reads a table from end to end. In an order that an index has that is right for a list without
/// filters, which stops at its limit.
fn is_scan(lines: &[String], filtered: bool) -> bool {
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    let scans_whole = lines.iter().any(|line| line.starts_with("SCAN ") && (filtered || !line.contains(" INDEX ")));
    let walks_index = has("Index Scan") && filtered && !has("Index Cond");
    scans_whole || has("Seq Scan") || walks_index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_read_everything_are_recognised() {
        let scan = |lines: &[&str], filtered| is_scan(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), filtered);
        assert!(scan(&["SCAN runs", "USE TEMP B-TREE FOR ORDER BY"], false));
        assert!(scan(&["SCAN runs USING INDEX runs_created_at_id_idx"], true));
        assert!(!scan(&["SCAN runs USING INDEX runs_created_at_id_idx"], false));
        assert!(!scan(&["SEARCH runs USING INDEX runs_status_created_at_id_idx (status=?)"], true));
        assert!(scan(&["Limit", "  ->  Seq Scan on runs"], false));
        assert!(scan(&["Limit", "  ->  Index Scan using runs_created_at_id_idx on runs", "        Filter: (status = 'x')"], true));
        assert!(!scan(&["  ->  Index Scan using a on runs", "        Index Cond: (status = 'x')"], true));
    }
}
