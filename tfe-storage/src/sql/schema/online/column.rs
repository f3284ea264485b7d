//! Columns that a trigger fills.

use tfe_core::record::Field;

use super::session::Session;
use crate::{
    error::Result,
    sql::{
        dialect::Dialect,
        schema::{
            notes::Notes,
            parts::{self, Part, Shape},
        },
    },
};

/// A column on its way into a table.
#[derive(Debug)]
pub(super) struct Column<'a> {
    /// The table.
    pub(super) table: &'static str,
    /// What it holds.
    pub(super) field: &'static Field,
    part: &'a Part,
}

impl<'a> Column<'a> {
    /// The column that a part is.
    pub(super) fn of(part: &'a Part) -> Option<Self> {
        let Shape::Column(field) = part.shape else { return None };
        Some(Self { table: part.table, field, part })
    }

    /// What it holds in each row, as an expression.
    pub(super) fn value(&self) -> String {
        parts::json_path(self.field.path)
    }

    /// Whether a stage of its way still lies ahead.
    pub(super) fn lacks(&self, stage: &str, notes: &Notes) -> Result<bool> {
        notes.lack(&self.note(stage), &self.part.definition)
    }

    /// Notes a stage of its way.
    pub(super) async fn reach(&self, session: &mut Session, stage: &str) -> Result<()> {
        session.note(&self.note(stage), &self.part.definition).await
    }

    fn note(&self, stage: &str) -> String {
        format!("{stage} {}", self.part.name)
    }

    fn trigger(&self) -> String {
        parts::belonging(self.table, self.field.name, "fill")
    }
}

/// The stage of a column that is there, with its trigger.
const BEGUN: &str = "begun";
/// The stage of a column that is right in all rows.
pub(super) const FILLED: &str = "filled";

/// Adds columns and their triggers at one moment, so that no row can be written between the two and stay empty.
pub(super) async fn add(session: &mut Session, notes: &Notes, table: &str, columns: &[&Column<'_>]) -> Result<()> {
    let mut statements = Vec::new();
    for column in columns {
        if column.lacks(BEGUN, notes)? {
            tracing::info!(column = column.part.name, "adding a column to a table that is in use");
            statements.extend(additions(column));
        }
    }
    if statements.is_empty() { Ok(()) } else { session.briefly(table, &statements).await }
}

/// Notes that all of the column is there.
pub(super) async fn finish(session: &mut Session, column: &Column<'_>) -> Result<()> {
    let (name, definition) = (&column.part.name, &column.part.definition);
    let stages = [BEGUN, FILLED].map(|stage| literal(&column.note(stage))).join(", ");
    let note = format!("INSERT INTO meta (name, definition) VALUES ({}, {})", literal(name), literal(definition));
    session.briefly(column.table, &[note, format!("DELETE FROM meta WHERE name IN ({stages})")]).await
}

/// The function looks at nothing but the row, so what it does depends on nobody's settings.
fn additions(column: &Column<'_>) -> [String; 4] {
    let (table, name, trigger, text) = (column.table, column.field.name, column.trigger(), <sqlx::Postgres as Dialect>::TEXT);
    let body = format!("BEGIN NEW.\"{name}\" := NEW.{}; RETURN NEW; END", column.value());
    // What is right already, as when rows are filled, need not be computed once more.
    let wrong = format!("NEW.\"{name}\" IS DISTINCT FROM NEW.{}", column.value());
    let (note, definition) = (literal(&column.note(BEGUN)), literal(&column.part.definition));
    [
        format!("ALTER TABLE \"{table}\" ADD COLUMN \"{name}\" {text}"),
        format!("CREATE OR REPLACE FUNCTION \"{trigger}\"() RETURNS trigger LANGUAGE plpgsql AS $fill$ {body} $fill$"),
        format!(
            "CREATE TRIGGER \"{trigger}\" BEFORE INSERT OR UPDATE ON \"{table}\" FOR EACH ROW WHEN ({wrong}) \
             EXECUTE FUNCTION \"{trigger}\"()"
        ),
        format!("INSERT INTO meta (name, definition) VALUES ({note}, {definition})"),
    ]
}

/// A text in a statement that can have no parameters.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
