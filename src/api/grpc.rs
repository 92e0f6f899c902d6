//! The gRPC service: each call decodes its request, asks the use case and encodes the answer.

mod encode;
mod request_id;
pub mod server;
mod stream;

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt, stream as streams};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    api::{decode, status::to_status},
    file::user::UserId,
    proto::{
        AttachFilesRequest, AttachFilesResponse, BatchCreateSignedUrlsRequest,
        BatchCreateSignedUrlsResponse, CancelUploadRequest, CancelUploadResponse,
        CreateSignedUrlRequest, CreateSignedUrlResponse, CreateUploadUrlRequest,
        CreateUploadUrlResponse, DeleteFileRequest, DeleteFileResponse, DeleteReferenceRequest,
        DeleteReferenceResponse, DetachFilesRequest, DetachFilesResponse, DownloadFileRequest,
        DownloadFileResponse, GetCapabilitiesRequest, GetCapabilitiesResponse, GetFileRequest,
        GetFileResponse, GetUploadRequest, GetUploadResponse, GetUsageRequest, GetUsageResponse,
        ListFilesRequest, ListFilesResponse, RevokeSignedUrlsRequest, RevokeSignedUrlsResponse,
        UndeleteFileRequest, UndeleteFileResponse, UpdateFileRequest, UpdateFileResponse,
        UploadFileRequest, UploadFileResponse, files_service_server::FilesService,
    },
    service::{FileService, ServiceError},
};

/// Content in one message of a download: the size from which on larger ones gain nothing.
const DOWNLOAD_CHUNK_BYTES: usize = 256 * 1024;

type Answer<T> = Result<Response<T>, Status>;
type Downloads = Pin<Box<dyn Stream<Item = Result<DownloadFileResponse, Status>> + Send>>;

/// The contract's service over the use cases.
#[derive(Clone, Debug)]
pub struct GrpcApi {
    service: Arc<FileService>,
}

impl GrpcApi {
    /// Answers calls with `service`.
    pub fn new(service: Arc<FileService>) -> Self {
        Self { service }
    }

    async fn upload(
        &self,
        mut messages: Streaming<UploadFileRequest>,
    ) -> Result<UploadFileResponse, ServiceError> {
        let slot = self.service.admit_upload()?;
        let start = slot.first_message(stream::first(&mut messages)).await?;
        let request = decode::start(start, self.service.policy())?;
        let parts = Box::pin(stream::rest(messages));
        let uploaded = self.service.upload(slot, request, parts).await?;
        Ok(UploadFileResponse {
            file: Some(encode::file(&uploaded.record.file)),
            replayed: uploaded.replayed,
        })
    }

    async fn upload_status(
        &self,
        request: &GetUploadRequest,
    ) -> Result<GetUploadResponse, ServiceError> {
        let (user_id, upload_id) = decode::upload(&request.user_id, &request.upload_id)?;
        encode::upload_status(self.service.find_upload(&user_id, &upload_id).await?)
    }

    async fn cancel(
        &self,
        request: &CancelUploadRequest,
    ) -> Result<CancelUploadResponse, ServiceError> {
        let (user_id, upload_id) = decode::upload(&request.user_id, &request.upload_id)?;
        self.service.cancel_upload(&user_id, &upload_id).await?;
        Ok(CancelUploadResponse {})
    }

    fn upload_link(
        &self,
        request: CreateUploadUrlRequest,
    ) -> Result<CreateUploadUrlResponse, ServiceError> {
        let (upload_id, wanted) = decode::upload_link(request, self.service.policy())?;
        Ok(encode::upload_link(&upload_id, self.service.create_upload_link(wanted)?))
    }

    async fn download(&self, request: DownloadFileRequest) -> Result<Downloads, ServiceError> {
        let (file_id, owner, window) = decode::download(&request)?;
        let (record, blob) = self.service.download(&file_id, owner.as_ref(), window).await?;
        let first = encode::download_file(&record.file);
        let content = blob.into_stream(DOWNLOAD_CHUNK_BYTES).map(|piece| match piece {
            Ok(bytes) => Ok(encode::download_data(bytes)),
            Err(error) => Err(to_status(&error.into())),
        });
        Ok(Box::pin(streams::iter([Ok(first)]).chain(content)))
    }

    async fn sign(
        &self,
        request: CreateSignedUrlRequest,
    ) -> Result<CreateSignedUrlResponse, ServiceError> {
        let link = self.service.create_link(decode::link(request)?).await?;
        Ok(encode::link(link))
    }

    async fn sign_batch(
        &self,
        requests: Vec<CreateSignedUrlRequest>,
    ) -> Result<BatchCreateSignedUrlsResponse, ServiceError> {
        decode::batch_size(requests.len())?;
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            let file_id = request.file_id.clone();
            results.push(encode::batch_item(file_id, self.sign(request).await));
        }
        Ok(BatchCreateSignedUrlsResponse { results })
    }

    async fn revoke(
        &self,
        request: &RevokeSignedUrlsRequest,
    ) -> Result<RevokeSignedUrlsResponse, ServiceError> {
        let (file_id, owner) = decode::target(&request.file_id, &request.user_id)?;
        let record = self.service.revoke_links(&file_id, owner.as_ref()).await?;
        Ok(RevokeSignedUrlsResponse { file: Some(encode::file(&record.file)) })
    }

    async fn get(&self, request: &GetFileRequest) -> Result<GetFileResponse, ServiceError> {
        let (file_id, owner) = decode::target(&request.file_id, &request.user_id)?;
        let record = match request.show_deleted {
            true => self.service.get_even_deleted(&file_id, owner.as_ref()).await?,
            false => self.service.get(&file_id, owner.as_ref()).await?,
        };
        Ok(GetFileResponse { file: Some(encode::file(&record.file)) })
    }

    async fn list(&self, request: ListFilesRequest) -> Result<ListFilesResponse, ServiceError> {
        let (listing, token) = decode::list(request)?;
        let page = self.service.list(listing, token.as_deref()).await?;
        Ok(encode::page(page))
    }

    async fn update(&self, request: UpdateFileRequest) -> Result<UpdateFileResponse, ServiceError> {
        let (file_id, owner, update) = decode::update(request)?;
        let record = self.service.update(&file_id, owner.as_ref(), update).await?;
        Ok(UpdateFileResponse { file: Some(encode::file(&record.file)) })
    }

    async fn delete(&self, request: DeleteFileRequest) -> Result<DeleteFileResponse, ServiceError> {
        let deleted = self.service.delete(decode::deletion(request)?).await?;
        Ok(DeleteFileResponse { file: deleted.map(|record| encode::file(&record.file)) })
    }

    async fn undelete(
        &self,
        request: &UndeleteFileRequest,
    ) -> Result<UndeleteFileResponse, ServiceError> {
        let (file_id, owner) = decode::target(&request.file_id, &request.user_id)?;
        let record = self.service.undelete(&file_id, owner.as_ref()).await?;
        Ok(UndeleteFileResponse { file: Some(encode::file(&record.file)) })
    }

    async fn attach(
        &self,
        request: &AttachFilesRequest,
    ) -> Result<AttachFilesResponse, ServiceError> {
        let AttachFilesRequest { reference, file_ids, user_id } = request;
        let association = decode::association(reference.as_ref(), file_ids, user_id)?;
        self.service.attach(association).await?;
        Ok(AttachFilesResponse {})
    }

    async fn detach(
        &self,
        request: &DetachFilesRequest,
    ) -> Result<DetachFilesResponse, ServiceError> {
        let DetachFilesRequest { reference, file_ids, user_id } = request;
        let association = decode::association(reference.as_ref(), file_ids, user_id)?;
        Ok(encode::detached(self.service.detach(association).await?))
    }

    async fn reference_gone(
        &self,
        request: &DeleteReferenceRequest,
    ) -> Result<DeleteReferenceResponse, ServiceError> {
        let reference = decode::reference_of("reference", request.reference.as_ref())?;
        let owner = decode::owner(&request.user_id)?;
        let untied = self.service.delete_reference(owner.as_ref(), &reference).await?;
        Ok(encode::reference_deleted(untied))
    }

    async fn account(&self, request: &GetUsageRequest) -> Result<GetUsageResponse, ServiceError> {
        let user_id = UserId::parse(&request.user_id)?;
        Ok(encode::account(self.service.account(&user_id).await?))
    }
}

/// A use case's outcome as an answer.
fn answer<T>(outcome: Result<T, ServiceError>) -> Answer<T> {
    outcome.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl FilesService for GrpcApi {
    type DownloadFileStream = Downloads;

    async fn upload_file(
        &self,
        request: Request<Streaming<UploadFileRequest>>,
    ) -> Answer<UploadFileResponse> {
        answer(self.upload(request.into_inner()).await)
    }

    async fn download_file(&self, request: Request<DownloadFileRequest>) -> Answer<Downloads> {
        answer(self.download(request.into_inner()).await)
    }

    async fn create_signed_url(
        &self,
        request: Request<CreateSignedUrlRequest>,
    ) -> Answer<CreateSignedUrlResponse> {
        answer(self.sign(request.into_inner()).await)
    }

    async fn batch_create_signed_urls(
        &self,
        request: Request<BatchCreateSignedUrlsRequest>,
    ) -> Answer<BatchCreateSignedUrlsResponse> {
        answer(self.sign_batch(request.into_inner().requests).await)
    }

    async fn revoke_signed_urls(
        &self,
        request: Request<RevokeSignedUrlsRequest>,
    ) -> Answer<RevokeSignedUrlsResponse> {
        answer(self.revoke(request.get_ref()).await)
    }

    async fn get_file(&self, request: Request<GetFileRequest>) -> Answer<GetFileResponse> {
        answer(self.get(request.get_ref()).await)
    }

    async fn list_files(&self, request: Request<ListFilesRequest>) -> Answer<ListFilesResponse> {
        answer(self.list(request.into_inner()).await)
    }

    async fn delete_file(&self, request: Request<DeleteFileRequest>) -> Answer<DeleteFileResponse> {
        answer(self.delete(request.into_inner()).await)
    }

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Answer<GetCapabilitiesResponse> {
        Ok(Response::new(encode::capabilities(self.service.policy())))
    }

    async fn get_upload(&self, request: Request<GetUploadRequest>) -> Answer<GetUploadResponse> {
        answer(self.upload_status(request.get_ref()).await)
    }

    async fn cancel_upload(
        &self,
        request: Request<CancelUploadRequest>,
    ) -> Answer<CancelUploadResponse> {
        answer(self.cancel(request.get_ref()).await)
    }

    async fn create_upload_url(
        &self,
        request: Request<CreateUploadUrlRequest>,
    ) -> Answer<CreateUploadUrlResponse> {
        answer(self.upload_link(request.into_inner()))
    }

    async fn update_file(&self, request: Request<UpdateFileRequest>) -> Answer<UpdateFileResponse> {
        answer(self.update(request.into_inner()).await)
    }

    async fn undelete_file(
        &self,
        request: Request<UndeleteFileRequest>,
    ) -> Answer<UndeleteFileResponse> {
        answer(self.undelete(request.get_ref()).await)
    }

    async fn attach_files(
        &self,
        request: Request<AttachFilesRequest>,
    ) -> Answer<AttachFilesResponse> {
        answer(self.attach(request.get_ref()).await)
    }

    async fn detach_files(
        &self,
        request: Request<DetachFilesRequest>,
    ) -> Answer<DetachFilesResponse> {
        answer(self.detach(request.get_ref()).await)
    }

    async fn delete_reference(
        &self,
        request: Request<DeleteReferenceRequest>,
    ) -> Answer<DeleteReferenceResponse> {
        answer(self.reference_gone(request.get_ref()).await)
    }

    async fn get_usage(&self, request: Request<GetUsageRequest>) -> Answer<GetUsageResponse> {
        answer(self.account(request.get_ref()).await)
    }
}
