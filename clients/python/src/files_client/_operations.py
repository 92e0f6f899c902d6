"""Every call of the clients, described once for both: `Files` and `AsyncFiles` take their methods from here."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from . import _convert, _methods, _requests
from ._content import Buffer, FileSource, Source, source_of
from ._download import BytesSink, Sink, download
from ._progress import Progress, ProgressCallback
from ._proto import files_pb2 as pb
from ._requests import (
    UNSET,
    ListOptions,
    Span,
    Unset,
    UploadOptions,
    call_options,
)
from ._retry import Attempts
from ._steps import CallOptions, Operation, Steps, operation, refuse_unknown
from ._upload import upload
from .types import (
    Capabilities,
    Disposition,
    File,
    ReferenceEnd,
    ReferenceLike,
    SignedUrl,
    SignedUrlOutcome,
    SignedUrlRequest,
    UploadStatus,
    UploadUrl,
    Usage,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


def upload_file(
    file_path: str | os.PathLike[str],
    *,
    user_id: str,
    purpose: str,
    filename: str | None = None,
    progress: ProgressCallback = None,
    **options: Unpack[UploadOptions],
) -> Operation[File]:
    """Uploads the file at `file_path` and returns it as the server keeps it.

    When this returns, content and metadata are on stable storage, and the server's SHA-256 is that of the
    content read here. A connection that breaks is waited for, and the upload goes on from what is durable.

    `filename` is the name it gets, by default that of the path; its extension decides the type. `progress` is
    called with the number of new bytes each time: `tqdm(...).update` fits. It may be called on another thread.
    `options`: see UploadOptions.

    Raises OSError where the file cannot be read, and FilesError: FileTypeUnsupported, FileTooLarge,
    QuotaExceeded, ChecksumMismatch, ConnectionFailed, ...
    """
    path = Path(file_path)

    def open_source() -> Source:
        return FileSource(path.open("rb", buffering=0), owned=True)

    start = _requests.upload_start(user_id, purpose, filename or path.name, options)
    return _upload(start, open_source, progress, options)


def upload_file_object(
    file_object: BinaryIO | Buffer,
    *,
    user_id: str,
    purpose: str,
    filename: str | None = None,
    progress: ProgressCallback = None,
    **options: Unpack[UploadOptions],
) -> Operation[File]:
    """Uploads a file object opened in binary mode, from where it stands to its end, or bytes in memory.

    As `upload_file` does. `filename` may be left out where the object has a `name` that is a path. The object is
    read on another thread; it is not closed. Of an object that cannot seek the last 8 MiB are kept: a break that
    lost more ends the upload.
    """
    name = filename or _name_of(file_object)
    start = _requests.upload_start(user_id, purpose, name, options)
    return _upload(start, lambda: source_of(file_object), progress, options)


def _name_of(file_object: BinaryIO | Buffer) -> str:
    name = getattr(file_object, "name", None)
    if not isinstance(name, str):
        raise ValueError("filename must be given: the content has no name of its own")
    return Path(name).name


def _upload(
    start: pb.UploadStart,
    open_source: Callable[[], Source],
    progress: ProgressCallback,
    options: UploadOptions,
) -> Operation[File]:
    resumable = options.get("upload_id") is not None

    def steps(attempts: Attempts) -> Steps[File]:
        return upload(start, open_source, Progress(progress), attempts, resumable=resumable)

    return Operation(steps, call_options(options), is_transfer=True)


def get_upload(upload_id: str, *, user_id: str, **options: Unpack[CallOptions]) -> Operation[UploadStatus]:
    """Tells how much of an upload is durable, or the file once it is finished. Raises UploadNotFound."""
    request = pb.GetUploadRequest(upload_id=upload_id, user_id=user_id)
    return operation(_methods.GET_UPLOAD, request, _convert.upload_status, options)


def cancel_upload(upload_id: str, *, user_id: str, **options: Unpack[CallOptions]) -> Operation[None]:
    """Gives up an unfinished upload and frees what it stored. Raises UploadNotFound."""
    request = pb.CancelUploadRequest(upload_id=upload_id, user_id=user_id)
    return operation(_methods.CANCEL_UPLOAD, request, lambda _: None, options)


def create_upload_url(
    *,
    user_id: str,
    purpose: str,
    filename: str,
    size_bytes: int | None = None,
    size_bytes_max: int | None = None,
    url_ttl: Span | None = None,
    **options: Unpack[UploadOptions],
) -> Operation[UploadUrl]:
    """Makes a URL to which whoever holds it can send the content of one file over HTTP.

    `size_bytes` is the length promised, `size_bytes_max` the most accepted. `url_ttl` is the life of the URL, 1 s
    to 7 days, an hour unless given; `ttl` in `options` is the file's.
    """
    start = _requests.upload_start(user_id, purpose, filename, options)
    if size_bytes is not None:
        start.size_bytes = size_bytes
    request = pb.CreateUploadUrlRequest(
        start=start,
        ttl=None if url_ttl is None else _convert.duration(url_ttl),
        size_bytes_max=size_bytes_max or 0,
    )
    return operation(_methods.CREATE_UPLOAD_URL, request, _convert.upload_url, call_options(options))


def download_to(
    sink: Sink,
    file_id: str,
    *,
    user_id: str = "",
    offset: int = 0,
    length_max: int | None = None,
    progress: ProgressCallback = None,
    **options: Unpack[CallOptions],
) -> Operation[File]:
    """Downloads into a sink; see `Files.download_file`."""
    refuse_unknown(options, CallOptions)
    request = _requests.download(file_id, user_id, offset, length_max)

    def steps(attempts: Attempts) -> Steps[File]:
        return download(request, sink, progress, attempts)

    return Operation(steps, options, is_transfer=True)


def get_file_as_base64(
    file_id: str,
    *,
    user_id: str = "",
    data_url: bool = False,
    progress: ProgressCallback = None,
    **options: Unpack[CallOptions],
) -> Operation[str]:
    """Downloads a file's content and gives it in base64, checked as by `download_file`.

    With `data_url` as a URL that holds it: `data:image/png;base64,…`.
    """
    refuse_unknown(options, CallOptions)
    request = _requests.download(file_id, user_id, 0, None)

    def steps(attempts: Attempts) -> Steps[str]:
        sink = BytesSink()
        file = yield from download(request, sink, progress, attempts)
        text = b64encode(sink.content).decode("ascii")
        return f"data:{file.mime_type};base64,{text}" if data_url else text

    return Operation(steps, options, is_transfer=True)


def get_signed_url(
    file_id: str,
    *,
    label: str | None = None,
    markdown: bool = False,
    ttl: Span | None = None,
    disposition: Disposition | str | None = None,
    filename: str | None = None,
    user_id: str = "",
    **options: Unpack[CallOptions],
) -> Operation[str]:
    """Makes a URL that gives the content out until it expires or is revoked.

    With `markdown` a Markdown link to it, whose text is `label`, by default the name: `[plot.png](<http://…>)`.
    `ttl` is the URL's life, a timedelta or seconds, 1 s to 7 days; None: the server's default. `disposition` is
    `inline` or `attachment`: how a browser is to treat it. `filename` is the name offered to the browser. Raises
    FileNotFound, FieldInvalid.
    """
    wish = SignedUrlRequest(file_id, label, ttl, disposition, filename, user_id)

    def result(answer: pb.CreateSignedUrlResponse) -> str:
        return answer.markdown if markdown else answer.url

    return operation(_methods.CREATE_SIGNED_URL, _requests.signed_url(wish), result, options)


def create_signed_url(request: SignedUrlRequest, **options: Unpack[CallOptions]) -> Operation[SignedUrl]:
    """Makes a URL as `get_signed_url` does, and tells its Markdown link and its end, too."""
    message = _requests.signed_url(request)
    return operation(_methods.CREATE_SIGNED_URL, message, _convert.signed_url, options)


def get_signed_urls(
    requests: Iterable[SignedUrlRequest | str], **options: Unpack[CallOptions]
) -> Operation[list[SignedUrlOutcome]]:
    """Makes 1 to 100 signed URLs in one call; a file's id alone is a wish, too.

    Outcomes come in the order of the wishes; each is a URL or the error that refused it.
    """
    wishes = [SignedUrlRequest(each) if isinstance(each, str) else each for each in requests]
    message = pb.BatchCreateSignedUrlsRequest(requests=map(_requests.signed_url, wishes))

    def result(answer: pb.BatchCreateSignedUrlsResponse) -> list[SignedUrlOutcome]:
        return [_convert.signed_url_outcome(each) for each in answer.results]

    return operation(_methods.BATCH_CREATE_SIGNED_URLS, message, result, options)


def revoke_signed_urls(file_id: str, *, user_id: str = "", **options: Unpack[CallOptions]) -> Operation[File]:
    """Ends every signed URL made for the file so far; URLs made afterwards work. Raises FileNotFound."""
    request = pb.RevokeSignedUrlsRequest(file_id=file_id, user_id=user_id)
    return operation(_methods.REVOKE_SIGNED_URLS, request, _file, options)


def retrieve_file(
    file_id: str, *, user_id: str = "", show_deleted: bool = False, **options: Unpack[CallOptions]
) -> Operation[File]:
    """Returns a file's metadata; with `show_deleted` a soft-deleted file's, too. Raises FileNotFound."""
    request = pb.GetFileRequest(file_id=file_id, user_id=user_id, show_deleted=show_deleted)
    return operation(_methods.GET_FILE, request, _file, options)


@dataclass(frozen=True, slots=True)
class Page:
    """Some files of a listing; `next_token` is empty on the last page."""

    files: list[File]
    next_token: str


Listing = Callable[[str], Operation[Page]]
"""Gives the page of a token; that of an empty one is the first."""


def list_files(user_id: str, **options: Unpack[ListOptions]) -> Listing:
    """Goes through a user's files, newest first, fetching pages as they are needed.

    Files are neither repeated nor skipped while others come and go. `options` narrow it: see ListOptions. The
    timeout is that of each page.
    """
    first = _requests.listing(user_id, options)

    def page(token: str) -> Operation[Page]:
        request = pb.ListFilesRequest()
        request.CopyFrom(first)
        request.page_token = token
        return operation(_methods.LIST_FILES, request, _page, call_options(options))

    return page


def update_file(
    file_id: str,
    *,
    filename: str | Unset = UNSET,
    labels: dict[str, str] | Unset | None = UNSET,
    expire_time: datetime | Unset | None = UNSET,
    delete_when_unreferenced: bool | Unset = UNSET,
    etag: str = "",
    user_id: str = "",
    **options: Unpack[CallOptions],
) -> Operation[File]:
    """Changes the fields that are given, all of them or none.

    `labels` replaces all labels. `expire_time` must lie ahead; None: the file never expires. A new `filename`
    must have an extension of the type that the file has. With `etag` the change is made only while the file has
    that one. Raises FileNotFound, FieldInvalid, EtagMismatch, and ValueError where there is nothing to change.
    """
    changes = {
        "filename": filename,
        "labels": labels,
        "expire_time": expire_time,
        "delete_when_unreferenced": delete_when_unreferenced,
    }
    request = _requests.update(file_id, user_id, etag, changes)
    return operation(_methods.UPDATE_FILE, request, _file, options)


def delete_file(
    file_id: str,
    *,
    force: bool = False,
    allow_missing: bool = False,
    purge: bool = False,
    etag: str = "",
    user_id: str = "",
    **options: Unpack[CallOptions],
) -> Operation[File | None]:
    """Deletes a file: it is gone from every path at once, and its signed URLs are dead.

    Until its `purge_time` it can be brought back, unless it is purged. `force` deletes it even while it belongs
    to something. With `allow_missing` None is returned where there is no such file. With `etag` it is deleted
    only while it has that one. Raises FileNotFound, FileReferenced, EtagMismatch.
    """
    request = pb.DeleteFileRequest(
        file_id=file_id,
        user_id=user_id,
        force=force,
        allow_missing=allow_missing,
        purge=purge,
        etag=etag,
    )
    return operation(_methods.DELETE_FILE, request, _file_if_any, options)


def undelete_file(file_id: str, *, user_id: str = "", **options: Unpack[CallOptions]) -> Operation[File]:
    """Brings a soft-deleted file back. Raises FileNotFound, FileNotDeleted, QuotaExceeded."""
    request = pb.UndeleteFileRequest(file_id=file_id, user_id=user_id)
    return operation(_methods.UNDELETE_FILE, request, _file, options)


def attach(
    reference: ReferenceLike,
    file_ids: str | Sequence[str],
    *,
    user_id: str = "",
    **options: Unpack[CallOptions],
) -> Operation[None]:
    """Ties 1 to 100 files to a reference, such as `thread:t-42`; all of them or none. Raises FileNotFound."""
    request = pb.AttachFilesRequest(
        reference=_requests.reference(reference), file_ids=_requests.ids(file_ids), user_id=user_id
    )
    return operation(_methods.ATTACH_FILES, request, lambda _: None, options)


def detach(
    reference: ReferenceLike,
    file_ids: str | Sequence[str],
    *,
    user_id: str = "",
    **options: Unpack[CallOptions],
) -> Operation[int]:
    """Unties 1 to 100 files from a reference; all of them or none. Raises FileNotFound.

    Returns how many were deleted because they lived only for it. The call is repeated after a break, and then
    counts what was left to do.
    """
    request = pb.DetachFilesRequest(
        reference=_requests.reference(reference), file_ids=_requests.ids(file_ids), user_id=user_id
    )
    return operation(_methods.DETACH_FILES, request, lambda answer: answer.deleted_count, options)


def delete_reference(
    reference: ReferenceLike, *, user_id: str = "", **options: Unpack[CallOptions]
) -> Operation[ReferenceEnd]:
    """The thread (or tool, ...) is gone: every file loses it, and files that lived only for it are deleted.

    Without a `user_id` the files of all users do. The call is repeated after a break, and then counts what was
    left to do.
    """
    request = pb.DeleteReferenceRequest(reference=_requests.reference(reference), user_id=user_id)
    return operation(_methods.DELETE_REFERENCE, request, _convert.reference_end, options)


def get_usage(user_id: str, **options: Unpack[CallOptions]) -> Operation[Usage]:
    """Tells what a user stores and may store."""
    request = pb.GetUsageRequest(user_id=user_id)
    return operation(_methods.GET_USAGE, request, _convert.usage, options)


def get_capabilities(**options: Unpack[CallOptions]) -> Operation[Capabilities]:
    """Tells the accepted types and purposes and the limits of the server."""
    request = pb.GetCapabilitiesRequest()
    return operation(_methods.GET_CAPABILITIES, request, _convert.capabilities, options)


def _file(
    answer: pb.GetFileResponse | pb.UpdateFileResponse | pb.UndeleteFileResponse | pb.RevokeSignedUrlsResponse,
) -> File:
    return _convert.file(answer.file)


def _file_if_any(answer: pb.DeleteFileResponse) -> File | None:
    return _convert.file(answer.file) if answer.HasField("file") else None


def _page(answer: pb.ListFilesResponse) -> Page:
    return Page([_convert.file(each) for each in answer.files], answer.next_page_token)
