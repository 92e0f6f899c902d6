//! Every effect of an upload and of a delete fails in turn. Whatever was acknowledged is there and whole;
//! whatever was not can be tried again; and after a sweep nothing else is left.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use files::{
    clock::{Clock, ManualClock, Timestamp},
    error::ErrorCode,
    file::{
        FileSpec, labels::Labels, media_type::MediaType, name::FileName, purpose::Purpose,
        purpose::Purposes, usage::Quota, user::UserId,
    },
    metadata::{FileRecord, Upkeep, memory::MemoryRepository, sqlite::SqliteRepository},
    service::{
        Dependencies, FileService, ServiceError,
        metadata::Deletion,
        policy::{Policy, Quotas, UploadLimits},
        upload::{UploadPart, Uploaded},
    },
    signing::{UrlSigner, keys::KeyRing},
    storage::{
        ByteRange, Storage,
        local::{LocalStorage, ReadCache},
        memory::MemoryStorage,
    },
    sweep::Sweeper,
};
use futures_util::{TryStreamExt, stream};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::failing::{FailingRepository, FailingStorage, Moment, Plan};

type Result<T = ()> = anyhow::Result<T>;

pub const CACHE: ReadCache = ReadCache { small_bytes_max: 1 << 20, open_files_max: 16 };

/// More effects than any of the flows has.
const EFFECTS_MAX: usize = 12;

/// A service whose stores fail by plan, and the stores behind it.
struct Rig {
    service: Arc<FileService>,
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    plan: Arc<Plan>,
    _directory: Option<TempDir>,
}

impl Rig {
    fn new(plan: Arc<Plan>, on_disk: bool) -> Result<Self> {
        Self::within(plan, on_disk, policy())
    }

    fn within(plan: Arc<Plan>, on_disk: bool, policy: Policy) -> Result<Self> {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_s(1_711_657_200)));
        let times: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let directory = on_disk.then(tempfile::tempdir).transpose()?;
        let (repository, storage): (Arc<dyn Upkeep>, Arc<dyn Storage>) = match &directory {
            None => (
                Arc::new(MemoryRepository::new(Arc::clone(&times))),
                Arc::new(MemoryStorage::new(Arc::clone(&times))),
            ),
            Some(directory) => (
                Arc::new(SqliteRepository::open(
                    &directory.path().join("m.db"),
                    Arc::clone(&times),
                )?),
                Arc::new(LocalStorage::open(
                    &directory.path().join("blobs"),
                    CACHE,
                    Arc::clone(&times),
                )?),
            ),
        };
        let keys = KeyRing::new(["0123456789abcdef0123456789abcdef"])?;
        let dependencies = Dependencies {
            repository: Arc::new(FailingRepository {
                inner: Arc::clone(&repository),
                plan: Arc::clone(&plan),
            }),
            storage: Arc::new(FailingStorage {
                inner: Arc::clone(&storage),
                plan: Arc::clone(&plan),
            }),
            signer: Arc::new(UrlSigner::new(keys, &url::Url::parse("http://localhost")?)),
            clock: times,
        };
        let service = Arc::new(FileService::new(dependencies, policy));
        Ok(Self { service, repository, storage, clock, plan, _directory: directory })
    }

    async fn upload(
        &self,
        spec: &FileSpec,
        content: &Bytes,
    ) -> std::result::Result<Uploaded, ServiceError> {
        let parts = [UploadPart::Data(content.clone()), UploadPart::Finish(None)];
        let parts = Box::pin(stream::iter(parts.map(Ok)));
        self.service.upload(self.service.admit_upload()?, spec.clone().into(), parts).await
    }

    async fn delete(
        &self,
        record: &FileRecord,
    ) -> std::result::Result<Option<FileRecord>, ServiceError> {
        let deletion = Deletion {
            file_id: record.file.id,
            owner: None,
            etag: None,
            allow_missing: false,
            force: false,
            purge: true,
        };
        self.service.delete(deletion).await
    }

    /// Time passes until every lease has ended, and a sweeper comes by.
    async fn sweep(&self) -> Result {
        self.clock.advance(Duration::from_secs(25 * 3600));
        let sweeper = Sweeper::new(Arc::clone(&self.repository), Arc::clone(&self.storage));
        let swept = sweeper.pass().await?;
        assert_eq!(swept.failed, 0);
        Ok(())
    }

    /// Exactly these files exist, whole, and no other bytes.
    async fn assert_holds(&self, files: &[(&FileRecord, &Bytes)]) -> Result {
        let mut keys: Vec<_> = files.iter().map(|(record, _)| record.blob_key).collect();
        keys.sort();
        let listed = self.storage.list(None).await?;
        assert_eq!(listed.iter().map(|entry| entry.key).collect::<Vec<_>>(), keys);
        for (record, content) in files {
            assert!(self.repository.find(&record.file.id).await?.is_some());
            let range = ByteRange::whole(content.len() as u64);
            let blob = self.storage.open(&record.blob_key, range).await?;
            let pieces: Vec<Bytes> = blob.into_stream(1 << 20).try_collect().await?;
            assert!(pieces.concat() == content[..]);
        }
        Ok(())
    }
}

pub fn policy() -> Policy {
    Policy {
        types: Default::default(),
        purposes: Purposes::default(),
        file_bytes_max: 1 << 30,
        link_ttl_default: Duration::from_secs(600),
        grace: Arc::default(),
        quotas: Default::default(),
        uploads: UploadLimits {
            concurrent_max: 10,
            buffer_bytes_max: 1 << 24,
            idle_max: Duration::from_secs(60),
            checkpoint_bytes: 1 << 28,
            unfinished_max: Duration::from_secs(24 * 3600),
        },
    }
}

pub fn spec() -> FileSpec {
    FileSpec {
        user_id: UserId::parse("u").expect("a user id"),
        purpose: Purpose::stored("assistants".to_owned()),
        name: FileName::parse("filename", "a.txt").expect("a name"),
        media_type: MediaType::parse("text/plain").expect("a type"),
        size_bytes: None,
        ttl: None,
        labels: Labels::default(),
        references: Default::default(),
        delete_when_unreferenced: false,
        upload_id: Some(Uuid::new_v4()),
    }
}

/// Every plan there is, over both kinds of stores and both kinds of blobs.
async fn with_every_plan(flow: impl AsyncFn(&Rig, &Bytes) -> Result) -> Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for on_disk in [false, true] {
        for size in [100, 100_000] {
            let content = Bytes::from(vec![b'x'; size]);
            for moment in [Moment::Before, Moment::After] {
                for lasting in [false, true] {
                    for fail_at in 0..EFFECTS_MAX {
                        let rig = Rig::new(Plan::new(fail_at, moment, lasting), on_disk)?;
                        flow(&rig, &content).await?;
                        failed.extend(rig.plan.failed());
                    }
                }
            }
        }
    }
    failed.sort_unstable();
    failed.dedup();
    Ok(failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_anywhere_leaves_nothing_and_can_be_retried() -> Result {
    let failed = with_every_plan(async |rig, content| {
        let spec = spec();
        let first = rig.upload(&spec, content).await;
        rig.plan.repair();
        if let Ok(uploaded) = &first {
            rig.assert_holds(&[(&uploaded.record, content)]).await?;
        }
        let second = rig.upload(&spec, content).await?;
        if let Ok(uploaded) = &first {
            assert!(second.replayed);
            assert_eq!(uploaded.record, second.record);
        }
        rig.sweep().await?;
        rig.assert_holds(&[(&second.record, content)]).await?;
        Ok(())
    })
    .await?;
    assert_eq!(failed, ["commit", "create", "intend", "publish", "write"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_never_retried_leaves_nothing_after_a_sweep() -> Result {
    with_every_plan(async |rig, content| {
        let outcome = rig.upload(&spec(), content).await;
        rig.plan.repair();
        rig.sweep().await?;
        match (outcome, rig.plan.failed()) {
            (Ok(uploaded), _) => rig.assert_holds(&[(&uploaded.record, content)]).await,
            // Published, and only the answer was lost: the file is there, as a retry would find.
            (Err(_), Some("publish")) if rig.storage.list(None).await?.len() == 1 => Ok(()),
            (Err(_), _) => rig.assert_holds(&[]).await,
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_cleans_up_or_the_sweeper_does() -> Result {
    let failed = with_every_plan(async |rig, content| {
        let refused = FileSpec { size_bytes: Some(1 + content.len() as u64), ..spec() };
        let outcome = rig.upload(&refused, content).await;
        assert!(outcome.is_err());
        rig.plan.repair();
        rig.sweep().await?;
        rig.assert_holds(&[]).await?;
        assert!(rig.repository.list_orphans(10).await?.is_empty());
        Ok(())
    })
    .await?;
    for effect in ["abandon", "abort", "delete", "forget"] {
        assert!(failed.contains(&effect), "{effect} was never made to fail: {failed:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_fails_anywhere_is_whole_or_not_at_all() -> Result {
    let failed = with_every_plan(async |rig, content| {
        let Ok(uploaded) = rig.upload(&spec(), content).await else {
            return Ok(());
        };
        let deleted = rig.delete(&uploaded.record).await;
        rig.plan.repair();
        let visible = rig.repository.find(&uploaded.record.file.id).await?.is_some();
        rig.sweep().await?;
        if visible {
            assert!(deleted.is_err());
            return rig.assert_holds(&[(&uploaded.record, content)]).await;
        }
        rig.assert_holds(&[]).await?;
        assert!(rig.repository.list_orphans(10).await?.is_empty());
        Ok(())
    })
    .await?;
    for effect in ["retire", "delete", "forget"] {
        assert!(failed.contains(&effect), "{effect} was never made to fail: {failed:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_taken_over_and_swept_leaves_nothing_when_it_ends() -> Result {
    for on_disk in [false, true] {
        for size in [100, 100_000] {
            let rig = Rig::new(Plan::new(usize::MAX, Moment::Before, false), on_disk)?;
            let (spec, content) = (spec(), Bytes::from(vec![b'x'; size]));
            let (sender, parts) = mpsc::channel(4);
            let slot = rig.service.admit_upload()?;
            let parts = Box::pin(ReceiverStream::new(parts));
            let (service, first) = (Arc::clone(&rig.service), spec.clone());
            let hanging =
                tokio::spawn(async move { service.upload(slot, first.into(), parts).await });
            sender.send(Ok(UploadPart::Data(content.clone()))).await?;
            // Until its intent is known, a second call would not take it over.
            while sender.capacity() < 4 {
                tokio::task::yield_now().await;
            }
            let second = rig.upload(&spec, &content).await?;
            rig.sweep().await?;
            // The call may learn what has happened at any of these, and then takes no more.
            let _ = sender.send(Ok(UploadPart::Data(content.clone()))).await;
            let _ = sender.send(Ok(UploadPart::Finish(None))).await;
            drop(sender);
            let lost = hanging.await?.expect_err("taken over");
            assert_eq!(lost.code(), ErrorCode::UploadTakenOver, "{lost:?}");
            rig.assert_holds(&[(&second.record, &content)]).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_upload_that_fails_anywhere_gives_back_what_it_set_aside() -> Result {
    let quota = Quota { file_count_max: Some(1), stored_bytes_max: Some(3 << 20) };
    let mut failed = Vec::new();
    for moment in [Moment::Before, Moment::After] {
        for fail_at in 0..EFFECTS_MAX {
            let quotas = Quotas { default: quota, ..Quotas::default() };
            let policy = Policy { quotas, ..policy() };
            let rig = Rig::within(Plan::new(fail_at, moment, false), true, policy)?;
            // More than the first step, so that more is set aside on the way.
            let content = Bytes::from(vec![b'x'; 5 << 19]);
            let first = rig.upload(&spec(), &content).await;
            failed.extend(rig.plan.failed());
            rig.plan.repair();
            rig.sweep().await?;
            let user = spec().user_id;
            // Published, and only the answer was lost: the file is there, as a retry would find.
            let kept = first.is_ok() || rig.plan.failed() == Some("publish");
            let stored = rig.repository.usage(&user).await?.stored_bytes;
            assert!(stored == 0 || (kept && stored == content.len() as u64), "{stored}");
            if stored == 0 {
                rig.upload(&spec(), &content).await?;
            }
        }
    }
    assert!(failed.contains(&"reserve"), "{failed:?}");
    Ok(())
}
