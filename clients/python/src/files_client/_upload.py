"""An upload as steps: sent, and after a break gone on with from what is durable on the server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from . import _convert
from ._content import Content, OutOfReach, Source
from ._methods import CANCEL_UPLOAD, GET_UPLOAD
from ._progress import Progress
from ._proto import files_pb2 as pb
from ._read_ahead import Outgoing
from ._retry import Attempts
from ._steps import Call, Pause, Send, Steps, work
from .errors import (
    AnswerIncomplete,
    ChecksumMismatch,
    FilesError,
    OffsetMismatch,
    Unimplemented,
    UploadNotFound,
)
from .types import File


def upload(
    start: pb.UploadStart,
    open_source: Callable[[], Source],
    progress: Progress,
    attempts: Attempts,
    *,
    resumable: bool,
) -> Steps[File]:
    """Uploads the content that `open_source` opens.

    `resumable` says that the caller chose the upload_id: an earlier upload may have got somewhere, and a later
    one may go on with this.
    """
    content = Content((yield from work(open_source)))
    if content.size_bytes is not None:
        start.size_bytes = content.size_bytes
    pool = ThreadPoolExecutor(1, thread_name_prefix="files-client-read")
    attempt = _Upload(start, content, pool, progress, attempts)
    try:
        return (yield from attempt.run(resumable))
    except Exception as error:
        if not resumable and not isinstance(error, FilesError):
            yield from attempt.give_up()
        raise
    finally:
        pool.shutdown()
        content.close()


class _Upload:
    def __init__(
        self,
        start: pb.UploadStart,
        content: Content,
        pool: ThreadPoolExecutor,
        progress: Progress,
        attempts: Attempts,
    ) -> None:
        self._start = start
        self._content = content
        self._pool = pool
        self._progress = progress
        self._attempts = attempts
        self._persisted = 0

    def run(self, resumable: bool) -> Steps[File]:
        if resumable:
            # Whether the file is there already is for UploadFile to say: it compares the starts.
            status = yield from self._status()
            if not status.HasField("file"):
                yield from self._go_to(status.persisted_size_bytes)
        while True:
            try:
                answer = yield from self._send()
                return (yield from self._checked(answer.file))
            except FilesError as error:
                finished = yield from self._after(error)
                if finished is not None:
                    return (yield from self._checked(finished))

    def give_up(self) -> Steps[None]:
        """Frees what the server has; if that fails, the upload expires there by itself."""
        request = pb.CancelUploadRequest(upload_id=self._start.upload_id, user_id=self._start.user_id)
        with suppress(FilesError):
            yield Call(CANCEL_UPLOAD, request)

    def _send(self) -> Steps[pb.UploadFileResponse]:
        self._start.offset = self._content.position
        outgoing = Outgoing(self._start, self._content, self._pool)
        try:
            answer: pb.UploadFileResponse = yield Send(outgoing, self._progress.reached)
            return answer
        finally:
            yield from work(outgoing.close)

    def _after(self, error: FilesError) -> Steps[pb.File | None]:
        """Brings the content to where the upload goes on, or gives the file that it made nevertheless."""
        if not (error.retryable or isinstance(error, OffsetMismatch)):
            raise error
        yield Pause(self._attempts.delay_after(error))
        if isinstance(error, OffsetMismatch):
            offset = error.persisted_size_bytes
        else:
            status = yield from self._status()
            if status.HasField("file"):
                return status.file
            offset = status.persisted_size_bytes
        try:
            yield from self._go_to(offset)
        except OutOfReach:
            raise error from None
        return None

    def _status(self) -> Steps[pb.GetUploadResponse]:
        request = pb.GetUploadRequest(upload_id=self._start.upload_id, user_id=self._start.user_id)
        while True:
            try:
                answer: pb.GetUploadResponse = yield Call(GET_UPLOAD, request)
                return answer
            except (UploadNotFound, Unimplemented):
                return pb.GetUploadResponse()
            except FilesError as error:
                if not GET_UPLOAD.repeat(error):
                    raise
                yield Pause(self._attempts.delay_after(error))

    def _go_to(self, offset: int) -> Steps[None]:
        if offset > self._persisted:
            self._persisted = offset
            self._attempts.progressed()
        yield from work(lambda: self._content.go_to(offset))
        self._progress.reached(offset)

    def _checked(self, message: pb.File) -> Steps[File]:
        """The file, once it is known to hold this content."""
        if not message.id:
            raise AnswerIncomplete("the server's answer lacks the file")
        # Where the file was there before, the server need not have waited for all of the content.
        yield from work(self._content.hash_to_the_end)
        size_bytes = self._content.position
        if message.sha256 != self._content.sha256 or message.size_bytes != size_bytes:
            raise ChecksumMismatch(f"{message.id} on the server does not hold the content uploaded")
        self._progress.reached(size_bytes)
        return _convert.file(message)
