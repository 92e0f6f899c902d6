"""Broken connections: uploads and downloads go on, and say so when they cannot."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support import Break, Cut, Failure, Naps, Proxy, ScriptedServer

from files_client import RetryPolicy, errors

CHUNK = 256 * 1024
CONTENT = os.urandom(16 * CHUNK + 5)
BREAK = Failure(grpc.StatusCode.UNAVAILABLE)


def upload(client: Any, content: Any = CONTENT, user: str = "anna", **options: Any) -> Any:
    return client.files.upload_file_object(
        content, user_id=user, purpose="assistants", filename="a.tar", **options
    )


class Pipe(io.RawIOBase):
    """A source that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        # Less than was asked for, as pipes do.
        return self._content.read(min(size, 65536))


def test_an_upload_survives_a_cut_connection(
    connect: Callable[..., Any], proxy: Callable[..., Proxy], user: str
) -> None:
    cutting = proxy(Cut(up=1_500_000), Cut(up=700_000))
    client = connect(cutting.grpc)
    told: list[int] = []
    file = upload(client, user=user, progress=told.append)
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert cutting.resets == 2
    assert sum(told) == len(CONTENT)
    assert all(each > 0 for each in told)
    assert [each.id for each in client.files.list_files(user)] == [file.id]


def test_an_answer_that_is_lost_is_asked_for_again(
    connect: Callable[..., Any], proxy: Callable[..., Proxy], user: str
) -> None:
    # What a server sends before the answer is small; whether the cut hits it or what comes before, the upload
    # ends with one file.
    cutting = proxy(*(Cut(down=size) for size in (50, 90, 130, 200)))
    client = connect(cutting.grpc)
    file = upload(client, b"small", user=user)
    assert [each.id for each in client.files.list_files(user)] == [file.id]
    assert cutting.resets == 4


def test_another_client_goes_on_with_an_upload(
    connect: Callable[..., Any], proxy: Callable[..., Proxy], client: Any, user: str
) -> None:
    upload_id = str(uuid.uuid4())
    first = connect(proxy(Cut(up=3_000_000)).grpc, retry=RetryPolicy(failures_max=1))
    with pytest.raises(errors.ConnectionFailed):
        upload(first, user=user, upload_id=upload_id)
    try:
        persisted = client.files.get_upload(upload_id, user_id=user).persisted_size_bytes
    except (errors.Unimplemented, errors.UploadNotFound):
        persisted = 0
    counting = proxy()
    told: list[int] = []
    file = upload(connect(counting.grpc), user=user, upload_id=upload_id, progress=told.append)
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert sum(told) == len(CONTENT)
    assert counting.bytes_up < len(CONTENT) - persisted + 20_000


def test_a_download_survives_a_cut_connection(
    connect: Callable[..., Any], proxy: Callable[..., Proxy], client: Any, user: str, tmp_path: Path
) -> None:
    file = upload(client, user=user)
    cutting = proxy(Cut(down=1_000_000), Cut(down=1_500_000))
    path = tmp_path / "copy.tar"
    told: list[int] = []
    resumed = connect(cutting.grpc)
    assert resumed.files.download_file(file.id, path, progress=told.append) == file
    assert path.read_bytes() == CONTENT
    assert (cutting.resets, cutting.connections) == (2, 3)
    assert sum(told) == len(CONTENT)


def test_a_part_is_downloaded_over_a_cut_connection(
    connect: Callable[..., Any], proxy: Callable[..., Proxy], client: Any, user: str
) -> None:
    file = upload(client, user=user)
    cutting = proxy(Cut(down=1_000_000))
    resumed = connect(cutting.grpc)
    part = resumed.files.download_file(file.id, offset=-3_000_000, length_max=2_500_000)
    assert part == CONTENT[-3_000_000:-500_000]
    assert cutting.resets == 1


def test_a_download_that_never_comes_leaves_nothing(
    connect: Callable[..., Any], proxy: Callable[..., Proxy], client: Any, user: str, tmp_path: Path
) -> None:
    file = upload(client, user=user)
    broken = connect(proxy(*(Cut(down=1_000) for _ in range(20))).grpc)
    with pytest.raises(errors.ConnectionFailed):
        broken.files.download_file(file.id, tmp_path / "copy.tar")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        BREAK,
        Failure(grpc.StatusCode.INTERNAL),
        Failure(grpc.StatusCode.CANCELLED),
        Failure(grpc.StatusCode.ABORTED, "UPLOAD_INCOMPLETE"),
        Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_STALLED"),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_s=1),
        Failure(grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE", retry_after_s=1),
        Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", retry_after_s=1),
    ],
    ids=lambda failure: failure.reason or failure.code.name,
)
def test_an_upload_goes_on_from_what_is_durable(
    connect: Callable[..., Any], scripted: ScriptedServer, naps: Naps, failure: Failure
) -> None:
    scripted.breaks.append(Break(after=5 * CHUNK, persisted=3 * CHUNK + 7, failure=failure))
    scripted.breaks.append(Break(after=9 * CHUNK, persisted=9 * CHUNK, failure=failure))
    upload(connect(scripted.grpc))
    assert [start.offset for start in scripted.starts] == [0, 3 * CHUNK + 7, 9 * CHUNK]
    assert len({start.upload_id for start in scripted.starts}) == 1
    assert scripted.starts[0].size_bytes == len(CONTENT)
    assert scripted.content == CONTENT
    assert naps.taken == [float(failure.retry_after_s or 0)] * 2


def test_an_upload_goes_to_the_offset_it_is_told(connect: Callable[..., Any], scripted: ScriptedServer) -> None:
    told = Failure(grpc.StatusCode.OUT_OF_RANGE, "OFFSET_MISMATCH", {"persisted_size_bytes": str(CHUNK)})
    scripted.breaks.append(Break(after=2 * CHUNK, persisted=2 * CHUNK, failure=told))
    upload(connect(scripted.grpc))
    assert [start.offset for start in scripted.starts] == [0, CHUNK]
    assert scripted.calls == ["UploadFile", "UploadFile"]
    assert scripted.content == CONTENT


def test_a_finished_upload_whose_answer_was_lost_is_not_sent_again(
    connect: Callable[..., Any], scripted: ScriptedServer
) -> None:
    scripted.finished_in_secret = True
    scripted.breaks.append(Break(after=len(CONTENT), persisted=0, failure=BREAK))
    assert upload(connect(scripted.grpc)).id == "file_x"
    assert scripted.calls == ["UploadFile", "GetUpload"]


def test_a_file_that_holds_something_else_is_an_error(
    connect: Callable[..., Any], scripted: ScriptedServer
) -> None:
    scripted.wrong_hash = True
    with pytest.raises(errors.ChecksumMismatch):
        upload(connect(scripted.grpc))


def test_a_server_without_resume_gets_it_all_again(connect: Callable[..., Any], scripted: ScriptedServer) -> None:
    scripted.failures["GetUpload"].append(Failure(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"))
    scripted.breaks.append(Break(after=5 * CHUNK, persisted=5 * CHUNK, failure=BREAK))
    upload(connect(scripted.grpc))
    assert [start.offset for start in scripted.starts] == [0, 0]


def test_asking_how_far_an_upload_came_is_repeated(
    connect: Callable[..., Any], scripted: ScriptedServer, naps: Naps
) -> None:
    scripted.failures["GetUpload"].extend([BREAK, Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")])
    scripted.breaks.append(Break(after=5 * CHUNK, persisted=5 * CHUNK, failure=BREAK))
    upload(connect(scripted.grpc))
    assert scripted.calls == ["UploadFile", "GetUpload", "GetUpload", "GetUpload", "UploadFile"]
    assert len(naps.taken) == 3


@pytest.mark.parametrize(
    ("failure", "kind_of_error"),
    [
        (Failure(grpc.StatusCode.ABORTED, "UPLOAD_TAKEN_OVER"), errors.UploadTakenOver),
        (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"), errors.StorageFull),
        (Failure(grpc.StatusCode.INTERNAL, "INTERNAL"), errors.InternalError),
        (Failure(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", field="start"), errors.FieldInvalid),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    connect: Callable[..., Any],
    scripted: ScriptedServer,
    failure: Failure,
    kind_of_error: type[Exception],
) -> None:
    scripted.breaks.append(Break(after=CHUNK, persisted=CHUNK, failure=failure))
    with pytest.raises(kind_of_error):
        upload(connect(scripted.grpc))
    assert len(scripted.starts) == 1


def test_failures_without_progress_end_an_upload(
    connect: Callable[..., Any], scripted: ScriptedServer, naps: Naps
) -> None:
    scripted.breaks.extend(Break(after=2 * CHUNK, persisted=CHUNK, failure=BREAK) for _ in range(20))
    with pytest.raises(errors.ConnectionFailed):
        upload(connect(scripted.grpc, retry=RetryPolicy(jitter=lambda: 1.0)))
    # One with progress, and then seven waits between eight without.
    assert len(scripted.starts) == 1 + 8
    assert naps.taken == [0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


def test_progress_forgives_failures(connect: Callable[..., Any], scripted: ScriptedServer) -> None:
    scripted.breaks.extend(
        Break(after=each * CHUNK, persisted=each * CHUNK, failure=BREAK) for each in range(1, 16)
    )
    upload(connect(scripted.grpc))
    assert len(scripted.starts) == 16
    assert scripted.content == CONTENT


def test_a_pipe_goes_on_from_what_is_at_hand(connect: Callable[..., Any], scripted: ScriptedServer) -> None:
    scripted.breaks.append(Break(after=5 * CHUNK, persisted=3 * CHUNK + 7, failure=BREAK))
    upload(connect(scripted.grpc), Pipe(CONTENT))
    assert [start.offset for start in scripted.starts] == [0, 3 * CHUNK + 7]
    assert scripted.content == CONTENT


def test_a_pipe_that_would_have_to_go_back_too_far_fails(
    connect: Callable[..., Any], scripted: ScriptedServer
) -> None:
    long = os.urandom(50 * CHUNK)
    scripted.breaks.append(Break(after=45 * CHUNK, persisted=CHUNK, failure=BREAK))
    with pytest.raises(errors.ConnectionFailed):
        upload(connect(scripted.grpc), Pipe(long))
    assert len(scripted.starts) == 1


def test_an_upload_of_its_own_that_fails_here_is_given_up(
    connect: Callable[..., Any], scripted: ScriptedServer
) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("bad sector")

    with pytest.raises(OSError, match="bad sector"):
        upload(connect(scripted.grpc), Broken(CONTENT))
    assert scripted.calls[-1] == "CancelUpload"
