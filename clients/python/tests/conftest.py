from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support import AT_ONCE, Cut, Naps, Proxy, ScriptedServer, Server, open_client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two clients a test runs with; those that ask for it run with both."""
    return str(request.param)


@pytest.fixture
def naps() -> Naps:
    return Naps([])


@pytest.fixture
def connect(kind: str, naps: Naps) -> Iterator[Callable[..., Any]]:
    """Opens clients that never really wait."""
    with ExitStack() as stack:

        def opened(grpc: str, **options: Any) -> Any:
            settings = {"retry": AT_ONCE, "sleep": naps.of(kind), **options}
            client = open_client(kind, grpc, **settings)
            stack.callback(client.close)
            return client

        yield opened


@pytest.fixture
def client(connect: Callable[..., Any], server: Server) -> Any:
    return connect(server.grpc)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Callable[..., Proxy]]:
    """Opens proxies before the real server that reset connections."""
    with ExitStack() as stack:

        def opened(*cuts: Cut) -> Proxy:
            proxy = Proxy(server.address, *cuts)
            stack.callback(proxy.close)
            return proxy

        yield opened


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """A user that no other test has."""
    return f"user of {request.node.nodeid}"[-255:]
