"""The content of an upload: read in order, hashed once, and gone back in as far as its source allows."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO, Protocol

from .errors import SizeMismatch

CHUNK_BYTES = 256 * 1024
"""Bytes in a message: the size from which on larger ones gain nothing."""
WINDOW_BYTES = 8 * 1024 * 1024
"""What is kept of a source that cannot seek, so that a short break does not end its upload."""

Buffer = bytes | bytearray | memoryview


class OutOfReach(Exception):
    """The source cannot go back that far."""


class Source(Protocol):
    """Where content comes from. Positions count from where the content begins."""

    size_bytes: int | None
    """None where only its end will tell."""

    def read(self, size: int) -> bytes | memoryview:
        """Gives the next bytes, at most `size`; empty only at the end."""
        ...

    def seek(self, position: int) -> None:
        """Goes to a position that has been read before, or raises OutOfReach."""
        ...

    def close(self) -> None:
        """Closes what was opened here."""
        ...


class FileSource:
    """An open file that can seek; the content begins where it stands."""

    def __init__(self, file: BinaryIO, *, owned: bool) -> None:
        self._file = file
        self._owned = owned
        self._begin = file.tell()
        self.size_bytes: int | None = max(0, file.seek(0, io.SEEK_END) - self._begin)
        file.seek(self._begin)

    def read(self, size: int) -> bytes:
        return _read_full(self._file, size)

    def seek(self, position: int) -> None:
        self._file.seek(self._begin + position)

    def close(self) -> None:
        if self._owned:
            self._file.close()


class StreamSource:
    """A file object that cannot seek, such as a pipe: only its last bytes are kept."""

    def __init__(self, stream: BinaryIO, window_bytes: int = WINDOW_BYTES) -> None:
        self.size_bytes: int | None = None
        self._stream = stream
        self._window_bytes = window_bytes
        self._kept = bytearray()
        self._kept_from = 0
        self._position = 0

    def read(self, size: int) -> bytes:
        begin = self._position - self._kept_from
        data = bytes(self._kept[begin : begin + size])
        if not data:
            data = _read_full(self._stream, size)
            self._keep(data)
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        if position < self._kept_from:
            raise OutOfReach
        self._position = position

    def close(self) -> None:
        """The stream is the caller's."""

    def _keep(self, data: bytes) -> None:
        self._kept += data
        excess = len(self._kept) - self._window_bytes
        if excess > 0:
            del self._kept[:excess]
            self._kept_from += excess


class BufferSource:
    """Bytes in memory, never copied here."""

    def __init__(self, buffer: Buffer) -> None:
        self._view = memoryview(buffer).cast("B")
        self.size_bytes: int | None = len(self._view)
        self._position = 0

    def read(self, size: int) -> memoryview:
        data = self._view[self._position : self._position + size]
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        self._position = position

    def close(self) -> None:
        self._view.release()


def source_of(content: BinaryIO | Buffer) -> Source:
    """The source of what a caller hands over. Raises TypeError where it holds text."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return BufferSource(content)
    if isinstance(content, io.TextIOBase):
        raise TypeError("the file object must be opened in binary mode")
    if content.seekable():
        return FileSource(content, owned=False)
    return StreamSource(content)


class Content:
    """A source with the hash of everything read so far."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._hashed = 0
        self.position = 0

    @property
    def size_bytes(self) -> int | None:
        """The length, where the source knows it."""
        return self._source.size_bytes

    @property
    def sha256(self) -> bytes:
        """The hash of all that has been read, wherever reading stands now."""
        return self._sha256.digest()

    def read(self, size: int = CHUNK_BYTES) -> bytes | memoryview:
        """The next bytes; empty at the end."""
        data = self._source.read(size)
        end = self.position + len(data)
        if end > self._hashed:
            new = end - self._hashed
            self._sha256.update(memoryview(data)[len(data) - new :])
            self._hashed = end
        self.position = end
        return data

    def go_to(self, offset: int) -> None:
        """Goes on at `offset`; what lies between it and all that was read before is hashed on the way."""
        begin = min(offset, self._hashed)
        self._source.seek(begin)
        self.position = begin
        while self.position < offset:
            if not self.read(min(CHUNK_BYTES, offset - self.position)):
                raise SizeMismatch(
                    f"the server has {offset} bytes of it, but the content ends after {self.position}"
                )

    def hash_to_the_end(self) -> None:
        """Reads what has not been read."""
        self.go_to(self._hashed)
        while self.read():
            pass

    def close(self) -> None:
        """Closes the source where it was opened here."""
        self._source.close()


def _read_full(file: BinaryIO, size: int) -> bytes:
    data = _read_some(file, size)
    if len(data) == size or not data:
        return data
    parts, missing = [data], size - len(data)
    while missing and (data := _read_some(file, missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _read_some(file: BinaryIO, size: int) -> bytes:
    data: object = file.read(size)
    if not isinstance(data, bytes):
        raise TypeError(f"the file object gave {type(data).__name__} instead of bytes")
    return data
