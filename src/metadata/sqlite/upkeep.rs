//! What the sweeper and fsck ask for.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{
    FileRecord, Orphan, Result, SqliteRepository, Upkeep,
    rows::{read_orphan, read_record},
    statements, uploads,
};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{id::FileId, usage::Usage, user::UserId},
};

#[async_trait]
impl Upkeep for SqliteRepository {
    async fn identity(&self) -> Result<Uuid> {
        let id = self.database.read(|connection| {
            connection.query_row(statements::IDENTITY, [], |row| row.get::<_, [u8; 16]>(0))
        })?;
        Ok(Uuid::from_bytes(id))
    }

    async fn claim_orphans(&self, limit: usize, lease: Duration) -> Result<Vec<Orphan>> {
        // A look first: an idle server writes nothing.
        if self.list_orphans(1).await?.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        self.write_freeing(move |connection| {
            let mut claim = connection.prepare_cached(statements::CLAIM_ORPHANS)?;
            let params = params![now.unix_us(), limit as i64, now.plus(lease).unix_us()];
            claim.query_map(params, read_orphan)?.collect::<rusqlite::Result<_>>().map(Ok)
        })
        .await
    }

    async fn list_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        let now = self.clock.now();
        self.query(move |connection| {
            let mut list = connection.prepare_cached(statements::LIST_ORPHANS)?;
            list.query_map(params![now.unix_us(), limit as i64], read_orphan)?.collect()
        })
        .await
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        let file_id = file_id.to_string();
        self.write_freeing(move |connection| {
            let forgotten = connection.prepare_cached(statements::FORGET)?.execute([&file_id])?;
            if forgotten == 1 {
                connection.prepare_cached(statements::FORGET_REFERENCES)?.execute([&file_id])?;
                connection.prepare_cached(statements::UNLABEL)?.execute([&file_id])?;
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn unrecorded(&self, keys: &[BlobKey]) -> Result<Vec<BlobKey>> {
        let keys = keys.to_vec();
        self.query(move |connection| {
            let mut recorded = connection.prepare_cached(statements::RECORDED)?;
            let mut unrecorded = Vec::new();
            for key in keys {
                if !recorded.exists([key.as_bytes()])? {
                    unrecorded.push(key);
                }
            }
            Ok(unrecorded)
        })
        .await
    }

    async fn walk(&self, after: Option<&FileId>, limit: usize) -> Result<Vec<FileRecord>> {
        let after = after.map(FileId::to_string).unwrap_or_default();
        self.query(move |connection| {
            let mut walk = connection.prepare_cached(statements::walk())?;
            walk.query_map(params![after, limit as i64], read_record)?.collect()
        })
        .await
    }

    async fn quarantine(&self, file_id: &FileId, damaged: bool) -> Result<()> {
        let file_id = file_id.to_string();
        self.write(move |connection| {
            connection
                .prepare_cached(statements::QUARANTINE)?
                .execute(params![file_id, damaged])?;
            Ok(Ok(()))
        })
        .await
    }

    async fn claim_unverified(
        &self,
        before: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<FileRecord>> {
        let due = move |connection: &Connection, limit: usize| {
            let mut due = connection.prepare_cached(statements::unverified())?;
            let records = due.query_map(params![before.unix_us(), limit as i64], read_record)?;
            records.collect::<rusqlite::Result<Vec<FileRecord>>>()
        };
        // A look first: an idle server writes nothing.
        if self.query(move |connection| due(connection, 1)).await?.is_empty() {
            return Ok(Vec::new());
        }
        let until = before.plus(lease);
        self.write(move |connection| {
            let records = due(connection, limit)?;
            for record in &records {
                connection
                    .prepare_cached(statements::VERIFIED)?
                    .execute(params![record.file.id.to_string(), until.unix_us()])?;
            }
            Ok(Ok(records))
        })
        .await
    }

    async fn note_verified(&self, file_id: &FileId) -> Result<()> {
        let (file_id, now) = (file_id.to_string(), self.clock.now());
        self.write(move |connection| {
            let mut verified = connection.prepare_cached(statements::VERIFIED)?;
            verified.execute(params![file_id, now.unix_us()])?;
            Ok(Ok(()))
        })
        .await
    }

    async fn totals(&self) -> Result<Usage> {
        self.query(|connection| uploads::usage(connection, statements::TOTALS, &[])).await
    }

    async fn check_usage(&self, repair: bool) -> Result<Vec<UserId>> {
        let wrong = |connection: &Connection| {
            let mut wrong = connection.prepare_cached(statements::WRONG_USAGE)?;
            let users = wrong.query_map([], |row| Ok(UserId::stored(row.get(0)?)))?;
            users.collect::<rusqlite::Result<Vec<UserId>>>()
        };
        // Looked for beside the writer: it has better things to do than to read every record.
        let users = self.query(wrong).await?;
        for user_id in users.iter().filter(|_| repair) {
            let user_id = user_id.clone();
            self.write(move |connection| {
                connection.prepare_cached(statements::RECOUNT)?.execute([user_id.as_str()])?;
                Ok(Ok(()))
            })
            .await?;
        }
        Ok(users)
    }
}
