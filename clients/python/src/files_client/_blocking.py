"""Does the steps of operations with blocking gRPC."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

import grpc

from ._channel import Settings, Stubs
from ._read_ahead import Outgoing
from ._retry import Attempts
from ._steps import Call, CallOptions, Operation, Pause, Receive, Send, Step, Work
from .errors import ConnectionFailed, error_from

T = TypeVar("T")

WRITE_BEHIND = 4
"""Messages received while those before are hashed and written."""


class Blocking:
    """A channel, and operations done over it. Threads may share it."""

    def __init__(
        self,
        settings: Settings,
        credentials: grpc.ChannelCredentials | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._channel = open_channel(settings, credentials)
        self._stubs = Stubs(self._channel)

    def close(self) -> None:
        """Ends the connection and calls under way."""
        self._channel.close()

    def run(self, operation: Operation[T]) -> T:
        """Does an operation to its end."""
        attempts = self._settings.attempts(operation)
        steps = operation.steps(attempts)
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._do(step, attempts, operation.options)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            return cast(T, end.value)

    def _do(self, step: Step, attempts: Attempts, options: CallOptions) -> Any:
        if isinstance(step, Pause):
            return self._sleep(step.seconds)
        if isinstance(step, Work):
            return step.work()
        how = {
            "timeout": attempts.remaining_s(),
            "metadata": self._settings.metadata_for(options),
        }
        try:
            return self._call(step, how)
        except grpc.FutureCancelledError as error:
            raise ConnectionFailed("the client was closed") from error
        except grpc.RpcError as error:
            raise error_from(error) from error

    def _call(self, step: Call | Send | Receive, how: dict[str, Any]) -> Any:
        if isinstance(step, Call):
            return self._stubs.unary(step.method)(step.request, **how)
        if isinstance(step, Send):
            return self._send(step, how)
        return self._receive(step, how)

    def _send(self, step: Send, how: dict[str, Any]) -> Any:
        call = self._stubs.upload.future(step.outgoing.messages(step.reached), **how)
        try:
            return outcome_of(call, step.outgoing)
        finally:
            # Where it is over, this does nothing.
            call.cancel()

    def _receive(self, step: Receive, how: dict[str, Any]) -> None:
        call = self._stubs.download(step.request, **how)
        pending: deque[Future[int]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="files-client-write") as pool:
            try:
                for message in call:
                    pending.append(pool.submit(step.accept, message))
                    if len(pending) > WRITE_BEHIND:
                        step.reached(pending.popleft().result())
            finally:
                call.cancel()
                while pending:
                    step.reached(pending.popleft().result())


def open_channel(settings: Settings, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel that connects when it is first needed."""
    address, options = settings.address, settings.channel_options
    if credentials is None and not address.is_secure:
        return grpc.insecure_channel(address.target, options=options)
    credentials = credentials or grpc.ssl_channel_credentials()
    return grpc.secure_channel(address.target, credentials, options=options)


def outcome_of(call: Any, outgoing: Outgoing) -> Any:
    """The answer of an upload's call."""
    try:
        return call.result()
    except (grpc.RpcError, grpc.FutureCancelledError):
        # Why reading failed says more than that the server missed the end.
        if outgoing.failure is not None:
            raise outgoing.failure from None
        raise
