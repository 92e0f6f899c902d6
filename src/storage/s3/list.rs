//! Listings of blobs, and of what is unfinished, in the order of their keys.

use aws_sdk_s3::primitives::DateTime;

use super::{error::failure, store::Store};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    storage::{BlobEntry, LIST_PAGE, Result},
};

/// A page of committed blobs; empty only at the end.
pub(super) async fn committed(store: &Store, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
    let mut continued = None;
    loop {
        let page = store
            .client
            .list_objects_v2()
            .bucket(&store.options.bucket)
            .prefix(store.blobs())
            .set_start_after(after.map(|key| store.object(key)))
            .set_continuation_token(continued)
            .max_keys(LIST_PAGE as i32)
            .send()
            .await
            .map_err(failure("list blobs"))?;
        let now = store.clock.now();
        // What is not named like a blob is none of ours.
        let entries = page.contents().iter().filter_map(|object| {
            Some(BlobEntry {
                key: store.blob(object.key()?)?,
                size_bytes: object.size().unwrap_or(0).unsigned_abs(),
                age: now.since(timestamp(object.last_modified()?)),
            })
        });
        let entries: Vec<BlobEntry> = entries.collect();
        continued = page.next_continuation_token().map(str::to_owned);
        if !entries.is_empty() || continued.is_none() {
            return Ok(entries);
        }
    }
}

/// A page of blobs with unfinished uploads, each with the age of its youngest. How much of them the store
/// holds it does not say: their sizes are 0.
pub(super) async fn unfinished(store: &Store, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
    let (mut key_marker, mut id_marker) = (after.map(|key| store.object(key)), None);
    loop {
        let page = store
            .client
            .list_multipart_uploads()
            .bucket(&store.options.bucket)
            .prefix(store.blobs())
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .max_uploads(LIST_PAGE as i32)
            .send()
            .await
            .map_err(failure("list unfinished blobs"))?;
        let now = store.clock.now();
        let entries = page.uploads().iter().filter_map(|upload| {
            let key = store.blob(upload.key()?)?;
            let age = now.since(timestamp(upload.initiated()?));
            Some(BlobEntry { key, size_bytes: 0, age })
        });
        let mut entries: Vec<BlobEntry> = entries.collect();
        entries.retain(|entry| after.is_none_or(|after| entry.key > *after));
        entries.sort_unstable_by_key(|entry| (entry.key, entry.age));
        entries.dedup_by_key(|entry| entry.key);
        let more = page.is_truncated() == Some(true);
        if !entries.is_empty() || !more {
            return Ok(entries);
        }
        key_marker = page.next_key_marker().map(str::to_owned);
        id_marker = page.next_upload_id_marker().map(str::to_owned);
        if key_marker.is_none() {
            return Ok(entries);
        }
    }
}

fn timestamp(time: &DateTime) -> Timestamp {
    let unix_us = time.as_nanos() / 1000;
    Timestamp::from_unix_us(i64::try_from(unix_us).unwrap_or(i64::MAX))
}
