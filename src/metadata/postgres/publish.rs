//! Publishing uploads, many in one transaction.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use super::{
    batch,
    rows::{read_records, texts},
    statements,
    transaction::Attempt,
};
use crate::{
    clock::Timestamp,
    file::{Content, id::FileId},
    metadata::{FileRecord, MetadataError, Result, UploadTicket},
};

/// An upload that is to become a file.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) ticket: UploadTicket,
    pub(super) content: Content,
    pub(super) now: Timestamp,
}

impl batch::Job for Publication {
    type Answer = FileRecord;
    type Key = FileId;

    fn key(&self) -> Option<FileId> {
        Some(self.ticket.file_id)
    }

    fn run_all<'c>(
        attempt: Attempt<'c, Vec<Result<FileRecord>>>,
        jobs: &'c [Self],
    ) -> BoxFuture<'c, sqlx::Result<Vec<Result<FileRecord>>>> {
        Box::pin(publish(attempt, jobs))
    }
}

async fn publish(
    attempt: Attempt<'_, Vec<Result<FileRecord>>>,
    jobs: &[Publication],
) -> sqlx::Result<Vec<Result<FileRecord>>> {
    // In a statement of its own: what is published is then read as it is once nobody else is at it.
    sqlx::query(statements::LOCK_WITH_OWNERS)
        .bind(ids(jobs))
        .execute(&mut *attempt.connection)
        .await?;
    let mut published = publish_pending(attempt.connection, jobs).await?;
    if attempt.doubted.is_some() {
        published.extend(find_published(attempt.connection, jobs).await?);
    }
    let mut published: BTreeMap<FileId, FileRecord> =
        published.into_iter().map(|record| (record.file.id, record)).collect();
    let answer = |job: &Publication| {
        published.remove(&job.ticket.file_id).ok_or(MetadataError::UploadTakenOver)
    };
    Ok(jobs.iter().map(answer).collect())
}

async fn publish_pending(
    connection: &mut PgConnection,
    jobs: &[Publication],
) -> sqlx::Result<Vec<FileRecord>> {
    let sizes: Vec<i64> = jobs.iter().map(|job| job.content.size_bytes as i64).collect();
    let digests: Vec<&[u8]> = jobs.iter().map(|job| job.content.sha256.as_slice()).collect();
    let rows = sqlx::query(statements::publish())
        .bind(ids(jobs))
        .bind(fences(jobs))
        .bind(sizes)
        .bind(digests)
        .bind(times(jobs))
        .fetch_all(connection)
        .await?;
    read_records(&rows)
}

/// What a transaction whose end was not heard of has published after all.
async fn find_published(
    connection: &mut PgConnection,
    jobs: &[Publication],
) -> sqlx::Result<Vec<FileRecord>> {
    let rows = sqlx::query(statements::find_published())
        .bind(ids(jobs))
        .bind(fences(jobs))
        .bind(times(jobs))
        .fetch_all(connection)
        .await?;
    read_records(&rows)
}

fn ids(jobs: &[Publication]) -> Vec<String> {
    texts(jobs.iter().map(|job| &job.ticket.file_id))
}

fn fences(jobs: &[Publication]) -> Vec<i64> {
    jobs.iter().map(|job| job.ticket.fence as i64).collect()
}

fn times(jobs: &[Publication]) -> Vec<i64> {
    jobs.iter().map(|job| job.now.unix_us()).collect()
}
