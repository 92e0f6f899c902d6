//! What the sweeper and fsck ask for.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{FileRecord, MemoryRepository, Orphan, Result, Row, State, Upkeep};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{id::FileId, usage::Usage, user::UserId},
};

fn is_orphan(row: &Row, now: Timestamp) -> bool {
    match &row.state {
        State::Pending => row.lease_until < now,
        State::Live(_) => row.record().is_some_and(|record| !record.is_kept(now)),
        State::Doomed => row.lease_until <= now,
    }
}

#[async_trait]
impl Upkeep for MemoryRepository {
    async fn identity(&self) -> Result<Uuid> {
        Ok(self.identity)
    }

    async fn claim_orphans(&self, limit: usize, lease: Duration) -> Result<Vec<Orphan>> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let claimed = rows.0.iter_mut().filter(|(_, row)| is_orphan(row, now)).take(limit);
        Ok(claimed
            .map(|(file_id, row)| {
                row.doom();
                row.lease_until = now.plus(lease);
                Orphan { file_id: *file_id, blob_key: row.blob_key }
            })
            .collect())
    }

    async fn list_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        let now = self.clock.now();
        let rows = self.rows();
        let orphans = rows.0.iter().filter(|(_, row)| is_orphan(row, now)).take(limit);
        Ok(orphans
            .map(|(file_id, row)| Orphan { file_id: *file_id, blob_key: row.blob_key })
            .collect())
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        let mut rows = self.rows();
        if rows.row(file_id).is_some_and(|row| matches!(row.state, State::Doomed)) {
            rows.0.remove(file_id);
        }
        Ok(())
    }

    async fn unrecorded(&self, keys: &[BlobKey]) -> Result<Vec<BlobKey>> {
        let rows = self.rows();
        let recorded = |key: &BlobKey| rows.0.values().any(|row| row.blob_key == *key);
        Ok(keys.iter().filter(|key| !recorded(key)).copied().collect())
    }

    async fn walk(&self, after: Option<&FileId>, limit: usize) -> Result<Vec<FileRecord>> {
        let mut records = self.rows().records();
        records.retain(|record| after.is_none_or(|after| record.file.id > *after));
        records.truncate(limit);
        Ok(records)
    }

    async fn quarantine(&self, file_id: &FileId, damaged: bool) -> Result<()> {
        let mut rows = self.rows();
        let live = rows.row(file_id).filter(|row| matches!(row.state, State::Live(_)));
        if let Some(row) = live {
            row.quarantined = damaged;
        }
        Ok(())
    }

    async fn claim_unverified(
        &self,
        before: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<FileRecord>> {
        let mut rows = self.rows();
        let mut due: Vec<_> = rows
            .0
            .values_mut()
            .filter(|row| matches!(row.state, State::Live(_)) && row.verified < before)
            .collect();
        due.sort_by_key(|row| row.verified);
        due.truncate(limit);
        Ok(due
            .into_iter()
            .filter_map(|row| {
                row.verified = before.plus(lease);
                row.record()
            })
            .collect())
    }

    async fn note_verified(&self, file_id: &FileId) -> Result<()> {
        let now = self.clock.now();
        if let Some(row) = self.rows().row(file_id) {
            row.verified = now;
        }
        Ok(())
    }

    async fn totals(&self) -> Result<Usage> {
        let records = self.rows().records();
        Ok(Usage {
            file_count: records.len() as u64,
            stored_bytes: records.iter().map(|record| record.file.content.size_bytes).sum(),
        })
    }

    async fn check_usage(&self, _: bool) -> Result<Vec<UserId>> {
        // Counted from the records each time.
        Ok(Vec::new())
    }
}
