//! Making an object, and settling what became of it. What a store answers proves little by itself: a 200 can
//! carry an error, and a failure can follow a success. What counts is the object, known again by a token in
//! its metadata.

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::{
    error::Failure,
    options::Checksums,
    store::{Store, TOKEN},
};
use crate::{
    blob::BlobKey,
    storage::{Result, StorageError},
};

/// An object in the making, as it must be found.
#[derive(Clone, Debug)]
pub(super) struct Commitment {
    pub(super) key: BlobKey,
    /// Random; nobody else's object has it.
    pub(super) token: String,
    pub(super) size_bytes: u64,
}

/// What a good answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The object is there.
    Proof,
    /// Somebody should look.
    Claim,
}

/// What lies under a key.
enum Found {
    Ours,
    Another,
    Nothing,
}

/// The request that makes an object.
#[async_trait]
pub(super) trait Making: Sync {
    /// Sends it, with the condition that must hold of what is there (If-None-Match).
    async fn send(&self, condition: Option<&str>) -> std::result::Result<Answer, Failure>;
}

/// An object that is put whole.
struct Put<'a> {
    store: &'a Store,
    commitment: &'a Commitment,
    content: Bytes,
    crc32: Option<String>,
}

#[async_trait]
impl Making for Put<'_> {
    async fn send(&self, condition: Option<&str>) -> std::result::Result<Answer, Failure> {
        let request = self
            .store
            .put(self.store.object(&self.commitment.key))
            .set_if_none_match(condition.map(str::to_owned))
            .set_checksum_crc32(self.crc32.clone())
            .metadata(TOKEN, &self.commitment.token)
            .body(ByteStream::from(self.content.clone()))
            .customize();
        let request = match self.store.options.checksums {
            Checksums::Crc32 => request.disable_payload_signing(),
            Checksums::Signed => request,
        };
        let put = request.send().await.map_err(Failure::of)?;
        Ok(if put.e_tag().is_some() { Answer::Proof } else { Answer::Claim })
    }
}

/// Puts an object whole.
pub(super) async fn put(store: &Store, commitment: &Commitment, content: Bytes) -> Result<()> {
    let crc32 = store.crc32(&content);
    settle(store, commitment, &Put { store, commitment, content, crc32 }).await
}

/// Makes the object, and finds out whether it is there. That the key must be free is asked for first, and
/// done without where the store will not hear of conditions: keys are never used twice anyway.
pub(super) async fn settle(
    store: &Store,
    commitment: &Commitment,
    making: &dyn Making,
) -> Result<()> {
    const ACTION: &str = "commit a blob";
    let mut condition = Some("*");
    loop {
        let sent = making.send(condition).await;
        if matches!(sent, Ok(Answer::Proof)) {
            return Ok(());
        }
        match look(store, commitment).await? {
            Found::Ours => return Ok(()),
            Found::Another => return Err(StorageError::Exists(commitment.key)),
            Found::Nothing => {}
        }
        match sent {
            Err(failed) if failed.is_about_condition() && condition.is_some() => condition = None,
            Err(failed) => return Err(failed.into_error(ACTION)),
            Ok(_) => return Err(nothing_there().into_error(ACTION)),
        }
    }
}

fn nothing_there() -> Failure {
    Failure::unbelievable("the store said that the object was made, and it is not there")
}

async fn look(store: &Store, commitment: &Commitment) -> Result<Found> {
    let head = store
        .client
        .head_object()
        .bucket(&store.options.bucket)
        .key(store.object(&commitment.key))
        .send()
        .await;
    let head = match head.map_err(Failure::of) {
        Err(failed) if failed.is_absence() => return Ok(Found::Nothing),
        head => head.map_err(|failed| failed.into_error("look at a blob just written"))?,
    };
    let token = head.metadata().and_then(|metadata| metadata.get(TOKEN));
    let size = head.content_length().and_then(|size| u64::try_from(size).ok());
    let ours = token == Some(&commitment.token) && size == Some(commitment.size_bytes);
    Ok(if ours { Found::Ours } else { Found::Another })
}
