"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, overload

import grpc

from . import _operations
from ._binding import bound
from ._blocking import Blocking
from ._channel import Settings
from ._download import BytesSink, Target, sink_for
from ._operations import Listing
from ._progress import ProgressCallback
from ._retry import RetryPolicy
from ._steps import CallOptions, Metadata, Operation, Timeout
from .types import File

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

P = ParamSpec("P")
T = TypeVar("T")


def _method(describe: Callable[P, Operation[T]]) -> Callable[Concatenate[Files, P], T]:
    def call(files: Files, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return files._calls.run(describe(*args, **kwargs))

    return bound(describe, call)


def _listing(describe: Callable[P, Listing]) -> Callable[Concatenate[Files, P], Iterator[File]]:
    def call(files: Files, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[File]:
        return files._pages(describe(*args, **kwargs))

    return bound(describe, call, "Iterator[File]")


class Files:
    """The calls about files; `Client.files`. Threads may share it."""

    def __init__(self, calls: Blocking) -> None:
        self._calls = calls

    upload_file = _method(_operations.upload_file)
    upload_file_object = _method(_operations.upload_file_object)
    get_upload = _method(_operations.get_upload)
    cancel_upload = _method(_operations.cancel_upload)
    create_upload_url = _method(_operations.create_upload_url)

    get_file_as_base64 = _method(_operations.get_file_as_base64)
    get_signed_url = _method(_operations.get_signed_url)
    create_signed_url = _method(_operations.create_signed_url)
    get_signed_urls = _method(_operations.get_signed_urls)
    revoke_signed_urls = _method(_operations.revoke_signed_urls)

    retrieve_file = _method(_operations.retrieve_file)
    list_files = _listing(_operations.list_files)
    update_file = _method(_operations.update_file)
    delete_file = _method(_operations.delete_file)
    undelete_file = _method(_operations.undelete_file)

    attach = _method(_operations.attach)
    detach = _method(_operations.detach)
    delete_reference = _method(_operations.delete_reference)

    get_usage = _method(_operations.get_usage)
    get_capabilities = _method(_operations.get_capabilities)

    @overload
    def download_file(
        self,
        file_id: str,
        to: None = None,
        *,
        user_id: str = "",
        offset: int = 0,
        length_max: int | None = None,
        progress: ProgressCallback = None,
        **options: Unpack[CallOptions],
    ) -> bytes: ...

    @overload
    def download_file(
        self,
        file_id: str,
        to: Target,
        *,
        user_id: str = "",
        offset: int = 0,
        length_max: int | None = None,
        progress: ProgressCallback = None,
        **options: Unpack[CallOptions],
    ) -> File: ...

    def download_file(
        self,
        file_id: str,
        to: Target | None = None,
        *,
        user_id: str = "",
        offset: int = 0,
        length_max: int | None = None,
        progress: ProgressCallback = None,
        **options: Unpack[CallOptions],
    ) -> bytes | File:
        """Downloads a file's content: returns it, or writes it to a path or a file object.

        A path gets the whole file or nothing: it is written beside it and renamed at the end. A file object is
        written to from where it stands, on another thread, and not closed; after a failure it may hold a part. A
        connection that breaks is waited for, and the download goes on where it was. Length and SHA-256 are
        checked at the end; of a part only the length can be.

        `offset` is the first byte wanted, or, where negative, how many from the end; `length_max` the most bytes.
        `progress` is called with the number of new bytes each time: `tqdm(...).update` fits.

        Raises OSError where it cannot be written, and FilesError: FileNotFound, ChecksumMismatch,
        ContentDamaged, ConnectionFailed, ...
        """
        sink = sink_for(to)
        file = self._calls.run(
            _operations.download_to(
                sink,
                file_id,
                user_id=user_id,
                offset=offset,
                length_max=length_max,
                progress=progress,
                **options,
            )
        )
        return sink.content if isinstance(sink, BytesSink) else file

    def _pages(self, page_of: Listing) -> Iterator[File]:
        token: str | None = ""
        while token is not None:
            page = self._calls.run(page_of(token))
            yield from page.files
            token = page.next_token or None


class Client:
    """A client of one server; connects when it is first needed. Threads may share it.

    `server` is `http://HOST:PORT`, `https://HOST:PORT` (TLS) or `HOST:PORT`; unless given, FILES_SERVER in the
    environment, or else `http://127.0.0.1:50051`. `timeout` limits each call with all its attempts, in seconds or
    as a timedelta; None: no limit. `transfer_timeout` does so for uploads and downloads. `metadata` goes with
    every call. `credentials` replace the system's for TLS. `retry` says how failures are waited out, and `sleep`
    does the waiting. Raises ValueError for another address.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: Timeout = 60.0,
        transfer_timeout: Timeout = None,
        metadata: Metadata = None,
        credentials: grpc.ChannelCredentials | None = None,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        settings = Settings.of(server, timeout, transfer_timeout, metadata, retry or RetryPolicy())
        self._calls = Blocking(settings, credentials, sleep)
        self.files = Files(self._calls)

    def close(self) -> None:
        """Ends the connection."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
