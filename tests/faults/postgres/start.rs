//! Starting: the schema, what a database must promise, and whose time it is.

use std::{sync::Arc, time::Duration};

use files::{
    clock::{Clock, SystemClock},
    metadata::{FileRepository, MetadataError, Upkeep, postgres::PostgresOptions},
};
use futures_util::future::join_all;

use super::support::{Outcome, clock, content, file, open, spec, user};
use crate::postgres_server::{self as server, Server};

/// The error with its causes.
fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}

async fn refusal(options: PostgresOptions) -> String {
    chain(open(options, &clock()).await.expect_err("a refusal"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_migrate_once() -> Outcome {
    let (server, clock) = (server::shared(), clock());
    let database = server.database().await;
    let starts = (0..20).map(|_| open(server.options(&database), &clock));
    let mut identities = Vec::new();
    for started in join_all(starts).await {
        identities.push(started?.identity().await?);
    }
    identities.dedup();
    assert_eq!(identities.len(), 1);
    let applied = "SELECT count(*) FROM schema_migrations";
    assert_eq!(server.number(&database, applied).await, 3);
    Ok(())
}

#[tokio::test]
async fn another_schema_is_refused() -> Outcome {
    let server = server::shared();
    let database = server.database().await;
    drop(open(server.options(&database), &clock()).await?);
    server
        .execute(
            &database,
            "INSERT INTO schema_migrations (position, name) VALUES (4, '0004_later')",
        )
        .await;
    let refused = refusal(server.options(&database)).await;
    assert!(refused.contains("4 migrations, but this program knows only 3"), "{refused}");
    let other = "DELETE FROM schema_migrations WHERE position = 4; \
        UPDATE schema_migrations SET name = '0002_other' WHERE position = 2";
    server.execute(&database, other).await;
    let refused = refusal(server.options(&database)).await;
    assert!(refused.contains("migration 2") && refused.contains("0002_other"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn what_an_older_schema_holds_is_kept() -> Outcome {
    let server = server::shared();
    let database = server.database().await;
    server.execute(&database, include_str!("../../../migrations/postgres/0001_files.sql")).await;
    let id = |n: usize| format!("file_{n:022}");
    let older = format!(
        "CREATE TABLE schema_migrations (position BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
             applied_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()); \
         INSERT INTO schema_migrations (position, name) VALUES (1, '0001_files'); \
         INSERT INTO files (file_id, state, user_id, purpose, filename, mime_type, labels, blob_key, \
             size_bytes, sha256, create_time_us, update_time_us, start_sha256, lease_until_us) VALUES \
         ('{}', 1, 'u', 'p', 'A.txt', 'text/plain', '{{\"k\": \"v\"}}', decode(repeat('01', 16), 'hex'), \
             7, decode(repeat('07', 32), 'hex'), 1, 1, decode(repeat('00', 32), 'hex'), 5), \
         ('{}', 0, 'u', 'p', 'b', 'text/plain', '{{}}', decode(repeat('02', 16), 'hex'), \
             NULL, NULL, 1, 1, decode(repeat('00', 32), 'hex'), 5)",
        id(1),
        id(2)
    );
    server.execute(&database, &older).await;
    let repository = open(server.options(&database), &clock()).await?;
    let walked = repository.walk(None, 10).await?;
    assert_eq!(walked.len(), 1);
    assert_eq!(walked[0].file.labels.as_map()["k"], "v");
    assert_eq!(repository.usage(&user("u")).await?.stored_bytes, 7);
    assert_eq!(repository.check_usage(false).await?, []);
    let labels = "SELECT count(*) FROM file_labels WHERE key = 'k' AND value = 'v'";
    assert_eq!(server.number(&database, labels).await, 1);
    let folded = "SELECT count(*) FROM files WHERE filename_folded = 'a.txt'";
    assert_eq!(server.number(&database, folded).await, 1);
    Ok(())
}

#[tokio::test]
async fn a_database_that_could_lose_a_commit_is_refused() -> Outcome {
    let server = Server::start();
    let database = server.database().await;
    let role = "ALTER ROLE files SET synchronous_commit = off";
    server.execute("postgres", role).await;
    let repository = open(server.options(&database), &clock()).await?;
    file(&*repository, spec("u")).await?;
    server.execute("postgres", "ALTER ROLE files RESET synchronous_commit").await;
    for setting in ["fsync", "full_page_writes"] {
        server.execute("postgres", &format!("ALTER SYSTEM SET {setting} = off")).await;
        server.control("reload");
        server.until(&format!("SELECT (current_setting('{setting}') = 'off')::int::int8")).await;
        let refused = refusal(server.options(&database)).await;
        assert!(refused.contains(&format!("does not keep {setting}=on")), "{refused}");
        server.execute("postgres", &format!("ALTER SYSTEM RESET {setting}")).await;
        server.control("reload");
        server.until(&format!("SELECT (current_setting('{setting}') = 'on')::int::int8")).await;
    }
    open(server.options(&database), &clock()).await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let options = server::options(free.expect("a port").port(), "files");
    let error = open(options, &clock()).await.expect_err("no server");
    let error = error.downcast::<MetadataError>().expect("an error of the repository");
    assert!(matches!(error, MetadataError::Unavailable(_)));
}

#[tokio::test]
async fn leases_follow_the_databases_clock() -> Outcome {
    let server = server::shared();
    let database = server.database().await;
    let options = PostgresOptions { follow_database_clock: true, ..server.options(&database) };
    // The clock of this machine is years behind.
    let local = clock();
    let repository = open(options, &local).await?;
    let now = SystemClock.now().unix_us();
    let off = (repository.clock().now().unix_us() - now).abs();
    assert!(off < 1_000_000, "{off} us");
    let record = file(&*repository, spec("u")).await?;
    assert!((record.file.create_time.unix_us() - now).abs() < 5_000_000);
    local.advance(Duration::from_secs(100_000));
    repository.check().await?;
    let off = (repository.clock().now().unix_us() - now).abs();
    assert!(off < 5_000_000, "{off} us");
    let own = open(server.options(&database), &local).await?;
    assert_eq!(own.clock().now(), local.now());
    Ok(())
}

#[tokio::test]
async fn the_tasks_end_with_the_repository() -> Outcome {
    let server = server::shared();
    let database = server.database().await;
    let repository = open(server.options(&database), &clock()).await?;
    let ticket = super::support::begin(&*repository, spec("u")).await?;
    repository.publish(&ticket, content()).await?;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(Arc::strong_count(&repository), 1);
    drop(repository);
    for _ in 0..100 {
        if tasks() == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} tasks go on", tasks())
}
