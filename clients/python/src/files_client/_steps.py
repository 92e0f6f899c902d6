"""Calls as steps: what to do is decided here once, and done by `_blocking` or `_async`.

An operation is a generator. It yields a step, is sent the step's outcome or has its failure thrown in, and
returns the result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypedDict, TypeVar

from ._methods import A, Method, Q
from ._proto import files_pb2 as pb
from ._read_ahead import Outgoing
from ._retry import Attempts
from .errors import FilesError

T = TypeVar("T")
Timeout = float | timedelta | None
Metadata = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] | None


class CallOptions(TypedDict, total=False):
    """What every call takes.

    `timeout`: seconds or a timedelta for all attempts together; None: the client's; `math.inf`: none.
    `metadata`: more gRPC metadata, such as `{"traceparent": "00-…"}`.
    """

    timeout: Timeout
    metadata: Metadata


def refuse_unknown(options: Mapping[str, Any], known: Any) -> None:
    """Raises TypeError where an option of `known`, a TypedDict, was misspelt."""
    unknown = sorted(options.keys() - known.__optional_keys__)
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")


@dataclass(frozen=True, slots=True)
class Call:
    """Make one unary call; the outcome is its answer."""

    method: Method[Any, Any]
    request: Any


@dataclass(frozen=True, slots=True)
class Send:
    """Send one stream of messages; the outcome is an UploadFileResponse.

    `reached` is told the position of what was sent.
    """

    outgoing: Outgoing
    reached: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Receive:
    """Receive one stream of messages; there is no outcome.

    `accept` takes each message, on a thread that may block, and gives the position reached; `reached` is told
    that position.
    """

    request: pb.DownloadFileRequest
    accept: Callable[[pb.DownloadFileResponse], int]
    reached: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Work:
    """Do something that may block; the outcome is what it returns."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; there is no outcome."""

    seconds: float


Step = Call | Send | Receive | Work | Pause
Steps = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call of a client's: its steps and how it is to be made."""

    steps: Callable[[Attempts], Steps[T]]
    options: CallOptions = field(default_factory=CallOptions)
    is_transfer: bool = False
    """Whether it moves content and so takes the client's transfer timeout."""


def unary(attempts: Attempts, method: Method[Q, A], request: Q) -> Steps[A]:
    """One unary call, repeated where that is safe."""
    while True:
        try:
            answer: A = yield Call(method, request)
            return answer
        except FilesError as error:
            if not method.repeat(error):
                raise
            yield Pause(attempts.delay_after(error))


def operation(method: Method[Q, A], request: Q, result: Callable[[A], T], options: CallOptions) -> Operation[T]:
    """The operation of one unary call; `result` makes its answer what the caller gets."""
    refuse_unknown(options, CallOptions)

    def steps(attempts: Attempts) -> Steps[T]:
        return result((yield from unary(attempts, method, request)))

    return Operation(steps, options)


def work(task: Callable[[], T]) -> Steps[T]:
    """Something that may block."""
    outcome: T = yield Work(task)
    return outcome
