//! Deaths while a start brings the schema up to the program.

use std::path::Path;

use sqlx::SqlitePool;
use tfe_storage::fail_point::MIGRATION;
use tokio::runtime::Runtime;

use super::{dies_at_its_start, doomed, dying_at, kept::Kept};
use crate::{harness::Demo, services::owned, upgrade::address};

/// What makes the schema that of an earlier program: a table, a column and indexes less, and no format.
const AGING: [&str; 5] = [
    "DROP INDEX jobs_token_digest_key",
    "ALTER TABLE jobs DROP COLUMN token_digest",
    "DROP TABLE rewraps",
    "DELETE FROM meta WHERE name IN ('index jobs_token_digest_key', 'column jobs.token_digest')",
    "DELETE FROM meta WHERE name LIKE '%rewraps%' OR name LIKE 'format%'",
];

#[test]
fn a_death_at_any_step_of_the_first_start_is_in_nobodys_way() {
    for point in MIGRATION {
        let (home, settings) = doomed(*point);
        dies_at_its_start(home.path(), &settings, *point);
        let server = Demo::serve_in(home, settings);
        Kept::make(&server).check(&server);
    }
}

#[test]
fn after_a_death_at_any_step_of_a_migration_the_next_start_does_all_of_it() {
    let runtime = Runtime::new().unwrap();
    for point in MIGRATION {
        let mut server = Demo::serve(owned(&[("TFE_LOG", "info")]));
        let mut kept = Kept::make(&server);
        let (listen, home) = (address(&server), server.home.path().to_owned());
        server.kill();
        let before = runtime.block_on(schema(&home));
        runtime.block_on(age(&home));
        dies_at_its_start(&home, &dying_at(*point, &home), *point);
        server.serve_again_at(&listen);
        kept.check(&server);
        kept.add(&server);
        kept.check(&server);
        server.kill();
        assert_eq!(runtime.block_on(schema(&home)), before, "at {}", point.name());
    }
}

async fn open(home: &Path) -> SqlitePool {
    SqlitePool::connect(&format!("sqlite://{}", home.join("data/records.sqlite").display())).await.unwrap()
}

async fn age(home: &Path) {
    let pool = open(home).await;
    for sql in AGING {
        assert!(sqlx::query(sql).execute(&pool).await.is_ok(), "{sql}");
    }
    pool.close().await;
}

/// What is there, and what is noted of it.
async fn schema(home: &Path) -> Vec<(String, String)> {
    let pool = open(home).await;
    let parts = "SELECT name, definition FROM meta UNION ALL SELECT name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL \
                 UNION ALL SELECT m.name || '.' || c.name, c.type FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c \
                 WHERE m.type = 'table' ORDER BY 1, 2";
    let parts = sqlx::query_as(parts).fetch_all(&pool).await.unwrap();
    pool.close().await;
    parts
}
