//! Requests to the service's terms: every field parsed once, or refused by name.

mod filter;
mod references;
mod update;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    error::FieldError,
    file::{FileSpec, Sha256Digest, id::FileId, labels::Labels, name::FileName, user::UserId},
    proto::{
        CreateSignedUrlRequest, CreateUploadUrlRequest, DeleteFileRequest,
        Disposition as ProtoDisposition, DownloadFileRequest, ListFilesRequest, UploadStart,
    },
    service::{
        ServiceError,
        download::ReadWindow,
        links::LinkSpec,
        metadata::{Deletion, Listing, PAGE_SIZE_DEFAULT, TTL_MAX},
        policy::Policy,
        upload::{UploadLinkSpec, UploadRequest},
    },
    signing::link::Disposition,
};
pub(super) use references::{association, reference_of};
pub(super) use update::update;

/// Most requests in a batch.
const BATCH_MAX: usize = 100;
/// Most bytes in the text of a Markdown link.
const LABEL_BYTES_MAX: usize = 1024;

type Result<T> = std::result::Result<T, FieldError>;

pub(super) fn start(
    start: UploadStart,
    policy: &Policy,
) -> std::result::Result<UploadRequest, ServiceError> {
    let name = FileName::parse("filename", &start.filename)?;
    let admitted = policy.admit(&start.purpose, &name)?;
    let spec = FileSpec {
        user_id: UserId::parse(&start.user_id)?,
        purpose: admitted.purpose,
        name,
        media_type: admitted.media_type,
        size_bytes: start.size_bytes.map(|size| unsigned("size_bytes", size)).transpose()?,
        ttl: start.ttl.map(|ttl| duration("ttl", ttl)).transpose()?.or(admitted.default_ttl),
        labels: Labels::parse(start.labels)?,
        references: references::of_start(&start.references)?,
        delete_when_unreferenced: start.delete_when_unreferenced,
        upload_id: upload_id(&start.upload_id)?,
    };
    Ok(UploadRequest { offset: unsigned("offset", start.offset)?, ..spec.into() })
}

/// An upload that others may make, with the id that it has from now on.
pub(super) fn upload_link(
    request: CreateUploadUrlRequest,
    policy: &Policy,
) -> std::result::Result<(Uuid, UploadLinkSpec), ServiceError> {
    let mut given = request.start.ok_or_else(|| FieldError::new("start", "is required"))?;
    if given.offset != 0 {
        return Err(FieldError::new("offset", "must be 0").into());
    }
    let upload_id = upload_id(&given.upload_id)?.unwrap_or_else(Uuid::new_v4);
    given.upload_id = upload_id.to_string();
    let encoded = URL_SAFE_NO_PAD.encode(given.encode_to_vec());
    let bytes_max = unsigned("size_bytes_max", request.size_bytes_max)?;
    let wanted = UploadLinkSpec {
        spec: start(given, policy)?.spec,
        start: encoded,
        ttl: request.ttl.map(|ttl| duration("ttl", ttl)).transpose()?,
        bytes_max: (bytes_max > 0).then_some(bytes_max),
    };
    Ok((upload_id, wanted))
}

/// The owner and the id of an upload.
pub(super) fn upload(user_id: &str, id: &str) -> Result<(UserId, Uuid)> {
    let user_id = UserId::parse(user_id)?;
    let missing = || FieldError::new("upload_id", "must be a UUID");
    Ok((user_id, upload_id(id)?.ok_or_else(missing)?))
}

fn upload_id(text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::try_parse(text).map(Some).map_err(|_| FieldError::new("upload_id", "must be a UUID"))
}

/// A digest for the request's `field`; empty is none.
pub(super) fn sha256(field: &'static str, bytes: &[u8]) -> Result<Option<Sha256Digest>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| FieldError::new(field, "must be 32 bytes, or none"))
}

/// A file and the user on whose behalf it is asked for.
pub(super) fn target(file_id: &str, user_id: &str) -> Result<(FileId, Option<UserId>)> {
    Ok((file_id.parse()?, owner(user_id)?))
}

/// The user on whose behalf; empty: a caller who is trusted for every user.
pub(super) fn owner(user_id: &str) -> Result<Option<UserId>> {
    (!user_id.is_empty()).then(|| UserId::parse(user_id)).transpose()
}

pub(super) fn download(
    request: &DownloadFileRequest,
) -> Result<(FileId, Option<UserId>, ReadWindow)> {
    let (file_id, owner) = target(&request.file_id, &request.user_id)?;
    let window = ReadWindow { offset: request.read_offset, limit: request.read_limit };
    Ok((file_id, owner, window))
}

pub(super) fn link(request: CreateSignedUrlRequest) -> Result<LinkSpec> {
    let (file_id, owner) = target(&request.file_id, &request.user_id)?;
    let filename = (!request.filename.is_empty())
        .then(|| FileName::parse("filename", &request.filename))
        .transpose()?;
    Ok(LinkSpec {
        file_id,
        owner,
        ttl: request.ttl.map(|ttl| duration("ttl", ttl)).transpose()?,
        disposition: disposition(request.disposition)?,
        filename,
        label: label(request.label)?,
    })
}

fn disposition(value: i32) -> Result<Option<Disposition>> {
    match ProtoDisposition::try_from(value) {
        Ok(ProtoDisposition::Unspecified) => Ok(None),
        Ok(ProtoDisposition::Inline) => Ok(Some(Disposition::Inline)),
        Ok(ProtoDisposition::Attachment) => Ok(Some(Disposition::Attachment)),
        Err(_) => Err(FieldError::new("disposition", "must be a known value")),
    }
}

/// Markdown and line breaks in a label are only text; other control characters mean nothing in one.
fn label(label: String) -> Result<Option<String>> {
    if label.len() > LABEL_BYTES_MAX {
        return Err(FieldError::new("label", "must be at most 1024 bytes"));
    }
    let is_text = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    if !label.chars().all(is_text) {
        return Err(FieldError::new("label", "must hold no control characters"));
    }
    Ok((!label.is_empty()).then_some(label))
}

pub(super) fn batch_size(size: usize) -> Result<()> {
    match size {
        1..=BATCH_MAX => Ok(()),
        _ => Err(FieldError::new("requests", "must be 1 to 100")),
    }
}

/// A listing, and where its page begins.
pub(super) fn list(request: ListFilesRequest) -> Result<(Listing, Option<String>)> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) => PAGE_SIZE_DEFAULT,
        Ok(size) => size,
        Err(_) => return Err(FieldError::new("page_size", "must not be negative")),
    };
    let listing = Listing {
        user_id: UserId::parse(&request.user_id)?,
        filter: request.filter.map(filter::filter).transpose()?.unwrap_or_default(),
        show_deleted: request.show_deleted,
        size,
    };
    Ok((listing, (!request.page_token.is_empty()).then_some(request.page_token)))
}

pub(super) fn deletion(request: DeleteFileRequest) -> Result<Deletion> {
    let (file_id, owner) = target(&request.file_id, &request.user_id)?;
    Ok(Deletion {
        file_id,
        owner,
        etag: (!request.etag.is_empty()).then_some(request.etag),
        allow_missing: request.allow_missing,
        force: request.force,
        purge: request.purge,
    })
}

fn unsigned(field: &'static str, number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| FieldError::new(field, "must not be negative"))
}

fn duration(field: &'static str, duration: prost_types::Duration) -> Result<Duration> {
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= TTL_MAX)
        .ok_or_else(|| FieldError::new(field, "must be above 0 and at most 1000 years"))
}

/// A time, cut to whole microseconds.
fn timestamp(field: &'static str, time: prost_types::Timestamp) -> Result<Timestamp> {
    let valid = (0..1_000_000_000).contains(&time.nanos);
    let micros = time.seconds.checked_mul(1_000_000).filter(|_| valid);
    let micros = micros.and_then(|micros| micros.checked_add(i64::from(time.nanos / 1000)));
    micros
        .map(Timestamp::from_unix_us)
        .ok_or_else(|| FieldError::new(field, "must be a valid time"))
}
