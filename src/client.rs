//! A typed client: streaming upload with progress, verified download, links, metadata and references.

mod change;
mod error;
mod metadata;
mod references;
mod upload;

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};

use crate::proto::{
    CreateSignedUrlRequest, CreateSignedUrlResponse, DownloadFileRequest, File,
    GetCapabilitiesRequest, GetCapabilitiesResponse, GetUsageRequest, GetUsageResponse,
    RevokeSignedUrlsRequest, download_file_response::Message,
    files_service_client::FilesServiceClient,
};

pub use change::{Expiry, FileChange};
pub use error::{ClientError, Result};
pub use upload::{Content, NewFile};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Windows that let one stream fill a fast network.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A connection to a server. Cloning is cheap and shares it.
#[derive(Clone, Debug)]
pub struct Client {
    files: FilesServiceClient<Channel>,
}

impl Client {
    /// Connects to the gRPC address of a server, such as `http://127.0.0.1:50051`.
    pub async fn connect(server: &str) -> Result<Self> {
        if !server.starts_with("http://") {
            return Err(ClientError::Address(server.to_owned()));
        }
        let endpoint = Endpoint::from_shared(server.to_owned())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(Self { files: FilesServiceClient::new(endpoint.connect().await?) })
    }

    /// Uploads a file. Its hash is taken while it is sent and checked at the other end. `progress` is called
    /// with the bytes sent so far.
    pub async fn upload(
        &self,
        file: NewFile,
        content: Content,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<File> {
        let (messages, reading) = upload::messages(file, content, progress);
        let answer = self.files.clone().upload_file(messages).await;
        // Why reading failed says more than that the server missed the end.
        reading.outcome()?;
        answer?.into_inner().file.ok_or(ClientError::Incomplete("the file"))
    }

    /// Writes a file's content to `out` and checks its length and hash on the way. `progress` is called with
    /// the bytes received so far and the size.
    pub async fn download<W: AsyncWrite + Unpin>(
        &self,
        file_id: &str,
        user_id: &str,
        out: &mut W,
        progress: impl Fn(u64, u64),
    ) -> Result<File> {
        let request = DownloadFileRequest {
            file_id: file_id.to_owned(),
            user_id: user_id.to_owned(),
            ..DownloadFileRequest::default()
        };
        let mut messages = self.files.clone().download_file(request).await?.into_inner();
        let first = messages.message().await?.and_then(|first| first.message);
        let Some(Message::File(file)) = first else {
            return Err(ClientError::Incomplete("the file's metadata"));
        };
        let size = u64::try_from(file.size_bytes).unwrap_or(0);
        let (mut received, mut sha256) = (0, Sha256::new());
        while let Some(message) = messages.message().await? {
            if let Some(Message::Data(data)) = message.message {
                sha256.update(&data);
                out.write_all(&data).await?;
                received += data.len() as u64;
                progress(received, size);
            }
        }
        out.flush().await?;
        match received == size && sha256.finalize().as_slice() == file.sha256 {
            true => Ok(file),
            false => Err(ClientError::Incomplete("the content")),
        }
    }

    /// Makes a signed URL.
    pub async fn create_signed_url(
        &self,
        request: CreateSignedUrlRequest,
    ) -> Result<CreateSignedUrlResponse> {
        Ok(self.files.clone().create_signed_url(request).await?.into_inner())
    }

    /// Ends every signed URL made for a file so far.
    pub async fn revoke_signed_urls(&self, file_id: &str, user_id: &str) -> Result<File> {
        let request =
            RevokeSignedUrlsRequest { file_id: file_id.to_owned(), user_id: user_id.to_owned() };
        let answer = self.files.clone().revoke_signed_urls(request).await?.into_inner();
        answer.file.ok_or(ClientError::Incomplete("the file"))
    }

    /// What a user stores and may store.
    pub async fn usage(&self, user_id: &str) -> Result<GetUsageResponse> {
        let request = GetUsageRequest { user_id: user_id.to_owned() };
        Ok(self.files.clone().get_usage(request).await?.into_inner())
    }

    /// What the server accepts.
    pub async fn capabilities(&self) -> Result<GetCapabilitiesResponse> {
        let request = GetCapabilitiesRequest {};
        Ok(self.files.clone().get_capabilities(request).await?.into_inner())
    }
}
