"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

import grpc

from . import _operations
from ._async import Async
from ._binding import bound
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


def _method(
    describe: Callable[P, Operation[T]],
) -> Callable[Concatenate[AsyncFiles, P], Coroutine[Any, Any, T]]:
    async def call(files: AsyncFiles, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await files._calls.run(describe(*args, **kwargs))

    return bound(describe, call)


def _listing(
    describe: Callable[P, Listing],
) -> Callable[Concatenate[AsyncFiles, P], AsyncIterator[File]]:
    def call(files: AsyncFiles, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[File]:
        return files._pages(describe(*args, **kwargs))

    return bound(describe, call, "AsyncIterator[File]")


class AsyncFiles:
    """The calls about files; `AsyncClient.files`. They are those of `Files`, to be awaited.

    File objects are ordinary ones, read and written on threads. `progress` may be called on a thread, too.
    """

    def __init__(self, calls: Async) -> None:
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
    async def download_file(
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
    async def download_file(
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

    async def download_file(
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
        """As `Files.download_file`."""
        sink = sink_for(to)
        file = await self._calls.run(
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

    async def _pages(self, page_of: Listing) -> AsyncIterator[File]:
        token: str | None = ""
        while token is not None:
            page = await self._calls.run(page_of(token))
            for file in page.files:
                yield file
            token = page.next_token or None


class AsyncClient:
    """A client of one server for asyncio; takes what `Client` takes.

    It may be made before there is an event loop; it then belongs to the one that its first call runs on.
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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        settings = Settings.of(server, timeout, transfer_timeout, metadata, retry or RetryPolicy())
        self._calls = Async(settings, credentials, sleep)
        self.files = AsyncFiles(self._calls)

    async def close(self) -> None:
        """Ends the connection."""
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
