//! The promises of a storage backend.

mod resume;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock, SystemClock},
    storage::{
        BlobEntry, ByteRange, LIST_PAGE, Storage, StorageError,
        local::{LocalStorage, ReadCache},
        memory::MemoryStorage,
        probe::probe,
        s3::S3Storage,
        smb::SmbStorage,
    },
};
use futures_util::{FutureExt, TryStreamExt};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{samba_server, seaweed};
use resume::*;

type Result<T = ()> = anyhow::Result<T>;

const CACHE: ReadCache = ReadCache { small_bytes_max: 1 << 20, open_files_max: 16 };

/// A backend under test, and what must live as long as it.
struct Backend {
    storage: Arc<dyn Storage>,
    /// Counts whatever an unfinished writer left behind.
    leftovers: Box<dyn Fn() -> usize + Send + Sync>,
    clock: Arc<ManualClock>,
    /// What a blob of any size may have; memory holds what it is given.
    large_bytes: u64,
    _directory: Option<TempDir>,
}

const LARGE_BYTES: u64 = 5 << 30;

async fn memory() -> Result<Backend> {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let storage = Arc::new(MemoryStorage::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let unfinished = Arc::clone(&storage);
    let leftovers = move || {
        let listed = unfinished.list_unfinished(None).now_or_never();
        listed.and_then(|page| page.ok()).expect("a listing").len()
    };
    Ok(Backend {
        storage,
        leftovers: Box::new(leftovers),
        clock,
        large_bytes: 64 << 20,
        _directory: None,
    })
}

async fn local() -> Result<Backend> {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("blobs");
    let storage = LocalStorage::open(&root, CACHE, Arc::clone(&clock) as Arc<dyn Clock>)?;
    let staging = root.join("staging");
    Ok(Backend {
        storage: Arc::new(storage),
        leftovers: Box::new(move || staging.read_dir().map_or(0, Iterator::count)),
        clock,
        large_bytes: LARGE_BYTES,
        _directory: Some(directory),
    })
}

async fn s3() -> Result<Backend> {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    seaweed::shared().ready().await;
    let options = seaweed::shared().options();
    let storage = S3Storage::connect(options.clone(), Arc::clone(&clock) as Arc<dyn Clock>).await?;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let leftovers = move || {
        let counted = seaweed::uploads(&options);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(counted))
    };
    let large_bytes = LARGE_BYTES;
    Ok(Backend { storage, leftovers: Box::new(leftovers), clock, large_bytes, _directory: None })
}

async fn smb() -> Result<Backend> {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let server = samba_server::shared();
    let directory = server.directory();
    let options = server.options(&directory);
    let storage = SmbStorage::connect(options, Arc::clone(&clock) as Arc<dyn Clock>).await?;
    let staging = server.share().join(directory).join("blobs/staging");
    Ok(Backend {
        storage: Arc::new(storage),
        leftovers: Box::new(move || staging.read_dir().map_or(0, Iterator::count)),
        clock,
        large_bytes: LARGE_BYTES,
        _directory: None,
    })
}

macro_rules! conforms {
    ($backend:ident) => {
        promises! { $backend:
            nothing_is_visible_before_commit,
            an_aborted_blob_leaves_nothing,
            a_dropped_writer_leaves_nothing_that_delete_does_not_remove,
            deleting_an_absent_blob_succeeds,
            a_deleted_blob_is_missing,
            every_kind_of_range_reads_back,
            an_empty_blob_is_a_blob,
            a_key_is_never_used_twice,
            writers_of_different_keys_do_not_meet,
            many_tiny_chunks_are_one_blob,
            listing_has_no_gaps,
            listings_tell_sizes_and_ages,
            the_first_mark_stays,
            a_size_is_told_without_reading,
            an_open_reader_outlives_a_delete,
            a_crash_between_any_two_calls_leaves_a_whole_blob_or_none,
            five_gibibytes_pass_through_little_memory,
            a_reader_who_goes_away_frees_everything,
            keys_that_differ_in_one_digit_do_not_meet,
            a_probe_succeeds_and_leaves_nothing,
            a_suspended_blob_is_gone_on_with,
            a_blob_is_gone_on_with_any_number_of_times,
            what_is_beyond_a_checkpoint_is_dropped,
            two_writers_of_one_blob_never_mix,
            going_on_changes_nothing_before_the_first_write,
            what_cannot_be_gone_on_with_is_missing,
            an_unfinished_blob_can_be_removed,
            checkpoints_never_shrink,
        }
    };
}

conforms!(memory);
conforms!(local);
conforms!(s3);
conforms!(smb);

/// Sizes around every border at which a backend may change its ways.
const SIZES: [usize; 7] = [1, 4096, 32 * 1024, 32 * 1024 + 1, 256 * 1024, 1024 * 1024, 9_000_001];

fn content(size: usize) -> Bytes {
    (0..size).map(|n| (n % 251) as u8).collect()
}

async fn write(backend: &Backend, key: &BlobKey, content: &Bytes) -> Result {
    let mut writer = backend.storage.create(key).await?;
    for start in (0..content.len()).step_by(256 * 1024) {
        let end = content.len().min(start + 256 * 1024);
        writer.write(vec![content.slice(start..end)]).await?;
    }
    Ok(writer.commit().await?)
}

async fn read(backend: &Backend, key: &BlobKey, range: ByteRange) -> Result<Vec<u8>> {
    let stream = backend.storage.open(key, range).await?.into_stream(100_000);
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    assert!(pieces.iter().all(|piece| piece.len() <= 100_000));
    Ok(pieces.concat())
}

async fn list_all(backend: &Backend) -> Result<Vec<(BlobKey, u64)>> {
    let mut all: Vec<BlobEntry> = Vec::new();
    loop {
        let after = all.last().map(|entry| entry.key);
        let page = backend.storage.list(after.as_ref()).await?;
        assert!(page.len() <= LIST_PAGE);
        if page.is_empty() {
            return Ok(all.iter().map(|entry| (entry.key, entry.size_bytes)).collect());
        }
        all.extend(page);
    }
}

async fn is_missing(backend: &Backend, key: &BlobKey) -> bool {
    let opened = backend.storage.open(key, ByteRange::whole(0)).await;
    matches!(opened, Err(StorageError::Missing(_)))
}

async fn nothing_is_visible_before_commit(backend: Backend) -> Result {
    for size in SIZES {
        let key = BlobKey::random()?;
        let mut writer = backend.storage.create(&key).await?;
        writer.write(vec![content(size)]).await?;
        assert!(is_missing(&backend, &key).await);
        assert_eq!(list_all(&backend).await?, []);
        writer.commit().await?;
        assert_eq!(read(&backend, &key, ByteRange::whole(size as u64)).await?, content(size));
        assert_eq!((backend.leftovers)(), 0);
        backend.storage.delete(&key).await?;
    }
    Ok(())
}

async fn an_aborted_blob_leaves_nothing(backend: Backend) -> Result {
    for size in SIZES {
        let key = BlobKey::random()?;
        let mut writer = backend.storage.create(&key).await?;
        writer.write(vec![content(size)]).await?;
        writer.abort().await?;
        assert!(is_missing(&backend, &key).await);
        assert_eq!((backend.leftovers)(), 0);
    }
    Ok(())
}

async fn a_dropped_writer_leaves_nothing_that_delete_does_not_remove(backend: Backend) -> Result {
    for size in SIZES {
        let key = BlobKey::random()?;
        let mut writer = backend.storage.create(&key).await?;
        writer.write(vec![content(size)]).await?;
        drop(writer);
        assert!(is_missing(&backend, &key).await);
        backend.storage.delete(&key).await?;
        assert_eq!((backend.leftovers)(), 0);
    }
    Ok(())
}

async fn deleting_an_absent_blob_succeeds(backend: Backend) -> Result {
    Ok(backend.storage.delete(&BlobKey::random()?).await?)
}

async fn a_deleted_blob_is_missing(backend: Backend) -> Result {
    for size in SIZES {
        let key = BlobKey::random()?;
        write(&backend, &key, &content(size)).await?;
        read(&backend, &key, ByteRange::whole(size as u64)).await?;
        backend.storage.delete(&key).await?;
        assert!(is_missing(&backend, &key).await, "{size}");
        backend.storage.delete(&key).await?;
    }
    assert_eq!(list_all(&backend).await?, []);
    Ok(())
}

async fn every_kind_of_range_reads_back(backend: Backend) -> Result {
    for size in SIZES {
        let (key, whole) = (BlobKey::random()?, content(size));
        write(&backend, &key, &whole).await?;
        let size = size as u64;
        for (offset, len) in [(0, size), (0, 1), (size - 1, 1), (size / 2, size / 3), (size, 0)] {
            let expected = &whole[offset as usize..(offset + len) as usize];
            let range = ByteRange { offset, len };
            assert_eq!(read(&backend, &key, range).await?, expected, "{range:?} of {size}");
        }
        for (offset, len) in [(0, size + 1), (size, 1), (1, size), (u64::MAX, 1)] {
            let opened = backend.storage.open(&key, ByteRange { offset, len }).await;
            assert!(matches!(opened, Err(StorageError::Truncated(_))), "{offset}, {len}");
        }
    }
    Ok(())
}

async fn an_empty_blob_is_a_blob(backend: Backend) -> Result {
    let key = BlobKey::random()?;
    backend.storage.create(&key).await?.commit().await?;
    assert_eq!(read(&backend, &key, ByteRange::whole(0)).await?, b"");
    assert_eq!(list_all(&backend).await?, [(key, 0)]);
    Ok(())
}

async fn a_key_is_never_used_twice(backend: Backend) -> Result {
    for size in [10, 100_000] {
        let key = BlobKey::random()?;
        write(&backend, &key, &content(size)).await?;
        let again = write(&backend, &key, &Bytes::from(vec![7; size])).await;
        let error = again.expect_err("the key is taken").downcast::<StorageError>()?;
        assert!(matches!(error, StorageError::Exists(_)), "{error}");
        assert_eq!(read(&backend, &key, ByteRange::whole(size as u64)).await?, content(size));
    }
    Ok(())
}

async fn writers_of_different_keys_do_not_meet(backend: Backend) -> Result {
    let backend = Arc::new(backend);
    let writes = (0..16).map(|n| {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let (key, content) =
                (BlobKey::random()?, Bytes::from(vec![n; 50_000 * (1 + usize::from(n))]));
            write(&backend, &key, &content).await?;
            anyhow::Ok((key, content))
        })
    });
    for write in writes.collect::<Vec<_>>() {
        let (key, content) = write.await??;
        let range = ByteRange::whole(content.len() as u64);
        assert_eq!(read(&backend, &key, range).await?, content);
    }
    Ok(())
}

async fn many_tiny_chunks_are_one_blob(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(100_000));
    let mut writer = backend.storage.create(&key).await?;
    let tiny = (0..whole.len()).step_by(7).map(|at| whole.slice(at..whole.len().min(at + 7)));
    writer.write(tiny.collect()).await?;
    writer.write(vec![Bytes::new(), Bytes::from_static(b"end"), Bytes::new()]).await?;
    writer.commit().await?;
    let read = read(&backend, &key, ByteRange::whole(100_003)).await?;
    assert_eq!(read, [&whole[..], b"end"].concat());
    Ok(())
}

async fn listing_has_no_gaps(backend: Backend) -> Result {
    let mut expected = Vec::new();
    for n in 0..LIST_PAGE + 50 {
        let key = BlobKey::random()?;
        // Every tenth is large enough to be kept in another way.
        let size = if n % 10 == 0 { 40_000 } else { n % 100 };
        write(&backend, &key, &content(size)).await?;
        expected.push((key, size as u64));
    }
    expected.sort_unstable();
    assert_eq!(list_all(&backend).await?, expected);
    Ok(())
}

async fn an_open_reader_outlives_a_delete(backend: Backend) -> Result {
    for size in [100, 1_000_000] {
        let key = BlobKey::random()?;
        write(&backend, &key, &content(size)).await?;
        let opened = backend.storage.open(&key, ByteRange::whole(size as u64)).await?;
        backend.storage.delete(&key).await?;
        let pieces: Vec<Bytes> = opened.into_stream(1000).try_collect().await?;
        assert_eq!(pieces.concat(), content(size));
    }
    Ok(())
}

async fn listings_tell_sizes_and_ages(backend: Backend) -> Result {
    let day = Duration::from_secs(24 * 3600);
    for size in [100, 100_000] {
        write(&backend, &BlobKey::random()?, &content(size)).await?;
    }
    let mut unfinished = backend.storage.create(&BlobKey::random()?).await?;
    unfinished.write(vec![content(9_000_001)]).await?;
    backend.clock.advance(day);
    let mut listed = backend.storage.list(None).await?;
    listed.sort_by_key(|entry| entry.size_bytes);
    let sizes: Vec<u64> = listed.iter().map(|entry| entry.size_bytes).collect();
    assert_eq!(sizes, [100, 100_000]);
    // The backend's own clock may be a little ahead of the one that stands still.
    let is_a_day = |age: Duration| age <= day && age + Duration::from_secs(600) > day;
    assert!(listed.iter().all(|entry| is_a_day(entry.age)), "{listed:?}");
    let left = backend.storage.list_unfinished(None).await?;
    assert_eq!(left.len(), (backend.leftovers)());
    assert!(left.iter().all(|entry| is_a_day(entry.age)), "{left:?}");
    if let Some(last) = left.last() {
        assert_eq!(backend.storage.list_unfinished(Some(&last.key)).await?, []);
    }
    unfinished.abort().await?;
    Ok(())
}

async fn the_first_mark_stays(backend: Backend) -> Result {
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(backend.storage.mark(first).await?, first);
    assert_eq!(backend.storage.mark(second).await?, first);
    assert_eq!(backend.storage.list(None).await?, []);
    assert_eq!(backend.storage.list_unfinished(None).await?, []);
    Ok(())
}

async fn a_size_is_told_without_reading(backend: Backend) -> Result {
    let key = BlobKey::random()?;
    for size in [0, 100, 100_000] {
        let key = BlobKey::random()?;
        write(&backend, &key, &content(size)).await?;
        assert_eq!(backend.storage.size(&key).await?, size as u64);
    }
    assert!(matches!(backend.storage.size(&key).await, Err(StorageError::Missing(_))));
    Ok(())
}

/// What a process that dies does not do: the calls after the first `calls` ones.
async fn cut_after(backend: &Backend, key: &BlobKey, content: &Bytes, calls: usize) -> Result {
    if calls == 0 {
        return Ok(());
    }
    let mut writer = backend.storage.create(key).await?;
    for (call, start) in (0..content.len()).step_by(1 << 20).enumerate() {
        if call + 1 == calls {
            return Ok(());
        }
        let end = content.len().min(start + (1 << 20));
        writer.write(vec![content.slice(start..end)]).await?;
    }
    Ok(())
}

async fn a_crash_between_any_two_calls_leaves_a_whole_blob_or_none(backend: Backend) -> Result {
    let content = content(11 << 20);
    for calls in 0..13 {
        let key = BlobKey::random()?;
        cut_after(&backend, &key, &content, calls).await?;
        assert!(is_missing(&backend, &key).await, "after {calls} calls");
        assert_eq!(list_all(&backend).await?, [], "after {calls} calls");
        backend.storage.delete(&key).await?;
        // A server may still have to hear that a writer is gone.
        for _ in 0..1000 {
            if (backend.leftovers)() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((backend.leftovers)(), 0, "after {calls} calls");
    }
    // A commit whose caller is gone before it has answered may still take place, or not; there is nothing in
    // between.
    for calls in 0..13 {
        let (key, size) = (BlobKey::random()?, 1 << calls);
        let mut writer = backend.storage.create(&key).await?;
        writer.write(vec![content.slice(..1 << calls)]).await?;
        let _ = tokio::time::timeout(Duration::from_micros(200 << calls), writer.commit()).await;
        match backend.storage.size(&key).await {
            Ok(found) => {
                assert_eq!(found, size);
                // A server may still have to hear that the writer is gone.
                let mut whole = read(&backend, &key, ByteRange::whole(size)).await;
                for _ in 0..1000 {
                    if whole.is_ok() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    whole = read(&backend, &key, ByteRange::whole(size)).await;
                }
                assert_eq!(whole?, content[..1 << calls]);
            }
            Err(StorageError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A chunk that is counted for as long as anybody holds it.
struct Held {
    bytes: Bytes,
    held: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len() as u64, Ordering::SeqCst);
    }
}

async fn five_gibibytes_pass_through_little_memory(backend: Backend) -> Result {
    const CHUNK: usize = 1 << 20;
    let (key, held) = (BlobKey::random()?, Arc::new(AtomicU64::new(0)));
    let pattern: Bytes = (0..CHUNK).map(|n| (n * 31 % 251) as u8).collect();
    let mut writer = backend.storage.create(&key).await?;
    for _ in 0..backend.large_bytes / CHUNK as u64 {
        held.fetch_add(CHUNK as u64, Ordering::SeqCst);
        let chunk = Held { bytes: pattern.clone(), held: Arc::clone(&held) };
        writer.write(vec![Bytes::from_owner(chunk)]).await?;
        let held = held.load(Ordering::SeqCst);
        assert!(held <= 8 << 20, "{held} bytes are held back");
    }
    writer.commit().await?;
    assert_eq!(held.load(Ordering::SeqCst), 0);
    assert_eq!(backend.storage.size(&key).await?, backend.large_bytes);
    let whole = ByteRange::whole(backend.large_bytes);
    let mut stream = backend.storage.open(&key, whole).await?.into_stream(CHUNK);
    let mut at = 0;
    while let Some(piece) = stream.try_next().await? {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let here = at as usize % CHUNK;
            let len = rest.len().min(CHUNK - here);
            assert!(rest[..len] == pattern[here..here + len], "at {at}");
            rest = &rest[len..];
            at += len as u64;
        }
    }
    assert_eq!(at, backend.large_bytes);
    Ok(backend.storage.delete(&key).await?)
}

async fn a_reader_who_goes_away_frees_everything(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(9_000_001));
    write(&backend, &key, &whole).await?;
    let range = ByteRange::whole(whole.len() as u64);
    // More than any backend has connections or handles for, were they kept.
    for _ in 0..40 {
        let opened = (0..16).map(|_| backend.storage.open(&key, range));
        for blob in futures_util::future::try_join_all(opened).await? {
            let mut stream = blob.into_stream(1000);
            assert!(stream.try_next().await?.is_some());
        }
    }
    assert_eq!(read(&backend, &key, range).await?, whole);
    backend.storage.delete(&key).await?;
    assert!(is_missing(&backend, &key).await);
    assert_eq!((backend.leftovers)(), 0);
    Ok(())
}

async fn keys_that_differ_in_one_digit_do_not_meet(backend: Backend) -> Result {
    let mut bytes = *BlobKey::random()?.as_bytes();
    let keys: Vec<BlobKey> = [0xab, 0xba, 0xaa, 0xbb]
        .into_iter()
        .map(|last| {
            bytes[15] = last;
            BlobKey::from_bytes(bytes)
        })
        .collect();
    for (number, key) in keys.iter().enumerate() {
        // Nothing that a share without cases could take for another key.
        assert_eq!(key.to_string(), key.to_string().to_lowercase());
        for size in [100, 100_000] {
            let content = Bytes::from(vec![number as u8; size]);
            write(&backend, key, &content).await?;
            assert_eq!(read(&backend, key, ByteRange::whole(size as u64)).await?, content);
            if size == 100 {
                backend.storage.delete(key).await?;
            }
        }
    }
    let mut listed = list_all(&backend).await?;
    listed.sort_unstable();
    let mut expected: Vec<_> = keys.iter().map(|key| (*key, 100_000)).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    Ok(())
}

async fn a_probe_succeeds_and_leaves_nothing(backend: Backend) -> Result {
    for size in [0, 1024, 9_000_001] {
        let mut steps = Vec::new();
        probe(backend.storage.as_ref(), size, &mut |step, _| steps.push(step.as_str())).await?;
        assert_eq!(steps, ["reach", "write", "read", "list", "delete"]);
        assert_eq!(list_all(&backend).await?, []);
        assert_eq!((backend.leftovers)(), 0);
    }
    Ok(())
}
