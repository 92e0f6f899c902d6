//! Takes one blob's bytes: held back while they fit one part, then sent in parts.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use uuid::Uuid;

use super::{
    commit::{Commitment, put},
    multipart::Multipart,
    notes::Notes,
    store::Store,
};
use crate::{
    blob::BlobKey,
    storage::{BlobWriter, Checkpoint, Result},
};

/// A part that is larger gets room for all of it at once: what it grows out of would be memory of its own.
const GROWS_BYTES_MAX: usize = 256 * 1024;

pub(super) struct S3Writer {
    store: Arc<Store>,
    key: BlobKey,
    token: String,
    part_bytes: usize,
    size_bytes: u64,
    /// The part that is being filled. Bytes are copied here, so that nobody waits for the memory that they
    /// came in.
    part: BytesMut,
    multipart: Option<Multipart>,
}

impl S3Writer {
    pub(super) fn new(store: Arc<Store>, key: BlobKey) -> Self {
        Self {
            part_bytes: store.options.part_bytes,
            store,
            key,
            token: Uuid::new_v4().to_string(),
            size_bytes: 0,
            part: BytesMut::new(),
            multipart: None,
        }
    }

    /// Goes on with an object in parts.
    pub(super) async fn resume(store: Arc<Store>, key: BlobKey, at: &Checkpoint) -> Result<Self> {
        let notes = Notes::read(&key, at)?;
        let multipart = Multipart::resume(Arc::clone(&store), key, &notes).await?;
        Ok(Self {
            token: notes.token,
            part_bytes: notes.part_bytes,
            size_bytes: at.size_bytes,
            multipart: Some(multipart),
            ..Self::new(store, key)
        })
    }

    /// What is durable: whole parts, from the first on.
    fn durable(&self) -> Result<Option<Checkpoint>> {
        let Some(multipart) = &self.multipart else {
            return Ok(None);
        };
        let parts = multipart.arrived();
        if parts.is_empty() {
            return Ok(None);
        }
        let notes = Notes {
            upload_id: multipart.upload_id().to_owned(),
            token: self.token.clone(),
            part_bytes: self.part_bytes,
            parts,
        };
        notes.write().map(Some)
    }

    async fn take(&mut self, mut chunk: Bytes) -> Result<()> {
        self.size_bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            if self.part.len() >= self.part_bytes {
                self.send_part().await?;
            }
            if self.part.len() > GROWS_BYTES_MAX {
                self.part.reserve(self.part_bytes - self.part.len());
            }
            let room = self.part_bytes - self.part.len();
            let taken = room.min(chunk.len());
            self.part.extend_from_slice(&chunk[..taken]);
            chunk.advance(taken);
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<()> {
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            none => {
                let store = Arc::clone(&self.store);
                none.insert(Multipart::begin(store, self.key, &self.token).await?)
            }
        };
        let full = std::mem::take(&mut self.part).freeze();
        self.part = multipart.send(full).await?;
        Ok(())
    }
}

#[async_trait]
impl BlobWriter for S3Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for chunk in chunks {
            self.take(chunk).await?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        if let Some(multipart) = &mut self.multipart {
            multipart.collect().await?;
        }
        self.durable()
    }

    fn checkpoint_grain(&self) -> Option<u64> {
        Some(self.part_bytes as u64)
    }

    async fn suspend(mut self: Box<Self>) -> Result<Option<Checkpoint>> {
        let Some(multipart) = &mut self.multipart else {
            return Ok(None);
        };
        // Parts that do not arrive are sent again.
        let settled = multipart.settle().await;
        let durable = self.durable()?;
        match (durable, self.multipart) {
            (None, Some(multipart)) => {
                multipart.abort().await?;
                settled.map(|()| None)
            }
            (durable, _) => Ok(durable),
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        if self.multipart.is_some() && !self.part.is_empty() {
            self.send_part().await?;
        }
        let Self { store, key, token, size_bytes, part, multipart, .. } = *self;
        let commitment = Commitment { key, token, size_bytes };
        match multipart {
            None => put(&store, &commitment, part.freeze()).await,
            Some(multipart) => multipart.complete(&commitment).await,
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        match self.multipart {
            None => Ok(()),
            Some(multipart) => multipart.abort().await,
        }
    }
}
