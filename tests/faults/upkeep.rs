//! What keeps records and blobs in step, with time and damage made by hand.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use files::{
    backup::copy_content,
    blob::BlobKey,
    clock::{Clock, ManualClock, SystemClock},
    file::{Content, FileSpec, id::FileId, usage::Quota},
    metadata::{FileRecord, Intended, Intent, Upkeep, memory::MemoryRepository},
    storage::{
        Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, Storage, StorageError,
        memory::MemoryStorage, owned::OwnedStorage,
    },
    sweep::{Brake, STRAY_AGE_MIN, ScrubPace, Scrubber, StraySweeper, Sweeper},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    effects::spec,
    failing::{FailingStorage, Moment, Plan},
};

type Result<T = ()> = anyhow::Result<T>;
type Stored<T> = std::result::Result<T, StorageError>;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Rig {
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let times: Arc<dyn Clock> = Arc::clone(&clock) as _;
        Self {
            repository: Arc::new(MemoryRepository::new(Arc::clone(&times))),
            storage: Arc::new(MemoryStorage::new(times)),
            clock,
        }
    }

    async fn blob(&self, content: &Bytes) -> Result<BlobKey> {
        let key = BlobKey::random()?;
        let mut writer = self.storage.create(&key).await?;
        writer.write(vec![content.clone()]).await?;
        writer.commit().await?;
        Ok(key)
    }

    /// A file whose record says `content`, while `stored` is what rests in storage.
    async fn file(&self, content: &Bytes, stored: &Bytes) -> Result<FileRecord> {
        let blob_key = self.blob(stored).await?;
        let spec = FileSpec { upload_id: None, ..spec() };
        let (file_id, quota) = (FileId::random()?, Quota::default());
        let intent = Intent { file_id, blob_key, spec, lease: DAY, quota, offset: 0 };
        let Intended::Begun(ticket) = self.repository.intend(intent).await? else {
            anyhow::bail!("finished before");
        };
        let sha256 = Sha256::digest(content).into();
        let content = Content { size_bytes: content.len() as u64, sha256 };
        Ok(self.repository.publish(&ticket, content).await?)
    }

    fn strays(&self) -> StraySweeper {
        StraySweeper::new(Arc::clone(&self.repository), Arc::clone(&self.storage))
    }

    fn scrubber(&self) -> Scrubber {
        let pace = ScrubPace { period: 30 * DAY, bytes_per_s_max: u64::MAX };
        let (repository, storage) = (Arc::clone(&self.repository), Arc::clone(&self.storage));
        Scrubber::new(repository, storage, Arc::clone(&self.clock) as Arc<dyn Clock>, pace)
    }

    async fn is_quarantined(&self, record: &FileRecord) -> Result<bool> {
        let found = self.repository.find(&record.file.id).await?;
        Ok(found.is_some_and(|record| record.quarantined))
    }
}

#[tokio::test]
async fn a_stray_goes_once_it_is_old_and_was_seen_twice() -> Result {
    let rig = Rig::new();
    let content = Bytes::from_static(b"content");
    let kept = rig.file(&content, &content).await?;
    let stray = rig.blob(&content).await?;
    let mut sweeper = rig.strays();
    for _ in 0..3 {
        assert_eq!(sweeper.pass(Brake::On).await?.strays, 0);
    }
    rig.clock.advance(STRAY_AGE_MIN);
    let first = sweeper.pass(Brake::On).await?;
    assert_eq!((first.blobs, first.strays, first.removed), (2, 1, 0));
    // Another process's first look is a first look.
    assert_eq!(rig.strays().pass(Brake::On).await?.removed, 0);
    assert_eq!(sweeper.pass(Brake::On).await?.removed, 1);
    assert!(matches!(rig.storage.size(&stray).await, Err(StorageError::Missing(_))));
    assert_eq!(rig.storage.size(&kept.blob_key).await?, 7);
    Ok(())
}

#[tokio::test]
async fn too_many_strays_stay_until_somebody_says_so() -> Result {
    let rig = Rig::new();
    for _ in 0..11 {
        rig.blob(&Bytes::from_static(b"x")).await?;
    }
    rig.clock.advance(STRAY_AGE_MIN);
    let mut sweeper = rig.strays();
    for _ in 0..3 {
        let swept = sweeper.pass(Brake::On).await?;
        assert!(swept.braked && swept.removed == 0);
    }
    assert_eq!(sweeper.pass(Brake::Off).await?.removed, 11);
    Ok(())
}

#[tokio::test]
async fn nothing_is_deleted_from_a_storage_with_another_mark() -> Result {
    let rig = Rig::new();
    rig.storage.mark(Uuid::new_v4()).await?;
    let content = Bytes::from_static(b"content");
    let record = rig.file(&content, &content).await?;
    let foreign = OwnedStorage::new(Arc::clone(&rig.storage), rig.repository.identity().await?);
    let refused = foreign.delete(&record.blob_key).await;
    assert!(matches!(refused, Err(StorageError::Foreign { .. })));
    assert_eq!(foreign.size(&record.blob_key).await?, 7);
    Ok(())
}

#[tokio::test]
async fn a_blob_that_cannot_be_removed_holds_up_no_other() -> Result {
    let rig = Rig::new();
    let content = Bytes::from_static(b"content");
    for _ in 0..3 {
        let record = rig.file(&content, &content).await?;
        rig.repository.delete(&record.file.id, Default::default()).await?;
    }
    let plan = Plan::new(1, Moment::Before, false);
    let failing = Arc::new(FailingStorage { inner: Arc::clone(&rig.storage), plan });
    let sweeper = Sweeper::new(Arc::clone(&rig.repository), failing);
    let swept = sweeper.pass().await?;
    assert_eq!((swept.removed, swept.failed), (2, 1));
    assert_eq!(sweeper.pass().await?.removed, 0);
    rig.clock.advance(DAY);
    assert_eq!(sweeper.pass().await?.removed, 1);
    assert!(rig.storage.list(None).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_scrub_finds_damage_once_in_its_period_and_lifts_it() -> Result {
    let rig = Rig::new();
    let content = Bytes::from(vec![b'x'; 3_000_000]);
    let sound = rig.file(&content, &content).await?;
    let other = Bytes::from(vec![b'y'; 3_000_000]);
    let damaged = rig.file(&content, &other).await?;
    let short = rig.file(&content, &content.slice(1..)).await?;
    let scrubber = rig.scrubber();
    rig.clock.advance(30 * DAY);
    assert_eq!(scrubber.batch().await?.taken, 0);
    rig.clock.advance(Duration::from_micros(1));
    let scrubbed = scrubber.batch().await?;
    assert_eq!((scrubbed.taken, scrubbed.damaged), (3, 2));
    assert!(!rig.is_quarantined(&sound).await?);
    assert!(rig.is_quarantined(&damaged).await? && rig.is_quarantined(&short).await?);
    assert_eq!(scrubber.batch().await?.taken, 0);

    // The bytes are put back: the next time round the file is in service again.
    rig.storage.delete(&damaged.blob_key).await?;
    let mut writer = rig.storage.create(&damaged.blob_key).await?;
    writer.write(vec![content]).await?;
    writer.commit().await?;
    rig.clock.advance(30 * DAY + Duration::from_micros(1));
    let scrubbed = scrubber.batch().await?;
    assert_eq!((scrubbed.taken, scrubbed.damaged), (3, 1));
    assert!(!rig.is_quarantined(&damaged).await? && rig.is_quarantined(&short).await?);
    Ok(())
}

/// A storage from which blobs go while they are read, or whose disk cannot read them.
#[derive(Debug)]
struct Fading {
    inner: Arc<dyn Storage>,
    unreadable: Option<BlobKey>,
}

#[async_trait]
impl Storage for Fading {
    async fn create(&self, key: &BlobKey) -> Stored<Box<dyn BlobWriter>> {
        self.inner.create(key).await
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Stored<Box<dyn BlobWriter>> {
        self.inner.resume(key, at).await
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Stored<Blob> {
        match self.unreadable {
            None => {
                let opened = self.inner.open(key, range).await;
                self.inner.delete(key).await?;
                opened
            }
            Some(bad) if bad == *key => {
                Err(StorageError::Unavailable { action: "read", source: "bad sector".into() })
            }
            Some(_) => self.inner.open(key, range).await,
        }
    }

    async fn size(&self, key: &BlobKey) -> Stored<u64> {
        self.inner.size(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Stored<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, after: Option<&BlobKey>) -> Stored<Vec<BlobEntry>> {
        self.inner.list(after).await
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Stored<Vec<BlobEntry>> {
        self.inner.list_unfinished(after).await
    }

    async fn owner(&self) -> Stored<Option<Uuid>> {
        self.inner.owner().await
    }

    async fn mark(&self, owner: Uuid) -> Stored<Uuid> {
        self.inner.mark(owner).await
    }

    async fn check(&self) -> Stored<()> {
        self.inner.check().await
    }
}

#[tokio::test]
async fn a_copy_goes_on_when_a_blob_goes_or_cannot_be_read() -> Result {
    let content = Bytes::from(vec![b'x'; 100_000]);
    for unreadable in [false, true] {
        let rig = Rig::new();
        let first = rig.file(&content, &content).await?;
        let second = rig.file(&content, &content).await?;
        let unreadable = unreadable.then_some(first.blob_key);
        let from: Arc<dyn Storage> =
            Arc::new(Fading { inner: Arc::clone(&rig.storage), unreadable });
        let to: Arc<dyn Storage> =
            Arc::new(MemoryStorage::new(Arc::clone(&rig.clock) as Arc<dyn Clock>));
        let now = rig.clock.now();
        let copied = copy_content(rig.repository.as_ref(), &from, &to, now, &|_| {}).await?;
        let lost = if unreadable.is_some() { 1 } else { 2 };
        assert_eq!((copied.damaged.len(), copied.files), (lost, 2 - lost as u64));
        let there = to.list(None).await?.len();
        assert_eq!(there, 2 - lost);
        assert!(unreadable.is_none() || to.size(&second.blob_key).await.is_ok());
    }
    Ok(())
}

#[tokio::test]
async fn the_scrub_goes_on_past_what_it_cannot_read_and_comes_back() -> Result {
    let rig = Rig::new();
    let content = Bytes::from(vec![b'x'; 1000]);
    let bad = rig.file(&content, &content).await?;
    let damaged = rig.file(&content, &content.slice(1..)).await?;
    let unreadable = Some(bad.blob_key);
    let storage = Arc::new(Fading { inner: Arc::clone(&rig.storage), unreadable });
    let pace = ScrubPace { period: 30 * DAY, bytes_per_s_max: u64::MAX };
    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    let scrubber = Scrubber::new(Arc::clone(&rig.repository), storage, clock, pace);
    rig.clock.advance(31 * DAY);
    let scrubbed = scrubber.batch().await?;
    assert_eq!((scrubbed.taken, scrubbed.damaged, scrubbed.unreadable), (2, 1, 1));
    assert!(rig.is_quarantined(&damaged).await? && !rig.is_quarantined(&bad).await?);
    assert_eq!(scrubber.batch().await?.taken, 0);
    rig.clock.advance(DAY + Duration::from_micros(1));
    assert_eq!(scrubber.batch().await?.taken, 1);
    Ok(())
}

#[tokio::test]
async fn the_scrub_takes_nothing_out_of_service_where_all_is_missing() -> Result {
    let rig = Rig::new();
    let content = Bytes::from_static(b"content");
    let mut records = Vec::new();
    for _ in 0..16 {
        let record = rig.file(&content, &content).await?;
        rig.storage.delete(&record.blob_key).await?;
        records.push(record);
    }
    rig.clock.advance(31 * DAY);
    let scrubbed = rig.scrubber().batch().await?;
    assert_eq!((scrubbed.damaged, scrubbed.unreadable), (0, 16));
    for record in &records {
        assert!(!rig.is_quarantined(record).await?);
    }
    Ok(())
}
