"""Where a server is and how it is spoken to; the same for both clients."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import _methods
from ._convert import seconds
from ._proto import files_pb2 as pb
from ._retry import Attempts, RetryPolicy
from ._steps import CallOptions, Metadata, Operation, Timeout

DEFAULT_SERVER = "http://127.0.0.1:50051"
_VERSION = "0.1.0"
_MESSAGE_BYTES_MAX = 8 * 1024 * 1024
"""More than any message of the contract: a page of a listing comes to about 2 MiB, and may exceed it."""

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Waiting is up to RetryPolicy: gRPC's own would make it fail at once for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Despite its name, how long connecting may take.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    # A client of its own has connections of its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", f"files-client/{_VERSION}"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address as gRPC takes it."""

    target: str
    is_secure: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`. Raises ValueError for anything else."""
        has_scheme = "://" in text
        url = urlsplit(text if has_scheme else f"http://{text}")
        port = url.port or (None if not has_scheme else {"http": 80, "https": 443}.get(url.scheme))
        extra = url.path.strip("/") or url.query or url.fragment or url.username
        if url.scheme not in ("http", "https") or not url.hostname or port is None or extra:
            raise ValueError(f"{text!r} is not HOST:PORT, http://HOST:PORT or https://HOST:PORT")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        return cls(f"{host}:{port}", url.scheme == "https")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was made with."""

    address: Address
    channel_options: list[tuple[str, int | str]]
    timeout_s: float | None
    transfer_timeout_s: float | None
    metadata: list[tuple[str, str | bytes]]
    retry: RetryPolicy

    @classmethod
    def of(
        cls,
        server: str | None,
        timeout: Timeout,
        transfer_timeout: Timeout,
        metadata: Metadata,
        retry: RetryPolicy,
    ) -> Settings:
        """The settings, with FILES_SERVER and the defaults where something is not given."""
        text = server or os.environ.get("FILES_SERVER") or DEFAULT_SERVER
        return cls(
            address=Address.parse(text),
            channel_options=list(_OPTIONS),
            timeout_s=_limit(timeout),
            transfer_timeout_s=_limit(transfer_timeout),
            metadata=_pairs(metadata),
            retry=retry,
        )

    def attempts(self, operation: Operation[Any]) -> Attempts:
        """The attempts that an operation may make."""
        timeout = operation.options.get("timeout")
        default = self.transfer_timeout_s if operation.is_transfer else self.timeout_s
        return Attempts(self.retry, default if timeout is None else _limit(timeout))

    def metadata_for(self, options: CallOptions) -> list[tuple[str, str | bytes]]:
        """The client's metadata and the call's."""
        return [*self.metadata, *_pairs(options.get("metadata"))]


class Stubs:
    """The calls of one channel, of either kind."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._unary: dict[str, Any] = {}
        self.upload = channel.stream_unary(
            f"{_methods.SERVICE}UploadFile",
            # Messages come as they go on the wire.
            request_serializer=None,
            response_deserializer=pb.UploadFileResponse.FromString,
        )
        self.download = channel.unary_stream(
            f"{_methods.SERVICE}DownloadFile",
            request_serializer=pb.DownloadFileRequest.SerializeToString,
            response_deserializer=pb.DownloadFileResponse.FromString,
        )

    def unary(self, method: _methods.Method[Any, Any]) -> Any:
        """The stub of a unary call."""
        stub = self._unary.get(method.name)
        if stub is None:
            stub = self._channel.unary_unary(
                f"{_methods.SERVICE}{method.name}",
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=method.answer.FromString,
            )
            self._unary[method.name] = stub
        return stub


def _limit(timeout: Timeout) -> float | None:
    limit = None if timeout is None else seconds(timeout)
    return None if limit == math.inf else limit


def _pairs(metadata: Metadata) -> list[tuple[str, str | bytes]]:
    if metadata is None:
        return []
    given: Sequence[tuple[str, str | bytes]] = (
        list(metadata.items()) if isinstance(metadata, Mapping) else metadata
    )
    return [(key.lower(), value) for key, value in given]
