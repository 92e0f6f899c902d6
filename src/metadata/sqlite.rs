//! Records in SQLite: the embedded default. One writer commits in groups; look-ups by key run in the
//! caller's thread.

mod changes;
mod references;
mod rows;
mod statements;
mod upkeep;
mod uploads;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, functions::FunctionFlags, params_from_iter, types};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Association, Deletion, Detached, FileRecord, FileRepository, FileUpdate, Grace, Intended,
    Intent, ListQuery, MetadataError, Orphan, Progress, Result, Upkeep, UploadStatus, UploadTicket,
    select::{Select, Value},
    start_digest,
};
use crate::{
    clock::{Clock, Timestamp},
    file::{
        Content,
        id::FileId,
        name,
        reference::Reference,
        usage::{Quota, Usage},
        user::UserId,
    },
    sqlite::{self, Database, DatabaseError, Migration},
};
use rows::read_record;

/// The schema, step by step.
const MIGRATIONS: [Migration; 3] = [
    Migration { name: "0001_files", sql: include_str!("../../migrations/sqlite/0001_files.sql") },
    Migration {
        name: "0002_lifecycle",
        sql: include_str!("../../migrations/sqlite/0002_lifecycle.sql"),
    },
    Migration { name: "0003_resume", sql: include_str!("../../migrations/sqlite/0003_resume.sql") },
];

/// Keeps the records in one SQLite database.
#[derive(Debug)]
pub struct SqliteRepository {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
}

/// What a job comes to: an error of the database undoes it, a refusal leaves what it has done.
type Job<T> = rusqlite::Result<Result<T>>;

impl SqliteRepository {
    /// Opens or makes the database at `path`; its times, leases too, are `clock`'s.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let database = Database::open_with(path, &MIGRATIONS, add_functions)?;
        Ok(Self { database, clock })
    }

    /// Whether the database at `path`, which must be there, has the schema of this program. Changes nothing.
    pub fn is_current(path: &Path) -> Result<bool> {
        Ok(sqlite::schema_version(path)? == MIGRATIONS.len())
    }

    /// Copies the database as it is at one moment to a new file at `path`, while it is in use.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let (database, path) = (Arc::clone(&self.database), path.to_owned());
        let copied = spawn_blocking(move || database.copy_to(&path)).await;
        Ok(copied.map_err(|error| MetadataError::Unavailable(error.into()))??)
    }

    /// How the database would answer a listing, in its own words.
    pub async fn explain(&self, query: &ListQuery) -> Result<String> {
        let mut select = Select::page(query, self.clock.now(), statements::DIALECT);
        select.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
        self.query(move |connection| {
            let mut statement = connection.prepare(&select.sql)?;
            let lines =
                statement.query_map(values(select), |row| row.get::<_, String>("detail"))?;
            Ok(lines.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Job<T> + Send + 'static,
    ) -> Result<T> {
        self.database.write(job).await?
    }

    async fn write_freeing<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Job<T> + Clone + Send + 'static,
    ) -> Result<T> {
        self.database.write_freeing(job).await?
    }

    /// Runs a query that may take longer than a look-up by key.
    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = Arc::clone(&self.database);
        let found = spawn_blocking(move || database.read(query)).await;
        Ok(found.map_err(|error| MetadataError::Unavailable(error.into()))??)
    }
}

/// What the migrations need beside SQLite's own functions.
fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("folded", 1, flags, |call| {
        Ok(name::folded(&call.get::<String>(0)?))
    })
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

#[async_trait]
impl FileRepository for SqliteRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        let now = self.clock.now();
        // Here and not in the job: the one writer has better things to do.
        let start = start_digest(&intent.spec);
        self.write(move |connection| uploads::intend(connection, &intent, &start, now)).await
    }

    async fn reserve(&self, ticket: &UploadTicket, needed_bytes: u64, quota: Quota) -> Result<u64> {
        let (ticket, now) = (*ticket, self.clock.now());
        self.write(move |connection| {
            uploads::reserve(connection, &ticket, needed_bytes, quota, now)
        })
        .await
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()> {
        let (ticket, until) = (*ticket, self.clock.now().plus(lease));
        self.write(move |connection| uploads::renew(connection, &ticket, until)).await
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord> {
        let (ticket, now) = (*ticket, self.clock.now());
        self.write(move |connection| uploads::publish(connection, &ticket, content, now)).await
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool> {
        let ticket = *ticket;
        self.write_freeing(move |connection| uploads::abandon(connection, &ticket)).await
    }

    async fn save(&self, ticket: &UploadTicket, progress: Progress, lease: Duration) -> Result<()> {
        let (ticket, until) = (*ticket, self.clock.now().plus(lease));
        self.write(move |connection| uploads::save(connection, &ticket, &progress, until)).await
    }

    async fn seal(&self, ticket: &UploadTicket, content: Content) -> Result<()> {
        let ticket = *ticket;
        self.write(move |connection| uploads::seal(connection, &ticket, content)).await
    }

    async fn holds(&self, ticket: &UploadTicket) -> Result<bool> {
        Ok(self.database.read(|connection| uploads::holds(connection, ticket))?)
    }

    async fn find_upload(
        &self,
        user_id: &UserId,
        upload_id: &Uuid,
    ) -> Result<Option<UploadStatus>> {
        let now = self.clock.now();
        let status = |connection: &_| uploads::status(connection, user_id, upload_id, now);
        Ok(self.database.read(status)?)
    }

    async fn cancel(&self, user_id: &UserId, upload_id: &Uuid) -> Result<Option<Orphan>> {
        let (user_id, upload_id) = (user_id.clone(), *upload_id);
        self.write_freeing(move |connection| uploads::cancel(connection, &user_id, &upload_id))
            .await
    }

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        let found = self.database.read(|connection| find(connection, file_id))?;
        Ok(found.map(Arc::new))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        let select = Select::page(query, self.clock.now(), statements::DIALECT);
        self.query(move |connection| list(connection, select)).await
    }

    async fn update(&self, file_id: &FileId, update: FileUpdate) -> Result<Option<FileRecord>> {
        let (file_id, now) = (*file_id, self.clock.now());
        self.write(move |connection| changes::update(connection, &file_id, &update, now)).await
    }

    async fn delete(&self, file_id: &FileId, deletion: Deletion) -> Result<Option<FileRecord>> {
        let (file_id, now) = (*file_id, self.clock.now());
        self.write_freeing(move |connection| changes::delete(connection, &file_id, &deletion, now))
            .await
    }

    async fn undelete(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let (file_id, now) = (*file_id, self.clock.now());
        self.write(move |connection| changes::undelete(connection, &file_id, now)).await
    }

    async fn attach(&self, association: Association) -> Result<()> {
        let now = self.clock.now();
        self.write(move |connection| references::attach(connection, &association, now)).await
    }

    async fn detach(&self, association: Association, grace: Arc<Grace>) -> Result<Detached> {
        let now = self.clock.now();
        self.write_freeing(move |connection| {
            references::detach(connection, &association, &grace, now)
        })
        .await
    }

    async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        grace: Arc<Grace>,
        limit: usize,
    ) -> Result<Detached> {
        let (owner, reference, now) = (owner.cloned(), reference.clone(), self.clock.now());
        self.write_freeing(move |connection| {
            let gone = references::Gone { owner: owner.as_ref(), reference: &reference, limit };
            references::delete(connection, &gone, &grace, now)
        })
        .await
    }

    async fn usage(&self, user_id: &UserId) -> Result<Usage> {
        let (user_id, now) = (user_id.clone(), self.clock.now());
        self.query(move |connection| uploads::stored(connection, &user_id, now)).await
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

fn find(connection: &Connection, file_id: &FileId) -> rusqlite::Result<Option<FileRecord>> {
    connection
        .prepare_cached(statements::find())?
        .query_row([file_id.to_string()], read_record)
        .optional()
}

/// The file, if it is visible.
fn find_visible(
    connection: &Connection,
    file_id: &FileId,
    now: Timestamp,
) -> rusqlite::Result<Option<FileRecord>> {
    Ok(find(connection, file_id)?.filter(|record| record.is_visible(now)))
}

fn list(connection: &Connection, select: Select) -> rusqlite::Result<Vec<FileRecord>> {
    let mut statement = connection.prepare_cached(&select.sql)?;
    statement.query_map(values(select), read_record)?.collect()
}

/// A listing's parameters in SQLite's types.
fn values(select: Select) -> impl rusqlite::Params {
    params_from_iter(select.values.into_iter().map(|value| match value {
        Value::Text(text) => types::Value::Text(text),
        Value::Number(number) => types::Value::Integer(number),
        Value::Bytes(bytes) => types::Value::Blob(bytes),
    }))
}
