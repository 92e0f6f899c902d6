//! The tus 1.0 core protocol over the same uploads: the offset is what is durable.

use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};

use super::{
    super::{Body, Outcome, Sidecar},
    Incoming, Target,
    answer::{Progress, TUS_VERSION, set, tus},
    body::Received,
    content_length,
};
use crate::{
    clock::Timestamp,
    error::FieldError,
    service::{
        ServiceError,
        upload::{UploadPart, UploadRequest, UploadStatus},
    },
};

/// What is spoken beside the core.
const EXTENSIONS: &str = "creation,expiration,termination";
const CONTENT: &str = "application/offset+octet-stream";

impl Sidecar {
    /// POST: the length is promised, and the answer says where to send the content. One of no bytes is finished.
    pub(super) async fn tus_create(&self, target: Target, headers: &HeaderMap) -> Outcome {
        check_version(headers)?;
        let length = number(headers, "upload-length")?;
        let wanted = || FieldError::new("upload-length", "is required");
        let length = length.or(target.length()).ok_or_else(wanted)?;
        self.refuse_length(&target, Some(length))?;
        // Relative: it is good under whatever name the client has reached this one by.
        let location = format!("upload?{}", target.query.with_length(length));
        let mut progress = self.progress(&target).await?;
        progress.length = Some(length);
        if length == 0 && progress.file_id.is_none() {
            let nothing = Box::pin(futures_util::stream::iter([Ok(UploadPart::Finish(None))]));
            let slot = self.service.admit_upload()?;
            let uploaded = self.service.upload(slot, promised(target, 0), nothing).await?;
            progress.file_id = Some(uploaded.record.file.id.to_string());
        }
        Ok(progress.created(&location))
    }

    /// HEAD: how far the upload has come. Its client is about to go on: a connection that broke, and has not been
    /// found out yet, ends here.
    pub(super) async fn tus_offset(&self, target: &Target, headers: &HeaderMap) -> Outcome {
        check_version(headers)?;
        let user_id = &target.request.spec.user_id;
        match self.service.pause_upload(user_id, &target.upload_id).await {
            Ok(_) | Err(ServiceError::UploadNotFound) => {}
            Err(error) => return Err(error),
        }
        Ok(self.progress(target).await?.answer(StatusCode::OK))
    }

    /// PATCH: the next bytes, from where the upload is. What ends before the content's end is kept.
    pub(super) async fn tus_append<B: Incoming>(
        &self,
        target: Target,
        headers: &HeaderMap,
        body: B,
    ) -> Outcome {
        check_version(headers)?;
        if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != CONTENT) {
            let problem = format!("must be {CONTENT}");
            return Err(FieldError::unsupported("content-type", problem).into());
        }
        let wanted = |field| FieldError::new(field, "is required");
        let length = target.length().ok_or_else(|| wanted("upload-length"))?;
        let offset = number(headers, "upload-offset")?.ok_or_else(|| wanted("upload-offset"))?;
        let mut progress = self.progress(&target).await?;
        if offset != progress.offset {
            return Err(ServiceError::offset_mismatch(progress.offset));
        }
        let left = length
            .checked_sub(offset)
            .ok_or_else(|| ServiceError::size_mismatch(length, offset))?;
        if content_length(headers)?.is_some_and(|sent| sent > left) {
            return Err(FieldError::new("content-length", "passes the end of the upload").into());
        }
        if left == 0 {
            return Ok(progress.answer(StatusCode::NO_CONTENT));
        }
        let slot = self.service.admit_upload()?;
        let parts = Box::pin(Received::new(body).up_to(left));
        let request = UploadRequest { offset, ..target.request };
        match self.service.upload(slot, request, parts).await {
            Ok(uploaded) => {
                progress.offset = length;
                progress.file_id = Some(uploaded.record.file.id.to_string());
            }
            Err(ServiceError::UploadIncomplete { persisted_size_bytes })
                if persisted_size_bytes > offset =>
            {
                progress.offset = persisted_size_bytes;
            }
            Err(error) => return Err(error),
        }
        Ok(progress.answer(StatusCode::NO_CONTENT))
    }

    /// DELETE: the upload is given up.
    pub(super) async fn tus_end(&self, target: &Target, headers: &HeaderMap) -> Outcome {
        check_version(headers)?;
        let user_id = &target.request.spec.user_id;
        self.service.cancel_upload(user_id, &target.upload_id).await?;
        Ok(tus(StatusCode::NO_CONTENT))
    }

    async fn progress(&self, target: &Target) -> Result<Progress, ServiceError> {
        let expires = Timestamp::from_unix_s(target.query.grant.expires_unix_s);
        let length = target.length();
        Ok(match self.status(target).await? {
            UploadStatus::Unfinished { persisted_size_bytes: offset, .. } => {
                Progress { offset, length, expires, file_id: None }
            }
            UploadStatus::Deleted => return Err(ServiceError::UploadUrlUsed),
            UploadStatus::Finished(record) => {
                let size = record.file.content.size_bytes;
                let file_id = Some(record.file.id.to_string());
                Progress { offset: size, length: Some(size), expires, file_id }
            }
        })
    }
}

fn promised(target: Target, length: u64) -> UploadRequest {
    let mut request = target.request;
    request.spec.size_bytes = Some(length);
    request
}

fn check_version(headers: &HeaderMap) -> Result<(), ServiceError> {
    match headers.get("tus-resumable") {
        Some(version) if version == TUS_VERSION => Ok(()),
        _ => Err(ServiceError::TusVersion),
    }
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, ServiceError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    let problem = || FieldError::new(name, "must be a number of bytes");
    Ok(Some(number.ok_or_else(problem)?))
}

/// What the endpoint speaks.
pub(super) fn options() -> Response<Body> {
    let mut response = tus(StatusCode::NO_CONTENT);
    set(&mut response, "tus-version", TUS_VERSION);
    set(&mut response, "tus-extension", EXTENSIONS);
    response
}
