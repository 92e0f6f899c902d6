"""What the tests are made of: a real server, a proxy that cuts connections, a scripted server, both clients."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import json
import os
import socket
import struct
import subprocess
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from files_client import AsyncClient, Client, RetryPolicy
from files_client._proto import files_pb2 as pb

START_TIMEOUT_S = 60
PNG = b"\x89PNG\r\n\x1a\n"
AT_ONCE = RetryPolicy(jitter=lambda: 0.0)
"""Every wait is 0, unless the server asks for a longer one."""


def binary() -> Path:
    """The server to test against. It is never done without."""
    path = os.environ.get("FILES_BINARY")
    if not path:
        raise RuntimeError("FILES_BINARY is not set: it must name the server's binary")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"FILES_BINARY: {path} cannot be executed")
    return Path(path)


class Server:
    """A real server on free ports."""

    def __init__(self, data: Path, **settings: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FILES_")}
        command: list[str | Path] = [
            binary(),
            "serve",
            "--data",
            data,
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ]
        self._process = subprocess.Popen(
            command,
            env={**inherited, "FILES__LOG__FORMAT": "json", **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log: list[str] = []
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        if not self._serving.wait(START_TIMEOUT_S) or not self.grpc:
            self.stop()
            raise RuntimeError("the server did not start:\n" + "".join(self._log))

    grpc = ""
    http = ""

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if record.get("message") == "serving":
                    self.grpc, self.http = record["grpc"], record["http"]
                    self._serving.set()
        self._serving.set()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.grpc.rpartition(":")
        return host, int(port)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()


@dataclass
class Cut:
    """Resets a connection that has let this many bytes through in a direction; None: never."""

    up: int | None = None
    down: int | None = None


class Proxy:
    """A TCP proxy. The first connection that comes as far as the first cut says is reset, and so on."""

    def __init__(self, target: tuple[str, int], *cuts: Cut) -> None:
        self._target = target
        self._cuts = deque(cuts)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.grpc = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.resets = 0
        self.bytes_up = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self._sockets: list[socket.socket] = []

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            outer = socket.create_connection(self._target)
            self._sockets += [inner, outer]
            for source, sink, is_up in ((inner, outer, True), (outer, inner, False)):
                thread = threading.Thread(target=self._pump, args=(source, sink, is_up))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while (room := self._room(passed, is_up)) > 0:
                data = source.recv(room)
                if not data:
                    break
                sink.sendall(data)
                passed += len(data)
                if is_up:
                    self.bytes_up += len(data)
        _reset(source)
        _reset(sink)

    def _room(self, passed: int, is_up: bool) -> int:
        """How many more bytes may pass at once; 0: the connection is to be reset."""
        with self._lock:
            cut = self._cuts[0] if self._cuts else Cut()
            limit = cut.up if is_up else cut.down
            if limit is None:
                return 65536
            if passed >= limit:
                self._cuts.popleft()
                self.resets += 1
            return max(0, min(65536, limit - passed))

    def close(self) -> None:
        # Closing alone would not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for each in self._sockets:
            _reset(each)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Failure:
    """What a scripted server answers."""

    code: grpc.StatusCode
    reason: str = ""
    metadata: dict[str, str] | None = None
    retry_after_s: int | None = None
    field: str = ""

    def abort(self, context: grpc.ServicerContext) -> None:
        details: list[Any] = []
        if self.reason:
            details.append(
                error_details_pb2.ErrorInfo(reason=self.reason, domain="files.v1", metadata=self.metadata or {})
            )
        if self.retry_after_s is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self.retry_after_s)))
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description="wrong")
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        status = status_pb2.Status(code=self.code.value[0], message="scripted")
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, "scripted")


@dataclass
class Break:
    """Ends an attempt to upload once `after` bytes are there, of which `persisted` are kept."""

    after: int
    persisted: int
    failure: Failure


class ScriptedServer:
    """A server of uploads and of unary calls that fails as it is told to."""

    def __init__(self) -> None:
        self.breaks: deque[Break] = deque()
        self.failures: defaultdict[str, deque[Failure]] = defaultdict(deque)
        self.starts: list[pb.UploadStart] = []
        self.calls: list[str] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.content = b""
        self.finished_in_secret = False
        """Whether the next break loses the answer of an upload that was finished."""
        self.wrong_hash = False
        self.file: pb.File | None = None
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handler = grpc.method_handlers_generic_handler("files.v1.FilesService", self._handlers())
        self._server.add_generic_rpc_handlers((handler,))
        self.grpc = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        def unary(name: str, request: Any, answer: Callable[[Any], Any]) -> grpc.RpcMethodHandler[Any, Any]:
            def call(message: Any, context: grpc.ServicerContext) -> Any:
                self.calls.append(name)
                self.metadata.append(dict(context.invocation_metadata()))
                if self.failures.get(name):
                    self.failures[name].popleft().abort(context)
                return answer(message)

            return grpc.unary_unary_rpc_method_handler(
                call, request.FromString, lambda message: message.SerializeToString()
            )

        return {
            "UploadFile": grpc.stream_unary_rpc_method_handler(
                self._upload, pb.UploadFileRequest.FromString, pb.UploadFileResponse.SerializeToString
            ),
            "GetUpload": unary("GetUpload", pb.GetUploadRequest, self._status),
            "CancelUpload": unary("CancelUpload", pb.CancelUploadRequest, lambda _: pb.CancelUploadResponse()),
            "GetFile": unary("GetFile", pb.GetFileRequest, lambda _: pb.GetFileResponse(file=pb.File(id="f"))),
            "DeleteFile": unary("DeleteFile", pb.DeleteFileRequest, lambda _: pb.DeleteFileResponse()),
        }

    def _status(self, _: pb.GetUploadRequest) -> pb.GetUploadResponse:
        return pb.GetUploadResponse(persisted_size_bytes=len(self.content), file=self.file)

    def _upload(
        self, messages: Iterator[pb.UploadFileRequest], context: grpc.ServicerContext
    ) -> pb.UploadFileResponse:
        self.calls.append("UploadFile")
        start = next(messages).start
        self.starts.append(start)
        ending = self.breaks.popleft() if self.breaks else None
        received = bytearray(self.content[: start.offset])
        sha256 = b""
        for message in messages:
            received += message.data
            sha256 = message.finish.sha256
            if ending is not None and len(received) >= ending.after:
                self.content = bytes(received[: ending.persisted])
                self._finish(received) if self.finished_in_secret else None
                ending.failure.abort(context)
        assert sha256 == hashlib.sha256(received).digest()
        return pb.UploadFileResponse(file=self._finish(received))

    def _finish(self, received: bytearray) -> pb.File:
        self.content = bytes(received)
        sha256 = hashlib.sha256(b"else" if self.wrong_hash else received).digest()
        self.file = pb.File(id="file_x", size_bytes=len(received), sha256=sha256)
        return self.file


class Driven:
    """An AsyncClient used like a Client: its calls run on the event loop of a thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._client = AsyncClient(*args, **kwargs)
        self.files = self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client.files, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._run(result) if inspect.iscoroutine(result) else self._each(result)

        return call

    def _run(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()

    def _each(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items, None)

        while (item := self._run(following())) is not None:
            yield item

    def close(self) -> None:
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Naps:
    """Waits that take no time and are remembered, for either client."""

    taken: list[float]

    def of(self, kind: str) -> Callable[[float], Any]:
        async def sleep_async(seconds: float) -> None:
            self.taken.append(seconds)

        return self.taken.append if kind == "sync" else sleep_async


def open_client(kind: str, server: str, **options: Any) -> Client | Driven:
    """A Client, or an AsyncClient that is used like one."""
    return Client(server, **options) if kind == "sync" else Driven(server, **options)
