//! Three services over one PostgreSQL and one storage, with their sweepers: uploads, deletions, undeletions
//! and retries at once. In the end nothing is lost and nothing is left over.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use files::{
    clock::{Clock, ManualClock, SystemClock},
    error::ErrorCode,
    file::{FileSpec, id::FileId, user::UserId},
    fsck::{Event, Fsck, FsckOptions},
    metadata::{
        Grace, Upkeep,
        cached::{CacheLimits, CachedRepository, Changes},
        postgres::PostgresRepository,
    },
    service::{
        Dependencies, FileService, ServiceError, download::ReadWindow, metadata::Deletion,
        policy::Policy, upload::UploadPart,
    },
    signing::{UrlSigner, keys::KeyRing},
    storage::{Storage, local::LocalStorage, owned::OwnedStorage},
    sweep::{Brake, Sweeper},
};
use futures_util::{TryStreamExt, stream};
use uuid::Uuid;

use crate::{
    effects::{CACHE, policy, spec},
    postgres_server,
};

type Result<T = ()> = anyhow::Result<T>;

/// One replica: a service and its sweeper, with connections and caches of their own.
struct Replica {
    service: Arc<FileService>,
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
}

impl Replica {
    async fn new(database: &str, blobs: &Path, clock: &Arc<dyn Clock>) -> Result<Self> {
        let options = postgres_server::shared().options(database);
        let records = PostgresRepository::open(options, Arc::clone(clock)).await?;
        // Nothing is ever fresh: time passes in jumps here.
        let limits = CacheLimits { records_max: 100, age_max: Duration::ZERO };
        let repository: Arc<dyn Upkeep> = Arc::new(CachedRepository::new(
            Arc::new(records),
            Changes::in_memory(),
            Arc::clone(clock),
            limits,
        ));
        let storage = Arc::new(LocalStorage::open(blobs, CACHE, Arc::clone(clock))?);
        let owned = OwnedStorage::new(storage, repository.identity().await?);
        let storage: Arc<dyn Storage> = Arc::new(owned);
        let keys = KeyRing::new(["0123456789abcdef0123456789abcdef"])?;
        let grace = Grace { default: Duration::from_secs(600), ..Grace::default() };
        let service = FileService::new(
            Dependencies {
                repository: Arc::clone(&repository),
                storage: Arc::clone(&storage),
                signer: Arc::new(UrlSigner::new(keys, &url::Url::parse("http://localhost")?)),
                clock: Arc::clone(clock),
            },
            Policy { grace: Arc::new(grace), ..policy() },
        );
        Ok(Self { service: Arc::new(service), repository, storage })
    }

    async fn upload(
        &self,
        spec: FileSpec,
        content: &Bytes,
    ) -> std::result::Result<FileId, ServiceError> {
        let parts = [UploadPart::Data(content.clone()), UploadPart::Finish(None)];
        let parts = Box::pin(stream::iter(parts.map(Ok)));
        let uploaded =
            self.service.upload(self.service.admit_upload()?, spec.into(), parts).await?;
        Ok(uploaded.record.file.id)
    }

    async fn read(&self, file_id: &FileId) -> Result<Bytes> {
        let whole = ReadWindow { offset: 0, limit: 0 };
        let (_, blob) = self.service.download(file_id, None, whole).await?;
        let pieces: Vec<Bytes> = blob.into_stream(1 << 20).try_collect().await?;
        Ok(pieces.concat().into())
    }

    async fn delete(&self, file_id: FileId, purge: bool) -> std::result::Result<(), ServiceError> {
        let deletion =
            Deletion { file_id, owner: None, etag: None, allow_missing: true, force: false, purge };
        self.service.delete(deletion).await.map(drop)
    }
}

/// What must be there in the end.
type Kept = Arc<Mutex<BTreeMap<FileId, Bytes>>>;

fn content(worker: usize, turn: usize) -> Bytes {
    let size = [10, 3_000, 100_000][(worker + turn) % 3];
    Bytes::from(vec![(worker * 31 + turn) as u8; size])
}

/// One caller's life: each file goes one of several ways, over changing replicas.
async fn work(
    worker: usize,
    replicas: Arc<Vec<Replica>>,
    clock: Arc<ManualClock>,
    kept: Kept,
) -> Result {
    for turn in 0..24 {
        let on = |n: usize| &replicas[(worker + turn + n) % replicas.len()];
        let content = content(worker, turn);
        let spec = FileSpec {
            user_id: UserId::parse(&format!("user {}", worker % 2)).expect("a user id"),
            upload_id: Some(Uuid::new_v4()),
            ..spec()
        };
        // The same upload over two replicas at once: one file, whoever makes it.
        let (one, other) = tokio::join!(
            on(0).upload(spec.clone(), &content),
            on(1).upload(spec.clone(), &content)
        );
        for lost in [&one, &other].into_iter().filter_map(|it| it.as_ref().err()) {
            assert_eq!(lost.code(), ErrorCode::UploadTakenOver, "{lost:?}");
        }
        let file_id = match (one, other) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one, other);
                one
            }
            (Ok(only), Err(_)) | (Err(_), Ok(only)) => only,
            (Err(_), Err(_)) => on(2).upload(spec, &content).await?,
        };
        assert!(on(2).read(&file_id).await? == content);
        clock.advance(Duration::from_secs(5));
        match turn % 4 {
            0 => on(1).delete(file_id, true).await?,
            1 => on(1).delete(file_id, false).await?,
            2 => {
                on(1).delete(file_id, false).await?;
                on(2).service.undelete(&file_id, None).await?;
                kept.lock().expect("no panic").insert(file_id, content);
            }
            _ => drop(kept.lock().expect("no panic").insert(file_id, content)),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_lose_nothing_and_leave_nothing() -> Result {
    let directory = tempfile::tempdir()?;
    let database = postgres_server::shared().database().await;
    let manual = Arc::new(ManualClock::at(SystemClock.now()));
    let clock: Arc<dyn Clock> = Arc::clone(&manual) as _;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::new(&database, directory.path(), &clock).await?);
    }
    let replicas = Arc::new(replicas);
    let stop = tokio_util::sync::CancellationToken::new();
    let sweepers: Vec<_> = replicas
        .iter()
        .map(|replica| {
            let (repository, storage) =
                (Arc::clone(&replica.repository), Arc::clone(&replica.storage));
            let stop = stop.clone();
            tokio::spawn(async move {
                let sweeper = Sweeper::new(repository, storage);
                while !stop.is_cancelled() {
                    assert_eq!(sweeper.pass().await?.failed, 0);
                    tokio::task::yield_now().await;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let kept = Kept::default();
    let workers: Vec<_> = (0..6)
        .map(|n| {
            let work = work(n, Arc::clone(&replicas), Arc::clone(&manual), Arc::clone(&kept));
            tokio::spawn(work)
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    stop.cancel();
    for sweeper in sweepers {
        sweeper.await??;
    }
    // Past every lease, grace and claim.
    manual.advance(Duration::from_secs(2 * 24 * 3600));
    let last = &replicas[0];
    Sweeper::new(Arc::clone(&last.repository), Arc::clone(&last.storage)).pass().await?;
    let options = FsckOptions { content: true, repair: false, brake: Brake::On };
    let fsck = Fsck::new(Arc::clone(&last.repository), Arc::clone(&last.storage), options);
    let mut found = Vec::new();
    let mut tell = |event| match event {
        Event::Found(finding) => found.push(finding),
        Event::Looked(_) => {}
    };
    let summary = fsck.run(&mut tell).await?;
    assert!(found.is_empty(), "{found:?}");
    let kept = std::mem::take(&mut *kept.lock().expect("no panic"));
    assert_eq!(summary.files, kept.len() as u64);
    assert_eq!(summary.blobs, kept.len() as u64);
    for (file_id, content) in kept {
        assert!(last.read(&file_id).await? == content);
    }
    Ok(())
}
