from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReferenceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFERENCE_KIND_UNSPECIFIED: _ClassVar[ReferenceKind]
    REFERENCE_KIND_ASSISTANT: _ClassVar[ReferenceKind]
    REFERENCE_KIND_THREAD: _ClassVar[ReferenceKind]
    REFERENCE_KIND_MESSAGE: _ClassVar[ReferenceKind]
    REFERENCE_KIND_RUN: _ClassVar[ReferenceKind]
    REFERENCE_KIND_TOOL: _ClassVar[ReferenceKind]
    REFERENCE_KIND_VECTOR_STORE: _ClassVar[ReferenceKind]

class Disposition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISPOSITION_UNSPECIFIED: _ClassVar[Disposition]
    DISPOSITION_INLINE: _ClassVar[Disposition]
    DISPOSITION_ATTACHMENT: _ClassVar[Disposition]
REFERENCE_KIND_UNSPECIFIED: ReferenceKind
REFERENCE_KIND_ASSISTANT: ReferenceKind
REFERENCE_KIND_THREAD: ReferenceKind
REFERENCE_KIND_MESSAGE: ReferenceKind
REFERENCE_KIND_RUN: ReferenceKind
REFERENCE_KIND_TOOL: ReferenceKind
REFERENCE_KIND_VECTOR_STORE: ReferenceKind
DISPOSITION_UNSPECIFIED: Disposition
DISPOSITION_INLINE: Disposition
DISPOSITION_ATTACHMENT: Disposition

class File(_message.Message):
    __slots__ = ("id", "user_id", "purpose", "filename", "mime_type", "size_bytes", "sha256", "create_time", "update_time", "expire_time", "delete_time", "purge_time", "labels", "references", "delete_when_unreferenced", "etag")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    PURGE_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    DELETE_WHEN_UNREFERENCED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: str
    user_id: str
    purpose: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: bytes
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    delete_time: _timestamp_pb2.Timestamp
    purge_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    references: _containers.RepeatedCompositeFieldContainer[Reference]
    delete_when_unreferenced: bool
    etag: str
    def __init__(self, id: _Optional[str] = ..., user_id: _Optional[str] = ..., purpose: _Optional[str] = ..., filename: _Optional[str] = ..., mime_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., delete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., purge_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., references: _Optional[_Iterable[_Union[Reference, _Mapping]]] = ..., delete_when_unreferenced: bool = ..., etag: _Optional[str] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: ReferenceKind
    id: str
    def __init__(self, kind: _Optional[_Union[ReferenceKind, str]] = ..., id: _Optional[str] = ...) -> None: ...

class UploadFileRequest(_message.Message):
    __slots__ = ("start", "data", "finish")
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    start: UploadStart
    data: bytes
    finish: UploadFinish
    def __init__(self, start: _Optional[_Union[UploadStart, _Mapping]] = ..., data: _Optional[bytes] = ..., finish: _Optional[_Union[UploadFinish, _Mapping]] = ...) -> None: ...

class UploadStart(_message.Message):
    __slots__ = ("upload_id", "offset", "user_id", "purpose", "filename", "mime_type", "size_bytes", "ttl", "labels", "references", "delete_when_unreferenced")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    DELETE_WHEN_UNREFERENCED_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    offset: int
    user_id: str
    purpose: str
    filename: str
    mime_type: str
    size_bytes: int
    ttl: _duration_pb2.Duration
    labels: _containers.ScalarMap[str, str]
    references: _containers.RepeatedCompositeFieldContainer[Reference]
    delete_when_unreferenced: bool
    def __init__(self, upload_id: _Optional[str] = ..., offset: _Optional[int] = ..., user_id: _Optional[str] = ..., purpose: _Optional[str] = ..., filename: _Optional[str] = ..., mime_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., references: _Optional[_Iterable[_Union[Reference, _Mapping]]] = ..., delete_when_unreferenced: bool = ...) -> None: ...

class UploadFinish(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    def __init__(self, sha256: _Optional[bytes] = ...) -> None: ...

class UploadFileResponse(_message.Message):
    __slots__ = ("file", "replayed")
    FILE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    file: File
    replayed: bool
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("upload_id", "user_id")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    user_id: str
    def __init__(self, upload_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ("persisted_size_bytes", "expire_time", "file")
    PERSISTED_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    persisted_size_bytes: int
    expire_time: _timestamp_pb2.Timestamp
    file: File
    def __init__(self, persisted_size_bytes: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., file: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class CancelUploadRequest(_message.Message):
    __slots__ = ("upload_id", "user_id")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    user_id: str
    def __init__(self, upload_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class CancelUploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateUploadUrlRequest(_message.Message):
    __slots__ = ("start", "ttl", "size_bytes_max")
    START_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    start: UploadStart
    ttl: _duration_pb2.Duration
    size_bytes_max: int
    def __init__(self, start: _Optional[_Union[UploadStart, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., size_bytes_max: _Optional[int] = ...) -> None: ...

class CreateUploadUrlResponse(_message.Message):
    __slots__ = ("url", "upload_id", "expire_time")
    URL_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    url: str
    upload_id: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, url: _Optional[str] = ..., upload_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DownloadFileRequest(_message.Message):
    __slots__ = ("file_id", "user_id", "read_offset", "read_limit")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    READ_OFFSET_FIELD_NUMBER: _ClassVar[int]
    READ_LIMIT_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    user_id: str
    read_offset: int
    read_limit: int
    def __init__(self, file_id: _Optional[str] = ..., user_id: _Optional[str] = ..., read_offset: _Optional[int] = ..., read_limit: _Optional[int] = ...) -> None: ...

class DownloadFileResponse(_message.Message):
    __slots__ = ("file", "data")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file: File
    data: bytes
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class CreateSignedUrlRequest(_message.Message):
    __slots__ = ("file_id", "user_id", "ttl", "disposition", "filename", "label")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    user_id: str
    ttl: _duration_pb2.Duration
    disposition: Disposition
    filename: str
    label: str
    def __init__(self, file_id: _Optional[str] = ..., user_id: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., disposition: _Optional[_Union[Disposition, str]] = ..., filename: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class CreateSignedUrlResponse(_message.Message):
    __slots__ = ("url", "markdown", "expire_time")
    URL_FIELD_NUMBER: _ClassVar[int]
    MARKDOWN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    url: str
    markdown: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, url: _Optional[str] = ..., markdown: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BatchCreateSignedUrlsRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[CreateSignedUrlRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[CreateSignedUrlRequest, _Mapping]]] = ...) -> None: ...

class BatchCreateSignedUrlsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchSignedUrl]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchSignedUrl, _Mapping]]] = ...) -> None: ...

class BatchSignedUrl(_message.Message):
    __slots__ = ("file_id", "signed_url", "error_reason")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNED_URL_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    signed_url: CreateSignedUrlResponse
    error_reason: str
    def __init__(self, file_id: _Optional[str] = ..., signed_url: _Optional[_Union[CreateSignedUrlResponse, _Mapping]] = ..., error_reason: _Optional[str] = ...) -> None: ...

class RevokeSignedUrlsRequest(_message.Message):
    __slots__ = ("file_id", "user_id")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    user_id: str
    def __init__(self, file_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class RevokeSignedUrlsResponse(_message.Message):
    __slots__ = ("file",)
    FILE_FIELD_NUMBER: _ClassVar[int]
    file: File
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class GetFileRequest(_message.Message):
    __slots__ = ("file_id", "user_id", "show_deleted")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SHOW_DELETED_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    user_id: str
    show_deleted: bool
    def __init__(self, file_id: _Optional[str] = ..., user_id: _Optional[str] = ..., show_deleted: bool = ...) -> None: ...

class GetFileResponse(_message.Message):
    __slots__ = ("file",)
    FILE_FIELD_NUMBER: _ClassVar[int]
    file: File
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token", "filter", "show_deleted")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SHOW_DELETED_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    filter: FileFilter
    show_deleted: bool
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[FileFilter, _Mapping]] = ..., show_deleted: bool = ...) -> None: ...

class FileFilter(_message.Message):
    __slots__ = ("purposes", "mime_types", "filename_contains", "reference", "sha256", "labels", "create_time_from", "create_time_to")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPES_FIELD_NUMBER: _ClassVar[int]
    FILENAME_CONTAINS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_TO_FIELD_NUMBER: _ClassVar[int]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    mime_types: _containers.RepeatedScalarFieldContainer[str]
    filename_contains: str
    reference: Reference
    sha256: bytes
    labels: _containers.ScalarMap[str, str]
    create_time_from: _timestamp_pb2.Timestamp
    create_time_to: _timestamp_pb2.Timestamp
    def __init__(self, purposes: _Optional[_Iterable[str]] = ..., mime_types: _Optional[_Iterable[str]] = ..., filename_contains: _Optional[str] = ..., reference: _Optional[_Union[Reference, _Mapping]] = ..., sha256: _Optional[bytes] = ..., labels: _Optional[_Mapping[str, str]] = ..., create_time_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., create_time_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("files", "next_page_token")
    FILES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[File]
    next_page_token: str
    def __init__(self, files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateFileRequest(_message.Message):
    __slots__ = ("file", "update_mask", "user_id")
    FILE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    file: File
    update_mask: _field_mask_pb2.FieldMask
    user_id: str
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., user_id: _Optional[str] = ...) -> None: ...

class UpdateFileResponse(_message.Message):
    __slots__ = ("file",)
    FILE_FIELD_NUMBER: _ClassVar[int]
    file: File
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class DeleteFileRequest(_message.Message):
    __slots__ = ("file_id", "user_id", "force", "allow_missing", "purge", "etag")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    PURGE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    user_id: str
    force: bool
    allow_missing: bool
    purge: bool
    etag: str
    def __init__(self, file_id: _Optional[str] = ..., user_id: _Optional[str] = ..., force: bool = ..., allow_missing: bool = ..., purge: bool = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteFileResponse(_message.Message):
    __slots__ = ("file",)
    FILE_FIELD_NUMBER: _ClassVar[int]
    file: File
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class UndeleteFileRequest(_message.Message):
    __slots__ = ("file_id", "user_id")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    user_id: str
    def __init__(self, file_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class UndeleteFileResponse(_message.Message):
    __slots__ = ("file",)
    FILE_FIELD_NUMBER: _ClassVar[int]
    file: File
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class AttachFilesRequest(_message.Message):
    __slots__ = ("reference", "file_ids", "user_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FILE_IDS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    reference: Reference
    file_ids: _containers.RepeatedScalarFieldContainer[str]
    user_id: str
    def __init__(self, reference: _Optional[_Union[Reference, _Mapping]] = ..., file_ids: _Optional[_Iterable[str]] = ..., user_id: _Optional[str] = ...) -> None: ...

class AttachFilesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DetachFilesRequest(_message.Message):
    __slots__ = ("reference", "file_ids", "user_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FILE_IDS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    reference: Reference
    file_ids: _containers.RepeatedScalarFieldContainer[str]
    user_id: str
    def __init__(self, reference: _Optional[_Union[Reference, _Mapping]] = ..., file_ids: _Optional[_Iterable[str]] = ..., user_id: _Optional[str] = ...) -> None: ...

class DetachFilesResponse(_message.Message):
    __slots__ = ("deleted_count",)
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    def __init__(self, deleted_count: _Optional[int] = ...) -> None: ...

class DeleteReferenceRequest(_message.Message):
    __slots__ = ("reference", "user_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    reference: Reference
    user_id: str
    def __init__(self, reference: _Optional[_Union[Reference, _Mapping]] = ..., user_id: _Optional[str] = ...) -> None: ...

class DeleteReferenceResponse(_message.Message):
    __slots__ = ("detached_count", "deleted_count")
    DETACHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    detached_count: int
    deleted_count: int
    def __init__(self, detached_count: _Optional[int] = ..., deleted_count: _Optional[int] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("file_count", "stored_bytes", "file_count_max", "stored_bytes_max")
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_MAX_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    file_count: int
    stored_bytes: int
    file_count_max: int
    stored_bytes_max: int
    def __init__(self, file_count: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., file_count_max: _Optional[int] = ..., stored_bytes_max: _Optional[int] = ...) -> None: ...

class GetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCapabilitiesResponse(_message.Message):
    __slots__ = ("file_types", "purposes", "chunk_bytes_max", "file_bytes_max", "signed_url_ttl_max")
    FILE_TYPES_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    SIGNED_URL_TTL_MAX_FIELD_NUMBER: _ClassVar[int]
    file_types: _containers.RepeatedCompositeFieldContainer[FileType]
    purposes: _containers.RepeatedCompositeFieldContainer[PurposePolicy]
    chunk_bytes_max: int
    file_bytes_max: int
    signed_url_ttl_max: _duration_pb2.Duration
    def __init__(self, file_types: _Optional[_Iterable[_Union[FileType, _Mapping]]] = ..., purposes: _Optional[_Iterable[_Union[PurposePolicy, _Mapping]]] = ..., chunk_bytes_max: _Optional[int] = ..., file_bytes_max: _Optional[int] = ..., signed_url_ttl_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FileType(_message.Message):
    __slots__ = ("extension", "mime_type", "inline_safe")
    EXTENSION_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    INLINE_SAFE_FIELD_NUMBER: _ClassVar[int]
    extension: str
    mime_type: str
    inline_safe: bool
    def __init__(self, extension: _Optional[str] = ..., mime_type: _Optional[str] = ..., inline_safe: bool = ...) -> None: ...

class PurposePolicy(_message.Message):
    __slots__ = ("purpose", "mime_types", "file_bytes_max", "default_ttl")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPES_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_TTL_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    mime_types: _containers.RepeatedScalarFieldContainer[str]
    file_bytes_max: int
    default_ttl: _duration_pb2.Duration
    def __init__(self, purpose: _Optional[str] = ..., mime_types: _Optional[_Iterable[str]] = ..., file_bytes_max: _Optional[int] = ..., default_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
