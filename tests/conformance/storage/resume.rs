//! Blobs that are left unfinished and gone on with.

use files::storage::{BlobWriter, Checkpoint};

use super::*;

/// Sizes around every border at which a backend may change its ways, and several parts of a bucket's.
const LARGE: [usize; 4] = [32 * 1024 + 1, 1024 * 1024, 9_000_001, 21_000_000];

/// Writes `content` from `from` on, in pieces of a size that fits no border.
async fn fill(writer: &mut dyn BlobWriter, content: &Bytes, from: u64) -> Result {
    let mut rest = content.slice(from as usize..);
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(700_001));
        writer.write(vec![piece]).await?;
    }
    Ok(())
}

/// Goes on with a blob once its last writer has let go of it.
async fn resume(backend: &Backend, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
    loop {
        match backend.storage.resume(key, at).await {
            Err(StorageError::Held(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            resumed => return Ok(resumed?),
        }
    }
}

/// A checkpoint of a writer that has written enough for one.
async fn checkpoint(writer: &mut dyn BlobWriter) -> Result<Checkpoint> {
    loop {
        if let Some(checkpoint) = writer.checkpoint().await? {
            return Ok(checkpoint);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn assert_is(backend: &Backend, key: &BlobKey, content: &Bytes) -> Result {
    let whole = ByteRange::whole(content.len() as u64);
    assert!(read(backend, key, whole).await? == content[..]);
    assert_eq!(backend.storage.size(key).await?, content.len() as u64);
    Ok(())
}

pub(super) async fn a_suspended_blob_is_gone_on_with(backend: Backend) -> Result {
    for size in LARGE {
        let (key, whole) = (BlobKey::random()?, content(size));
        let mut writer = backend.storage.create(&key).await?;
        let grain = writer.checkpoint_grain().unwrap_or(1);
        let half = whole.slice(..size * 2 / 3 + 1);
        fill(writer.as_mut(), &half, 0).await?;
        let left = writer.suspend().await?;
        assert!(is_missing(&backend, &key).await);
        let Some(at) = left else {
            assert!((half.len() as u64) < grain.max(32 * 1024 + 1), "{size}");
            assert_eq!((backend.leftovers)(), 0);
            continue;
        };
        assert!(at.size_bytes <= half.len() as u64 && at.size_bytes + grain > half.len() as u64);
        let unfinished = backend.storage.list_unfinished(None).await?;
        assert_eq!(unfinished.iter().map(|entry| entry.key).collect::<Vec<_>>(), [key]);
        let mut writer = resume(&backend, &key, &at).await?;
        fill(writer.as_mut(), &whole, at.size_bytes).await?;
        writer.commit().await?;
        assert_is(&backend, &key, &whole).await?;
        assert_eq!((backend.leftovers)(), 0);
        backend.storage.delete(&key).await?;
    }
    Ok(())
}

pub(super) async fn a_blob_is_gone_on_with_any_number_of_times(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(43_000_000));
    let mut writer = backend.storage.create(&key).await?;
    let mut at = 0;
    for end in [9_000_000, 9_000_001, 20_000_000, 26_000_000, 42_999_999] {
        fill(writer.as_mut(), &whole.slice(..end), at).await?;
        let left = writer.suspend().await?.expect("something is durable");
        assert!(left.size_bytes >= at && left.size_bytes <= end as u64);
        at = left.size_bytes;
        writer = resume(&backend, &key, &left).await?;
    }
    fill(writer.as_mut(), &whole, at).await?;
    writer.commit().await?;
    assert_is(&backend, &key, &whole).await?;
    assert_eq!((backend.leftovers)(), 0);
    Ok(())
}

pub(super) async fn what_is_beyond_a_checkpoint_is_dropped(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(20_000_000));
    let mut writer = backend.storage.create(&key).await?;
    fill(writer.as_mut(), &whole.slice(..17_000_000), 0).await?;
    let at = checkpoint(writer.as_mut()).await?;
    // The process dies in the middle of something else.
    fill(writer.as_mut(), &Bytes::from(vec![0xFF; 30_000_000]), 0).await?;
    drop(writer);
    let mut writer = resume(&backend, &key, &at).await?;
    fill(writer.as_mut(), &whole, at.size_bytes).await?;
    writer.commit().await?;
    assert_is(&backend, &key, &whole).await
}

pub(super) async fn two_writers_of_one_blob_never_mix(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(26_000_000));
    let mut first = backend.storage.create(&key).await?;
    fill(first.as_mut(), &whole.slice(..17_000_000), 0).await?;
    let at = checkpoint(first.as_mut()).await?;
    let mut second = match backend.storage.resume(&key, &at).await {
        Err(StorageError::Held(_)) => {
            drop(first);
            resume(&backend, &key, &at).await?
        }
        resumed => {
            // Where the store has no locks, the first goes on, and is found out.
            let second = resumed?;
            fill(first.as_mut(), &Bytes::from(vec![0xFF; 17_000_000]), 0).await?;
            let _ = first.suspend().await?;
            second
        }
    };
    fill(second.as_mut(), &whole, at.size_bytes).await?;
    match second.commit().await {
        Ok(()) => assert_is(&backend, &key, &whole).await,
        Err(_) => {
            assert!(is_missing(&backend, &key).await);
            Ok(())
        }
    }
}

pub(super) async fn going_on_changes_nothing_before_the_first_write(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(26_000_000));
    let mut writer = backend.storage.create(&key).await?;
    fill(writer.as_mut(), &whole.slice(..12_000_000), 0).await?;
    let early = checkpoint(writer.as_mut()).await?;
    fill(writer.as_mut(), &whole.slice(..24_000_000), 12_000_000).await?;
    let late = writer.suspend().await?.expect("something is durable");
    assert!(late.size_bytes > early.size_bytes);
    // Somebody who knows less than there is comes, and goes.
    drop(resume(&backend, &key, &early).await?);
    let mut writer = resume(&backend, &key, &late).await?;
    fill(writer.as_mut(), &whole, late.size_bytes).await?;
    writer.commit().await?;
    assert_is(&backend, &key, &whole).await
}

pub(super) async fn what_cannot_be_gone_on_with_is_missing(backend: Backend) -> Result {
    let is_missing = async |key: &BlobKey, at: &Checkpoint| {
        matches!(backend.storage.resume(key, at).await, Err(StorageError::Missing(_)))
    };
    let (key, whole) = (BlobKey::random()?, content(17_000_000));
    let mut writer = backend.storage.create(&key).await?;
    fill(writer.as_mut(), &whole, 0).await?;
    let at = writer.suspend().await?.expect("something is durable");
    assert!(is_missing(&BlobKey::random()?, &at).await);
    let beyond = Checkpoint { size_bytes: at.size_bytes + (1 << 30), ..at.clone() };
    assert!(is_missing(&key, &beyond).await);
    let mut writer = resume(&backend, &key, &at).await?;
    fill(writer.as_mut(), &whole, at.size_bytes).await?;
    writer.commit().await?;
    assert!(is_missing(&key, &at).await, "it is committed");
    assert_is(&backend, &key, &whole).await?;
    backend.storage.delete(&key).await?;
    assert!(is_missing(&key, &at).await, "it is deleted");
    Ok(())
}

pub(super) async fn an_unfinished_blob_can_be_removed(backend: Backend) -> Result {
    for abort in [false, true] {
        let (key, whole) = (BlobKey::random()?, content(9_000_001));
        let mut writer = backend.storage.create(&key).await?;
        fill(writer.as_mut(), &whole, 0).await?;
        let at = writer.suspend().await?.expect("something is durable");
        match abort {
            true => resume(&backend, &key, &at).await?.abort().await?,
            false => backend.storage.delete(&key).await?,
        }
        assert_eq!((backend.leftovers)(), 0);
        assert_eq!(backend.storage.list_unfinished(None).await?, []);
    }
    Ok(())
}

pub(super) async fn checkpoints_never_shrink(backend: Backend) -> Result {
    let (key, whole) = (BlobKey::random()?, content(26_000_000));
    let mut writer = backend.storage.create(&key).await?;
    let (mut asked, mut reached) = (vec![0], 0);
    for start in (0..whole.len()).step_by(1 << 20) {
        let end = whole.len().min(start + (1 << 20));
        writer.write(vec![whole.slice(start..end)]).await?;
        let at = writer.checkpoint().await?.map_or(0, |at| at.size_bytes);
        asked.push(end as u64);
        let grain = writer.checkpoint_grain();
        let told = asked.contains(&at) || grain.is_some_and(|grain| at.is_multiple_of(grain));
        assert!(at >= reached && told, "{at} after {reached}");
        reached = at;
    }
    assert!(checkpoint(writer.as_mut()).await?.size_bytes >= reached);
    writer.commit().await?;
    assert_is(&backend, &key, &whole).await
}
