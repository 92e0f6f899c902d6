//! Uploads: read and hashed on a thread that may block, and gone on with after whatever breaks them off.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle, spawn_blocking},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{Client, ClientError, Content, Result, retry::Retries};
use crate::proto::{
    CancelUploadRequest, File, GetUploadRequest, GetUploadResponse, Reference, UploadFileRequest,
    UploadFinish, UploadStart, upload_file_request::Message,
};

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
    /// A UUID by which another process can go on with the upload; `None`: a fresh one.
    pub upload_id: Option<Uuid>,
    /// The caller's own labels.
    pub labels: BTreeMap<String, String>,
    /// Its life; `None`: the purpose's default.
    pub ttl: Option<Duration>,
    /// What it belongs to from the start.
    pub references: Vec<Reference>,
    /// Whether it goes when its last reference goes.
    pub delete_when_unreferenced: bool,
}

/// How one attempt went.
type Sent = std::result::Result<File, Status>;

/// What is called with the bytes that have been sent so far.
type Progress = Arc<dyn Fn(u64) + Send + Sync>;

impl Client {
    /// Uploads a file. It goes on after whatever breaks it off, from where the server's durable bytes end, until
    /// attempts fail that gain nothing. The content is hashed while it is sent, the server checks the hash, and
    /// what it answers is checked here. `progress` is called with the bytes sent so far, which never become fewer.
    pub async fn upload(
        &self,
        file: NewFile,
        mut content: Content,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<File> {
        let is_known = file.upload_id.is_some();
        let mut start = UploadStart::from(file);
        let progress = never_back(progress);
        let (mut retries, mut reached) = (Retries::default(), 0);
        if is_known {
            let known = self.persisted(&start).await?;
            if let Some(file) = known.file {
                return check(file, content).await;
            }
            let offset = known.persisted_size_bytes;
            // A content that is shorter than that is another one: the server says so.
            if start.size_bytes.is_none_or(|size_bytes| offset <= size_bytes) {
                (content, _) = seek(content, offset).await?;
                start.offset = offset;
            }
        }
        loop {
            let sent;
            (content, sent) = self.attempt(&start, content, Arc::clone(&progress)).await?;
            let status = match sent {
                Ok(file) => return check(file, content).await,
                Err(status) => status,
            };
            let offset = match beyond(&status) {
                Some(offset) => offset,
                None => {
                    self.pause_after(status.clone(), &mut retries).await?;
                    match self.persisted(&start).await? {
                        GetUploadResponse { file: Some(file), .. } => {
                            return check(file, content).await;
                        }
                        unfinished => unfinished.persisted_size_bytes,
                    }
                }
            };
            if offset > reached {
                retries.gained();
                reached = offset;
            }
            let can_go_on;
            (content, can_go_on) = seek(content, offset).await?;
            if !can_go_on {
                return Err(status.into());
            }
            start.offset = offset;
        }
    }

    /// How far an upload has come, or its file once it is finished.
    pub async fn find_upload(&self, user_id: &str, upload_id: &Uuid) -> Result<GetUploadResponse> {
        let (upload_id, user_id) = (upload_id.to_string(), user_id.to_owned());
        self.ask(GetUploadRequest { upload_id, user_id }, async |mut files, request| {
            files.get_upload(request).await
        })
        .await
    }

    /// Gives an unfinished upload up.
    pub async fn cancel_upload(&self, user_id: &str, upload_id: &Uuid) -> Result<()> {
        let (upload_id, user_id) = (upload_id.to_string(), user_id.to_owned());
        let request = self.request(CancelUploadRequest { upload_id, user_id })?;
        self.files.clone().cancel_upload(request).await?;
        Ok(())
    }

    /// Sends the content from where it is, and gives it back.
    async fn attempt(
        &self,
        start: &UploadStart,
        content: Content,
        progress: Progress,
    ) -> Result<(Content, Sent)> {
        let (sender, messages) = mpsc::channel(READ_AHEAD);
        let reading = read_ahead(start.clone(), content, progress, sender);
        let request = self.request(ReceiverStream::new(messages))?;
        let answer = self.files.clone().upload_file(request).await;
        let (content, read) = reading.await?;
        // Why reading failed says more than that the server missed the end.
        read?;
        let sent = match answer {
            Ok(answer) => {
                Ok(answer.into_inner().file.ok_or(ClientError::Incomplete("the file"))?)
            }
            Err(status) => Err(status),
        };
        Ok((content, sent))
    }

    /// Where the upload can go on; an upload that is not known has nothing durable.
    async fn persisted(&self, start: &UploadStart) -> Result<GetUploadResponse> {
        let UploadStart { upload_id, user_id, .. } = start.clone();
        let asked = self
            .ask(GetUploadRequest { upload_id, user_id }, async |mut files, request| {
                files.get_upload(request).await
            });
        match asked.await {
            Err(ClientError::Call(status)) if status.code() == Code::NotFound => {
                Ok(GetUploadResponse::default())
            }
            asked => asked,
        }
    }
}

impl From<NewFile> for UploadStart {
    /// The start of an upload with an id: the file's own, or a fresh one.
    fn from(file: NewFile) -> Self {
        Self {
            upload_id: file.upload_id.unwrap_or_else(Uuid::new_v4).to_string(),
            user_id: file.user_id,
            purpose: file.purpose,
            filename: file.filename,
            size_bytes: file.size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            ttl: file.ttl.and_then(|ttl| prost_types::Duration::try_from(ttl).ok()),
            labels: file.labels,
            references: file.references,
            delete_when_unreferenced: file.delete_when_unreferenced,
            ..Self::default()
        }
    }
}

/// Tells `progress` of nothing twice.
fn never_back(progress: impl Fn(u64) + Send + Sync + 'static) -> Progress {
    let most = AtomicU64::new(0);
    Arc::new(move |sent| {
        if most.fetch_max(sent, Ordering::Relaxed) < sent {
            progress(sent);
        }
    })
}

/// The offset at which the server wants to go on, where it says so.
fn beyond(status: &Status) -> Option<i64> {
    let info = status.get_details_error_info()?;
    let told =
        info.metadata.get("persisted_size_bytes").filter(|_| info.reason == "OFFSET_MISMATCH");
    told.and_then(|size| size.parse().ok())
}

/// A content, and how reading it went.
type Read = (Content, io::Result<()>);

fn read_ahead(
    start: UploadStart,
    mut content: Content,
    progress: Progress,
    sender: mpsc::Sender<UploadFileRequest>,
) -> JoinHandle<Read> {
    spawn_blocking(move || {
        let read = send_all(start, &mut content, &progress, &sender);
        (content, read)
    })
}

/// Sends until the end, or until the call is over and nobody receives.
fn send_all(
    start: UploadStart,
    content: &mut Content,
    progress: &Progress,
    sender: &mpsc::Sender<UploadFileRequest>,
) -> io::Result<()> {
    let send = |message| {
        let message = Some(message);
        sender.blocking_send(UploadFileRequest { message }).is_ok()
    };
    if !send(Message::Start(start)) {
        return Ok(());
    }
    loop {
        let chunk = content.next()?;
        if chunk.is_empty() {
            break;
        }
        if !send(Message::Data(chunk)) {
            return Ok(());
        }
        progress(content.position());
    }
    let sha256 = Bytes::copy_from_slice(&content.sha256());
    send(Message::Finish(UploadFinish { sha256 }));
    Ok(())
}

/// Goes to `offset`, where that can be.
async fn seek(mut content: Content, offset: i64) -> Result<(Content, bool)> {
    let sought = spawn_blocking(move || {
        let sought = content.seek(offset.unsigned_abs());
        (content, sought)
    });
    let (content, can_go_on) = sought.await?;
    Ok((content, can_go_on?))
}

/// Whether the file that the server has is the content, all of it.
async fn check(file: File, mut content: Content) -> Result<File> {
    let rest = spawn_blocking(move || {
        // A file that was finished before is answered before all of it is sent again.
        while !content.next()?.is_empty() {}
        Ok::<_, io::Error>((content.position(), content.sha256()))
    });
    let (size_bytes, sha256) = rest.await??;
    let same = file.sha256 == sha256[..] && file.size_bytes.unsigned_abs() == size_bytes;
    if same { Ok(file) } else { Err(ClientError::Incomplete("the content")) }
}

impl From<JoinError> for ClientError {
    fn from(error: JoinError) -> Self {
        Self::Io(io::Error::other(error))
    }
}
