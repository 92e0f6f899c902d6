//! From an intent to a file.

use std::{sync::Arc, time::Duration};

use files::{
    clock::Clock,
    file::FileSpec,
    metadata::{Intended, MetadataError},
};
use uuid::Uuid;

use super::{Backend, LEASE, Result, content, is_taken_over, spec};

pub(super) async fn a_file_is_found_once_it_is_published(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    assert!(!backend.is_found(&ticket.file_id).await?);
    assert_eq!(backend.list("u", None, 10).await?, []);
    let published = backend.publish(&ticket).await?;
    let found = backend.repository.find(&ticket.file_id).await?;
    assert_eq!(found.as_deref(), Some(&published));
    assert!(is_taken_over(backend.repository.publish(&ticket, content()).await));
    Ok(())
}

pub(super) async fn everything_said_and_measured_reads_back(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(90));
    let said = FileSpec { ttl, ..spec("u", Some(Uuid::new_v4())) };
    let ticket = backend.begin(said.clone()).await?;
    backend.clock.advance(Duration::from_micros(1_500_001));
    let record = backend.publish(&ticket).await?;
    let (file, now) = (&record.file, backend.clock.now());
    assert_eq!(record.blob_key, ticket.blob_key);
    assert_eq!((&file.user_id, &file.purpose), (&said.user_id, &said.purpose));
    assert_eq!((&file.name, &file.media_type), (&said.name, &said.media_type));
    assert_eq!((&file.labels, file.content), (&said.labels, content()));
    assert_eq!((file.create_time, file.update_time), (now, now));
    assert_eq!(file.expire_time, Some(now.plus(Duration::from_secs(90))));
    assert_eq!(file.link_epoch, 0);
    Ok(())
}

pub(super) async fn a_retry_of_a_finished_upload_finds_its_file(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.file(spec("u", upload_id)).await?;
    let again = backend.intend(spec("u", upload_id)).await?;
    assert!(matches!(again, Intended::Finished(record) if *record == first));
    Ok(())
}

pub(super) async fn the_same_upload_id_with_another_start_is_a_conflict(
    backend: Backend,
) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let other = FileSpec { size_bytes: Some(1), ..spec("u", upload_id) };
    let ticket = backend.begin(spec("u", upload_id)).await?;
    for _ in 0..2 {
        let refused = backend.intend(other.clone()).await.expect_err("a conflict");
        let refused = refused.downcast::<MetadataError>()?;
        assert!(matches!(refused, MetadataError::UploadConflict));
        // Once while pending, once when finished.
        let _ = backend.publish(&ticket).await;
    }
    assert!(backend.is_found(&ticket.file_id).await?);
    Ok(())
}

pub(super) async fn a_newer_call_takes_an_unfinished_upload_over(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.begin(spec("u", upload_id)).await?;
    let second = backend.begin(spec("u", upload_id)).await?;
    assert_ne!((first.file_id, first.blob_key), (second.file_id, second.blob_key));
    assert!(is_taken_over(backend.repository.publish(&first, content()).await));
    assert!(is_taken_over(backend.repository.renew(&first, LEASE).await));
    assert!(!backend.repository.abandon(&first).await?);
    assert_eq!(backend.orphans().await?, [first.file_id]);
    backend.publish(&second).await?;
    Ok(())
}

pub(super) async fn the_same_upload_id_of_two_users_are_two_uploads(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let one = backend.file(spec("one", upload_id)).await?;
    let two = backend.file(spec("two", upload_id)).await?;
    assert_ne!(one.file.id, two.file.id);
    Ok(())
}

pub(super) async fn an_abandoned_upload_can_be_started_anew(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.begin(spec("u", upload_id)).await?;
    assert!(backend.repository.abandon(&first).await?);
    assert!(!backend.repository.abandon(&first).await?);
    assert!(is_taken_over(backend.repository.publish(&first, content()).await));
    backend.file(spec("u", upload_id)).await?;
    assert_eq!(backend.orphans().await?, [first.file_id]);
    Ok(())
}

pub(super) async fn a_published_upload_cannot_be_abandoned(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    backend.publish(&ticket).await?;
    assert!(!backend.repository.abandon(&ticket).await?);
    assert!(backend.is_found(&ticket.file_id).await?);
    Ok(())
}

pub(super) async fn concurrent_calls_with_one_upload_id_make_one_file(backend: Backend) -> Result {
    let (backend, upload_id) = (Arc::new(backend), Some(Uuid::new_v4()));
    let calls = (0..40).map(|_| {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            match backend.intend(spec("u", upload_id)).await? {
                Intended::Resumed(_) => anyhow::bail!("nothing was saved"),
                Intended::Finished(record) => anyhow::Ok(Some(record.file.id)),
                Intended::Begun(ticket) => {
                    tokio::task::yield_now().await;
                    match backend.repository.publish(&ticket, content()).await {
                        Ok(record) => Ok(Some(record.file.id)),
                        Err(MetadataError::UploadTakenOver) => Ok(None),
                        Err(error) => Err(error.into()),
                    }
                }
            }
        })
    });
    let mut made = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        made.extend(call.await??);
    }
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(backend.list("u", None, 10).await?, made);
    Ok(())
}

pub(super) async fn an_expired_file_frees_its_upload_id(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let upload_id = Some(Uuid::new_v4());
    let first = backend.file(FileSpec { ttl, ..spec("u", upload_id) }).await?;
    backend.clock.advance(Duration::from_secs(1));
    let second = backend.file(spec("u", upload_id)).await?;
    assert_ne!(first.file.id, second.file.id);
    assert_eq!(backend.orphans().await?, [first.file.id]);
    Ok(())
}
