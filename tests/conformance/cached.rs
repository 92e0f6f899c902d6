//! The record cache: a hot file asks no database, and a change holds from the next look-up on.

use std::{sync::Arc, time::Duration};

use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock},
    file::{Content, id::FileId, usage::Quota},
    metadata::{
        Deletion, FileRepository, FileUpdate, Intended, Intent, Upkeep,
        cached::{CacheLimits, CachedRepository, Changes},
        memory::MemoryRepository,
    },
};

use crate::metadata::{clock, spec};

type Result<T = ()> = anyhow::Result<T>;

const AGE_MAX: Duration = Duration::from_secs(60);

/// Two caches over one database, as two processes have them, and the database itself.
struct Rig {
    one: CachedRepository,
    other: CachedRepository,
    database: Arc<MemoryRepository>,
    clock: Arc<ManualClock>,
}

impl Rig {
    fn new(changes: impl Fn() -> Result<Changes>) -> Result<Self> {
        let clock = clock();
        let times: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let database = Arc::new(MemoryRepository::new(Arc::clone(&times)));
        let limits = CacheLimits { records_max: 100, age_max: AGE_MAX };
        let cache = |changes| {
            let inner = Arc::clone(&database) as Arc<dyn Upkeep>;
            CachedRepository::new(inner, changes, Arc::clone(&times), limits)
        };
        Ok(Self { one: cache(changes()?), other: cache(changes()?), database, clock })
    }

    async fn file(&self) -> Result<FileId> {
        let intent = Intent {
            file_id: FileId::random()?,
            blob_key: BlobKey::random()?,
            spec: spec("u", None),
            lease: AGE_MAX,
            quota: Quota::default(),
            offset: 0,
        };
        let Intended::Begun(ticket) = self.database.intend(intent).await? else {
            anyhow::bail!("finished before");
        };
        let content = Content { size_bytes: 1, sha256: [7; 32] };
        Ok(self.database.publish(&ticket, content).await?.file.id)
    }
}

async fn epoch(repository: &CachedRepository, id: &FileId) -> Result<Option<u64>> {
    Ok(repository.find(id).await?.map(|record| record.file.link_epoch))
}

#[tokio::test]
async fn a_hot_file_asks_no_database_until_it_is_of_age() -> Result {
    let rig = Rig::new(|| Ok(Changes::in_memory()))?;
    let id = rig.file().await?;
    assert_eq!(epoch(&rig.one, &id).await?, Some(0));
    // Behind the cache's back: who asks the database sees it, and who asks the cache does not.
    rig.database.update(&id, FileUpdate::ending_links()).await?;
    rig.clock.advance(AGE_MAX - Duration::from_micros(1));
    assert_eq!(epoch(&rig.one, &id).await?, Some(0));
    rig.clock.advance(Duration::from_micros(1));
    assert_eq!(epoch(&rig.one, &id).await?, Some(1));
    Ok(())
}

#[tokio::test]
async fn every_kind_of_change_holds_at_once_in_both_processes() -> Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("changes");
    let rig = Rig::new(|| Ok(Changes::shared(&path)?))?;
    for (changer, watcher) in [(&rig.one, &rig.other), (&rig.other, &rig.one)] {
        let id = rig.file().await?;
        for epoch_before in 0..3 {
            assert_eq!(epoch(changer, &id).await?, Some(epoch_before));
            assert_eq!(epoch(watcher, &id).await?, Some(epoch_before));
            changer.update(&id, FileUpdate::ending_links()).await?;
            assert_eq!(epoch(watcher, &id).await?, Some(epoch_before + 1));
        }
        changer.quarantine(&id, true).await?;
        assert!(watcher.find(&id).await?.is_some_and(|record| record.quarantined));
        let grace = AGE_MAX;
        changer.delete(&id, Deletion { grace, ..Deletion::default() }).await?;
        let now = rig.clock.now();
        assert!(watcher.find(&id).await?.is_some_and(|record| !record.is_visible(now)));
        changer.undelete(&id).await?;
        assert!(watcher.find(&id).await?.is_some_and(|record| record.is_visible(now)));
        changer.delete(&id, Deletion::default()).await?;
        assert_eq!(epoch(watcher, &id).await?, None);
        changer.claim_orphans(10, AGE_MAX).await?;
        changer.forget(&id).await?;
        assert_eq!(epoch(watcher, &id).await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn a_start_of_another_process_makes_everything_be_asked_again() -> Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("changes");
    let rig = Rig::new(|| Ok(Changes::shared(&path)?))?;
    let id = rig.file().await?;
    assert_eq!(epoch(&rig.one, &id).await?, Some(0));
    // As by a process that was killed before it could tell of its change.
    rig.database.update(&id, FileUpdate::ending_links()).await?;
    Changes::shared(&path)?;
    assert_eq!(epoch(&rig.one, &id).await?, Some(1));
    Ok(())
}
