"""The contract's messages as the types of this package."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ._proto import files_pb2 as pb
from .errors import error_for
from .types import (
    Capabilities,
    File,
    FileType,
    PurposePolicy,
    Reference,
    ReferenceEnd,
    ReferenceKind,
    SignedUrl,
    SignedUrlOutcome,
    UploadStatus,
    UploadUrl,
    Usage,
)

_KINDS = {
    pb.REFERENCE_KIND_ASSISTANT: ReferenceKind.ASSISTANT,
    pb.REFERENCE_KIND_THREAD: ReferenceKind.THREAD,
    pb.REFERENCE_KIND_MESSAGE: ReferenceKind.MESSAGE,
    pb.REFERENCE_KIND_RUN: ReferenceKind.RUN,
    pb.REFERENCE_KIND_TOOL: ReferenceKind.TOOL,
    pb.REFERENCE_KIND_VECTOR_STORE: ReferenceKind.VECTOR_STORE,
}
KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def file(message: pb.File) -> File:
    """A file."""
    return File(
        id=message.id,
        user_id=message.user_id,
        purpose=message.purpose,
        filename=message.filename,
        mime_type=message.mime_type,
        size_bytes=message.size_bytes,
        sha256=message.sha256.hex(),
        create_time=_time(message.create_time),
        update_time=_time(message.update_time),
        expire_time=_time_if_set(message, "expire_time"),
        delete_time=_time_if_set(message, "delete_time"),
        purge_time=_time_if_set(message, "purge_time"),
        labels=dict(message.labels),
        references=tuple(_reference(each) for each in message.references),
        delete_when_unreferenced=message.delete_when_unreferenced,
        etag=message.etag,
    )


def upload_status(message: pb.GetUploadResponse) -> UploadStatus:
    """How far an upload has come."""
    return UploadStatus(
        persisted_size_bytes=message.persisted_size_bytes,
        expire_time=_time_if_set(message, "expire_time"),
        file=file(message.file) if message.HasField("file") else None,
    )


def upload_url(message: pb.CreateUploadUrlResponse) -> UploadUrl:
    """A URL to upload through."""
    return UploadUrl(message.url, message.upload_id, _time_if_set(message, "expire_time"))


def signed_url(message: pb.CreateSignedUrlResponse) -> SignedUrl:
    """A signed URL."""
    return SignedUrl(message.url, message.markdown, _time_if_set(message, "expire_time"))


def signed_url_outcome(message: pb.BatchSignedUrl) -> SignedUrlOutcome:
    """What came of one wish in a batch."""
    if message.HasField("signed_url"):
        return SignedUrlOutcome(message.file_id, signed_url(message.signed_url), None)
    refusal = error_for(message.error_reason, f"no signed URL for {message.file_id}")
    return SignedUrlOutcome(message.file_id, None, refusal)


def reference_end(message: pb.DeleteReferenceResponse) -> ReferenceEnd:
    """What the end of a reference did."""
    return ReferenceEnd(message.detached_count, message.deleted_count)


def usage(message: pb.GetUsageResponse) -> Usage:
    """What a user stores; 0 is no limit there and None here."""
    return Usage(
        file_count=message.file_count,
        stored_bytes=message.stored_bytes,
        file_count_max=message.file_count_max or None,
        stored_bytes_max=message.stored_bytes_max or None,
    )


def capabilities(message: pb.GetCapabilitiesResponse) -> Capabilities:
    """What a deployment accepts."""
    return Capabilities(
        file_types=tuple(
            FileType(each.extension, each.mime_type, each.inline_safe) for each in message.file_types
        ),
        purposes=tuple(_purpose(each) for each in message.purposes),
        chunk_bytes_max=message.chunk_bytes_max,
        file_bytes_max=message.file_bytes_max,
        signed_url_ttl_max=message.signed_url_ttl_max.ToTimedelta(),
    )


def _purpose(message: pb.PurposePolicy) -> PurposePolicy:
    has_ttl = message.HasField("default_ttl")
    return PurposePolicy(
        purpose=message.purpose,
        mime_types=tuple(message.mime_types),
        file_bytes_max=message.file_bytes_max,
        default_ttl=message.default_ttl.ToTimedelta() if has_ttl else None,
    )


def _reference(message: pb.Reference) -> Reference:
    return Reference(_KINDS.get(message.kind, ReferenceKind.UNKNOWN), message.id)


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=timezone.utc)


def _time_if_set(message: Message, field: str) -> datetime | None:
    return _time(getattr(message, field)) if message.HasField(field) else None


def seconds(span: timedelta | float) -> float:
    """A span in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else span


def duration(span: timedelta | float) -> Duration:
    """A span, given as a timedelta or in seconds."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds(span)))
    return message


def timestamp(time: datetime) -> Timestamp:
    """A time. Raises ValueError where its zone is not known."""
    if time.tzinfo is None:
        raise ValueError("a time needs a zone, such as datetime.now(timezone.utc)")
    message = Timestamp()
    message.FromDatetime(time)
    return message
