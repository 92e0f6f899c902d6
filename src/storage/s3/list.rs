//! Listings of blobs, and of what is unfinished, in the order of their keys.

use std::time::Duration;

use aws_sdk_s3::{primitives::DateTime, types::MultipartUpload};

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
    let uploads = uploads(store, &store.blobs()).await?;
    let now = store.clock.now();
    let entries = uploads.iter().filter_map(|upload| {
        let key = store.blob(upload.key()?)?;
        // Where the store does not say when it began, it has just begun: nobody removes it.
        let age = upload.initiated().map_or(Duration::ZERO, |began| now.since(timestamp(began)));
        Some(BlobEntry { key, size_bytes: 0, age })
    });
    let mut entries: Vec<BlobEntry> = entries.collect();
    entries.retain(|entry| after.is_none_or(|after| entry.key > *after));
    entries.sort_unstable_by_key(|entry| (entry.key, entry.age));
    entries.dedup_by_key(|entry| entry.key);
    entries.truncate(LIST_PAGE);
    Ok(entries)
}

/// Every unfinished upload of objects whose names begin with `prefix`. Stores disagree on what the markers of a
/// page mean and in what order uploads come; so all pages are read, each from where the store says, and there
/// are few.
pub(super) async fn uploads(store: &Store, prefix: &str) -> Result<Vec<MultipartUpload>> {
    let (mut uploads, mut markers) = (Vec::new(), (None, None));
    loop {
        let page = store
            .client
            .list_multipart_uploads()
            .bucket(&store.options.bucket)
            .prefix(prefix)
            .set_key_marker(markers.0.clone())
            .set_upload_id_marker(markers.1.clone())
            .send()
            .await
            .map_err(failure("list unfinished blobs"))?;
        uploads.extend_from_slice(page.uploads());
        let text = |text: Option<&str>| text.filter(|it| !it.is_empty()).map(str::to_owned);
        let next = (text(page.next_key_marker()), text(page.next_upload_id_marker()));
        let more = page.is_truncated() == Some(true) && next.0.is_some() && next != markers;
        if !more {
            return Ok(uploads);
        }
        markers = next;
    }
}

fn timestamp(time: &DateTime) -> Timestamp {
    let unix_us = time.as_nanos() / 1000;
    Timestamp::from_unix_us(i64::try_from(unix_us).unwrap_or(i64::MAX))
}
