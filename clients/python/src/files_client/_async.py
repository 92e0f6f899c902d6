"""Does the steps of operations with asyncio. What may block goes to threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from ._blocking import WRITE_BEHIND, open_channel, outcome_of
from ._channel import Settings, Stubs
from ._retry import Attempts
from ._steps import Call, CallOptions, Operation, Pause, Receive, Send, Step, Work
from .errors import ConnectionFailed, error_from

T = TypeVar("T")


class Async:
    """A channel, and operations done over it, on the event loop that the first of them runs on."""

    def __init__(
        self,
        settings: Settings,
        credentials: grpc.ChannelCredentials | None,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._sleep = sleep
        self._channel: grpc.aio.Channel | None = None
        self._open_stubs: Stubs
        self._upload_channel: grpc.Channel | None = None
        self._upload_stubs: Stubs

    async def close(self) -> None:
        """Ends the connections and calls under way."""
        if self._channel is not None:
            await self._channel.close(None)
        if self._upload_channel is not None:
            self._upload_channel.close()

    async def run(self, operation: Operation[T]) -> T:
        """Does an operation to its end."""
        attempts = self._settings.attempts(operation)
        steps = operation.steps(attempts)
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._do(step, attempts, operation.options)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            return cast(T, end.value)

    @property
    def _stubs(self) -> Stubs:
        # gRPC ties a channel to the loop that runs when it is made, and a client may be made before there is one.
        if self._channel is None:
            self._channel = _open_channel(self._settings, self._credentials)
            self._open_stubs = Stubs(self._channel)
        return self._open_stubs

    @property
    def _uploads(self) -> Stubs:
        # grpc.aio loses the status of a call that the server ends while a message is written, and with it the
        # reason (grpc/grpc#36066). Blocking gRPC does not, and its calls can be waited for on a loop, too.
        if self._upload_channel is None:
            self._upload_channel = open_channel(self._settings, self._credentials)
            self._upload_stubs = Stubs(self._upload_channel)
        return self._upload_stubs

    async def _do(self, step: Step, attempts: Attempts, options: CallOptions) -> Any:
        if isinstance(step, Pause):
            return await self._sleep(step.seconds)
        if isinstance(step, Work):
            return await asyncio.to_thread(step.work)
        how = {
            "timeout": attempts.remaining_s(),
            "metadata": self._settings.metadata_for(options),
        }
        try:
            return await self._call(step, how)
        except grpc.FutureCancelledError as error:
            raise ConnectionFailed("the client was closed") from error
        except grpc.RpcError as error:
            raise error_from(error) from error

    async def _call(self, step: Call | Send | Receive, how: dict[str, Any]) -> Any:
        if isinstance(step, Call):
            return await self._stubs.unary(step.method)(step.request, **how)
        if isinstance(step, Send):
            return await self._send(step, how)
        return await self._receive(step, how)

    async def _send(self, step: Send, how: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        call = self._uploads.upload.future(step.outgoing.messages(step.reached), **how)
        call.add_done_callback(lambda _: _call_on(loop, over.set))
        try:
            await over.wait()
            return outcome_of(call, step.outgoing)
        finally:
            # Where it is over, this does nothing.
            call.cancel()

    async def _receive(self, step: Receive, how: dict[str, Any]) -> None:
        call = self._stubs.download(step.request, **how)
        pending: deque[Future[int]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="files-client-write") as pool:
            try:
                async for message in call:
                    pending.append(pool.submit(step.accept, message))
                    if len(pending) > WRITE_BEHIND:
                        step.reached(await asyncio.wrap_future(pending.popleft()))
            finally:
                call.cancel()
                while pending:
                    step.reached(await asyncio.wrap_future(pending.popleft()))


def _open_channel(settings: Settings, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    address, options = settings.address, settings.channel_options
    if credentials is None and not address.is_secure:
        return grpc.aio.insecure_channel(address.target, options=options)
    credentials = credentials or grpc.ssl_channel_credentials()
    return grpc.aio.secure_channel(address.target, credentials, options=options)


def _call_on(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    # A loop that is closed has nobody who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
