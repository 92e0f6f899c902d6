//! A store of several nodes, one of which dies: what was acknowledged can be read without it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use files::{
    blob::BlobKey,
    clock::SystemClock,
    storage::{
        ByteRange, Storage, StorageError,
        limit::{LimitedStorage, StorageLimits},
        s3::S3Storage,
    },
};
use futures_util::TryStreamExt;

use super::Result;
use crate::seaweed::Cluster;

const BLOBS: usize = 60;

fn content(number: usize) -> Bytes {
    let size = if number.is_multiple_of(20) { 6_000_000 } else { 100 + number * 999 };
    number.to_le_bytes().into_iter().cycle().take(size).collect()
}

async fn write(storage: &dyn Storage, number: usize) -> std::result::Result<BlobKey, StorageError> {
    let key = BlobKey::random().expect("randomness");
    let mut writer = storage.create(&key).await?;
    writer.write(vec![content(number)]).await?;
    writer.commit().await?;
    Ok(key)
}

async fn assert_whole(storage: &dyn Storage, blobs: &[(usize, BlobKey)]) -> Result {
    for (number, key) in blobs {
        let content = content(*number);
        let range = ByteRange::whole(content.len() as u64);
        let stream = storage.open(key, range).await?.into_stream(1 << 20);
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        assert!(pieces.concat() == content, "blob {number}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_when_one_of_its_nodes_dies() -> Result {
    let cluster = Cluster::start().await;
    let options = cluster.server.options();
    let bucket = S3Storage::connect(options, Arc::new(SystemClock)).await?;
    // The store itself takes its time before it says no.
    let limits = StorageLimits {
        operations_max: 8,
        timeout: Duration::from_secs(10),
        commit_timeout: Duration::from_secs(10),
    };
    let storage = LimitedStorage::new(Arc::new(bucket), limits);
    let mut blobs = Vec::new();
    for number in 0..BLOBS {
        blobs.push((number, write(&storage, number).await?));
    }
    let [dying, ..] = &cluster.volumes[..] else { panic!("there are nodes") };
    dying.kill();
    assert_whole(&storage, &blobs).await?;
    // Three copies cannot be made on two nodes: what is refused is not acknowledged, and what is acknowledged
    // is there.
    for number in BLOBS..BLOBS + 2 {
        match write(&storage, number).await {
            Ok(key) => blobs.push((number, key)),
            Err(StorageError::Unavailable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    assert_whole(&storage, &blobs).await?;
    dying.start();
    let mut last = None;
    for _ in 0..100 {
        match write(&storage, 7).await {
            Ok(key) => {
                blobs.push((7, key));
                assert_whole(&storage, &blobs).await?;
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the store never took a blob again: {last:?}");
}
