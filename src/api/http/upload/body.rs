//! A request's body as the parts of an upload.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};

use super::Incoming;
use crate::{
    file::Content,
    service::{ServiceError, policy::CHUNK_BYTES_MAX, upload::UploadPart},
};

/// The bytes that a request sends.
pub(super) struct Received<B>(B);

type Part = Result<UploadPart, ServiceError>;

impl<B: Incoming> Received<B> {
    pub(super) const fn new(body: B) -> Self {
        Self(body)
    }

    /// All of a content: the body's clean end is its end.
    pub(super) fn whole(self) -> impl Stream<Item = Part> + Send {
        let end = stream::iter([Ok(UploadPart::Finish(None))]);
        // Nothing follows what broke off.
        let mut broken = false;
        self.data().chain(end).take_while(move |part| {
            let goes_on = !broken;
            broken |= part.is_err();
            std::future::ready(goes_on)
        })
    }

    /// The next bytes of a content that ends after `left` of them.
    pub(super) fn up_to(self, left: u64) -> impl Stream<Item = Part> + Send {
        let mut left = left;
        let data = self.data().map(move |part| {
            if let Ok(UploadPart::Data(data)) = &part {
                left = left.saturating_sub(data.len() as u64);
            }
            (part, left)
        });
        data.flat_map(|(part, left)| {
            let whole = left == 0 && part.is_ok();
            stream::iter([part].into_iter().chain(whole.then_some(Ok(UploadPart::Finish(None)))))
        })
    }

    /// The content's size and hash; `None` where it is longer than `bytes_max`.
    pub(super) async fn hash(self, bytes_max: u64) -> Result<Option<Content>, ServiceError> {
        let mut data = pin!(self.data());
        let (mut size_bytes, mut sha256) = (0, Sha256::new());
        while let Some(part) = data.next().await {
            if let UploadPart::Data(data) = part? {
                size_bytes += data.len() as u64;
                sha256.update(&data);
            }
            if size_bytes > bytes_max {
                return Ok(None);
            }
        }
        Ok(Some(Content { size_bytes, sha256: sha256.finalize().into() }))
    }

    /// The bytes in pieces that an upload takes, none of them empty.
    fn data(self) -> impl Stream<Item = Part> + Send {
        let frames = stream::unfold(Some(self.0), async |body| {
            let mut body = body?;
            let frame =
                std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context));
            match frame.await? {
                Ok(frame) => Some((Ok(frame.into_data().unwrap_or_default()), Some(body))),
                Err(error) => {
                    let error: super::BodyError = error.into();
                    tracing::debug!(%error, "a request broke off");
                    let broken = ServiceError::UploadIncomplete { persisted_size_bytes: 0 };
                    Some((Err(broken), None))
                }
            }
        });
        frames.flat_map(|frame: Result<Bytes, ServiceError>| match frame {
            Ok(data) => stream::iter(pieces(data)).left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        })
    }
}

fn pieces(mut data: Bytes) -> Vec<Part> {
    let mut pieces = Vec::new();
    while !data.is_empty() {
        let piece = data.split_to(data.len().min(CHUNK_BYTES_MAX));
        pieces.push(Ok(UploadPart::Data(piece)));
    }
    pieces
}
