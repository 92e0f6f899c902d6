"""A download as steps: received, gone on with after a break, and checked at the end."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Protocol

from . import _convert
from ._progress import Progress, ProgressCallback
from ._proto import files_pb2 as pb
from ._retry import Attempts
from ._steps import Pause, Receive, Steps, work
from .errors import AnswerIncomplete, ChecksumMismatch, FilesError
from .types import File

Target = str | os.PathLike[str] | BinaryIO


class Sink(Protocol):
    """Where content goes. Ends with one of `commit` and `abort`."""

    def open(self) -> None:
        """Makes it ready; told once, first."""
        ...

    def write(self, data: bytes) -> None:
        """Takes the next bytes."""
        ...

    def commit(self) -> None:
        """All bytes were written."""
        ...

    def abort(self) -> None:
        """There will be no more."""
        ...


class BytesSink:
    """Keeps content in memory."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    @property
    def content(self) -> bytes:
        """All of it."""
        return b"".join(self._chunks)

    def open(self) -> None:
        """Nothing to do."""

    def write(self, data: bytes) -> None:
        self._chunks.append(data)

    def commit(self) -> None:
        """Nothing to do."""

    def abort(self) -> None:
        self._chunks.clear()


class FileObjectSink:
    """Writes to a caller's file object."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def open(self) -> None:
        """It is open."""

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            # A raw file may take less than it is given; others return the whole length, or None.
            written = self._file.write(left)
            left = left[len(left) if written is None else written :]

    def commit(self) -> None:
        self._file.flush()

    def abort(self) -> None:
        """What was written is the caller's to clean up."""


class PathSink:
    """Makes a file at a path, whole or not at all: what was there before is replaced at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".files-{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None

    def open(self) -> None:
        if self._path.is_dir():
            raise IsADirectoryError(f"{self._path} is a directory")
        self._file = self._partial.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        if self._file is not None:
            FileObjectSink(self._file).write(data)

    def commit(self) -> None:
        if self._file is not None:
            # Without it a power cut could leave the name with half of the content.
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._partial.unlink(missing_ok=True)


def sink_for(target: Target | None) -> Sink:
    """The sink of what a caller names: memory, a path or a file object."""
    if target is None:
        return BytesSink()
    if isinstance(target, (str, os.PathLike)):
        return PathSink(Path(target))
    return FileObjectSink(target)


def download(
    request: pb.DownloadFileRequest, sink: Sink, progress: ProgressCallback, attempts: Attempts
) -> Steps[File]:
    """Downloads into `sink`."""
    incoming = _Download(request, sink, progress)
    try:
        yield from work(sink.open)
        yield from incoming.run(attempts)
        yield from work(sink.commit)
    except BaseException:
        sink.abort()
        raise
    return incoming.file


class _Download:
    """What has been received so far. Positions count from the first byte that was asked for."""

    def __init__(self, request: pb.DownloadFileRequest, sink: Sink, progress: ProgressCallback) -> None:
        self._asked = request
        self._sink = sink
        self._progress = Progress(progress)
        self._sha256 = hashlib.sha256()
        self._message: pb.File | None = None
        self._begun = False
        self._begin = 0
        self._length = 0
        self._received = 0

    @property
    def file(self) -> File:
        """The file as the first message told it."""
        return _convert.file(self._message or pb.File())

    def run(self, attempts: Attempts) -> Steps[None]:
        while not self._is_whole():
            before = self._received
            try:
                yield Receive(self._request(), self._accept, self._progress.reached)
                if not self._is_whole():
                    raise AnswerIncomplete("the server's answer ended before the content did")
            except FilesError as error:
                if self._is_whole():
                    break
                if not error.retryable:
                    raise
                if self._received > before:
                    attempts.progressed()
                yield Pause(attempts.delay_after(error))
        self._check()

    def _request(self) -> pb.DownloadFileRequest:
        self._begun = False
        if self._message is None:
            return self._asked
        request = pb.DownloadFileRequest()
        request.CopyFrom(self._asked)
        request.read_offset = self._begin + self._received
        if self._asked.read_limit:
            request.read_limit = self._length - self._received
        return request

    def _accept(self, response: pb.DownloadFileResponse) -> int:
        if response.HasField("file"):
            self._begin_with(response.file)
        elif not self._begun:
            raise AnswerIncomplete("the server's answer lacks the file's metadata")
        else:
            self._sha256.update(response.data)
            self._sink.write(response.data)
            self._received += len(response.data)
        return self._received

    def _begin_with(self, message: pb.File) -> None:
        if self._message is None:
            self._message = message
            self._begin, self._length = _extent(self._asked, message.size_bytes)
        elif (message.id, message.sha256) != (self._message.id, self._message.sha256):
            raise ChecksumMismatch("the file's content is no longer the one that was being received")
        self._begun = True

    def _is_whole(self) -> bool:
        return self._message is not None and self._received == self._length

    def _check(self) -> None:
        message = self._message or pb.File()
        covers_all = self._begin == 0 and self._length == message.size_bytes
        if covers_all and self._sha256.digest() != message.sha256:
            raise ChecksumMismatch(f"the content received is not that of {message.id}")


def _extent(request: pb.DownloadFileRequest, size_bytes: int) -> tuple[int, int]:
    """Where the bytes asked for begin, and how many they are."""
    begin = request.read_offset
    if begin < 0:
        begin = max(0, size_bytes + begin)
    length = max(0, size_bytes - begin)
    return begin, min(length, request.read_limit) if request.read_limit else length
