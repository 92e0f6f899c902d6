"""The parts that need no server."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import os
from pathlib import Path

import pytest
from support import PNG, Server

from files_client import AsyncClient, AsyncFiles, Client, Files, FilesError, Reference, RetryPolicy
from files_client._channel import Address, Settings
from files_client._content import BufferSource, Content, FileSource, OutOfReach, StreamSource
from files_client._proto import files_pb2 as pb
from files_client._read_ahead import _data_message
from files_client._retry import Attempts


@pytest.mark.parametrize(
    ("text", "target", "is_secure"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("http://127.0.0.1:50051", "127.0.0.1:50051", False),
        ("http://files.example.com/", "files.example.com:80", False),
        ("https://files.example.com", "files.example.com:443", True),
        ("https://[::1]:50051", "[::1]:50051", True),
        ("[::1]:50051", "[::1]:50051", False),
    ],
)
def test_addresses_are_read(text: str, target: str, is_secure: bool) -> None:
    assert Address.parse(text) == Address(target, is_secure)


@pytest.mark.parametrize(
    "text", ["localhost", "ftp://a:1", "http://", "http://a:1/path", "a:1?b=c", "u@a:1", "a:x"]
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|Port|not HOST"):
        Address.parse(text)


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def target(server: str | None) -> str:
        return Settings.of(server, None, None, None, RetryPolicy()).address.target

    monkeypatch.setenv("FILES_SERVER", "http://files:1")
    assert target(None) == "files:1"
    assert target("other:2") == "other:2"
    monkeypatch.delenv("FILES_SERVER")
    assert target(None) == "127.0.0.1:50051"


def test_waits_grow_to_a_limit_and_end() -> None:
    now = [0.0]
    attempts = Attempts(RetryPolicy(failures_max=4, delay_max_s=0.3, jitter=lambda: 1.0), 1.0, lambda: now[0])
    error = FilesError("again")
    assert [attempts.delay_after(error) for _ in range(3)] == [0.1, 0.2, 0.3]
    with pytest.raises(FilesError):
        attempts.delay_after(error)
    attempts.progressed()
    assert attempts.delay_after(error) == 0.1
    now[0] = 0.9
    assert attempts.remaining_s() == pytest.approx(0.1)
    with pytest.raises(FilesError):
        attempts.delay_after(error)


def test_content_is_hashed_once_wherever_it_is_read() -> None:
    data = os.urandom(1_000_000)
    content = Content(BufferSource(data))
    content.read()
    content.go_to(100)
    content.read()
    content.go_to(700_000)
    assert content.position == 700_000
    assert content.read(5) == data[700_000:700_005]
    content.go_to(3)
    content.hash_to_the_end()
    assert content.sha256 == hashlib.sha256(data).digest()


def test_content_that_has_shrunk_is_an_error(tmp_path: Path) -> None:
    content = Content(FileSource(io.BytesIO(b"short"), owned=False))
    with pytest.raises(FilesError, match="ends after 5"):
        content.go_to(6)


def test_a_stream_keeps_its_last_bytes() -> None:
    source = StreamSource(io.BytesIO(b"0123456789"), window_bytes=4)
    assert source.read(3) + source.read(3) == b"012345"
    source.seek(2)
    assert source.read(100) + source.read(2) == b"234567"
    with pytest.raises(OutOfReach):
        source.seek(3)


@pytest.mark.parametrize("size", [1, 127, 128, 16_384, 256 * 1024])
def test_data_messages_are_those_of_the_contract(size: int) -> None:
    data = os.urandom(size)
    assert _data_message(memoryview(data)) == pb.UploadFileRequest(data=data).SerializeToString()


def test_references_are_read_and_written() -> None:
    assert str(Reference.parse("vector_store:a:b")) == "vector-store:a:b"
    for bad in ("thread", "thread:", "planet:x", "unknown:x"):
        with pytest.raises(ValueError, match="KIND:ID"):
            Reference.parse(bad)


def test_both_clients_have_the_same_calls() -> None:
    def calls(cls: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(call).parameters.values())
            for name, call in vars(cls).items()
            if not name.startswith("_")
        }

    assert calls(Files) == calls(AsyncFiles)
    assert all(getattr(Files, name).__doc__ for name in calls(Files))


def test_an_async_client_is_used_as_one_would(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(PNG + os.urandom(600_000))
    client = AsyncClient(server.grpc)

    async def use() -> list[bytes]:
        async with client:
            made = await asyncio.gather(
                *(client.files.upload_file(path, user_id="together", purpose="assistants") for _ in range(8))
            )
            listed = [file.id async for file in client.files.list_files("together")]
            assert set(listed) == {file.id for file in made}
            return await asyncio.gather(*(client.files.download_file(each) for each in listed))

    assert asyncio.run(use()) == [path.read_bytes()] * 8


def test_a_cancelled_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    async def use() -> None:
        async with AsyncClient(server.grpc) as client:
            file = await client.files.upload_file_object(
                b"a" * 20_000_000, user_id="cancelled", purpose="assistants", filename="a.txt"
            )
            begun = asyncio.Event()
            task = asyncio.create_task(
                client.files.download_file(file.id, tmp_path / "copy", progress=lambda _: begun.set())
            )
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(use())
    assert list(tmp_path.iterdir()) == []


def test_a_client_closes_at_the_end_of_its_block(server: Server) -> None:
    with Client(f"http://{server.grpc}") as client:
        assert client.files.get_usage("nobody").file_count == 0
    with pytest.raises(ValueError, match="closed"):
        client.files.get_usage("nobody")
