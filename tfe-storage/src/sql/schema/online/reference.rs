//! References of columns to other tables.

use super::{column::Column, failure, session::Session};
use crate::{
    error::Result,
    sql::{outage, schema::parts},
};

/// Makes the database keep a column's reference: from a moment on for what is written, and then, beside the writers, it looks at
/// what is there.
pub(super) async fn prove(session: &mut Session, column: &Column<'_>) -> Result<()> {
    let Some(target) = column.field.refers else { return Ok(()) };
    let (table, name) = (column.table, column.field.name);
    let constraint = parts::belonging(table, name, "fkey");
    let is_proved = is_proved(session, table, &constraint).await?;
    if is_proved.is_none() {
        tracing::info!(reference = constraint, "adding a reference");
        let promise = format!("FOREIGN KEY (\"{name}\") REFERENCES \"{target}\" (id) ON DELETE CASCADE NOT VALID");
        session.briefly(table, &[format!("ALTER TABLE \"{table}\" ADD CONSTRAINT \"{constraint}\" {promise}")]).await?;
    }
    if is_proved == Some(true) {
        return Ok(());
    }
    match session.at_length(format!("ALTER TABLE \"{table}\" VALIDATE CONSTRAINT \"{constraint}\"")).await {
        Err(error) if failure::is_violation(&error) => {
            // It would go on refusing what older programs write.
            session.briefly(table, &[format!("ALTER TABLE \"{table}\" DROP CONSTRAINT \"{constraint}\"")]).await?;
            Err(failure::violated(&constraint, &error))
        }
        proved => proved,
    }
}

/// Whether what was there before a constraint is known to keep it; none if there is no such constraint.
async fn is_proved(session: &mut Session, table: &str, constraint: &str) -> Result<Option<bool>> {
    let asked = sqlx::query_scalar("SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2")
        .bind(format!("\"{table}\""))
        .bind(constraint)
        .fetch_optional(session.connection());
    outage::limited(asked).await.map_err(outage::explained)
}
