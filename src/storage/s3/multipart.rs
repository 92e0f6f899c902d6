//! An object in parts: while some are on their way, the next one is filled.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use tokio::task::{JoinError, JoinSet};

use super::{
    commit::{Answer, Commitment, Making, settle},
    error::{Failure, failure},
    list,
    notes::{Notes, Part},
    options::Checksums,
    store::{Store, TOKEN},
};
use crate::{
    blob::BlobKey,
    storage::{Result, StorageError},
};

/// Parts in memory, full and on their way or being filled: what bounds the memory of an upload.
const PARTS_HELD_MAX: usize = 2;

/// A part that has arrived, and the memory that it was sent from where that is wanted.
type Sent = (CompletedPart, Option<BytesMut>);

/// A multipart upload that is under way. Dropped, it leaves what [`abort_all`] removes.
pub(super) struct Multipart {
    store: Arc<Store>,
    key: BlobKey,
    upload_id: Arc<str>,
    sent: i32,
    done: Vec<CompletedPart>,
    on_their_way: JoinSet<Result<Sent>>,
    /// Whether somebody waits for the memory of a part. Otherwise it is given back at once: a slow upload is
    /// not to hold what it may not need for long.
    wants_memory: Arc<AtomicBool>,
    /// The memory of a part that has arrived, for the next one.
    spare: Option<BytesMut>,
}

impl Multipart {
    /// Begins an object that bears `token`.
    pub(super) async fn begin(store: Arc<Store>, key: BlobKey, token: &str) -> Result<Self> {
        let begun = store.begin(store.object(&key)).metadata(TOKEN, token).send().await;
        let begun = begun.map_err(failure("begin a blob"))?;
        let upload_id = begun.upload_id().ok_or_else(|| {
            Failure::unbelievable("the store gave no upload id").into_error("begin a blob")
        })?;
        Ok(Self::of(store, key, upload_id, Vec::new()))
    }

    /// Goes on with an upload whose first parts have arrived, all of them as they were noted.
    pub(super) async fn resume(store: Arc<Store>, key: BlobKey, notes: &Notes) -> Result<Self> {
        check_parts(&store, &key, notes).await?;
        let parts = notes.parts.iter().zip(1..);
        let done: Vec<CompletedPart> = parts.map(|(part, number)| part.numbered(number)).collect();
        Ok(Self::of(store, key, &notes.upload_id, done))
    }

    /// An upload of which `done` has arrived, from the first part on.
    fn of(store: Arc<Store>, key: BlobKey, upload_id: &str, done: Vec<CompletedPart>) -> Self {
        Self {
            upload_id: Arc::from(upload_id),
            store,
            key,
            sent: i32::try_from(done.len()).unwrap_or(i32::MAX),
            done,
            on_their_way: JoinSet::new(),
            wants_memory: Arc::default(),
            spare: None,
        }
    }

    pub(super) fn upload_id(&self) -> &str {
        &self.upload_id
    }

    /// The parts that have arrived, up to the first that has not.
    pub(super) fn arrived(&self) -> Vec<Part> {
        let mut done: Vec<&CompletedPart> = self.done.iter().collect();
        done.sort_unstable_by_key(|part| part.part_number());
        let in_order = done.into_iter().zip(1..);
        in_order
            .take_while(|(part, number)| part.part_number() == Some(*number))
            .map(|(part, _)| Part::of(part))
            .collect()
    }

    /// Takes note of the parts that have arrived meanwhile.
    pub(super) async fn collect(&mut self) -> Result<()> {
        while let Some(arrived) = self.on_their_way.try_join_next() {
            self.note(arrived)?;
        }
        self.spare = None;
        Ok(())
    }

    /// Waits for all parts; of those that fail, the first is told.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let mut settled = Ok(());
        while let Some(arrived) = self.on_their_way.join_next().await {
            settled = settled.and(self.note(arrived));
        }
        settled
    }

    /// Sends the next part on its way, and waits until there is room to fill another one: that of a part which
    /// has arrived, where there is one.
    pub(super) async fn send(&mut self, content: Bytes) -> Result<BytesMut> {
        self.sent += 1;
        let (store, object) = (Arc::clone(&self.store), self.store.object(&self.key));
        let upload_id = Arc::clone(&self.upload_id);
        let (number, wants_memory) = (self.sent, Arc::clone(&self.wants_memory));
        self.on_their_way.spawn(async move {
            let part = send_part(&store, &object, &upload_id, (number, content.clone())).await?;
            let is_wanted = wants_memory.load(Ordering::Relaxed);
            Ok((part, is_wanted.then(|| content.try_into_mut().ok()).flatten()))
        });
        self.wants_memory.store(true, Ordering::Relaxed);
        while self.on_their_way.len() >= PARTS_HELD_MAX {
            self.one_arrives().await?;
        }
        self.wants_memory.store(false, Ordering::Relaxed);
        let mut spare = self.spare.take().unwrap_or_default();
        spare.clear();
        Ok(spare)
    }

    async fn one_arrives(&mut self) -> Result<()> {
        match self.on_their_way.join_next().await {
            Some(arrived) => self.note(arrived),
            None => Ok(()),
        }
    }

    fn note(&mut self, arrived: std::result::Result<Result<Sent>, JoinError>) -> Result<()> {
        let (part, spare) = arrived.map_err(|error| StorageError::Unavailable {
            action: "send a part of a blob",
            source: error.into(),
        })??;
        self.done.push(part);
        self.spare = spare;
        Ok(())
    }

    /// Makes the object of all parts sent.
    pub(super) async fn complete(mut self, commitment: &Commitment) -> Result<()> {
        while !self.on_their_way.is_empty() {
            self.one_arrives().await?;
        }
        self.done.sort_unstable_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.done)).build();
        let store = Arc::clone(&self.store);
        let completion =
            Completion { store: &store, key: self.key, upload_id: self.upload_id, parts };
        settle(&store, commitment, &completion).await
    }

    /// Gives the upload up, and what was sent of it.
    pub(super) async fn abort(mut self) -> Result<()> {
        self.on_their_way.shutdown().await;
        abort(&self.store, &self.store.object(&self.key), &self.upload_id).await
    }
}

/// The request that makes an object of its parts.
struct Completion<'a> {
    store: &'a Store,
    key: BlobKey,
    upload_id: Arc<str>,
    parts: CompletedMultipartUpload,
}

#[async_trait]
impl Making for Completion<'_> {
    async fn send(&self, condition: Option<&str>) -> std::result::Result<Answer, Failure> {
        let completed = self
            .store
            .client
            .complete_multipart_upload()
            .bucket(&self.store.options.bucket)
            .key(self.store.object(&self.key))
            .upload_id(&*self.upload_id)
            .set_if_none_match(condition.map(str::to_owned))
            .multipart_upload(self.parts.clone())
            .send()
            .await;
        completed.map(|_| Answer::Claim).map_err(Failure::of)
    }
}

async fn send_part(
    store: &Store,
    object: &str,
    upload_id: &str,
    (number, content): (i32, Bytes),
) -> Result<CompletedPart> {
    const ACTION: &str = "send a part of a blob";
    let crc32 = store.crc32(&content);
    let request = store
        .client
        .upload_part()
        .bucket(&store.options.bucket)
        .key(object)
        .upload_id(upload_id)
        .part_number(number)
        .set_checksum_crc32(crc32.clone())
        .body(ByteStream::from(content))
        .customize();
    let request = match store.options.checksums {
        Checksums::Crc32 => request.disable_payload_signing(),
        Checksums::Signed => request,
    };
    let sent = request.send().await.map_err(failure(ACTION))?;
    let tag = sent.e_tag().ok_or_else(|| {
        Failure::unbelievable("the store said that a part was taken, and gave it no tag")
            .into_error(ACTION)
    })?;
    Ok(CompletedPart::builder().part_number(number).e_tag(tag).set_checksum_crc32(crc32).build())
}

/// Whether the store still has the parts that were noted: another writer may have sent others in their places.
/// Some stores list all that were sent for one number.
async fn check_parts(store: &Store, key: &BlobKey, notes: &Notes) -> Result<()> {
    let mut wanted: HashSet<(i32, String)> =
        notes.parts.iter().zip(1..).map(|(part, number)| (number, part.e_tag.clone())).collect();
    let mut after = None;
    loop {
        let page = store
            .client
            .list_parts()
            .bucket(&store.options.bucket)
            .key(store.object(key))
            .upload_id(&notes.upload_id)
            .set_part_number_marker(after.clone())
            .send()
            .await;
        let page = match page.map_err(Failure::of) {
            Err(failed) if failed.is_absence() => return Err(StorageError::Missing(*key)),
            page => page.map_err(|failed| failed.into_error("look at the parts of a blob"))?,
        };
        for part in page.parts() {
            if let (Some(number), Some(tag)) = (part.part_number(), part.e_tag()) {
                wanted.remove(&(number, tag.to_owned()));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let next = page.next_part_number_marker().map(str::to_owned);
        if page.is_truncated() != Some(true) || next.is_none() || next == after {
            tracing::warn!(blob_key = %key, missing = wanted.len(), "parts of a blob are not there");
            return Err(StorageError::Missing(*key));
        }
        after = next;
    }
}

/// Removes every unfinished upload of an object.
pub(super) async fn abort_all(store: &Store, object: &str) -> Result<()> {
    for upload_id in uploads_of(store, object).await? {
        abort(store, object, &upload_id).await?;
    }
    Ok(())
}

/// Removes the unfinished uploads of an object that no part was sent to. One with parts may be what a store
/// that was interrupted has made the object of: with them the object would go.
pub(super) async fn abort_empty(store: &Store, object: &str) -> Result<()> {
    for upload_id in uploads_of(store, object).await? {
        let parts = store
            .client
            .list_parts()
            .bucket(&store.options.bucket)
            .key(object)
            .upload_id(&upload_id)
            .max_parts(1)
            .send()
            .await;
        match parts.map_err(Failure::of) {
            Err(failed) if failed.is_absence() => {}
            Err(failed) => return Err(failed.into_error("look at what is left of a blob")),
            Ok(parts) if parts.parts().is_empty() => abort(store, object, &upload_id).await?,
            Ok(_) => tracing::warn!(object, upload_id, "an upload with parts is left to the store"),
        }
    }
    Ok(())
}

async fn uploads_of(store: &Store, object: &str) -> Result<Vec<String>> {
    let all = list::uploads(store, object).await?;
    let own = all.into_iter().filter(|upload| upload.key() == Some(object));
    Ok(own.filter_map(|upload| upload.upload_id().map(str::to_owned)).collect())
}

async fn abort(store: &Store, object: &str, upload_id: &str) -> Result<()> {
    let aborted = store
        .client
        .abort_multipart_upload()
        .bucket(&store.options.bucket)
        .key(object)
        .upload_id(upload_id)
        .send()
        .await;
    match aborted.map_err(Failure::of) {
        // Completed or aborted before.
        Err(failed) if failed.is_absence() => Ok(()),
        aborted => {
            aborted.map_err(|failed| failed.into_error("remove what is left of a blob")).map(drop)
        }
    }
}
