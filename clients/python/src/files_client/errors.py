"""What calls raise: one class a reason of the server's error table, all of them a FilesError.

Failures of this side, such as a file that cannot be read, are the exceptions they always are (OSError).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

ERROR_DOMAIN = "files.v1"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that cannot be accepted, by its name in the contract."""

    field: str
    problem: str


class FilesError(Exception):
    """A call failed. Branch on the class or on `reason`; `message` is for people."""

    default_reason = "UNKNOWN"
    is_transient = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = self.default_reason if reason is None else reason
        """Stable, such as `FILE_NOT_FOUND`."""
        self.code = code
        """The gRPC status; None where no answer came."""
        self.metadata = dict(metadata or {})
        """What the server tells beside the reason."""
        self.retry_after_s = retry_after_s
        """How long the server asks to wait before trying again."""
        self.violations = violations
        """The fields at fault."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may well succeed a little later."""
        return self.is_transient

    def __str__(self) -> str:
        return f"{self.message} ({self.reason})"


class Unavailable(FilesError):
    """The server cannot do it now; later it may."""

    default_reason = "UNAVAILABLE"
    is_transient = True


class ConnectionFailed(Unavailable):
    """The server cannot be reached, or the connection broke off."""

    default_reason = "CONNECTION_FAILED"


class DeadlineExceeded(FilesError):
    """The call took longer than its timeout."""

    default_reason = "DEADLINE_EXCEEDED"


class AnswerIncomplete(FilesError):
    """The server's answer lacks something, or ended early."""

    default_reason = "ANSWER_INCOMPLETE"
    is_transient = True


class CredentialInvalid(FilesError):
    """There is no credential, or a bad one."""

    default_reason = "CREDENTIAL_INVALID"


class ScopeMissing(FilesError):
    """The credential does not allow this call."""

    default_reason = "SCOPE_MISSING"


class UserNotAllowed(FilesError):
    """The credential may not act for that user."""

    default_reason = "USER_NOT_ALLOWED"


class FileNotFound(FilesError):
    """The file is missing, deleted, expired, or another user's."""

    default_reason = "FILE_NOT_FOUND"


class UploadNotFound(FilesError):
    """There is no such upload."""

    default_reason = "UPLOAD_NOT_FOUND"


class FieldInvalid(FilesError):
    """A field cannot be accepted; `violations` names it."""

    default_reason = "FIELD_INVALID"


class FileTypeUnsupported(FilesError):
    """The extension is not accepted, or the content contradicts it."""

    default_reason = "FILE_TYPE_UNSUPPORTED"


class ChecksumMismatch(FilesError):
    """The content is not the one that its SHA-256 promises: bytes changed on the way or were changed."""

    default_reason = "CHECKSUM_MISMATCH"


class SizeMismatch(FilesError):
    """The content is longer or shorter than promised, such as a file that changed while it was read."""

    default_reason = "SIZE_MISMATCH"


class _Persisted(FilesError):
    @property
    def persisted_size_bytes(self) -> int:
        """Bytes of the upload that are durable."""
        return int(self.metadata.get("persisted_size_bytes", "0"))


class UploadIncomplete(_Persisted):
    """The stream ended before the content did."""

    default_reason = "UPLOAD_INCOMPLETE"
    is_transient = True


class OffsetMismatch(_Persisted):
    """The upload was to go on beyond what is durable."""

    default_reason = "OFFSET_MISMATCH"


class UploadTakenOver(FilesError):
    """Somebody else goes on with this upload, or it was given up."""

    default_reason = "UPLOAD_TAKEN_OVER"


class EtagMismatch(FilesError):
    """The file has changed since the etag was read."""

    default_reason = "ETAG_MISMATCH"


class UploadConflict(FilesError):
    """The upload_id was used before, for something else."""

    default_reason = "UPLOAD_CONFLICT"


class FileNotDeleted(FilesError):
    """The file to bring back is not deleted."""

    default_reason = "FILE_NOT_DELETED"


class FileReferenced(FilesError):
    """The file to delete still belongs to something."""

    default_reason = "FILE_REFERENCED"


class QuotaExceeded(FilesError):
    """The user may store no more."""

    default_reason = "QUOTA_EXCEEDED"


class FileTooLarge(FilesError):
    """The file is larger than this deployment or purpose accepts."""

    default_reason = "FILE_TOO_LARGE"


class StorageFull(FilesError):
    """The server has no space left."""

    default_reason = "STORAGE_FULL"


class Overloaded(Unavailable):
    """Too many calls at once."""

    default_reason = "OVERLOADED"


class UploadStalled(FilesError):
    """No bytes came for too long."""

    default_reason = "UPLOAD_STALLED"
    is_transient = True


class StorageUnavailable(Unavailable):
    """The server cannot reach its storage or its database."""

    default_reason = "STORAGE_UNAVAILABLE"


class ShuttingDown(Unavailable):
    """The server is about to end."""

    default_reason = "SHUTTING_DOWN"


class Unimplemented(FilesError):
    """This version of the server does not have the call."""

    default_reason = "UNIMPLEMENTED"


class InternalError(FilesError):
    """The server met an error of its own."""

    default_reason = "INTERNAL"


class ContentDamaged(FilesError):
    """The server has lost or damaged the file's content."""

    default_reason = "CONTENT_DAMAGED"


def _leaves(base: type[FilesError]) -> Iterable[type[FilesError]]:
    for child in base.__subclasses__():
        yield child
        yield from _leaves(child)


_BY_REASON: dict[str, type[FilesError]] = {
    each.default_reason: each for each in _leaves(FilesError) if "default_reason" in vars(each)
}

# Statuses that come without a reason: not from the service, but from the connection or something on the way.
# A break in the middle of a stream is told as any of the first four.
_BY_CODE: dict[grpc.StatusCode, type[FilesError]] = {
    grpc.StatusCode.UNAVAILABLE: ConnectionFailed,
    grpc.StatusCode.INTERNAL: ConnectionFailed,
    grpc.StatusCode.UNKNOWN: ConnectionFailed,
    grpc.StatusCode.CANCELLED: ConnectionFailed,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.UNAUTHENTICATED: CredentialInvalid,
}


def error_for(reason: str, message: str) -> FilesError:
    """The error of a reason; a plain FilesError where the reason is newer than this client."""
    return _BY_REASON.get(reason, FilesError)(message, reason=reason)


def error_from(failure: Any) -> FilesError:
    """The error that a failed call tells of: `failure` is what gRPC raised."""
    code: grpc.StatusCode = failure.code()
    message = failure.details() or code.name
    details = _details(failure.trailing_metadata())
    info = details.info
    if info is None:
        kind = _BY_CODE.get(code, FilesError)
        reason = code.name if kind is FilesError else kind.default_reason
        return kind(message, reason=reason, code=code)
    return _BY_REASON.get(info.reason, FilesError)(
        message,
        reason=info.reason,
        code=code,
        metadata=dict(info.metadata),
        retry_after_s=details.retry_after_s,
        violations=details.violations,
    )


@dataclass(slots=True)
class _Details:
    info: Any = None
    retry_after_s: float | None = None
    violations: tuple[FieldViolation, ...] = ()


def _details(trailers: Iterable[tuple[str, str | bytes]] | None) -> _Details:
    found = _Details()
    for packed in _packed(trailers):
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(packed.value)
            found.info = info if info.domain == ERROR_DOMAIN else found.info
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo.FromString(packed.value)
            found.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(packed.value)
            found.violations = tuple(FieldViolation(it.field, it.description) for it in bad.field_violations)
    return found


def _packed(trailers: Iterable[tuple[str, str | bytes]] | None) -> Iterable[Any]:
    for key, value in trailers or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            yield from status_pb2.Status.FromString(value).details
