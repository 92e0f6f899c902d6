//! Uploads into a bucket whose store answers with errors, loses requests and answers, and stalls: what was
//! acknowledged is there, once, and after a sweep there is nothing else.

mod cluster;
mod proxy;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock, SystemClock},
    file::{FileSpec, Sha256Digest},
    metadata::{FileRecord, Upkeep, sqlite::SqliteRepository},
    service::{
        Dependencies, FileService, ServiceError,
        upload::{UploadPart, Uploaded},
    },
    signing::{UrlSigner, keys::KeyRing},
    storage::{
        ByteRange, Storage,
        limit::{LimitedStorage, StorageLimits},
        s3::{S3Options, S3Storage},
    },
    sweep::{Brake, StraySweeper, Sweeper},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use crate::{
    effects::{policy, spec},
    seaweed,
};
use proxy::{Fault, Proxy};

type Result<T = ()> = anyhow::Result<T>;

const UPLOADS: usize = 1000;
const AT_ONCE: usize = 8;
const TRIES: usize = 4;

/// A service over a bucket behind a proxy.
struct Rig {
    service: Arc<FileService>,
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    proxy: Proxy,
    options: S3Options,
    _directory: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Result<Self> {
        let store = seaweed::shared();
        store.ready().await;
        let proxy = Proxy::start(store.port).await;
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let times: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("metadata.db");
        let repository: Arc<dyn Upkeep> =
            Arc::new(SqliteRepository::open(&path, Arc::clone(&times))?);
        let options = seaweed::options(proxy.port);
        let bucket = S3Storage::connect(options.clone(), Arc::clone(&times)).await?;
        let limits = StorageLimits {
            operations_max: 64,
            timeout: Duration::from_secs(5),
            commit_timeout: Duration::from_secs(10),
        };
        let storage: Arc<dyn Storage> = Arc::new(LimitedStorage::new(Arc::new(bucket), limits));
        let keys = KeyRing::new(["0123456789abcdef0123456789abcdef"])?;
        let dependencies = Dependencies {
            repository: Arc::clone(&repository),
            storage: Arc::clone(&storage),
            signer: Arc::new(UrlSigner::new(keys, &url::Url::parse("http://localhost")?)),
            clock: times,
        };
        let service = Arc::new(FileService::new(dependencies, policy()));
        // What is left is asked of the store itself.
        let options = S3Options { endpoint: Some(store.endpoint()), ..options };
        Ok(Self { service, repository, storage, clock, proxy, options, _directory: directory })
    }

    async fn try_upload(
        &self,
        spec: &FileSpec,
        content: &Bytes,
    ) -> std::result::Result<Uploaded, ServiceError> {
        let data = (0..content.len())
            .step_by(1 << 20)
            .map(|at| Ok(UploadPart::Data(content.slice(at..content.len().min(at + (1 << 20))))));
        let all: Vec<_> = data.chain([Ok(UploadPart::Finish(None))]).collect();
        let parts = Box::pin(stream::iter(all));
        self.service.upload(self.service.admit_upload()?, spec.clone().into(), parts).await
    }

    /// Tries until the upload is acknowledged, a few times.
    async fn upload(&self, number: usize) -> Option<(FileRecord, Bytes)> {
        let (spec, content) = (spec(), content(number));
        for _ in 0..TRIES {
            if let Ok(uploaded) = self.try_upload(&spec, &content).await {
                return Some((uploaded.record, content));
            }
        }
        None
    }

    async fn read(&self, record: &FileRecord) -> Result<Sha256Digest> {
        let range = ByteRange::whole(record.file.content.size_bytes);
        let blob = self.storage.open(&record.blob_key, range).await?;
        let pieces = blob.into_stream(1 << 20);
        let hash = pieces.try_fold(Sha256::new(), async |hash, piece| Ok(hash.chain_update(piece)));
        Ok(hash.await?.finalize().into())
    }

    async fn sweep(&self) -> Result {
        // Every lease has ended, and what is left of uploads is old by the store's clock, too.
        self.clock.advance(Duration::from_secs(25 * 3600));
        let (repository, storage) = (Arc::clone(&self.repository), Arc::clone(&self.storage));
        let swept = Sweeper::new(Arc::clone(&repository), Arc::clone(&storage)).pass().await?;
        assert_eq!(swept.failed, 0);
        let mut strays = StraySweeper::new(repository, storage);
        strays.pass(Brake::Off).await?;
        strays.pass(Brake::Off).await?;
        Ok(())
    }

    async fn blobs(&self) -> Result<BTreeSet<BlobKey>> {
        let mut keys = BTreeSet::new();
        loop {
            let page = self.storage.list(keys.last()).await?;
            if page.is_empty() {
                return Ok(keys);
            }
            keys.extend(page.iter().map(|entry| entry.key));
        }
    }
}

/// Every twenty-fifth takes two parts.
fn content(number: usize) -> Bytes {
    let size = if number.is_multiple_of(25) { 6_000_000 } else { 1 + number * 37 % 20_000 };
    let seed = number.to_le_bytes();
    seed.iter().copied().cycle().take(size.max(8)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_store_loses_nothing_doubles_nothing_and_leaks_nothing() -> Result {
    let rig = Rig::new().await?;
    rig.proxy.turn(true);
    let uploads = stream::iter(0..UPLOADS).map(|number| rig.upload(number));
    let kept: Vec<_> = uploads.buffer_unordered(AT_ONCE).collect().await;
    rig.proxy.turn(false);
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    let hit = rig.proxy.hit();
    for fault in [
        Fault::Error500,
        Fault::Error503,
        Fault::Error503RetryAfter,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Error500After,
        Fault::ErrorInside200,
        Fault::Stall,
        Fault::Conflict409,
        Fault::Unmet412,
    ] {
        assert!(hit.contains(&fault), "{fault:?} never took place in {} faults", hit.len());
    }
    assert!(!kept.is_empty());
    rig.sweep().await?;
    let expected: BTreeSet<BlobKey> = kept.iter().map(|(record, _)| record.blob_key).collect();
    assert_eq!(expected.len(), kept.len());
    for (record, content) in &kept {
        let found = rig.repository.find(&record.file.id).await?;
        assert!(found.is_some(), "{} was acknowledged", record.file.id);
        let hash: Sha256Digest = Sha256::digest(content).into();
        assert_eq!(rig.read(record).await?, hash, "{}", record.file.id);
    }
    // What was published and never acknowledged is a file, too: its caller was left in doubt. There is at
    // most one for each of them.
    let files = rig.repository.totals().await?.file_count;
    let blobs = rig.blobs().await?;
    assert!(expected.is_subset(&blobs));
    assert_eq!(blobs.len() as u64, files);
    assert!(files as usize <= UPLOADS);
    assert_eq!(seaweed::uploads(&rig.options).await, 0);
    Ok(())
}
