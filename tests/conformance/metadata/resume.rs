//! Uploads that another call goes on with.

use files::metadata::{Progress, Resumption, UploadStatus};

use super::*;

const KEPT: Duration = Duration::from_secs(24 * 3600);

fn progress(persisted_size_bytes: u64) -> Progress {
    Progress { persisted_size_bytes, state: format!("{{\"at\":{persisted_size_bytes}}}") }
}

impl Backend {
    async fn intend_from(&self, spec: FileSpec, offset: u64) -> Result<Intended> {
        let (file_id, blob_key, quota) = (FileId::random()?, BlobKey::random()?, Quota::default());
        let intent = Intent { file_id, blob_key, spec, lease: LEASE, quota, offset };
        Ok(self.repository.intend(intent).await?)
    }

    async fn resume(&self, spec: FileSpec, offset: u64) -> Result<Resumption> {
        match self.intend_from(spec, offset).await? {
            Intended::Resumed(resumption) => Ok(*resumption),
            other => anyhow::bail!("not resumed: {other:?}"),
        }
    }

    /// An upload of which `size_bytes` are durable.
    async fn saved(&self, upload_id: Option<Uuid>, size_bytes: u64) -> Result<UploadTicket> {
        let ticket = self.begin(spec("u", upload_id)).await?;
        self.repository.save(&ticket, progress(size_bytes), KEPT).await?;
        Ok(ticket)
    }

    async fn status(&self, upload_id: Uuid) -> Result<Option<UploadStatus>> {
        Ok(self.repository.find_upload(&user("u"), &upload_id).await?)
    }
}

fn persisted(error: &anyhow::Error) -> Option<u64> {
    match error.downcast_ref::<MetadataError>() {
        Some(MetadataError::OffsetMismatch { persisted_size_bytes }) => Some(*persisted_size_bytes),
        _ => None,
    }
}

pub(super) async fn a_saved_upload_changes_hands(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.saved(upload_id, 100).await?;
    for (offset, fence) in [(0, 2), (100, 3), (40, 4)] {
        let resumed = backend.resume(spec("u", upload_id), offset).await?;
        let ticket = UploadTicket { fence, ..first };
        assert_eq!(resumed, Resumption { ticket, progress: progress(100), sealed: None });
        assert!(backend.repository.holds(&ticket).await?);
    }
    assert!(!backend.repository.holds(&first).await?);
    assert!(is_taken_over(backend.repository.save(&first, progress(200), KEPT).await));
    assert!(is_taken_over(backend.repository.seal(&first, content()).await));
    assert!(is_taken_over(backend.repository.publish(&first, content()).await));
    assert!(is_taken_over(backend.repository.renew(&first, LEASE).await));
    assert!(!backend.repository.abandon(&first).await?);
    let record = backend.publish(&UploadTicket { fence: 4, ..first }).await?;
    assert_eq!((record.file.id, record.blob_key), (first.file_id, first.blob_key));
    assert!(matches!(backend.intend(spec("u", upload_id)).await?, Intended::Finished(_)));
    assert_eq!(backend.orphans().await?, []);
    Ok(())
}

pub(super) async fn an_offset_beyond_what_is_durable_changes_nothing(backend: Backend) -> Result {
    let id = Uuid::new_v4();
    let upload_id = Some(id);
    let missing = backend.intend_from(spec("u", upload_id), 1).await.expect_err("nothing there");
    assert_eq!(persisted(&missing), Some(0));
    assert!(backend.status(id).await?.is_none());
    let unsaved = backend.begin(spec("u", upload_id)).await?;
    let early = backend.intend_from(spec("u", upload_id), 1).await.expect_err("not saved");
    assert_eq!(persisted(&early), Some(0));
    assert!(backend.repository.holds(&unsaved).await?);
    backend.repository.save(&unsaved, progress(100), KEPT).await?;
    let beyond = backend.intend_from(spec("u", upload_id), 101).await.expect_err("beyond");
    assert_eq!(persisted(&beyond), Some(100));
    assert!(backend.repository.holds(&unsaved).await?);
    assert!(backend.intend_from(spec("u", None), 1).await.is_err());
    Ok(())
}

pub(super) async fn what_is_durable_never_shrinks(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let ticket = backend.saved(upload_id, 100).await?;
    backend.repository.save(&ticket, progress(100), KEPT).await?;
    backend.repository.save(&ticket, progress(300), KEPT).await?;
    assert!(backend.repository.save(&ticket, progress(200), KEPT).await.is_err());
    let resumed = backend.resume(spec("u", upload_id), 300).await?;
    assert_eq!(resumed.progress, progress(300));
    Ok(())
}

pub(super) async fn a_saved_upload_lives_as_long_as_it_is_kept(backend: Backend) -> Result {
    let upload_id = Uuid::new_v4();
    let ticket = backend.saved(Some(upload_id), 100).await?;
    let expire_time = backend.clock.now().plus(KEPT);
    let unfinished = UploadStatus::Unfinished { persisted_size_bytes: 100, expire_time };
    assert_eq!(backend.status(upload_id).await?, Some(unfinished.clone()));
    backend.clock.advance(KEPT - Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, []);
    // Taking it over shortens nothing.
    backend.resume(spec("u", Some(upload_id)), 0).await?;
    backend.clock.advance(Duration::from_secs(2) + LEASE);
    assert_eq!(backend.orphans().await?, [ticket.file_id]);
    assert_eq!(backend.status(upload_id).await?, None);
    let beyond = backend.intend_from(spec("u", Some(upload_id)), 100).await.expect_err("gone");
    assert_eq!(persisted(&beyond), Some(0));
    Ok(())
}

pub(super) async fn a_sealed_upload_tells_its_content(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let ticket = backend.saved(upload_id, 100).await?;
    backend.repository.seal(&ticket, content()).await?;
    assert!(!backend.is_found(&ticket.file_id).await?);
    assert_eq!(backend.repository.usage(&user("u")).await?.file_count, 0);
    let resumed = backend.resume(spec("u", upload_id), 100).await?;
    assert_eq!(resumed.sealed, Some(content()));
    backend.publish(&resumed.ticket).await?;
    assert!(backend.repository.check_usage(false).await?.is_empty());
    Ok(())
}

pub(super) async fn an_upload_is_told_of_until_it_is_deleted(backend: Backend) -> Result {
    let upload_id = Uuid::new_v4();
    assert_eq!(backend.status(upload_id).await?, None);
    let ticket = backend.begin(spec("u", Some(upload_id))).await?;
    let status = backend.status(upload_id).await?;
    assert!(matches!(status, Some(UploadStatus::Unfinished { persisted_size_bytes: 0, .. })));
    assert_eq!(backend.repository.find_upload(&user("other"), &upload_id).await?, None);
    let record = backend.publish(&ticket).await?;
    let finished = UploadStatus::Finished(Box::new(record));
    assert_eq!(backend.status(upload_id).await?, Some(finished));
    let soft = Deletion { grace: Duration::from_secs(10), ..purge() };
    backend.repository.delete(&ticket.file_id, soft).await?;
    assert_eq!(backend.status(upload_id).await?, Some(UploadStatus::Deleted));
    assert_eq!(backend.repository.find_upload(&user("other"), &upload_id).await?, None);
    backend.repository.delete(&ticket.file_id, purge()).await?;
    assert_eq!(backend.status(upload_id).await?, None);
    Ok(())
}

pub(super) async fn a_cancelled_upload_is_nobodys(backend: Backend) -> Result {
    let upload_id = Uuid::new_v4();
    let cancel = async || backend.repository.cancel(&user("u"), &upload_id).await;
    assert_eq!(cancel().await?, None);
    let ticket = backend.saved(Some(upload_id), 100).await?;
    assert_eq!(backend.repository.cancel(&user("other"), &upload_id).await?, None);
    let orphan = cancel().await?.expect("an unfinished upload");
    assert_eq!((orphan.file_id, orphan.blob_key), (ticket.file_id, ticket.blob_key));
    assert_eq!(cancel().await?, None);
    assert!(is_taken_over(backend.repository.publish(&ticket, content()).await));
    assert_eq!(backend.status(upload_id).await?, None);
    assert_eq!(backend.orphans().await?, [ticket.file_id]);
    backend.file(spec("u", Some(upload_id))).await?;
    assert_eq!(cancel().await?, None, "a finished upload cannot be cancelled");
    assert!(backend.repository.check_usage(false).await?.is_empty());
    Ok(())
}

pub(super) async fn concurrent_resumptions_leave_one_holder(backend: Backend) -> Result {
    let (backend, upload_id) = (Arc::new(backend), Some(Uuid::new_v4()));
    let first = backend.saved(upload_id, 100).await?;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move { backend.resume(spec("u", upload_id), 100).await })
        })
        .collect();
    let mut fences = Vec::new();
    for call in calls {
        fences.push(call.await??.ticket.fence);
    }
    fences.sort_unstable();
    assert_eq!(fences, (2..22).collect::<Vec<_>>());
    for fence in 1..22 {
        let holds = backend.repository.holds(&UploadTicket { fence, ..first }).await?;
        assert_eq!(holds, fence == 21);
    }
    Ok(())
}
