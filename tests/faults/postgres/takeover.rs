//! Uploads that change hands while their writers still note something.

use std::sync::Arc;

use files::{
    file::{Content, FileSpec},
    metadata::{FileRepository, Intended, Progress},
};
use sqlx::{AssertSqlSafe, Connection};

use super::support::{LEASE, Outcome, begin, clock, intent, open, spec, upload_id};
use crate::postgres_server as server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_an_upload_over_knows_all_that_was_noted_of_it() -> Outcome {
    let (server, clock) = (server::shared(), clock());
    let database = server.database().await;
    let repository = open(server.options(&database), &clock).await?;
    let spec = FileSpec { upload_id: upload_id(1), ..spec("u") };
    let ticket = begin(&*repository, spec.clone()).await?;
    let progress = Progress { persisted_size_bytes: 5, state: "5".to_owned() };
    repository.save(&ticket, progress, LEASE).await?;
    let mut writer = server.admin(&database).await;
    let mut noting = writer.begin().await?;
    let note = format!(
        "UPDATE files SET persisted_bytes = 9, progress = '9', size_bytes = 9, sha256 = '\\x{}' \
         WHERE file_id = '{}'",
        "07".repeat(32),
        ticket.file_id
    );
    sqlx::raw_sql(AssertSqlSafe(note)).execute(&mut *noting).await?;
    let newer = Arc::clone(&repository);
    let taking = tokio::spawn(async move { newer.intend(intent(spec)).await });
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    );
    server.until(&waits).await;
    noting.commit().await?;
    let Intended::Resumed(resumption) = taking.await?? else {
        anyhow::bail!("it was not gone on with");
    };
    assert_eq!(resumption.progress.persisted_size_bytes, 9);
    assert_eq!(resumption.sealed, Some(Content { size_bytes: 9, sha256: [7; 32] }));
    Ok(())
}
