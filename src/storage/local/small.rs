//! Small blobs: rows of a database of the backend's own, committed in groups. Knows nothing of files.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokio_util::sync::CancellationToken;

use super::{BlobEntry, Result, StorageError};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    sqlite::{Database, DatabaseError, Migration},
};

/// Blobs up to this size are kept as rows: beyond it, a file of its own costs less than the copies that the
/// write-ahead log makes.
pub(super) const SMALL_BYTES_MAX: usize = 32 * 1024;

/// The rows are appended in the order of their arrival, which keeps the log short; the index finds them.
const SCHEMA: [Migration; 2] = [
    Migration {
        name: "0001_small_blobs",
        sql: "CREATE TABLE blobs (
                  seq INTEGER PRIMARY KEY,
                  key BLOB NOT NULL UNIQUE,
                  content BLOB NOT NULL
              ) STRICT;",
    },
    // When a blob was written; those from before this was kept are as old as time.
    Migration {
        name: "0002_write_time",
        sql: "ALTER TABLE blobs ADD COLUMN write_time_us INTEGER NOT NULL DEFAULT 0;",
    },
];

#[derive(Clone, Debug)]
pub(super) struct SmallBlobs {
    database: Arc<Database>,
}

impl SmallBlobs {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let database = Database::open(path, &SCHEMA).map_err(failure("open the small blobs"))?;
        Ok(Self { database })
    }

    pub(super) fn failed(&self) -> &CancellationToken {
        self.database.failed()
    }

    pub(super) async fn insert(
        &self,
        key: BlobKey,
        content: Vec<u8>,
        now: Timestamp,
    ) -> Result<()> {
        let insert = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "INSERT INTO blobs (key, content, write_time_us) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![key.as_bytes(), content, now.unix_us()])
        };
        match self.database.write(insert).await {
            Ok(1) => Ok(()),
            Ok(_) => Err(StorageError::Exists(key)),
            Err(error) => Err(failure("write a small blob")(error)),
        }
    }

    pub(super) fn find(&self, key: &BlobKey) -> Result<Option<Bytes>> {
        let find = |connection: &Connection| {
            connection
                .prepare_cached("SELECT content FROM blobs WHERE key = ?1")?
                .query_row([key.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
                .optional()
        };
        let found = self.database.read(find);
        Ok(found.map_err(failure("read a small blob"))?.map(Bytes::from))
    }

    pub(super) fn size(&self, key: &BlobKey) -> Result<Option<u64>> {
        let find = |connection: &Connection| {
            connection
                .prepare_cached("SELECT length(content) FROM blobs WHERE key = ?1")?
                .query_row([key.as_bytes()], |row| row.get::<_, i64>(0))
                .optional()
        };
        let found = self.database.read(find).map_err(failure("find a small blob"))?;
        Ok(found.map(i64::unsigned_abs))
    }

    pub(super) async fn delete(&self, key: &BlobKey) -> Result<()> {
        // A look first: most blobs asked for here are files, and a write costs a sync of the disk.
        let is_there = |connection: &Connection| {
            connection
                .prepare_cached("SELECT 1 FROM blobs WHERE key = ?1")?
                .exists([key.as_bytes()])
        };
        if !self.database.read(is_there).map_err(failure("find a small blob"))? {
            return Ok(());
        }
        let key = *key;
        let delete = move |connection: &Connection| {
            connection.prepare_cached("DELETE FROM blobs WHERE key = ?1")?.execute([key.as_bytes()])
        };
        let deleted = self.database.write_freeing(delete).await;
        deleted.map_err(failure("delete a small blob"))?;
        Ok(())
    }

    pub(super) fn list(
        &self,
        after: Option<&BlobKey>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<BlobEntry>> {
        let after = after.map_or(&[][..], |key| key.as_bytes());
        let list = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key, length(content), write_time_us FROM blobs WHERE key > ?1 \
                 ORDER BY key LIMIT ?2",
            )?;
            let rows = statement.query_map(params![after, most as i64], |row| {
                Ok(BlobEntry {
                    key: BlobKey::from_bytes(row.get(0)?),
                    size_bytes: row.get::<_, i64>(1)?.unsigned_abs(),
                    age: now.since(Timestamp::from_unix_us(row.get(2)?)),
                })
            })?;
            rows.collect()
        };
        self.database.read(list).map_err(failure("list small blobs"))
    }

    pub(super) fn check(&self) -> Result<()> {
        self.database.check().map_err(failure("trust the small blobs"))
    }
}

fn failure(action: &'static str) -> impl FnOnce(DatabaseError) -> StorageError {
    move |source| match source {
        DatabaseError::Full(_) => StorageError::Full { action, source: source.into() },
        _ => StorageError::Unavailable { action, source: source.into() },
    }
}
