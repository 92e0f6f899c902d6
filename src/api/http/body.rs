//! The body of an answer: nothing, a text, or a blob as it is read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};

use tracing::Span;

use crate::{
    error::chain,
    storage::{Blob, BlobStream, StorageError},
};

/// Bytes read and handed to the connection at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The body of an answer. An error ends it, and with it the connection: a clean end means that every byte
/// announced has been sent.
#[derive(Debug)]
pub enum Body {
    /// These bytes, once.
    Full(Option<Bytes>),
    /// A blob, read within the span of its request.
    Blob(BlobStream, Span),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Full(None)
    }

    /// A blob's bytes; what goes wrong while they are read is logged within `span`.
    pub fn of(blob: Blob, span: impl Fn() -> Span) -> Self {
        match blob {
            Blob::Bytes(bytes) => bytes.into(),
            blob => Self::Blob(blob.into_stream(PIECE_BYTES), span()),
        }
    }

    fn remaining(&self) -> u64 {
        match self {
            Self::Full(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Blob(stream, _) => stream.remaining(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = StorageError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StorageError>>> {
        let next = match &mut *self {
            Self::Full(bytes) => bytes.take().map(Ok),
            Self::Blob(stream, span) => {
                let next = ready!(Pin::new(stream).poll_next(context));
                if let Some(Err(error)) = &next {
                    tracing::error!(parent: &*span, error = chain(error), "a download broke off");
                }
                next
            }
        };
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}
