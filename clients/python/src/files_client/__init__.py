"""Client of the file service Files: resumable uploads, verified downloads, signed URLs.

`Client` blocks, `AsyncClient` is for asyncio; both have the same calls below `.files`. Times are aware datetimes
in UTC, sizes are bytes, and hashes are SHA-256 in hex. What calls raise is in `files_client.errors`.
"""

from . import errors
from ._progress import ProgressCallback
from ._requests import UNSET, ListOptions, UploadOptions
from ._retry import RetryPolicy
from ._steps import CallOptions
from .async_client import AsyncClient, AsyncFiles
from .client import Client, Files
from .errors import FilesError
from .types import (
    Capabilities,
    Disposition,
    File,
    FileType,
    PurposePolicy,
    Reference,
    ReferenceEnd,
    ReferenceKind,
    ReferenceLike,
    SignedUrl,
    SignedUrlOutcome,
    SignedUrlRequest,
    UploadStatus,
    UploadUrl,
    Usage,
)

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "AsyncClient",
    "AsyncFiles",
    "CallOptions",
    "Capabilities",
    "Client",
    "Disposition",
    "File",
    "FileType",
    "Files",
    "FilesError",
    "ListOptions",
    "ProgressCallback",
    "PurposePolicy",
    "Reference",
    "ReferenceEnd",
    "ReferenceKind",
    "ReferenceLike",
    "RetryPolicy",
    "SignedUrl",
    "SignedUrlOutcome",
    "SignedUrlRequest",
    "UploadOptions",
    "UploadStatus",
    "UploadUrl",
    "Usage",
    "errors",
]
