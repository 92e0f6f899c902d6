"""The contract's requests, made of what callers give."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from . import _convert
from ._proto import files_pb2 as pb
from ._steps import CallOptions, refuse_unknown
from .types import Disposition, Reference, ReferenceKind, ReferenceLike, SignedUrlRequest


class Unset(Enum):
    """The type of UNSET."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
"""Leaves a field as it is, where None would make it empty."""

Span = timedelta | float
"""A timedelta, or seconds."""


class UploadOptions(CallOptions, total=False):
    """What every upload takes, beside what every call does.

    `labels`: the caller's own. `references`: what the file belongs to from the start, such as `thread:t-42`.
    `delete_when_unreferenced`: whether it goes when its last reference goes. `ttl`: its life, a timedelta or
    seconds; None: the purpose's default. `mime_type`: a hint; the extension decides. `upload_id`: a UUID of
    the caller's, with which an upload can be repeated and gone on with, by another process, too; None: one of
    its own for this call.
    """

    labels: Mapping[str, str] | None
    references: Iterable[ReferenceLike]
    delete_when_unreferenced: bool
    ttl: Span | None
    mime_type: str
    upload_id: str | None


class ListOptions(CallOptions, total=False):
    """What narrows a listing: a file is listed when it meets every condition given.

    `purposes`, `mime_types`: any of these; `image/*` is every type of images. `filename_contains`: a part of
    the name, whatever the case. `reference`: files that belong to this. `sha256`: files with exactly this
    content, in hex. `labels`: files with all of these. `create_time_from` is inclusive, `create_time_to`
    exclusive. `show_deleted`: soft-deleted files, too. `page_size`: files fetched at a time; 0: the server's
    choice.
    """

    purposes: str | Iterable[str]
    mime_types: str | Iterable[str]
    filename_contains: str
    reference: ReferenceLike | None
    sha256: str
    labels: Mapping[str, str] | None
    create_time_from: datetime | None
    create_time_to: datetime | None
    show_deleted: bool
    page_size: int


def call_options(options: CallOptions) -> CallOptions:
    """The options of the call alone."""
    return CallOptions(timeout=options.get("timeout"), metadata=options.get("metadata"))


def upload_start(user_id: str, purpose: str, filename: str, options: UploadOptions) -> pb.UploadStart:
    """The start of an upload."""
    refuse_unknown(options, UploadOptions)
    ttl = options.get("ttl")
    return pb.UploadStart(
        upload_id=options.get("upload_id") or str(uuid.uuid4()),
        user_id=user_id,
        purpose=purpose,
        filename=filename,
        mime_type=options.get("mime_type", ""),
        ttl=None if ttl is None else _convert.duration(ttl),
        labels=options.get("labels") or {},
        references=[reference(each) for each in options.get("references", ())],
        delete_when_unreferenced=options.get("delete_when_unreferenced", False),
    )


def reference(given: ReferenceLike) -> pb.Reference:
    """A reference, also from its text."""
    known = given if isinstance(given, Reference) else Reference.parse(given)
    if known.kind is ReferenceKind.UNKNOWN:
        raise ValueError(f"{known} is of a kind that this client does not know")
    return pb.Reference(kind=_convert.KIND_NUMBERS[known.kind], id=known.id)


def signed_url(wish: SignedUrlRequest) -> pb.CreateSignedUrlRequest:
    """A wish for a signed URL."""
    dispositions = {
        None: pb.DISPOSITION_UNSPECIFIED,
        Disposition.INLINE: pb.DISPOSITION_INLINE,
        Disposition.ATTACHMENT: pb.DISPOSITION_ATTACHMENT,
    }
    disposition = None if wish.disposition is None else Disposition(wish.disposition)
    return pb.CreateSignedUrlRequest(
        file_id=wish.file_id,
        user_id=wish.user_id,
        ttl=None if wish.ttl is None else _convert.duration(wish.ttl),
        disposition=dispositions[disposition],
        filename=wish.filename or "",
        label=wish.label or "",
    )


def listing(user_id: str, options: ListOptions) -> pb.ListFilesRequest:
    """The first page of a listing."""
    refuse_unknown(options, ListOptions)
    return pb.ListFilesRequest(
        user_id=user_id,
        page_size=options.get("page_size", 0),
        filter=_filter(options),
        show_deleted=options.get("show_deleted", False),
    )


def _filter(options: ListOptions) -> pb.FileFilter:
    belongs_to = options.get("reference")
    begin, end = options.get("create_time_from"), options.get("create_time_to")
    return pb.FileFilter(
        purposes=_strings(options.get("purposes", ())),
        mime_types=_strings(options.get("mime_types", ())),
        filename_contains=options.get("filename_contains", ""),
        reference=None if belongs_to is None else reference(belongs_to),
        sha256=bytes.fromhex(options.get("sha256", "")),
        labels=options.get("labels") or {},
        create_time_from=None if begin is None else _convert.timestamp(begin),
        create_time_to=None if end is None else _convert.timestamp(end),
    )


def update(
    file_id: str,
    user_id: str,
    etag: str,
    changes: Mapping[str, object],
) -> pb.UpdateFileRequest:
    """A change of the fields that are not UNSET; None makes a field empty."""
    named = {field: value for field, value in changes.items() if value is not UNSET}
    if not named:
        raise ValueError("there is nothing to change")
    request = pb.UpdateFileRequest(user_id=user_id)
    request.file.id = file_id
    request.file.etag = etag
    for field, value in named.items():
        request.update_mask.paths.append(field)
        if isinstance(value, datetime):
            request.file.expire_time.CopyFrom(_convert.timestamp(value))
        elif isinstance(value, Mapping):
            request.file.labels.update(value)
        elif value is not None:
            setattr(request.file, field, value)
    return request


def download(file_id: str, user_id: str, offset: int, length_max: int | None) -> pb.DownloadFileRequest:
    """The content from `offset` on, or its last bytes where that is negative."""
    if length_max is not None and length_max < 1:
        raise ValueError("length_max must be above 0")
    return pb.DownloadFileRequest(file_id=file_id, user_id=user_id, read_offset=offset, read_limit=length_max or 0)


def ids(given: str | Sequence[str]) -> list[str]:
    """One id or several, as a list."""
    return _strings(given)


def _strings(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
