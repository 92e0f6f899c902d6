//! What the sweeper, the scrub and fsck rely on.

use std::{sync::Arc, time::Duration};

use files::{blob::BlobKey, clock::Clock, file::FileSpec, metadata::Deletion};

use super::{Backend, CLAIM, GRACE, LEASE, Result, content, is_taken_over, purge, spec};

pub(super) async fn an_expired_file_is_claimed(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let record = backend.file(FileSpec { ttl, ..spec("u", None) }).await?;
    backend.file(spec("u", None)).await?;
    assert_eq!(backend.orphans().await?, []);
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, [record.file.id]);
    assert!(!backend.is_found(&record.file.id).await?);
    backend.repository.forget(&record.file.id).await?;
    backend.clock.advance(CLAIM);
    assert_eq!(backend.orphans().await?, []);
    Ok(())
}

pub(super) async fn a_lease_that_ended_is_claimed_and_cannot_be_published(
    backend: Backend,
) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    backend.clock.advance(LEASE);
    assert_eq!(backend.orphans().await?, []);
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, [ticket.file_id]);
    assert!(is_taken_over(backend.repository.publish(&ticket, content()).await));
    assert!(is_taken_over(backend.repository.renew(&ticket, LEASE).await));
    Ok(())
}

pub(super) async fn a_renewed_lease_is_not_claimed(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    backend.clock.advance(LEASE);
    backend.repository.renew(&ticket, LEASE).await?;
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, []);
    backend.publish(&ticket).await?;
    Ok(())
}

pub(super) async fn what_is_claimed_stays_until_it_is_forgotten(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    backend.repository.delete(&record.file.id, purge()).await?;
    for _ in 0..2 {
        assert_eq!(backend.orphans().await?, [record.file.id]);
        // Nobody else is at it until the claim has ended.
        assert_eq!(backend.orphans().await?, []);
        backend.clock.advance(CLAIM);
    }
    backend.repository.forget(&record.file.id).await?;
    assert_eq!(backend.orphans().await?, []);
    Ok(())
}

pub(super) async fn a_live_file_cannot_be_forgotten(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    let pending = backend.begin(spec("u", None)).await?;
    backend.repository.forget(&record.file.id).await?;
    backend.repository.forget(&pending.file_id).await?;
    assert!(backend.is_found(&record.file.id).await?);
    backend.publish(&pending).await?;
    Ok(())
}

pub(super) async fn orphans_are_listed_untouched(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    assert!(backend.repository.list_orphans(10).await?.is_empty());
    backend.clock.advance(LEASE + Duration::from_secs(1));
    let listed = backend.repository.list_orphans(10).await?;
    let found: Vec<_> = listed.iter().map(|it| (it.file_id, it.blob_key)).collect();
    assert_eq!(found, [(ticket.file_id, ticket.blob_key)]);
    backend.publish(&ticket).await?;
    Ok(())
}

pub(super) async fn every_record_names_its_blob(backend: Backend) -> Result {
    let pending = backend.begin(spec("u", None)).await?;
    let record = backend.file(spec("u", None)).await?;
    let (gone, stray) = (backend.file(spec("u", None)).await?, BlobKey::random()?);
    backend.repository.delete(&gone.file.id, purge()).await?;
    let keys = [pending.blob_key, stray, record.blob_key, gone.blob_key];
    assert_eq!(backend.repository.unrecorded(&keys).await?, [stray]);
    assert_eq!(backend.repository.unrecorded(&[]).await?, []);
    backend.repository.forget(&gone.file.id).await?;
    assert_eq!(backend.repository.unrecorded(&[gone.blob_key]).await?, [gone.blob_key]);
    Ok(())
}

pub(super) async fn a_walk_meets_every_file_once(backend: Backend) -> Result {
    let mut expected = Vec::new();
    for n in 0..25 {
        let record = backend.file(spec(&format!("user {}", n % 3), None)).await?;
        if n == 7 {
            let soft = Deletion { grace: GRACE, ..Deletion::default() };
            backend.repository.delete(&record.file.id, soft).await?;
        }
        expected.push(record.file.id);
    }
    backend.begin(spec("u", None)).await?;
    let purged = backend.file(spec("u", None)).await?.file.id;
    backend.repository.delete(&purged, purge()).await?;
    expected.sort_unstable();
    let mut met = Vec::new();
    loop {
        let page = backend.repository.walk(met.last(), 4).await?;
        if page.is_empty() {
            break;
        }
        met.extend(page.iter().map(|record| record.file.id));
    }
    assert_eq!(met, expected);
    let totals = backend.repository.totals().await?;
    assert_eq!((totals.file_count, totals.stored_bytes), (25, 25 * content().size_bytes));
    Ok(())
}

pub(super) async fn what_was_verified_longest_ago_is_next(backend: Backend) -> Result {
    let hour = Duration::from_secs(3600);
    let first = backend.file(spec("u", None)).await?.file.id;
    backend.clock.advance(hour);
    let second = backend.file(spec("u", None)).await?.file.id;
    backend.begin(spec("u", None)).await?;
    backend.clock.advance(hour);
    let lease = Duration::from_secs(60);
    let due = async |before, limit| {
        let due = backend.repository.claim_unverified(before, lease, limit).await?;
        anyhow::Ok(due.iter().map(|record| record.file.id).collect::<Vec<_>>())
    };
    let now = backend.clock.now();
    assert_eq!(due(now.minus(2 * hour), 10).await?, []);
    assert_eq!(due(now, 1).await?, [first]);
    assert_eq!(due(now, 10).await?, [second]);
    assert_eq!(due(now, 10).await?, []);
    backend.repository.note_verified(&first).await?;
    // One that was taken and not verified is due again, and none that was.
    let later = now.plus(lease + Duration::from_micros(1));
    backend.clock.advance(lease + Duration::from_micros(1));
    assert_eq!(due(later.minus(Duration::from_micros(1)), 10).await?, [first]);
    assert_eq!(due(later, 10).await?, [second]);
    Ok(())
}

pub(super) async fn the_database_keeps_its_id(backend: Backend) -> Result {
    let id = backend.repository.identity().await?;
    assert_eq!(backend.repository.identity().await?, id);
    assert!(!id.is_nil());
    Ok(())
}

pub(super) async fn concurrent_claims_share_the_work(backend: Backend) -> Result {
    let backend = Arc::new(backend);
    let mut expected = Vec::new();
    for _ in 0..50 {
        let id = backend.file(spec("u", None)).await?.file.id;
        backend.repository.delete(&id, purge()).await?;
        expected.push(id);
    }
    let sweepers = (0..4).map(|_| {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let batch = backend.repository.claim_orphans(3, CLAIM).await?;
                if batch.is_empty() {
                    return anyhow::Ok(claimed);
                }
                claimed.extend(batch.iter().map(|orphan| orphan.file_id));
            }
        })
    });
    let mut claimed = Vec::new();
    for sweeper in sweepers.collect::<Vec<_>>() {
        claimed.extend(sweeper.await??);
    }
    claimed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(claimed, expected);
    Ok(())
}
