"""The messages of one attempt to upload, read and hashed on a thread of their own while others are sent."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ._content import Content
from ._proto import files_pb2 as pb

READ_AHEAD = 4
"""Messages read ahead of the network: few enough for what was hashed to be in the cache when it is sent."""
_DATA_TAG = b"\x12"
"""Field 2 of UploadFileRequest, `data`, length-delimited."""

OutgoingMessage = tuple[bytes, int] | None
"""A message as it goes on the wire, and the position in the content that it comes to; None: the end."""


class Outgoing:
    """The messages from `offset` to the end."""

    def __init__(self, start: pb.UploadStart, content: Content, pool: ThreadPoolExecutor) -> None:
        self.failure: Exception | None = None
        """Why there were no more messages, where it was not their end."""
        self._content = content
        self._pool = pool
        self._lock = threading.Lock()
        self._closed = False
        self._ended = False
        self._start = pb.UploadFileRequest(start=start).SerializeToString()
        self._pending: deque[Future[OutgoingMessage]] = deque()

    def messages(self, reached: Callable[[int], None]) -> Iterator[bytes]:
        """The messages as gRPC takes them, on a thread of its own; `reached` is told how far they came.

        What was raised there would only be logged, so it is kept in `failure`.
        """
        try:
            yield self._start
            while read := self._take().result():
                message, position = read
                yield message
                reached(position)
        except Exception as error:
            self.failure = error

    def close(self) -> None:
        """Ends the messages. Nothing reads the content once this returns."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        # The one taken last is read before these.
        for each in pending:
            each.exception()

    def _take(self) -> Future[OutgoingMessage]:
        """The next message, and reads on; None after the last, and once closed."""
        with self._lock:
            while not self._closed and len(self._pending) <= READ_AHEAD:
                self._pending.append(self._pool.submit(self._read))
            return self._pending.popleft() if self._pending else _nothing()

    def _read(self) -> OutgoingMessage:
        if self._ended or self._closed:
            return None
        chunk = self._content.read()
        self._ended = not chunk
        message = _data_message(chunk) if chunk else _finish_message(self._content.sha256)
        return message, self._content.position


def _data_message(chunk: bytes | memoryview) -> bytes:
    # What UploadFileRequest(data=chunk).SerializeToString() gives, with one copy instead of three.
    return b"".join((_DATA_TAG, _varint(len(chunk)), chunk))


def _finish_message(sha256: bytes) -> bytes:
    return pb.UploadFileRequest(finish=pb.UploadFinish(sha256=sha256)).SerializeToString()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _nothing() -> Future[OutgoingMessage]:
    future: Future[OutgoingMessage] = Future()
    future.set_result(None)
    return future
