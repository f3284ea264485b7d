//! What the schema consists of, derived from the kinds.

use tfe_core::record::{Field, Kind};

use crate::{
    error::{Error, Result},
    sql::dialect::Dialect,
};

/// Longest name of a table, column or index; `PostgreSQL` cuts longer ones, and two could become one.
const MAX_NAME_LENGTH: usize = 63;

/// A table, column or index.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its name in `meta`.
    pub(super) name: String,
    /// What it means, independent of the database.
    pub(super) definition: String,
    /// The table that it is or belongs to.
    pub(super) table: &'static str,
    /// What it is.
    pub(super) shape: Shape,
    /// The statement that adds it to a table that nobody else uses.
    pub(super) sql: String,
}

/// What a part is.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A table.
    Table,
    /// A column.
    Column(&'static Field),
    /// An index.
    Index(Index),
}

/// An index.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// Its name in the database.
    pub(super) name: String,
    is_unique: bool,
    fields: Vec<&'static str>,
}

/// All tables, then all columns, then all indexes: a column may refer to any table, even its own.
pub(super) fn of<DB: Dialect>(kinds: &[&'static Kind]) -> Result<Vec<Part>> {
    let tables = kinds.iter().map(|kind| table::<DB>(kind));
    let columns = kinds.iter().flat_map(|kind| kind.fields.iter().map(|field| column::<DB>(kind, field)));
    let marks = DB::MARKS_COMMITS.then(marks);
    let parts: Vec<_> = marks.into_iter().chain(tables).chain(columns).chain(kinds.iter().flat_map(|kind| indexes(kind))).collect();
    match parts.iter().find(|part| part.longest_name() > MAX_NAME_LENGTH) {
        None => Ok(parts),
        Some(part) => Err(Error::Incompatible(format!("{} has a name of more than {MAX_NAME_LENGTH} letters", part.name))),
    }
}

/// The name of what belongs to a column: the constraint of its reference (`fkey`, as the database itself would name it), or what
/// fills it (`fill`).
pub(super) fn belonging(table: &str, column: &str, ending: &str) -> String {
    format!("{table}_{column}_{ending}")
}

/// The text at a path of the body: `body -> 'settings' ->> 'name'`.
pub(super) fn json_path(path: &[&str]) -> String {
    let last = path.len().saturating_sub(1);
    let steps = path.iter().enumerate().map(|(index, key)| if index == last { format!(" ->> '{key}'") } else { format!(" -> '{key}'") });
    steps.fold("body".to_owned(), |path, step| path + &step)
}

impl Part {
    fn longest_name(&self) -> usize {
        let belonging = if let Shape::Column(field) = self.shape { belonging(self.table, field.name, "fkey").len() } else { 0 };
        self.name.split([' ', '.']).map(str::len).fold(belonging, usize::max)
    }
}

impl Index {
    /// The statement that makes it on a table; `how` is nothing or `CONCURRENTLY `.
    pub(super) fn sql(&self, table: &str, how: &str) -> String {
        let columns: Vec<_> = self.fields.iter().map(|field| format!("\"{field}\"")).collect();
        format!("CREATE {} {how}\"{}\" ON \"{table}\" ({})", self.what(), self.name, columns.join(", "))
    }

    fn what(&self) -> &'static str {
        if self.is_unique { "UNIQUE INDEX" } else { "INDEX" }
    }
}

/// Marks of commits; the database's own clock says when one is old enough to go.
fn marks() -> Part {
    let columns = "id TEXT PRIMARY KEY, made_at TIMESTAMPTZ NOT NULL DEFAULT now()";
    let sql = format!("CREATE TABLE IF NOT EXISTS commits ({columns})");
    Part { name: "table commits".to_owned(), definition: "marks".to_owned(), table: "commits", shape: Shape::Table, sql }
}

fn table<DB: Dialect>(kind: &Kind) -> Part {
    let (text, body) = (DB::TEXT, DB::BODY);
    let columns = format!("id {text} PRIMARY KEY, created_at BIGINT NOT NULL, version BIGINT NOT NULL, body {body} NOT NULL");
    let sql = format!("CREATE TABLE \"{}\" ({columns})", kind.name);
    let name = format!("table {}", kind.name);
    Part { name, definition: "records".to_owned(), table: kind.name, shape: Shape::Table, sql }
}

fn column<DB: Dialect>(kind: &Kind, field: &'static Field) -> Part {
    let (table, column, text, generated) = (kind.name, field.name, DB::TEXT, DB::GENERATED);
    let (references, of) = match field.refers {
        Some(target) => (format!("REFERENCES \"{target}\" (id) ON DELETE CASCADE"), format!(" of {target}")),
        None => (String::new(), String::new()),
    };
    let value = json_path(field.path);
    let sql = format!("ALTER TABLE \"{table}\" ADD COLUMN \"{column}\" {text} GENERATED ALWAYS AS ({value}) {generated} {references}");
    let definition = field.path.join(".") + &of;
    Part { name: format!("column {table}.{column}"), definition, table, shape: Shape::Column(field), sql }
}

/// The unique groups; the indexes, each continued by the default order of lists; that order alone; and an index for
/// every reference that has none yet, since deleting a record looks for all that refer to it.
fn indexes(kind: &'static Kind) -> Vec<Part> {
    let leads = |field: &Field| kind.unique.iter().chain(kind.indexes).any(|group| group.first() == Some(&field.name));
    let references = kind.fields.iter().filter(|field| field.refers.is_some() && !leads(field)).map(|field| vec![field.name]);
    let ordered = |fields: Vec<&'static str>| index(kind, false, [fields, vec!["created_at", "id"]].concat());
    let unique = kind.unique.iter().map(|group| index(kind, true, group.to_vec()));
    let groups = kind.indexes.iter().map(|group| group.to_vec()).chain(references).chain([vec![]]);
    unique.chain(groups.map(ordered)).collect()
}

fn index(kind: &Kind, is_unique: bool, fields: Vec<&'static str>) -> Part {
    let ending = if is_unique { "key" } else { "idx" };
    let index = Index { name: format!("{}_{}_{ending}", kind.name, fields.join("_")), is_unique, fields };
    let definition = format!("{} ({})", index.what().to_lowercase(), index.fields.join(", "));
    let sql = index.sql(kind.name, "");
    Part { name: format!("index {}", index.name), definition, table: kind.name, shape: Shape::Index(index), sql }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_the_system_is_too_long() {
        assert!(of::<sqlx::Sqlite>(tfe_core::KINDS).is_ok());
    }

    #[test]
    fn a_value_is_the_text_at_its_path() {
        assert_eq!(json_path(&["name"]), "body ->> 'name'");
        assert_eq!(json_path(&["settings", "name"]), "body -> 'settings' ->> 'name'");
    }
}
