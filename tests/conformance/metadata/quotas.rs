//! What users store, and may store.

use std::{sync::Arc, time::Duration};

use files::{
    file::{
        Content, FileSpec,
        usage::{Quota, Usage},
    },
    metadata::{Deletion, Intended, MetadataError, RESERVATION_STEP_BYTES, UploadTicket},
};
use uuid::Uuid;

use super::{Backend, CLAIM, GRACE, LEASE, Result, purge, spec, user};

const NO_LIMIT: Quota = Quota { file_count_max: None, stored_bytes_max: None };

fn bytes(most: u64) -> Quota {
    Quota { stored_bytes_max: Some(most), ..NO_LIMIT }
}

fn files(most: u64) -> Quota {
    Quota { file_count_max: Some(most), ..NO_LIMIT }
}

fn sized(size_bytes: u64) -> FileSpec {
    FileSpec { size_bytes: Some(size_bytes), ..spec("u", None) }
}

fn usage(file_count: u64, stored_bytes: u64) -> Usage {
    Usage { file_count, stored_bytes }
}

impl Backend {
    async fn usage(&self) -> Result<Usage> {
        Ok(self.repository.usage(&user("u")).await?)
    }

    async fn begin_within(&self, spec: FileSpec, quota: Quota) -> Result<Option<UploadTicket>> {
        match self.intend_within(spec, quota).await {
            Ok(Intended::Begun(ticket)) => Ok(Some(ticket)),
            Ok(other) => anyhow::bail!("there before: {other:?}"),
            Err(error) => match error.downcast::<MetadataError>()? {
                MetadataError::QuotaExceeded { .. } => Ok(None),
                other => Err(other.into()),
            },
        }
    }

    async fn finish(&self, ticket: &UploadTicket, size_bytes: u64) -> Result {
        let content = Content { size_bytes, sha256: [7; 32] };
        self.repository.publish(ticket, content).await?;
        Ok(())
    }

    async fn reserve(
        &self,
        ticket: &UploadTicket,
        bytes: u64,
        quota: Quota,
    ) -> Result<Option<u64>> {
        match self.repository.reserve(ticket, bytes, quota).await {
            Ok(reserved) => Ok(Some(reserved)),
            Err(MetadataError::QuotaExceeded { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }
}

pub(super) async fn usage_counts_what_is_kept(backend: Backend) -> Result {
    assert_eq!(backend.usage().await?, usage(0, 0));
    let one = backend.begin(sized(10)).await?;
    assert_eq!(backend.usage().await?, usage(0, 0));
    backend.finish(&one, 10).await?;
    let two = backend.begin(spec("u", None)).await?;
    backend.finish(&two, 5).await?;
    backend.file(spec("other", None)).await?;
    assert_eq!(backend.usage().await?, usage(2, 15));
    let soft = Deletion { grace: GRACE, ..Deletion::default() };
    backend.repository.delete(&one.file_id, soft).await?;
    assert_eq!(backend.usage().await?, usage(2, 15));
    backend.clock.advance(GRACE);
    assert_eq!(backend.usage().await?, usage(1, 5));
    backend.orphans().await?;
    assert_eq!(backend.usage().await?, usage(1, 5));
    backend.repository.delete(&two.file_id, purge()).await?;
    assert_eq!(backend.usage().await?, usage(0, 0));
    assert!(backend.repository.check_usage(false).await?.is_empty());
    Ok(())
}

pub(super) async fn an_expired_file_is_not_counted(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let ticket = backend.begin(FileSpec { ttl, ..sized(10) }).await?;
    backend.finish(&ticket, 10).await?;
    // Expired and soft-deleted: counted out once.
    let deleted = backend.begin(FileSpec { ttl, ..sized(3) }).await?;
    backend.finish(&deleted, 3).await?;
    let soft = Deletion { grace: Duration::from_secs(1), ..Deletion::default() };
    backend.repository.delete(&deleted.file_id, soft).await?;
    assert_eq!(backend.usage().await?, usage(2, 13));
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.usage().await?, usage(0, 0));
    // Nor is it in the way of the next one.
    assert!(backend.begin_within(sized(13), bytes(13)).await?.is_some());
    Ok(())
}

pub(super) async fn what_is_promised_is_set_aside(backend: Backend) -> Result {
    let quota = bytes(100);
    let first = backend.begin_within(sized(60), quota).await?.expect("room");
    assert_eq!(backend.begin_within(sized(41), quota).await?, None);
    let second = backend.begin_within(sized(40), quota).await?.expect("room");
    assert_eq!(backend.begin_within(sized(1), quota).await?, None);
    // Given back when it fails, in either way.
    assert!(backend.repository.abandon(&second).await?);
    let third = backend.begin_within(sized(40), quota).await?.expect("room");
    backend.clock.advance(LEASE + CLAIM);
    backend.repository.renew(&first, LEASE).await?;
    assert_eq!(backend.orphans().await?.len(), 2);
    backend.finish(&first, 60).await?;
    assert_eq!(backend.begin_within(sized(41), quota).await?, None);
    assert!(backend.begin_within(sized(40), quota).await?.is_some());
    assert_eq!(third.reserved_bytes, 40);
    assert!(backend.repository.check_usage(false).await?.is_empty());
    Ok(())
}

pub(super) async fn an_upload_without_a_length_sets_aside_as_it_goes(backend: Backend) -> Result {
    let quota = bytes(10 * RESERVATION_STEP_BYTES);
    let ticket = backend.begin_within(spec("u", None), quota).await?.expect("room");
    assert_eq!(ticket.reserved_bytes, RESERVATION_STEP_BYTES);
    let more = backend.reserve(&ticket, RESERVATION_STEP_BYTES + 1, quota).await?;
    assert_eq!(more, Some(2 * RESERVATION_STEP_BYTES));
    let other = backend.begin_within(sized(7 * RESERVATION_STEP_BYTES), quota).await?;
    assert!(other.is_some());
    // One step is left: not enough to double, but enough for what is needed.
    let rest = 3 * RESERVATION_STEP_BYTES;
    assert_eq!(backend.reserve(&ticket, rest, quota).await?, Some(rest));
    assert_eq!(backend.reserve(&ticket, rest + 1, quota).await?, None);
    backend.finish(&ticket, 5).await?;
    let left = sized(3 * RESERVATION_STEP_BYTES - 5);
    assert!(backend.begin_within(left, quota).await?.is_some());
    assert_eq!(backend.begin_within(sized(1), quota).await?, None);
    // Even the first step is taken only as far as there is room, and an empty file needs none.
    let none = backend.begin_within(spec("u", None), quota).await?.expect("room for nothing");
    assert_eq!(none.reserved_bytes, 0);
    assert_eq!(backend.reserve(&none, 1, quota).await?, None);
    let gone = UploadTicket { fence: 7, ..ticket };
    let refused = backend.repository.reserve(&gone, 1, quota).await;
    assert!(super::is_taken_over(refused));
    Ok(())
}

pub(super) async fn files_are_counted_while_they_are_under_way(backend: Backend) -> Result {
    let quota = files(2);
    let first = backend.begin_within(spec("u", None), quota).await?.expect("room");
    assert_eq!(first.reserved_bytes, u64::MAX);
    backend.finish(&first, 1).await?;
    let second = backend.begin_within(spec("u", None), quota).await?.expect("room");
    assert_eq!(backend.begin_within(spec("u", None), quota).await?, None);
    assert!(backend.repository.abandon(&second).await?);
    assert!(backend.begin_within(spec("u", None), quota).await?.is_some());
    Ok(())
}

pub(super) async fn a_retry_needs_no_second_place(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let said = FileSpec { upload_id, ..sized(10) };
    backend.begin_within(said.clone(), bytes(10)).await?.expect("room");
    let again = backend.begin_within(said.clone(), bytes(10)).await?.expect("the same room");
    backend.finish(&again, 10).await?;
    let replayed = backend.intend_within(said, bytes(10)).await?;
    assert!(matches!(replayed, Intended::Finished(_)));
    Ok(())
}

pub(super) async fn concurrent_uploads_cannot_pass_a_quota_together(backend: Backend) -> Result {
    let backend = Arc::new(backend);
    let uploads = (0..40).map(|n| {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let quota = Quota { file_count_max: Some(1000), stored_bytes_max: Some(100) };
            let said = if n % 2 == 0 { sized(7) } else { spec("u", None) };
            let Some(ticket) = backend.begin_within(said, quota).await? else {
                return anyhow::Ok(0);
            };
            if ticket.reserved_bytes < 7 && backend.reserve(&ticket, 7, quota).await?.is_none() {
                assert!(backend.repository.abandon(&ticket).await?);
                return Ok(0);
            }
            backend.finish(&ticket, 7).await?;
            Ok(7)
        })
    });
    let mut stored = 0;
    for upload in uploads.collect::<Vec<_>>() {
        stored += upload.await??;
    }
    assert!(stored <= 100, "{stored}");
    assert_eq!(backend.usage().await?.stored_bytes, stored);
    // Whatever was set aside for nothing is free again.
    let quota = bytes(100);
    assert!(backend.begin_within(sized(100 - stored), quota).await?.is_some());
    assert!(backend.repository.check_usage(false).await?.is_empty());
    Ok(())
}
