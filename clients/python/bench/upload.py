#!/usr/bin/env python3
"""Compares `client.files.upload_file` with a bare gRPC stream of the same chunks, side by side on one server.

The bare stream reads the same file in the same chunks and does nothing else: no hash, no resume, no check. It has
the same channel options. Rounds are interleaved; the medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import Server

from files_client import AsyncClient, Client
from files_client._channel import _OPTIONS
from files_client._proto import files_pb2 as pb

CHUNK_BYTES = 256 * 1024
USER = "bench"


def bare(stub: grpc.StreamUnaryMultiCallable[pb.UploadFileRequest, pb.UploadFileResponse], path: Path) -> str:
    def messages() -> Iterator[pb.UploadFileRequest]:
        start = pb.UploadStart(user_id=USER, purpose="assistants", filename="a.tar")
        yield pb.UploadFileRequest(start=start)
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield pb.UploadFileRequest(data=chunk)
        yield pb.UploadFileRequest(finish=pb.UploadFinish())

    return stub(messages()).file.id


def measure(upload: Callable[[], str], purge: Callable[[str], object]) -> float:
    begin = time.perf_counter()
    file_id = upload()
    took = time.perf_counter() - begin
    purge(file_id)
    return took


def run(server: Server, path: Path, rounds: int) -> dict[str, list[float]]:
    channel = grpc.insecure_channel(server.grpc, options=list(_OPTIONS))
    stub = channel.stream_unary(
        "/files.v1.FilesService/UploadFile",
        request_serializer=pb.UploadFileRequest.SerializeToString,
        response_deserializer=pb.UploadFileResponse.FromString,
    )
    client = Client(server.grpc)
    loop = asyncio.new_event_loop()
    async_client = AsyncClient(server.grpc)

    def upload_async() -> str:
        upload = async_client.files.upload_file(path, user_id=USER, purpose="assistants", filename="a.tar")
        return loop.run_until_complete(upload).id

    ways: dict[str, Callable[[], str]] = {
        "bare": lambda: bare(stub, path),
        "client": lambda: client.files.upload_file(path, user_id=USER, purpose="assistants", filename="a.tar").id,
        "async client": upload_async,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, upload in ways.items():
            seconds = measure(upload, lambda file_id: client.files.delete_file(file_id, purge=True))
            # The first round warms up.
            took[name] += [seconds] if number else []
    loop.run_until_complete(async_client.close())
    loop.close()
    client.close()
    channel.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--binary", help="the server; otherwise FILES_BINARY")
    parser.add_argument("--mib", type=int, default=1024, help="size of the file in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", help="where the file and the server's data are kept")
    arguments = parser.parse_args()
    if arguments.binary:
        os.environ["FILES_BINARY"] = arguments.binary
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        path = Path(folder) / "content"
        subprocess.run(
            ["dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={arguments.mib}", "status=none"], check=True
        )
        server = Server(Path(folder) / "data", FILES__LOG__LEVEL="info")
        try:
            took = run(server, path, arguments.rounds)
        finally:
            server.stop()
    medians = {name: statistics.median(each) for name, each in took.items()}
    for name, seconds in medians.items():
        every = " ".join(f"{each:.2f}" for each in took[name])
        ratio = medians["bare"] / seconds
        print(f"{name:13} {arguments.mib / seconds:7.0f} MiB/s  {ratio:6.1%} of bare  ({every} s)")


if __name__ == "__main__":
    main()
