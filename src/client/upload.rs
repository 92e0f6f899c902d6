//! The messages of an upload, read and hashed on a thread that may block.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::proto::{
    Reference, UploadFileRequest, UploadFinish, UploadStart, upload_file_request::Message,
};

/// Bytes in a message: the size from which on larger ones gain nothing.
const CHUNK_BYTES: usize = 256 * 1024;
/// Messages read ahead of the network.
const READ_AHEAD: usize = 4;

/// What a file is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewFile {
    /// The owner.
    pub user_id: String,
    /// What it is for.
    pub purpose: String,
    /// Its base name; the extension decides the type.
    pub filename: String,
    /// Its length in bytes, where it is known: any other is refused.
    pub size_bytes: Option<u64>,
    /// A UUID that makes a retry safe; empty: none.
    pub upload_id: String,
    /// The caller's own labels.
    pub labels: BTreeMap<String, String>,
    /// Its life; `None`: the purpose's default.
    pub ttl: Option<std::time::Duration>,
    /// What it belongs to from the start.
    pub references: Vec<Reference>,
    /// Whether it goes when its last reference goes.
    pub delete_when_unreferenced: bool,
}

/// Where the bytes come from.
pub struct Content(Box<dyn Read + Send>);

impl Content {
    /// Everything that `reader` gives until its end.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self(Box::new(reader))
    }
}

/// How reading went; asked after the call.
pub(super) struct Reading(Arc<Mutex<Option<io::Error>>>);

impl Reading {
    pub(super) fn outcome(&self) -> io::Result<()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The messages of one upload: start, data, and finish only where reading came to its end.
pub(super) fn messages(
    file: NewFile,
    content: Content,
    progress: impl Fn(u64) + Send + 'static,
) -> (Messages, Reading) {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let failure = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&failure);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_all(file, content, progress, &sender) {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    (Messages(receiver), Reading(seen))
}

/// Sends until the end, or until the call is over and nobody receives.
fn send_all(
    file: NewFile,
    mut content: Content,
    progress: impl Fn(u64),
    sender: &mpsc::Sender<UploadFileRequest>,
) -> io::Result<()> {
    let send = |message| {
        let message = Some(message);
        sender.blocking_send(UploadFileRequest { message }).is_ok()
    };
    if !send(Message::Start(start(file))) {
        return Ok(());
    }
    let (mut sent, mut sha256) = (0, Sha256::new());
    loop {
        let chunk = read_chunk(&mut content.0)?;
        if chunk.is_empty() {
            break;
        }
        sha256.update(&chunk);
        sent += chunk.len() as u64;
        if !send(Message::Data(chunk)) {
            return Ok(());
        }
        progress(sent);
    }
    let sha256 = Bytes::copy_from_slice(&sha256.finalize());
    send(Message::Finish(UploadFinish { sha256 }));
    Ok(())
}

fn start(file: NewFile) -> UploadStart {
    UploadStart {
        upload_id: file.upload_id,
        user_id: file.user_id,
        purpose: file.purpose,
        filename: file.filename,
        size_bytes: file.size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
        ttl: file.ttl.and_then(|ttl| prost_types::Duration::try_from(ttl).ok()),
        labels: file.labels,
        references: file.references,
        delete_when_unreferenced: file.delete_when_unreferenced,
        ..UploadStart::default()
    }
}

/// The next chunk, full unless it is the last; empty at the end.
fn read_chunk(reader: &mut dyn Read) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk.freeze())
}

/// The messages as the call takes them.
pub(super) struct Messages(mpsc::Receiver<UploadFileRequest>);

impl Stream for Messages {
    type Item = UploadFileRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<UploadFileRequest>> {
        self.0.poll_recv(context)
    }
}
