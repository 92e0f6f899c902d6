//! Uploads through signed URLs: one PUT, or the tus 1.0 core protocol with its extensions creation, expiration and
//! termination (tus.io, "tus resumable upload protocol").

mod answer;
mod body;
mod tus;

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, header::CONTENT_LENGTH};
use http_body::Body as HttpBody;
use prost::Message;
use uuid::Uuid;

use super::{Body, Outcome, Sidecar};
use crate::{
    api::decode,
    error::FieldError,
    file::File,
    proto::UploadStart,
    service::{
        ServiceError,
        upload::{UploadParts, UploadRequest, UploadStatus},
    },
    signing::upload::UploadQuery,
};
use body::Received;

/// What a body that arrives fails with.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body as the server hands it on.
pub trait Incoming:
    HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static
{
}

impl<T> Incoming for T where
    T: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static
{
}

/// A request to a URL that is ours and has not ended.
struct Target {
    query: UploadQuery,
    request: UploadRequest,
    upload_id: Uuid,
}

impl Target {
    /// The length that the content must have, where it is known.
    fn length(&self) -> Option<u64> {
        self.request.spec.size_bytes
    }
}

impl Sidecar {
    /// Answers a request to the upload path. The URL counts first: without a true one nothing else is told.
    pub(super) async fn upload<B: Incoming>(&self, request: Request<B>) -> Outcome {
        let target = self.target(request.uri().query().unwrap_or_default())?;
        let (parts, body) = request.into_parts();
        match method(&parts.method, &parts.headers)? {
            Method::PUT => self.put(target, &parts.headers, body).await,
            Method::POST => self.tus_create(target, &parts.headers).await,
            Method::HEAD => self.tus_offset(&target, &parts.headers).await,
            Method::PATCH => self.tus_append(target, &parts.headers, body).await,
            Method::DELETE => self.tus_end(&target, &parts.headers).await,
            _ => Ok(answer::method_not_allowed()),
        }
    }

    fn target(&self, query: &str) -> Result<Target, ServiceError> {
        let query = UploadQuery::parse(query)?;
        self.service.follow_upload_link(&query)?;
        let start = URL_SAFE_NO_PAD.decode(&query.grant.start).ok();
        let start = start.and_then(|start| UploadStart::decode(&*start).ok());
        let start = start.ok_or_else(|| FieldError::new("start", "is none of this version's"))?;
        let mut request = decode::start(start, self.service.policy())?;
        let missing = || FieldError::new("upload_id", "is missing");
        let upload_id = request.spec.upload_id.ok_or_else(missing)?;
        request.bytes_max = query.grant.bytes_max.unwrap_or(u64::MAX);
        if let Some(length) = query.length {
            let promised = *request.spec.size_bytes.get_or_insert(length);
            if promised != length {
                return Err(ServiceError::size_mismatch(promised, length));
            }
        }
        Ok(Target { query, request, upload_id })
    }

    /// The whole content in one request.
    async fn put<B: Incoming>(&self, target: Target, headers: &HeaderMap, body: B) -> Outcome {
        self.refuse_length(&target, content_length(headers)?)?;
        match self.status(&target).await? {
            UploadStatus::Unfinished { .. } => {}
            UploadStatus::Deleted => return Err(ServiceError::UploadUrlUsed),
            UploadStatus::Finished(record) => {
                return put_again(&record.file, Received::new(body)).await;
            }
        }
        let slot = self.service.admit_upload()?;
        let (unread, parts) = read_when_asked(Received::new(body));
        let uploaded = self.service.upload(slot, target.request, parts).await?;
        let file = &uploaded.record.file;
        if !uploaded.replayed {
            return Ok(answer::file(file, true));
        }
        // An earlier request has sent all of it, or somebody else was faster.
        match take(&unread) {
            Some(received) => put_again(file, received).await,
            None => Err(ServiceError::UploadUrlUsed),
        }
    }

    /// How far the upload has come; one that is not known has not begun.
    async fn status(&self, target: &Target) -> Result<UploadStatus, ServiceError> {
        let user_id = &target.request.spec.user_id;
        match self.service.find_upload(user_id, &target.upload_id).await {
            Err(ServiceError::UploadNotFound) => Ok(UploadStatus::Unfinished {
                persisted_size_bytes: 0,
                expire_time: self.service.now(),
            }),
            known => known,
        }
    }

    /// Refuses a content for its length alone, before any of it is read.
    fn refuse_length(&self, target: &Target, length: Option<u64>) -> Result<(), ServiceError> {
        let spec = &target.request.spec;
        let bytes_max = self.service.bytes_max(spec, target.query.grant.bytes_max);
        match (length, spec.size_bytes) {
            (Some(received), Some(promised)) if received != promised => {
                Err(ServiceError::size_mismatch(promised, received))
            }
            (Some(length), _) if length > bytes_max => Err(ServiceError::too_large(bytes_max)),
            _ => Ok(()),
        }
    }
}

/// A retry whose first answer was lost sends the same again; anything else finds the URL used.
async fn put_again<B: Incoming>(file: &File, received: Received<B>) -> Outcome {
    match received.hash(file.content.size_bytes).await? {
        content if content == Some(file.content) => Ok(answer::file(file, false)),
        _ => Err(ServiceError::UploadUrlUsed),
    }
}

/// A body that may turn out not to be wanted.
type Unread<B> = Arc<Mutex<Option<Received<B>>>>;

fn take<B>(unread: &Unread<B>) -> Option<Received<B>> {
    unread.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The parts of a body that stays where it is until they are asked for.
fn read_when_asked<B: Incoming>(received: Received<B>) -> (Unread<B>, UploadParts) {
    let unread = Arc::new(Mutex::new(Some(received)));
    let body = Arc::clone(&unread);
    let parts = stream::once(async move { take(&body) });
    let parts = parts.filter_map(std::future::ready).flat_map(Received::whole);
    (unread, Box::pin(parts))
}

/// The method that is meant: some proxies let few pass, and tus clients say it in a header then.
fn method(method: &Method, headers: &HeaderMap) -> Result<Method, ServiceError> {
    let Some(meant) = headers.get("x-http-method-override").filter(|_| method == Method::POST)
    else {
        return Ok(method.clone());
    };
    Method::from_bytes(meant.as_bytes())
        .map_err(|_| FieldError::new("x-http-method-override", "must be a method").into())
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ServiceError> {
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    let length = length.ok_or_else(|| FieldError::new("content-length", "must be a number"))?;
    Ok(Some(length))
}

/// The answer to OPTIONS, which says what the endpoint speaks.
pub(super) fn options() -> Response<Body> {
    tus::options()
}
