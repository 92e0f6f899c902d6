//! Downloads that go on after whatever breaks them off, and are checked at the end.

use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tonic::Status;

use super::{Client, ClientError, Result, retry::Retries};
use crate::proto::{DownloadFileRequest, File, download_file_response::Message};

/// What has been received.
struct Received<'o, W, P> {
    out: &'o mut W,
    progress: P,
    file: Option<File>,
    bytes: u64,
    sha256: Sha256,
}

/// Why a stream of content ended early.
enum Broken {
    Call(Status),
    Final(ClientError),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

impl Client {
    /// Writes a file's content to `out` and checks its length and hash on the way. After a break it goes on with
    /// the next byte, as long as the content is still the same. `progress` is called with the bytes received so
    /// far and the size.
    pub async fn download<W: AsyncWrite + Unpin>(
        &self,
        file_id: &str,
        user_id: &str,
        out: &mut W,
        progress: impl Fn(u64, u64),
    ) -> Result<File> {
        let mut received = Received { out, progress, file: None, bytes: 0, sha256: Sha256::new() };
        let mut retries = Retries::default();
        loop {
            let before = received.bytes;
            let request = DownloadFileRequest {
                file_id: file_id.to_owned(),
                user_id: user_id.to_owned(),
                read_offset: i64::try_from(received.bytes).unwrap_or(i64::MAX),
                read_limit: 0,
            };
            match self.receive(request, &mut received).await {
                Ok(()) => return received.check().await,
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Call(status)) => {
                    if received.bytes > before {
                        retries.gained();
                    }
                    self.pause_after(status, &mut retries).await?;
                }
            }
        }
    }

    async fn receive<W: AsyncWrite + Unpin, P: Fn(u64, u64)>(
        &self,
        request: DownloadFileRequest,
        received: &mut Received<'_, W, P>,
    ) -> std::result::Result<(), Broken> {
        let request = self.request(request).map_err(Broken::Final)?;
        let mut messages = self.files.clone().download_file(request).await?.into_inner();
        while let Some(message) = messages.message().await? {
            match message.message {
                Some(Message::File(file)) => received.begin(file).map_err(Broken::Final)?,
                Some(Message::Data(data)) => received.take(&data).await.map_err(Broken::Final)?,
                None => {}
            }
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin, P: Fn(u64, u64)> Received<'_, W, P> {
    /// Refuses to go on with another content.
    fn begin(&mut self, file: File) -> Result<()> {
        match &self.file {
            Some(first) if first.sha256 != file.sha256 => {
                Err(ClientError::Incomplete("the content as it was"))
            }
            Some(_) => Ok(()),
            None => {
                self.file = Some(file);
                Ok(())
            }
        }
    }

    async fn take(&mut self, data: &[u8]) -> Result<()> {
        self.sha256.update(data);
        self.out.write_all(data).await?;
        self.bytes += data.len() as u64;
        let size = self.file.as_ref().map_or(0, |file| file.size_bytes.unsigned_abs());
        (self.progress)(self.bytes, size);
        Ok(())
    }

    async fn check(self) -> Result<File> {
        self.out.flush().await?;
        let file = self.file.ok_or(ClientError::Incomplete("the file's metadata"))?;
        let whole = self.bytes == file.size_bytes.unsigned_abs()
            && self.sha256.finalize().as_slice() == file.sha256;
        if whole { Ok(file) } else { Err(ClientError::Incomplete("the content")) }
    }
}
