//! What the sweeper and fsck ask for.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{
    FileRecord, Orphan, PostgresRepository, Result, Upkeep,
    rows::{blob_key, read_orphans, read_records, read_usage},
    statements::{self, upkeep},
    transaction::{Attempt, Job},
};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{id::FileId, usage::Usage, user::UserId},
};

/// How long counting every record may take.
const COUNTING_TIMEOUT: Duration = Duration::from_secs(3600);
const COUNT_WITHOUT_LIMIT: &str = "SET LOCAL statement_timeout = 0";

#[async_trait]
impl Upkeep for PostgresRepository {
    async fn identity(&self) -> Result<Uuid> {
        let id: [u8; 16] = self
            .database
            .run((), |connection, ()| {
                Box::pin(sqlx::query_scalar(upkeep::IDENTITY).fetch_one(connection))
            })
            .await?;
        Ok(Uuid::from_bytes(id))
    }

    async fn claim_orphans(&self, limit: usize, lease: Duration) -> Result<Vec<Orphan>> {
        let now = self.clock.now();
        let claim = (limit as i64, now.unix_us(), now.plus(lease).unix_us());
        self.database
            .run(claim, |connection, claim| Box::pin(claim_orphans(connection, *claim)))
            .await
    }

    async fn list_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        let list = (limit as i64, self.clock.now().unix_us());
        self.database.run(list, |connection, list| Box::pin(list_orphans(connection, *list))).await
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        self.database
            .run(*file_id, |connection, file_id| Box::pin(forget(connection, file_id)))
            .await
    }

    async fn unrecorded(&self, keys: &[BlobKey]) -> Result<Vec<BlobKey>> {
        let recorded = self
            .database
            .run(keys.to_vec(), |connection, keys| Box::pin(recorded(connection, keys)))
            .await?;
        Ok(keys.iter().filter(|key| !recorded.contains(key)).copied().collect())
    }

    async fn walk(&self, after: Option<&FileId>, limit: usize) -> Result<Vec<FileRecord>> {
        let walk = (after.map(FileId::to_string).unwrap_or_default(), limit as i64);
        self.database.run(walk, |connection, walk| Box::pin(step(connection, walk))).await
    }

    async fn quarantine(&self, file_id: &FileId, damaged: bool) -> Result<()> {
        self.database
            .run((*file_id, damaged), |connection, note| Box::pin(quarantine(connection, note)))
            .await
    }

    async fn claim_unverified(
        &self,
        before: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<FileRecord>> {
        let claim = (before.unix_us(), limit as i64, before.plus(lease).unix_us());
        self.database
            .run(claim, |connection, claim| Box::pin(claim_unverified(connection, *claim)))
            .await
    }

    async fn note_verified(&self, file_id: &FileId) -> Result<()> {
        self.database
            .run((*file_id, self.clock.now()), |connection, note| {
                Box::pin(note_verified(connection, note))
            })
            .await
    }

    async fn totals(&self) -> Result<Usage> {
        let row = self
            .database
            .run((), |connection, ()| Box::pin(sqlx::query(upkeep::TOTALS).fetch_one(connection)));
        Ok(read_usage(&row.await?, 0)?)
    }

    async fn check_usage(&self, repair: bool) -> Result<Vec<UserId>> {
        self.database
            .write_within(COUNTING_TIMEOUT, repair, |attempt, repair| {
                Box::pin(check_usage(attempt, *repair))
            })
            .await
    }
}

async fn claim_orphans(
    connection: &mut PgConnection,
    (limit, now, until): (i64, i64, i64),
) -> sqlx::Result<Vec<Orphan>> {
    let claim = sqlx::query(upkeep::CLAIM_ORPHANS).bind(now).bind(limit).bind(until);
    read_orphans(&claim.fetch_all(connection).await?)
}

async fn list_orphans(
    connection: &mut PgConnection,
    (limit, now): (i64, i64),
) -> sqlx::Result<Vec<Orphan>> {
    let list = sqlx::query(upkeep::LIST_ORPHANS).bind(now).bind(limit);
    read_orphans(&list.fetch_all(connection).await?)
}

async fn forget(connection: &mut PgConnection, file_id: &FileId) -> sqlx::Result<()> {
    sqlx::query(upkeep::FORGET).bind(file_id.to_string()).execute(connection).await?;
    Ok(())
}

async fn recorded(
    connection: &mut PgConnection,
    keys: &[BlobKey],
) -> sqlx::Result<BTreeSet<BlobKey>> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().as_slice()).collect();
    let rows = sqlx::query(upkeep::RECORDED).bind(keys).fetch_all(connection).await?;
    rows.iter().map(|row| blob_key(row, 0)).collect()
}

async fn step(
    connection: &mut PgConnection,
    (after, limit): &(String, i64),
) -> sqlx::Result<Vec<FileRecord>> {
    let walk = sqlx::query(statements::walk()).bind(after).bind(limit);
    read_records(&walk.fetch_all(connection).await?)
}

async fn quarantine(
    connection: &mut PgConnection,
    (file_id, damaged): &(FileId, bool),
) -> sqlx::Result<()> {
    let note = sqlx::query(upkeep::QUARANTINE).bind(file_id.to_string()).bind(i64::from(*damaged));
    note.execute(connection).await?;
    Ok(())
}

async fn note_verified(
    connection: &mut PgConnection,
    (file_id, now): &(FileId, Timestamp),
) -> sqlx::Result<()> {
    let note = sqlx::query(upkeep::VERIFIED).bind(file_id.to_string()).bind(now.unix_us());
    note.execute(connection).await?;
    Ok(())
}

async fn claim_unverified(
    connection: &mut PgConnection,
    (before, limit, until): (i64, i64, i64),
) -> sqlx::Result<Vec<FileRecord>> {
    let claim = sqlx::query(statements::claim_unverified()).bind(before).bind(limit).bind(until);
    read_records(&claim.fetch_all(connection).await?)
}

async fn check_usage(attempt: Attempt<'_, Result<Vec<UserId>>>, repair: bool) -> Job<Vec<UserId>> {
    let connection = attempt.connection;
    sqlx::query(COUNT_WITHOUT_LIMIT).execute(&mut *connection).await?;
    let rows = sqlx::query(upkeep::WRONG_USAGE).fetch_all(&mut *connection).await?;
    let wrong: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>()?;
    if repair && !wrong.is_empty() {
        // From here on nobody changes what is counted next.
        sqlx::query(statements::LOCK_OWNERS).bind(&wrong).execute(&mut *connection).await?;
        sqlx::query(upkeep::RECOUNT).bind(&wrong).execute(connection).await?;
    }
    Ok(Ok(wrong.into_iter().map(UserId::stored).collect()))
}
