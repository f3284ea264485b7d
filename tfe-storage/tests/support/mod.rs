//! What the tests share; each uses a part of it.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

#[cfg(feature = "transit")]
pub(crate) mod bao;

#[cfg(feature = "postgres")]
pub(crate) use postgres::with_postgres;

#[cfg(feature = "postgres")]
mod postgres {
    use std::{
        env,
        panic::{AssertUnwindSafe, resume_unwind},
        process,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures::FutureExt;
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};

    static NEXT: AtomicU32 = AtomicU32::new(0);

    /// Gives the test the URL of an empty database of its own, which is dropped afterwards even if the test fails.
    /// The server is named by `TFE_TEST_POSTGRES`; without it the test is skipped, or fails where it must run.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub(crate) async fn with_postgres(test: impl AsyncFnOnce(String)) {
        let Ok(server) = env::var("TFE_TEST_POSTGRES") else {
            let required = ["CI", "TFE_TEST_REQUIRE"].iter().any(|name| env::var_os(name).is_some());
            assert!(!required, "TFE_TEST_POSTGRES must name a server, like postgres://tfe@127.0.0.1:5432/postgres");
            eprintln!("skipped: TFE_TEST_POSTGRES names no server");
            return;
        };
        let database = format!("tfe_storage_test_{}_{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&server, format!("CREATE DATABASE {database}")).await;
        let (base, _) = server.rsplit_once('/').expect("the URL names a database");
        let outcome = AssertUnwindSafe(test(format!("{base}/{database}"))).catch_unwind().await;
        run(&server, format!("DROP DATABASE {database} WITH (FORCE)")).await;
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }

    async fn run(server: &str, sql: String) {
        let options: PgConnectOptions = server.parse().unwrap();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }
}
