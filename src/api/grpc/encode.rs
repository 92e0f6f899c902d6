//! The service's terms to answers.

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    file::{File, media_type::Rendering, reference::Reference},
    proto::{
        self, BatchSignedUrl, CreateSignedUrlResponse, CreateUploadUrlResponse,
        DeleteReferenceResponse, DetachFilesResponse, DownloadFileResponse, FileType,
        GetCapabilitiesResponse, GetUploadResponse, GetUsageResponse, ListFilesResponse,
        PurposePolicy, batch_signed_url::Outcome, download_file_response::Message,
    },
    service::{
        ServiceError,
        links::Link,
        metadata::{Account, Page},
        policy::{CHUNK_BYTES_MAX, Policy},
        references::Untied,
        upload::{UploadLink, UploadStatus},
    },
    signing::TTL_MAX,
};

pub(super) fn file(file: &File) -> proto::File {
    proto::File {
        id: file.id.to_string(),
        user_id: file.user_id.as_str().to_owned(),
        purpose: file.purpose.as_str().to_owned(),
        filename: file.name.as_str().to_owned(),
        mime_type: file.media_type.as_str().to_owned(),
        size_bytes: signed(file.content.size_bytes),
        sha256: Bytes::copy_from_slice(&file.content.sha256),
        create_time: Some(timestamp(file.create_time)),
        update_time: Some(timestamp(file.update_time)),
        expire_time: file.expire_time.map(timestamp),
        delete_time: file.delete_time.map(timestamp),
        purge_time: file.purge_time.map(timestamp),
        labels: file.labels.as_map().clone(),
        references: file.references.iter().map(reference).collect(),
        delete_when_unreferenced: file.delete_when_unreferenced,
        etag: file.etag(),
    }
}

/// A file that is deleted is nobody's upload any more.
pub(super) fn upload_status(status: UploadStatus) -> Result<GetUploadResponse, ServiceError> {
    Ok(match status {
        UploadStatus::Unfinished { persisted_size_bytes, expire_time } => GetUploadResponse {
            persisted_size_bytes: signed(persisted_size_bytes),
            expire_time: Some(timestamp(expire_time)),
            file: None,
        },
        UploadStatus::Deleted => return Err(ServiceError::UploadNotFound),
        UploadStatus::Finished(record) => GetUploadResponse {
            persisted_size_bytes: signed(record.file.content.size_bytes),
            expire_time: None,
            file: Some(file(&record.file)),
        },
    })
}

pub(super) fn upload_link(upload_id: &Uuid, link: UploadLink) -> CreateUploadUrlResponse {
    CreateUploadUrlResponse {
        url: link.url,
        upload_id: upload_id.to_string(),
        expire_time: Some(timestamp(link.expire_time)),
    }
}

fn reference(reference: &Reference) -> proto::Reference {
    proto::Reference {
        kind: i32::try_from(reference.kind().number()).unwrap_or_default(),
        id: reference.id().to_owned(),
    }
}

pub(super) fn detached(untied: Untied) -> DetachFilesResponse {
    DetachFilesResponse { deleted_count: count(untied.deleted) }
}

pub(super) fn reference_deleted(untied: Untied) -> DeleteReferenceResponse {
    DeleteReferenceResponse {
        detached_count: count(untied.detached),
        deleted_count: count(untied.deleted),
    }
}

pub(super) fn account(account: Account) -> GetUsageResponse {
    let Account { usage, quota } = account;
    GetUsageResponse {
        file_count: signed(usage.file_count),
        stored_bytes: signed(usage.stored_bytes),
        file_count_max: signed(quota.file_count_max.unwrap_or(0)),
        stored_bytes_max: signed(quota.stored_bytes_max.unwrap_or(0)),
    }
}

pub(super) fn download_file(of: &File) -> DownloadFileResponse {
    DownloadFileResponse { message: Some(Message::File(file(of))) }
}

pub(super) fn download_data(data: Bytes) -> DownloadFileResponse {
    DownloadFileResponse { message: Some(Message::Data(data)) }
}

pub(super) fn link(link: Link) -> CreateSignedUrlResponse {
    CreateSignedUrlResponse {
        url: link.url,
        markdown: link.markdown,
        expire_time: Some(timestamp(link.expire_time)),
    }
}

pub(super) fn batch_item(
    file_id: String,
    outcome: Result<CreateSignedUrlResponse, ServiceError>,
) -> BatchSignedUrl {
    let outcome = match outcome {
        Ok(link) => Outcome::SignedUrl(link),
        Err(error) => Outcome::ErrorReason(error.code().reason().to_owned()),
    };
    BatchSignedUrl { file_id, outcome: Some(outcome) }
}

pub(super) fn page(page: Page) -> ListFilesResponse {
    ListFilesResponse {
        files: page.records.iter().map(|record| file(&record.file)).collect(),
        next_page_token: page.next_token.unwrap_or_default(),
    }
}

pub(super) fn capabilities(policy: &Policy) -> GetCapabilitiesResponse {
    let types = policy.types.iter().map(|(extension, media_type)| FileType {
        extension: format!(".{extension}"),
        mime_type: media_type.as_str().to_owned(),
        inline_safe: media_type.rendering() != Rendering::AttachmentOnly,
    });
    let purposes = policy.purposes.iter().map(|(purpose, own)| PurposePolicy {
        purpose: purpose.to_owned(),
        mime_types: own.mime_types.clone(),
        file_bytes_max: signed(policy.file_bytes_max(purpose)),
        default_ttl: own.default_ttl.and_then(|ttl| prost_types::Duration::try_from(ttl).ok()),
    });
    GetCapabilitiesResponse {
        file_types: types.collect(),
        purposes: purposes.collect(),
        chunk_bytes_max: signed(CHUNK_BYTES_MAX as u64),
        file_bytes_max: signed(policy.file_bytes_max),
        signed_url_ttl_max: prost_types::Duration::try_from(TTL_MAX).ok(),
    }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.unix_s(),
        nanos: i32::try_from(time.subsec_us() * 1000).unwrap_or(0),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
