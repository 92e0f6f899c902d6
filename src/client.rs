//! A typed client: uploads and downloads that go on after a break and are checked at both ends, links, metadata
//! and references. Calls that change nothing are repeated; of the others, uploads alone are, as they are safe to.

mod call;
mod change;
mod content;
mod download;
mod error;
mod metadata;
mod references;
mod retry;
mod upload;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::proto::{
    BatchCreateSignedUrlsRequest, BatchSignedUrl, CreateSignedUrlRequest, CreateSignedUrlResponse,
    CreateUploadUrlRequest, CreateUploadUrlResponse, File, GetCapabilitiesRequest,
    GetCapabilitiesResponse, GetUsageRequest, GetUsageResponse, RevokeSignedUrlsRequest,
    files_service_client::FilesServiceClient,
};

use call::CallOptions;
pub use change::{Expiry, FileChange};
pub use content::Content;
pub use error::{ClientError, Result};
pub use upload::NewFile;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Windows that let one stream fill a fast network.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A connection to a server. Cloning is cheap and shares it.
#[derive(Clone, Debug)]
pub struct Client {
    files: FilesServiceClient<Channel>,
    options: CallOptions,
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
        let files = FilesServiceClient::new(endpoint.connect().await?);
        Ok(Self { files, options: CallOptions::default() })
    }

    /// Makes a signed URL.
    pub async fn create_signed_url(
        &self,
        request: CreateSignedUrlRequest,
    ) -> Result<CreateSignedUrlResponse> {
        self.ask(request, async |mut files, request| files.create_signed_url(request).await).await
    }

    /// Makes up to 100 signed URLs in one call; each has its own outcome, in the order of the requests.
    pub async fn create_signed_urls(
        &self,
        requests: Vec<CreateSignedUrlRequest>,
    ) -> Result<Vec<BatchSignedUrl>> {
        let request = BatchCreateSignedUrlsRequest { requests };
        let made = self
            .ask(request, async |mut files, request| files.batch_create_signed_urls(request).await);
        Ok(made.await?.results)
    }

    /// Makes a signed URL through which whoever holds it can upload one file over HTTP.
    pub async fn create_upload_url(
        &self,
        request: CreateUploadUrlRequest,
    ) -> Result<CreateUploadUrlResponse> {
        self.ask(request, async |mut files, request| files.create_upload_url(request).await).await
    }

    /// Ends every signed URL made for a file so far.
    pub async fn revoke_signed_urls(&self, file_id: &str, user_id: &str) -> Result<File> {
        let request =
            RevokeSignedUrlsRequest { file_id: file_id.to_owned(), user_id: user_id.to_owned() };
        let request = self.request(request)?;
        let answer = self.files.clone().revoke_signed_urls(request).await?.into_inner();
        answer.file.ok_or(ClientError::Incomplete("the file"))
    }

    /// What a user stores and may store.
    pub async fn usage(&self, user_id: &str) -> Result<GetUsageResponse> {
        let request = GetUsageRequest { user_id: user_id.to_owned() };
        self.ask(request, async |mut files, request| files.get_usage(request).await).await
    }

    /// What the server accepts.
    pub async fn capabilities(&self) -> Result<GetCapabilitiesResponse> {
        let request = GetCapabilitiesRequest {};
        self.ask(request, async |mut files, request| files.get_capabilities(request).await).await
    }
}
