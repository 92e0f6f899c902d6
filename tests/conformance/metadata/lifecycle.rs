//! A file's life after its upload: changes, deletion, expiry.

use std::{sync::Arc, time::Duration};

use files::{
    clock::Clock,
    file::{File, FileSpec, id::FileId, labels::Labels, name::FileName},
    metadata::{Deletion, FileUpdate, Intended, MetadataError},
};
use uuid::Uuid;

use super::{Backend, GRACE, Result, purge, spec};

pub(super) async fn an_expired_file_is_not_visible(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let record = backend.file(FileSpec { ttl, ..spec("u", None) }).await?;
    assert!(record.is_visible(backend.clock.now()));
    assert_eq!(backend.list("u", None, 10).await?.len(), 1);
    backend.clock.advance(Duration::from_secs(1));
    assert!(!record.is_visible(backend.clock.now()));
    assert_eq!(backend.list("u", None, 10).await?, []);
    Ok(())
}

pub(super) async fn revoking_raises_epoch_and_etag(backend: Backend) -> Result {
    let before = backend.file(spec("u", None)).await?;
    backend.repository.find(&before.file.id).await?;
    backend.clock.advance(Duration::from_secs(5));
    let after = backend.repository.update(&before.file.id, FileUpdate::ending_links()).await?;
    let after = after.expect("the file is there");
    assert_eq!(after.file.link_epoch, 1);
    assert_ne!(after.file.etag(), before.file.etag());
    assert_eq!(after.file.update_time, backend.clock.now());
    let found = backend.repository.find(&before.file.id).await?;
    assert_eq!(found.as_deref(), Some(&after));
    assert_eq!(
        backend.repository.update(&FileId::random()?, FileUpdate::ending_links()).await?,
        None
    );
    Ok(())
}

pub(super) async fn a_purged_file_is_gone_at_once(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    backend.repository.find(&record.file.id).await?;
    let purged = backend.repository.delete(&record.file.id, purge()).await?.expect("there");
    let now = Some(backend.clock.now());
    assert_eq!((purged.file.delete_time, purged.file.purge_time), (now, now));
    assert!(!backend.is_found(&record.file.id).await?);
    assert_eq!(backend.repository.delete(&record.file.id, purge()).await?, None);
    let update = FileUpdate::ending_links();
    assert_eq!(backend.repository.update(&record.file.id, update).await?, None);
    assert_eq!(backend.orphans().await?, [record.file.id]);
    Ok(())
}

pub(super) async fn deleting_heeds_the_etag(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    let (id, etag) = (record.file.id, record.file.etag());
    let changed = backend.repository.update(&id, FileUpdate::ending_links()).await?.expect("there");
    let on = |etag: String| Deletion { etag: Some(etag), ..purge() };
    let refused = backend.repository.delete(&id, on(etag)).await;
    assert!(matches!(refused, Err(MetadataError::EtagMismatch)));
    assert!(backend.is_found(&id).await?);
    let purged = backend.repository.delete(&id, on(changed.file.etag())).await?;
    assert!(purged.is_some());
    Ok(())
}

pub(super) async fn changes_racing_with_lookups_are_seen_afterwards(backend: Backend) -> Result {
    let backend = Arc::new(backend);
    let id = backend.file(spec("u", None)).await?.file.id;
    for epoch in 1..100 {
        let reader = Arc::clone(&backend);
        let reading = tokio::spawn(async move {
            for _ in 0..20 {
                reader.repository.find(&id).await?;
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        });
        backend.repository.update(&id, FileUpdate::ending_links()).await?;
        let found = backend.repository.find(&id).await?.expect("there");
        assert_eq!(found.file.link_epoch, epoch);
        reading.await??;
    }
    Ok(())
}

fn soft() -> Deletion {
    Deletion { grace: GRACE, ..Deletion::default() }
}

pub(super) async fn an_update_changes_what_it_names_and_the_etag(backend: Backend) -> Result {
    let before = backend.file(spec("u", None)).await?;
    let id = before.file.id;
    backend.repository.find(&id).await?;
    backend.clock.advance(Duration::from_secs(1));
    let now = backend.clock.now();
    let name = FileName::parse("filename", "Ünother.txt").expect("a name");
    let update = FileUpdate { name: Some(name.clone()), ..FileUpdate::default() };
    let renamed = backend.repository.update(&id, update).await?.expect("there").file;
    assert_ne!(renamed.etag(), before.file.etag());
    let expected =
        File { name, update_time: now, revision: before.file.revision + 1, ..before.file.clone() };
    assert_eq!(renamed, expected);
    let labels = Labels::parse([("k".to_owned(), "v".to_owned())].into()).expect("labels");
    let expires = now.plus(Duration::from_secs(5));
    let update = FileUpdate {
        etag: Some(renamed.etag()),
        labels: Some(labels.clone()),
        expire_time: Some(Some(expires)),
        delete_when_unreferenced: Some(true),
        ..FileUpdate::default()
    };
    let changed = backend.repository.update(&id, update).await?.expect("there").file;
    let expected = File {
        labels,
        expire_time: Some(expires),
        delete_when_unreferenced: true,
        revision: renamed.revision + 1,
        ..renamed
    };
    assert_eq!(changed, expected);
    let found = backend.repository.find(&id).await?.expect("there");
    assert_eq!(found.file, changed);
    let update = FileUpdate { expire_time: Some(None), ..FileUpdate::default() };
    let endless = backend.repository.update(&id, update).await?.expect("there").file;
    assert_eq!(endless.expire_time, None);
    Ok(())
}

pub(super) async fn an_update_heeds_the_etag_and_what_is_visible(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    let id = record.file.id;
    let etag = Some("no".to_owned());
    let stale = backend.repository.update(&id, FileUpdate { etag, ..FileUpdate::default() }).await;
    assert!(matches!(stale, Err(MetadataError::EtagMismatch)));
    assert_eq!(backend.repository.find(&id).await?.as_deref(), Some(&record));
    let ttl = Some(Duration::from_secs(1));
    let expired = backend.file(FileSpec { ttl, ..spec("u", None) }).await?.file.id;
    let pending = backend.begin(spec("u", None)).await?.file_id;
    backend.clock.advance(Duration::from_secs(1));
    backend.repository.delete(&id, soft()).await?;
    for hidden in [id, expired, pending] {
        assert_eq!(backend.repository.update(&hidden, FileUpdate::default()).await?, None);
    }
    Ok(())
}

pub(super) async fn a_soft_deleted_file_can_be_undeleted_in_time(backend: Backend) -> Result {
    let before = backend.file(spec("u", None)).await?;
    let id = before.file.id;
    backend.clock.advance(Duration::from_secs(1));
    let deleted_at = backend.clock.now();
    let deleted = backend.repository.delete(&id, soft()).await?.expect("there");
    assert_eq!(deleted.file.delete_time, Some(deleted_at));
    assert_eq!(deleted.file.purge_time, Some(deleted_at.plus(GRACE)));
    assert_ne!(deleted.file.etag(), before.file.etag());
    assert!(!deleted.is_visible(deleted_at) && deleted.is_recoverable(deleted_at));
    assert_eq!(backend.repository.find(&id).await?.as_deref(), Some(&deleted));
    assert_eq!(backend.repository.delete(&id, soft()).await?, None);
    assert_eq!(backend.orphans().await?, []);
    backend.clock.advance(GRACE - Duration::from_micros(1));
    let now = backend.clock.now();
    let back = backend.repository.undelete(&id).await?.expect("recoverable");
    assert_eq!((back.file.delete_time, back.file.purge_time), (None, None));
    assert_eq!((back.file.update_time, back.file.create_time), (now, before.file.create_time));
    assert_ne!(back.file.etag(), deleted.file.etag());
    assert_eq!(backend.list("u", None, 10).await?, [id]);
    let live = backend.repository.undelete(&id).await;
    assert!(matches!(live, Err(MetadataError::NotDeleted)));
    assert_eq!(backend.repository.undelete(&FileId::random()?).await?, None);
    Ok(())
}

pub(super) async fn after_its_purge_time_a_file_is_gone(backend: Backend) -> Result {
    let id = backend.file(spec("u", None)).await?.file.id;
    let deleted = backend.repository.delete(&id, soft()).await?.expect("there");
    backend.clock.advance(GRACE);
    assert!(!deleted.is_recoverable(backend.clock.now()));
    assert_eq!(backend.repository.undelete(&id).await?, None);
    assert_eq!(backend.repository.delete(&id, purge()).await?, None);
    assert_eq!(backend.orphans().await?, [id]);
    assert!(!backend.is_found(&id).await?);
    Ok(())
}

pub(super) async fn a_soft_deleted_file_can_be_purged(backend: Backend) -> Result {
    let id = backend.file(spec("u", None)).await?.file.id;
    let deleted = backend.repository.delete(&id, soft()).await?.expect("there");
    backend.clock.advance(Duration::from_secs(1));
    let purged = backend.repository.delete(&id, purge()).await?.expect("there");
    assert_eq!(purged.file.delete_time, deleted.file.delete_time);
    assert_eq!(purged.file.purge_time, Some(backend.clock.now()));
    assert_eq!(backend.repository.undelete(&id).await?, None);
    assert_eq!(backend.orphans().await?, [id]);
    Ok(())
}

pub(super) async fn a_soft_deleted_file_expires_all_the_same(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(10));
    let id = backend.file(FileSpec { ttl, ..spec("u", None) }).await?.file.id;
    let deleted = backend.repository.delete(&id, soft()).await?.expect("there");
    backend.clock.advance(Duration::from_secs(10));
    assert!(!deleted.is_recoverable(backend.clock.now()));
    assert_eq!(backend.repository.undelete(&id).await?, None);
    assert_eq!(backend.orphans().await?, [id]);
    Ok(())
}

pub(super) async fn an_upload_id_is_free_after_a_deletion(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.file(spec("u", upload_id)).await?.file.id;
    backend.repository.delete(&first, soft()).await?;
    let second = backend.file(spec("u", upload_id)).await?.file.id;
    assert_ne!(first, second);
    // Both live now; the upload_id stays with the newer one.
    assert!(backend.repository.undelete(&first).await?.is_some());
    let retried = backend.intend(spec("u", upload_id)).await?;
    assert!(matches!(retried, Intended::Finished(record) if record.file.id == second));
    Ok(())
}

pub(super) async fn quarantine_is_noted_and_lifted(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    let id = record.file.id;
    assert!(!record.quarantined);
    backend.repository.find(&id).await?;
    backend.repository.quarantine(&id, true).await?;
    let found = backend.repository.find(&id).await?.expect("there");
    assert!(found.quarantined && found.file == record.file);
    assert_eq!(backend.list("u", None, 10).await?, [id]);
    backend.repository.quarantine(&id, false).await?;
    let found = backend.repository.find(&id).await?.expect("there");
    assert!(!found.quarantined);
    Ok(())
}
