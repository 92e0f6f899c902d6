"""Failures: a class a reason, from a real server and from a scripted one."""

from __future__ import annotations

import pickle
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support import Failure, Naps, ScriptedServer, Server

from files_client import FilesError, RetryPolicy, errors

ROOT = Path(__file__).parents[3]


def test_every_reason_of_the_table_has_a_class() -> None:
    table = (ROOT / "src" / "error.rs").read_text()
    reasons = set(re.findall(r'Row\(Code::\w+, \d+, "(\w+)"\)', table))
    http_only = {
        "METHOD_NOT_ALLOWED",
        "PATH_NOT_FOUND",
        "URI_TOO_LONG",
        "HEADERS_TOO_LARGE",
        "LINK_MALFORMED",
        "SIGNATURE_INVALID",
        "LINK_EXPIRED",
        "LINK_TOO_LONG",
        "RANGE_NOT_SATISFIABLE",
        "TUS_VERSION_UNSUPPORTED",
        "UPLOAD_URL_USED",
    }
    assert "FILE_NOT_FOUND" in reasons
    unknown = {each for each in reasons - http_only if type(errors.error_for(each, "")) is FilesError}
    assert unknown == set()


def test_a_field_is_named(client: Any, user: str) -> None:
    with pytest.raises(errors.FieldInvalid) as caught:
        client.files.upload_file_object(b"", user_id=user, purpose="nonsense", filename="a.txt")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == "FIELD_INVALID"
    assert [each.field for each in caught.value.violations] == ["purpose"]
    assert not caught.value.retryable
    assert str(caught.value).endswith("(FIELD_INVALID)")


def test_a_type_that_is_not_accepted_is_refused(client: Any, user: str) -> None:
    with pytest.raises(errors.FileTypeUnsupported):
        client.files.upload_file_object(b"x", user_id=user, purpose="assistants", filename="a.exe")
    with pytest.raises(errors.FileTypeUnsupported):
        client.files.upload_file_object(
            b"<!DOCTYPE html><html>" + b" " * 2_000_000,
            user_id=user,
            purpose="assistants",
            filename="a.png",
        )


def test_limits_have_classes(connect: Callable[..., Any], tmp_path: Path) -> None:
    server = Server(tmp_path, FILES__UPLOADS__FILE_BYTES_MAX="1 KiB", FILES__QUOTAS__STORED_BYTES_MAX="1500 B")
    try:
        client = connect(server.grpc)

        def upload(size: int) -> None:
            client.files.upload_file_object(b"a" * size, user_id="anna", purpose="assistants", filename="a.txt")

        with pytest.raises(errors.FileTooLarge):
            upload(1025)
        upload(1024)
        with pytest.raises(errors.QuotaExceeded):
            upload(1000)
        assert client.files.get_usage("anna").stored_bytes_max == 1500
    finally:
        server.stop()


def test_a_server_that_is_not_there_is_a_failed_connection(connect: Callable[..., Any], naps: Naps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = connect(f"127.0.0.1:{port}", retry=RetryPolicy(failures_max=3, jitter=lambda: 1.0))
    with pytest.raises(errors.ConnectionFailed) as caught:
        client.files.get_usage("anna")
    assert caught.value.retryable
    assert isinstance(caught.value, errors.Unavailable)
    assert naps.taken == [0.1, 0.2]


def test_a_timeout_is_a_deadline(connect: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(errors.DeadlineExceeded):
            client.files.get_usage("anna", timeout=0.2)


def test_reads_are_repeated_and_waits_honour_the_server(
    connect: Callable[..., Any], scripted: ScriptedServer, naps: Naps
) -> None:
    client = connect(scripted.grpc)
    unavailable = Failure(grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE", retry_after_s=7)
    scripted.failures["GetFile"].append(unavailable)
    scripted.failures["GetFile"].append(Failure(grpc.StatusCode.UNAVAILABLE))
    assert client.files.retrieve_file("f").id == "f"
    assert naps.taken == [7.0, 0.0]


def test_waiting_never_goes_past_the_deadline(
    connect: Callable[..., Any], scripted: ScriptedServer, naps: Naps
) -> None:
    client = connect(scripted.grpc)
    failure = Failure(grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE", retry_after_s=100)
    scripted.failures["GetFile"].append(failure)
    with pytest.raises(errors.StorageUnavailable):
        client.files.retrieve_file("f", timeout=50)
    assert naps.taken == []


def test_a_deletion_is_repeated_only_where_it_was_refused(
    connect: Callable[..., Any], scripted: ScriptedServer
) -> None:
    client = connect(scripted.grpc)
    scripted.failures["DeleteFile"].append(Failure(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"))
    scripted.failures["DeleteFile"].append(Failure(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(errors.ConnectionFailed):
        client.files.delete_file("f")
    assert scripted.calls == ["DeleteFile", "DeleteFile"]


def test_reasons_come_from_this_service_alone(connect: Callable[..., Any], scripted: ScriptedServer) -> None:
    client = connect(scripted.grpc)
    scripted.failures["GetFile"].append(Failure(grpc.StatusCode.DATA_LOSS, "SOMETHING_NEW"))
    with pytest.raises(FilesError) as caught:
        client.files.retrieve_file("f")
    assert (type(caught.value), caught.value.reason) == (FilesError, "SOMETHING_NEW")


def test_metadata_reaches_the_server(connect: Callable[..., Any], scripted: ScriptedServer) -> None:
    client = connect(scripted.grpc, metadata={"Tenant": "t"})
    client.files.retrieve_file("f", metadata=[("traceparent", "00-1")])
    assert scripted.metadata[0]["tenant"] == "t"
    assert scripted.metadata[0]["traceparent"] == "00-1"


def test_a_misspelt_option_is_refused(client: Any) -> None:
    with pytest.raises(TypeError, match="timeut"):
        client.files.get_usage("anna", timeut=1)


def test_errors_survive_pickling() -> None:
    error = errors.OffsetMismatch("beyond", metadata={"persisted_size_bytes": "42"})
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, errors.OffsetMismatch)
    assert (copy.persisted_size_bytes, copy.reason) == (42, "OFFSET_MISMATCH")
