"""What the service's calls give and take: files, references, links, usage, and what a server accepts.

Times are aware datetimes in UTC. Sizes are bytes. Hashes are SHA-256 as 64 lower-case hex digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .errors import FilesError


class ReferenceKind(str, Enum):
    """The kinds of things a file can belong to."""

    ASSISTANT = "assistant"
    THREAD = "thread"
    MESSAGE = "message"
    RUN = "run"
    TOOL = "tool"
    VECTOR_STORE = "vector-store"
    UNKNOWN = "unknown"
    """A kind that a newer server has and this client does not know; only ever read."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Something of the platform's that a file belongs to: its kind, and its id of 1 to 255 bytes."""

    kind: ReferenceKind
    id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ReferenceKind(self.kind))

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads `KIND:ID`, such as `thread:t-42`. Raises ValueError for anything else."""
        kind, colon, reference_id = text.partition(":")
        kinds = {kind.value: kind for kind in ReferenceKind if kind is not ReferenceKind.UNKNOWN}
        known = kinds.get(kind.replace("_", "-"))
        if known is None or not colon or not reference_id:
            raise ValueError(f"{text!r} is not KIND:ID, where KIND is one of {', '.join(kinds)}")
        return cls(known, reference_id)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.id}"


ReferenceLike = Reference | str
"""A reference, or its text as `Reference.parse` takes it: `thread:t-42`."""


class Disposition(str, Enum):
    """How a browser is to treat the content behind a signed URL."""

    INLINE = "inline"
    """Shown in the page; never widens what is safe inline."""
    ATTACHMENT = "attachment"
    """Offered for saving."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as its owner sees it."""

    id: str
    user_id: str
    purpose: str
    filename: str
    mime_type: str
    """Decided by the server from the name's extension."""
    size_bytes: int
    sha256: str
    """Of the content; 64 lower-case hex digits."""
    create_time: datetime
    update_time: datetime
    expire_time: datetime | None = None
    """When it goes by itself; None: never."""
    delete_time: datetime | None = None
    """Set while it is soft-deleted."""
    purge_time: datetime | None = None
    """Until when a soft-deleted file can be brought back."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    references: tuple[Reference, ...] = ()
    delete_when_unreferenced: bool = False
    """Whether it is soft-deleted when it loses its last reference."""
    etag: str = ""
    """Changes with every change of the metadata; opaque."""


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """How far an upload has come."""

    persisted_size_bytes: int
    """Bytes that are on stable storage."""
    expire_time: datetime | None
    """When an unfinished upload is given up."""
    file: File | None
    """Set once it is finished."""


@dataclass(frozen=True, slots=True)
class UploadUrl:
    """A URL to which whoever holds it can send the content of one file."""

    url: str
    upload_id: str
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A URL that gives a file's content out until it expires or is revoked."""

    url: str
    markdown: str
    """A Markdown link to it, the label escaped: `[label](<url>)`."""
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class SignedUrlRequest:
    """One wish in a batch; the fields are those of `get_signed_url`."""

    file_id: str
    label: str | None = None
    ttl: timedelta | float | None = None
    disposition: Disposition | str | None = None
    filename: str | None = None
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class SignedUrlOutcome:
    """What came of one wish in a batch: a URL, or the error that refused it."""

    file_id: str
    signed_url: SignedUrl | None
    error: FilesError | None


@dataclass(frozen=True, slots=True)
class ReferenceEnd:
    """What the end of a reference did."""

    detached_count: int
    """Files that lost the reference, soft-deleted ones not among them."""
    deleted_count: int
    """Files among them that were deleted because they lived only for it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a user stores and may store. Soft-deleted files count, expired ones do not."""

    file_count: int
    stored_bytes: int
    file_count_max: int | None
    """None: no limit."""
    stored_bytes_max: int | None
    """None: no limit."""


@dataclass(frozen=True, slots=True)
class FileType:
    """An accepted type of file."""

    extension: str
    """In lower case, with its dot: `.png`."""
    mime_type: str
    inline_safe: bool
    """Whether signed URLs show it inline."""


@dataclass(frozen=True, slots=True)
class PurposePolicy:
    """What a purpose accepts."""

    purpose: str
    mime_types: tuple[str, ...]
    """Empty: all."""
    file_bytes_max: int
    default_ttl: timedelta | None
    """Life of a file whose upload names none; None: for ever."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a deployment accepts."""

    file_types: tuple[FileType, ...]
    purposes: tuple[PurposePolicy, ...]
    chunk_bytes_max: int
    file_bytes_max: int
    signed_url_ttl_max: timedelta
