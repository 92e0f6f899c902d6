//! The promises of a database.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock, Timestamp},
    file::{
        Content, FileSpec, id::FileId, labels::Labels, media_type::MediaType, name::FileName,
        purpose::Purpose, user::UserId,
    },
    metadata::{
        FileRecord, FileRepository, Intended, Intent, ListPosition, ListQuery, MetadataError,
        UploadTicket, cached::CachedRepository, memory::MemoryRepository, sqlite::SqliteRepository,
    },
};
use tempfile::TempDir;
use uuid::Uuid;

type Result<T = ()> = anyhow::Result<T>;

const LEASE: Duration = Duration::from_secs(60);

/// A database under test, and what must live as long as it.
struct Backend {
    repository: Arc<dyn FileRepository>,
    clock: Arc<ManualClock>,
    _directory: Option<TempDir>,
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_s(1_711_657_200)))
}

fn memory() -> Result<Backend> {
    let clock = clock();
    Ok(Backend {
        repository: Arc::new(MemoryRepository::new(Arc::clone(&clock) as Arc<dyn Clock>)),
        clock,
        _directory: None,
    })
}

fn sqlite() -> Result<Backend> {
    let (clock, directory) = (clock(), tempfile::tempdir()?);
    let path = directory.path().join("metadata.db");
    let repository = SqliteRepository::open(&path, Arc::clone(&clock) as Arc<dyn Clock>)?;
    Ok(Backend { repository: Arc::new(repository), clock, _directory: Some(directory) })
}

fn cached_sqlite() -> Result<Backend> {
    let inner = sqlite()?;
    Ok(Backend { repository: Arc::new(CachedRepository::new(inner.repository, 100)), ..inner })
}

macro_rules! conforms {
    ($backend:ident) => {
        promises! { $backend:
            a_file_is_found_once_it_is_published,
            everything_said_and_measured_reads_back,
            a_retry_of_a_finished_upload_finds_its_file,
            the_same_upload_id_with_another_start_is_a_conflict,
            a_newer_call_takes_an_unfinished_upload_over,
            the_same_upload_id_of_two_users_are_two_uploads,
            an_abandoned_upload_can_be_started_anew,
            a_published_upload_cannot_be_abandoned,
            concurrent_calls_with_one_upload_id_make_one_file,
            listing_is_newest_first_and_pages_join_without_gaps,
            listing_shows_one_users_visible_files_alone,
            an_expired_file_is_not_visible,
            an_expired_file_is_claimed,
            an_expired_file_frees_its_upload_id,
            revoking_raises_epoch_and_etag,
            a_retired_file_is_gone_at_once,
            retiring_heeds_the_etag,
            a_lease_that_ended_is_claimed_and_cannot_be_published,
            a_renewed_lease_is_not_claimed,
            what_is_claimed_stays_until_it_is_forgotten,
            a_live_file_cannot_be_forgotten,
            changes_racing_with_lookups_are_seen_afterwards,
        }
    };
}

conforms!(memory);
conforms!(sqlite);
conforms!(cached_sqlite);

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

fn spec(user_name: &str, upload_id: Option<Uuid>) -> FileSpec {
    let label = ("köy".to_owned(), "\"value\"".to_owned());
    FileSpec {
        user_id: user(user_name),
        purpose: Purpose::stored("assistants".to_owned()),
        name: FileName::parse("filename", "näme.txt").expect("a name"),
        media_type: MediaType::parse("text/plain").expect("a type"),
        size_bytes: None,
        ttl: None,
        labels: Labels::parse(BTreeMap::from([label])).expect("labels"),
        upload_id,
    }
}

fn content() -> Content {
    Content { size_bytes: u64::from(u32::MAX) + 7, sha256: [7; 32] }
}

impl Backend {
    async fn intend(&self, spec: FileSpec) -> Result<Intended> {
        let intent =
            Intent { file_id: FileId::random()?, blob_key: BlobKey::random()?, spec, lease: LEASE };
        Ok(self.repository.intend(intent).await?)
    }

    async fn begin(&self, spec: FileSpec) -> Result<UploadTicket> {
        match self.intend(spec).await? {
            Intended::Begun(ticket) => Ok(ticket),
            Intended::Finished(_) => anyhow::bail!("finished before"),
        }
    }

    async fn publish(&self, ticket: &UploadTicket) -> Result<FileRecord> {
        Ok(self.repository.publish(ticket, content()).await?)
    }

    async fn file(&self, spec: FileSpec) -> Result<FileRecord> {
        let ticket = self.begin(spec).await?;
        self.publish(&ticket).await
    }

    async fn is_found(&self, id: &FileId) -> Result<bool> {
        Ok(self.repository.find(id).await?.is_some())
    }

    async fn list(
        &self,
        owner: &str,
        after: Option<ListPosition>,
        limit: usize,
    ) -> Result<Vec<FileId>> {
        let user_id = user(owner);
        let query = ListQuery { user_id, after, limit };
        let page = self.repository.list(&query).await?;
        Ok(page.iter().map(|record| record.file.id).collect())
    }

    async fn orphans(&self) -> Result<Vec<FileId>> {
        let claimed = self.repository.claim_orphans(10).await?;
        Ok(claimed.iter().map(|orphan| orphan.file_id).collect())
    }
}

fn is_taken_over<T>(outcome: std::result::Result<T, MetadataError>) -> bool {
    matches!(outcome, Err(MetadataError::UploadTakenOver))
}

async fn a_file_is_found_once_it_is_published(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    assert!(!backend.is_found(&ticket.file_id).await?);
    assert_eq!(backend.list("u", None, 10).await?, []);
    let published = backend.publish(&ticket).await?;
    let found = backend.repository.find(&ticket.file_id).await?;
    assert_eq!(found.as_deref(), Some(&published));
    assert!(is_taken_over(backend.repository.publish(&ticket, content()).await));
    Ok(())
}

async fn everything_said_and_measured_reads_back(backend: Backend) -> Result {
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

async fn a_retry_of_a_finished_upload_finds_its_file(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.file(spec("u", upload_id)).await?;
    let again = backend.intend(spec("u", upload_id)).await?;
    assert!(matches!(again, Intended::Finished(record) if *record == first));
    Ok(())
}

async fn the_same_upload_id_with_another_start_is_a_conflict(backend: Backend) -> Result {
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

async fn a_newer_call_takes_an_unfinished_upload_over(backend: Backend) -> Result {
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

async fn the_same_upload_id_of_two_users_are_two_uploads(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let one = backend.file(spec("one", upload_id)).await?;
    let two = backend.file(spec("two", upload_id)).await?;
    assert_ne!(one.file.id, two.file.id);
    Ok(())
}

async fn an_abandoned_upload_can_be_started_anew(backend: Backend) -> Result {
    let upload_id = Some(Uuid::new_v4());
    let first = backend.begin(spec("u", upload_id)).await?;
    assert!(backend.repository.abandon(&first).await?);
    assert!(!backend.repository.abandon(&first).await?);
    assert!(is_taken_over(backend.repository.publish(&first, content()).await));
    backend.file(spec("u", upload_id)).await?;
    assert_eq!(backend.orphans().await?, [first.file_id]);
    Ok(())
}

async fn a_published_upload_cannot_be_abandoned(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    backend.publish(&ticket).await?;
    assert!(!backend.repository.abandon(&ticket).await?);
    assert!(backend.is_found(&ticket.file_id).await?);
    Ok(())
}

async fn concurrent_calls_with_one_upload_id_make_one_file(backend: Backend) -> Result {
    let (backend, upload_id) = (Arc::new(backend), Some(Uuid::new_v4()));
    let calls = (0..40).map(|_| {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            match backend.intend(spec("u", upload_id)).await? {
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

async fn listing_is_newest_first_and_pages_join_without_gaps(backend: Backend) -> Result {
    let mut files = Vec::new();
    for n in 0..25 {
        // Some in the same microsecond: then the id decides.
        if n % 3 == 0 {
            backend.clock.advance(Duration::from_micros(1));
        }
        files.push(backend.file(spec("u", None)).await?.file);
    }
    files.sort_by_key(|file| std::cmp::Reverse((file.create_time, file.id)));
    let expected: Vec<FileId> = files.iter().map(|file| file.id).collect();
    assert_eq!(backend.list("u", None, 100).await?, expected);
    let mut joined = Vec::new();
    let mut after = None;
    loop {
        let page = backend.list("u", after, 4).await?;
        let Some(last) = page.last() else { break };
        after = files.iter().find(|file| file.id == *last).map(ListPosition::from);
        joined.extend(page);
    }
    assert_eq!(joined, expected);
    Ok(())
}

async fn listing_shows_one_users_visible_files_alone(backend: Backend) -> Result {
    let mine = backend.file(spec("me", None)).await?;
    backend.file(spec("other", None)).await?;
    backend.begin(spec("me", None)).await?;
    let gone = backend.file(spec("me", None)).await?;
    backend.repository.retire(&gone.file.id, None).await?;
    assert_eq!(backend.list("me", None, 10).await?, [mine.file.id]);
    Ok(())
}

async fn an_expired_file_is_not_visible(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let record = backend.file(FileSpec { ttl, ..spec("u", None) }).await?;
    assert!(record.is_visible(backend.clock.now()));
    assert_eq!(backend.list("u", None, 10).await?.len(), 1);
    backend.clock.advance(Duration::from_secs(1));
    assert!(!record.is_visible(backend.clock.now()));
    assert_eq!(backend.list("u", None, 10).await?, []);
    Ok(())
}

async fn an_expired_file_is_claimed(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let record = backend.file(FileSpec { ttl, ..spec("u", None) }).await?;
    backend.file(spec("u", None)).await?;
    assert_eq!(backend.orphans().await?, []);
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, [record.file.id]);
    assert!(!backend.is_found(&record.file.id).await?);
    backend.repository.forget(&record.file.id).await?;
    assert_eq!(backend.orphans().await?, []);
    Ok(())
}

async fn an_expired_file_frees_its_upload_id(backend: Backend) -> Result {
    let ttl = Some(Duration::from_secs(1));
    let upload_id = Some(Uuid::new_v4());
    let first = backend.file(FileSpec { ttl, ..spec("u", upload_id) }).await?;
    backend.clock.advance(Duration::from_secs(1));
    let second = backend.file(spec("u", upload_id)).await?;
    assert_ne!(first.file.id, second.file.id);
    assert_eq!(backend.orphans().await?, [first.file.id]);
    Ok(())
}

async fn revoking_raises_epoch_and_etag(backend: Backend) -> Result {
    let before = backend.file(spec("u", None)).await?;
    backend.repository.find(&before.file.id).await?;
    backend.clock.advance(Duration::from_secs(5));
    let after = backend.repository.raise_link_epoch(&before.file.id).await?;
    let after = after.expect("the file is there");
    assert_eq!(after.file.link_epoch, 1);
    assert_ne!(after.file.etag(), before.file.etag());
    assert_eq!(after.file.update_time, backend.clock.now());
    let found = backend.repository.find(&before.file.id).await?;
    assert_eq!(found.as_deref(), Some(&after));
    assert_eq!(backend.repository.raise_link_epoch(&FileId::random()?).await?, None);
    Ok(())
}

async fn a_retired_file_is_gone_at_once(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    backend.repository.find(&record.file.id).await?;
    let retired = backend.repository.retire(&record.file.id, None).await?;
    assert_eq!(retired.as_ref(), Some(&record));
    assert!(!backend.is_found(&record.file.id).await?);
    assert_eq!(backend.repository.retire(&record.file.id, None).await?, None);
    assert_eq!(backend.repository.raise_link_epoch(&record.file.id).await?, None);
    assert_eq!(backend.orphans().await?, [record.file.id]);
    Ok(())
}

async fn retiring_heeds_the_etag(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    let (id, etag) = (record.file.id, record.file.etag());
    let changed = backend.repository.raise_link_epoch(&id).await?.expect("there");
    let refused = backend.repository.retire(&id, Some(&etag)).await;
    assert!(matches!(refused, Err(MetadataError::EtagMismatch)));
    assert!(backend.is_found(&id).await?);
    let retired = backend.repository.retire(&id, Some(&changed.file.etag())).await?;
    assert!(retired.is_some());
    Ok(())
}

async fn a_lease_that_ended_is_claimed_and_cannot_be_published(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    backend.clock.advance(LEASE);
    assert_eq!(backend.orphans().await?, []);
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, [ticket.file_id]);
    assert!(is_taken_over(backend.repository.publish(&ticket, content()).await));
    assert!(is_taken_over(backend.repository.renew(&ticket, LEASE).await));
    Ok(())
}

async fn a_renewed_lease_is_not_claimed(backend: Backend) -> Result {
    let ticket = backend.begin(spec("u", None)).await?;
    backend.clock.advance(LEASE);
    backend.repository.renew(&ticket, LEASE).await?;
    backend.clock.advance(Duration::from_secs(1));
    assert_eq!(backend.orphans().await?, []);
    backend.publish(&ticket).await?;
    Ok(())
}

async fn what_is_claimed_stays_until_it_is_forgotten(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    backend.repository.retire(&record.file.id, None).await?;
    for _ in 0..2 {
        assert_eq!(backend.orphans().await?, [record.file.id]);
    }
    backend.repository.forget(&record.file.id).await?;
    assert_eq!(backend.orphans().await?, []);
    Ok(())
}

async fn a_live_file_cannot_be_forgotten(backend: Backend) -> Result {
    let record = backend.file(spec("u", None)).await?;
    let pending = backend.begin(spec("u", None)).await?;
    backend.repository.forget(&record.file.id).await?;
    backend.repository.forget(&pending.file_id).await?;
    assert!(backend.is_found(&record.file.id).await?);
    backend.publish(&pending).await?;
    Ok(())
}

async fn changes_racing_with_lookups_are_seen_afterwards(backend: Backend) -> Result {
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
        backend.repository.raise_link_epoch(&id).await?;
        let found = backend.repository.find(&id).await?.expect("there");
        assert_eq!(found.file.link_epoch, epoch);
        reading.await??;
    }
    Ok(())
}
