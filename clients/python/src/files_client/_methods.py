"""The unary calls of the contract, and which of them may be repeated after which failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from ._proto import files_pb2 as pb
from .errors import FilesError, Overloaded, ShuttingDown, Unavailable

SERVICE = "/files.v1.FilesService/"

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

Repeat = Callable[[FilesError], bool]


def _after_any_break(error: FilesError) -> bool:
    return isinstance(error, Unavailable)


def _when_refused(error: FilesError) -> bool:
    # These two are answered before anything is done; after any other failure the call may have had its effect.
    return isinstance(error, (Overloaded, ShuttingDown))


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One unary call."""

    name: str
    answer: type[A]
    repeat: Repeat


def _method(name: str, _request: type[Q], answer: type[A], repeat: Repeat) -> Method[Q, A]:
    return Method(name, answer, repeat)


# Reads, and signing, which leaves no trace.
GET_FILE = _method("GetFile", pb.GetFileRequest, pb.GetFileResponse, _after_any_break)
LIST_FILES = _method("ListFiles", pb.ListFilesRequest, pb.ListFilesResponse, _after_any_break)
GET_UPLOAD = _method("GetUpload", pb.GetUploadRequest, pb.GetUploadResponse, _after_any_break)
GET_USAGE = _method("GetUsage", pb.GetUsageRequest, pb.GetUsageResponse, _after_any_break)
GET_CAPABILITIES = _method(
    "GetCapabilities", pb.GetCapabilitiesRequest, pb.GetCapabilitiesResponse, _after_any_break
)
CREATE_SIGNED_URL = _method(
    "CreateSignedUrl", pb.CreateSignedUrlRequest, pb.CreateSignedUrlResponse, _after_any_break
)
BATCH_CREATE_SIGNED_URLS = _method(
    "BatchCreateSignedUrls",
    pb.BatchCreateSignedUrlsRequest,
    pb.BatchCreateSignedUrlsResponse,
    _after_any_break,
)

# Done twice is done once: what is tied stays tied, what is untied stays untied, and links that are dead stay
# dead. DeleteReference is promised to go on where it stopped. The same upload_id makes the same upload.
ATTACH_FILES = _method("AttachFiles", pb.AttachFilesRequest, pb.AttachFilesResponse, _after_any_break)
DETACH_FILES = _method("DetachFiles", pb.DetachFilesRequest, pb.DetachFilesResponse, _after_any_break)
DELETE_REFERENCE = _method(
    "DeleteReference", pb.DeleteReferenceRequest, pb.DeleteReferenceResponse, _after_any_break
)
REVOKE_SIGNED_URLS = _method(
    "RevokeSignedUrls", pb.RevokeSignedUrlsRequest, pb.RevokeSignedUrlsResponse, _after_any_break
)
CREATE_UPLOAD_URL = _method(
    "CreateUploadUrl", pb.CreateUploadUrlRequest, pb.CreateUploadUrlResponse, _after_any_break
)

# Done twice, the second answer would be wrong: the etag is no longer the same, the file is gone already, is no
# longer deleted, the upload is unknown.
UPDATE_FILE = _method("UpdateFile", pb.UpdateFileRequest, pb.UpdateFileResponse, _when_refused)
DELETE_FILE = _method("DeleteFile", pb.DeleteFileRequest, pb.DeleteFileResponse, _when_refused)
UNDELETE_FILE = _method("UndeleteFile", pb.UndeleteFileRequest, pb.UndeleteFileResponse, _when_refused)
CANCEL_UPLOAD = _method("CancelUpload", pb.CancelUploadRequest, pb.CancelUploadResponse, _when_refused)
