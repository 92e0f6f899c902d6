//! Records in SQLite: the embedded default. One writer commits in groups; look-ups by key run in the
//! caller's thread.

mod rows;
mod statements;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{
    FileRecord, FileRepository, Intended, Intent, ListQuery, MetadataError, Orphan, Result,
    UploadTicket, start_digest,
};
use crate::{
    clock::{Clock, Timestamp},
    file::{Content, Sha256Digest, id::FileId},
    sqlite::{Database, DatabaseError, Migration},
};
use rows::{UploadRow, blob_key, file_id, micros, read_record};

/// The schema, step by step.
const MIGRATIONS: [Migration; 1] =
    [Migration { name: "0001_files", sql: include_str!("../../migrations/sqlite/0001_files.sql") }];

/// Keeps the records in one SQLite database.
#[derive(Debug)]
pub struct SqliteRepository {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
}

impl SqliteRepository {
    /// Opens or makes the database at `path`; its times, leases too, are `clock`'s.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { database: Database::open(path, &MIGRATIONS)?, clock })
    }
}

impl From<DatabaseError> for MetadataError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full(_) => Self::Full(error.into()),
            DatabaseError::Sqlite(
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..),
            ) => Self::Damaged(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

/// What an intent came to, before it is told in the trait's terms.
enum Outcome {
    Begun,
    Finished(Box<FileRecord>),
    Conflict,
}

#[async_trait]
impl FileRepository for SqliteRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        let now = self.clock.now();
        let ticket = UploadTicket { file_id: intent.file_id, blob_key: intent.blob_key, fence: 1 };
        // Here and not in the job: the one writer has better things to do.
        let start = start_digest(&intent.spec);
        let job = move |connection: &Connection| intend(connection, &intent, &start, now);
        match self.database.write(job).await? {
            Outcome::Begun => Ok(Intended::Begun(ticket)),
            Outcome::Finished(record) => Ok(Intended::Finished(record)),
            Outcome::Conflict => Err(MetadataError::UploadConflict),
        }
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()> {
        let (ticket, until) = (*ticket, self.clock.now().plus(lease));
        let job = move |connection: &Connection| {
            connection.prepare_cached(statements::RENEW)?.execute(params![
                ticket.file_id.to_string(),
                ticket.fence as i64,
                until.unix_us()
            ])
        };
        match self.database.write(job).await? {
            1 => Ok(()),
            _ => Err(MetadataError::UploadTakenOver),
        }
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord> {
        let (ticket, now) = (*ticket, self.clock.now());
        let job = move |connection: &Connection| {
            connection
                .prepare_cached(statements::publish())?
                .query_row(
                    params![
                        ticket.file_id.to_string(),
                        ticket.fence as i64,
                        now.unix_us(),
                        content.size_bytes as i64,
                        content.sha256
                    ],
                    read_record,
                )
                .optional()
        };
        let published = self.database.write(job).await?;
        published.ok_or(MetadataError::UploadTakenOver)
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool> {
        let ticket = *ticket;
        let job = move |connection: &Connection| {
            connection
                .prepare_cached(statements::ABANDON)?
                .execute(params![ticket.file_id.to_string(), ticket.fence as i64])
        };
        Ok(self.database.write_freeing(job).await? == 1)
    }

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        let find = |connection: &Connection| {
            connection
                .prepare_cached(statements::find())?
                .query_row([file_id.to_string()], read_record)
                .optional()
        };
        Ok(self.database.read(find)?.map(Arc::new))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        let (database, query, now) = (Arc::clone(&self.database), query.clone(), self.clock.now());
        let listed =
            spawn_blocking(move || database.read(|connection| list(connection, &query, now)));
        Ok(listed.await.map_err(|error| MetadataError::Unavailable(error.into()))??)
    }

    async fn raise_link_epoch(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let (file_id, now) = (*file_id, self.clock.now());
        let job = move |connection: &Connection| {
            connection
                .prepare_cached(statements::raise_link_epoch())?
                .query_row(params![file_id.to_string(), now.unix_us()], read_record)
                .optional()
        };
        Ok(self.database.write(job).await?)
    }

    async fn retire(&self, file_id: &FileId, etag: Option<&str>) -> Result<Option<FileRecord>> {
        let (file_id, etag) = (*file_id, etag.map(str::to_owned));
        let job = move |connection: &Connection| retire(connection, &file_id, etag.as_deref());
        match self.database.write_freeing(job).await? {
            Some(Retired::Now(record)) => Ok(Some(*record)),
            Some(Retired::Changed) => Err(MetadataError::EtagMismatch),
            None => Ok(None),
        }
    }

    async fn claim_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        let now = self.clock.now();
        // A look first: an idle server writes nothing.
        let waiting = self.database.read(|connection| {
            connection.prepare_cached(statements::ANY_ORPHAN)?.exists([now.unix_us()])
        })?;
        if !waiting {
            return Ok(Vec::new());
        }
        let job = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(statements::CLAIM_ORPHANS)?;
            let orphans = statement.query_map(params![now.unix_us(), limit as i64], |row| {
                Ok(Orphan { file_id: file_id(row, 0)?, blob_key: blob_key(row, 1)? })
            })?;
            orphans.collect()
        };
        Ok(self.database.write_freeing(job).await?)
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        let file_id = *file_id;
        let job = move |connection: &Connection| {
            connection.prepare_cached(statements::FORGET)?.execute([file_id.to_string()])
        };
        self.database.write_freeing(job).await?;
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        self.database.check()?;
        let answer = |connection: &Connection| {
            connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))
        };
        self.database.read(answer)?;
        Ok(())
    }

    fn failed(&self) -> CancellationToken {
        self.database.failed().clone()
    }
}

fn intend(
    connection: &Connection,
    intent: &Intent,
    start: &Sha256Digest,
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    let spec = &intent.spec;
    let upload_id = spec.upload_id.map(uuid::Uuid::into_bytes);
    if let Some(upload_id) = upload_id {
        let mut find = connection.prepare_cached(statements::find_upload())?;
        let found = find
            .query_row(params![spec.user_id.as_str(), upload_id], rows::read_upload)
            .optional()?;
        match found {
            None => {}
            // An expired file is none: its upload_id is free again.
            Some(upload) if upload.record.as_ref().is_some_and(|it| !it.is_visible(now)) => {
                let mut retire = connection.prepare_cached(statements::RETIRE)?;
                retire.execute([upload.file_id.to_string()])?;
            }
            Some(upload) if upload.start != *start => return Ok(Outcome::Conflict),
            Some(UploadRow { record: Some(record), .. }) => {
                return Ok(Outcome::Finished(Box::new(record)));
            }
            Some(pending) => {
                let mut abort = connection.prepare_cached(statements::ABORT)?;
                abort.execute([pending.file_id.to_string()])?;
            }
        }
    }
    connection.prepare_cached(statements::INSERT)?.execute(params![
        intent.file_id.to_string(),
        spec.user_id.as_str(),
        spec.purpose.as_str(),
        spec.name.as_str(),
        spec.media_type.as_str(),
        rows::labels_text(&spec.labels)?,
        intent.blob_key.as_bytes(),
        now.unix_us(),
        spec.ttl.map(micros),
        upload_id,
        start,
        now.plus(intent.lease).unix_us(),
    ])?;
    Ok(Outcome::Begun)
}

fn list(
    connection: &Connection,
    query: &ListQuery,
    now: Timestamp,
) -> rusqlite::Result<Vec<FileRecord>> {
    let (user_id, limit) = (query.user_id.as_str(), query.limit as i64);
    match &query.after {
        None => connection
            .prepare_cached(statements::list_first())?
            .query_map(params![user_id, now.unix_us(), limit], read_record)?
            .collect(),
        Some(after) => connection
            .prepare_cached(statements::list_after())?
            .query_map(
                params![
                    user_id,
                    now.unix_us(),
                    limit,
                    after.create_time.unix_us(),
                    after.file_id.to_string()
                ],
                read_record,
            )?
            .collect(),
    }
}

enum Retired {
    Now(Box<FileRecord>),
    Changed,
}

fn retire(
    connection: &Connection,
    file_id: &FileId,
    etag: Option<&str>,
) -> rusqlite::Result<Option<Retired>> {
    let id = file_id.to_string();
    let found =
        connection.prepare_cached(statements::find())?.query_row([&id], read_record).optional()?;
    let Some(record) = found else {
        return Ok(None);
    };
    if etag.is_some_and(|etag| etag != record.file.etag()) {
        return Ok(Some(Retired::Changed));
    }
    connection.prepare_cached(statements::RETIRE)?.execute([&id])?;
    Ok(Some(Retired::Now(Box::new(record))))
}
