"""What the calls do, with both clients against a real server."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import urllib.request
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support import PNG, Cut, Proxy, open_client
from tqdm import tqdm

from files_client import Disposition, Reference, ReferenceKind, RetryPolicy, SignedUrlRequest, errors

CONTENT = PNG + os.urandom(1_000_000)


def upload(client: Any, user: str, content: bytes = CONTENT, name: str = "plot.png", **options: Any) -> Any:
    return client.files.upload_file_object(content, user_id=user, purpose="assistants", filename=name, **options)


def test_an_uploaded_file_is_told_as_it_is(client: Any, user: str, tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(CONTENT)
    before = datetime.now(timezone.utc) - timedelta(minutes=1)
    file = client.files.upload_file(
        path,
        user_id=user,
        purpose="assistants",
        labels={"team": "sales"},
        references=["thread:t-1", Reference(ReferenceKind.VECTOR_STORE, "v:1")],
        ttl=timedelta(hours=2),
        delete_when_unreferenced=True,
    )
    assert file == client.files.retrieve_file(file.id, user_id=user)
    assert (file.filename, file.mime_type, file.user_id) == ("plot.png", "image/png", user)
    assert file.size_bytes == len(CONTENT)
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert file.labels == {"team": "sales"}
    assert {str(each) for each in file.references} == {"thread:t-1", "vector-store:v:1"}
    assert file.delete_when_unreferenced
    assert before < file.create_time < before + timedelta(minutes=5)
    assert file.expire_time - file.create_time == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=2))
    assert file.delete_time is None
    assert hash(file) == hash(client.files.retrieve_file(file.id))


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_and_file_objects_are_uploaded(client: Any, user: str, wrap: Any) -> None:
    file = upload(client, user, wrap(CONTENT))
    assert client.files.download_file(file.id) == CONTENT


def test_a_file_object_is_uploaded_from_where_it_stands(client: Any, user: str, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"header:body")
    with path.open("rb") as opened:
        opened.seek(7)
        file = client.files.upload_file_object(opened, user_id=user, purpose="assistants")
        assert not opened.closed
    assert file.filename == "note.txt"
    assert client.files.download_file(file.id) == b"body"


def test_a_pipe_is_uploaded(client: Any, user: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as out:
        out.write(b"from a pipe")
    with os.fdopen(reading, "rb") as pipe:
        file = upload(client, user, pipe, "note.txt")  # type: ignore[arg-type]
    assert client.files.download_file(file.id) == b"from a pipe"


def test_text_and_nameless_content_are_refused(client: Any, user: str) -> None:
    with pytest.raises(TypeError, match="binary"):
        upload(client, user, io.StringIO("text"), "note.txt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="filename"):
        client.files.upload_file_object(b"", user_id=user, purpose="assistants")


def test_a_path_that_is_not_there_is_an_os_error(client: Any, user: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.files.upload_file(tmp_path / "none.png", user_id=user, purpose="assistants")


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 4 * 256 * 1024, 3_000_000])
def test_every_size_comes_back(client: Any, user: str, size: int, tmp_path: Path) -> None:
    content = b"a" * size
    told: list[int] = []
    file = upload(client, user, content, "note.txt", progress=told.append)
    assert sum(told) == size == file.size_bytes
    assert all(each > 0 for each in told)

    told.clear()
    path = tmp_path / "copy.txt"
    assert client.files.download_file(file.id, path, progress=told.append) == file
    assert path.read_bytes() == content
    assert sum(told) == size
    assert list(tmp_path.iterdir()) == [path]


def test_tqdm_shows_progress(client: Any, user: str) -> None:
    with tqdm(total=len(CONTENT), file=io.StringIO()) as bar:
        upload(client, user, progress=bar.update)
        assert bar.n == len(CONTENT)


def test_what_a_progress_callback_raises_ends_the_upload(client: Any, user: str) -> None:
    def stop(_: int) -> None:
        raise RuntimeError("stopped by the user")

    with pytest.raises(RuntimeError, match="stopped by the user"):
        upload(client, user, progress=stop)
    assert list(client.files.list_files(user)) == []


def test_what_a_source_raises_ends_the_upload(client: Any, user: str) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 300_000:
                raise OSError("bad sector")
            return super().read(size)

    with pytest.raises(OSError, match="bad sector"):
        upload(client, user, Broken(CONTENT))  # type: ignore[arg-type]
    assert list(client.files.list_files(user)) == []


def test_an_upload_id_gives_the_same_file_again(client: Any, user: str) -> None:
    upload_id = "5f0c6ac4-8d70-4d9b-9f0e-" + hashlib.sha256(user.encode()).hexdigest()[:12]
    first = upload(client, user, upload_id=upload_id)
    again = upload(client, user, upload_id=upload_id)
    assert first == again
    with pytest.raises(errors.UploadConflict):
        upload(client, user, name="other.png", upload_id=upload_id)


def test_downloads_go_to_file_objects(client: Any, user: str) -> None:
    file = upload(client, user)
    out = io.BytesIO(b"before:")
    out.seek(0, io.SEEK_END)
    assert client.files.download_file(file.id, out) == file
    assert out.getvalue() == b"before:" + CONTENT


def test_a_part_is_downloaded(client: Any, user: str) -> None:
    file = upload(client, user)
    assert client.files.download_file(file.id, offset=5) == CONTENT[5:]
    assert client.files.download_file(file.id, offset=-7) == CONTENT[-7:]
    assert client.files.download_file(file.id, offset=5, length_max=10) == CONTENT[5:15]
    assert client.files.download_file(file.id, offset=len(CONTENT)) == b""
    with pytest.raises(ValueError, match="length_max"):
        client.files.download_file(file.id, length_max=0)


def test_a_failed_download_leaves_a_path_as_it_was(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "copy.png"
    path.write_bytes(b"old")
    with pytest.raises(errors.FileNotFound):
        client.files.download_file("file_" + "0" * 22, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(IsADirectoryError):
        client.files.download_file("file_" + "0" * 22, tmp_path)


def test_what_cannot_be_written_ends_the_download(client: Any, user: str) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError("no space left")

    file = upload(client, user)
    with pytest.raises(OSError, match="no space left"):
        client.files.download_file(file.id, Full())


def test_base64_holds_the_content(client: Any, user: str) -> None:
    file = upload(client, user)
    encoded = base64.b64encode(CONTENT).decode()
    assert client.files.get_file_as_base64(file.id) == encoded
    assert client.files.get_file_as_base64(file.id, data_url=True) == f"data:image/png;base64,{encoded}"


def test_signed_urls_are_made_one_by_one_and_together(client: Any, user: str) -> None:
    file = upload(client, user)
    url = client.files.get_signed_url(
        file.id, ttl=900, disposition="attachment", filename="an other.png", user_id=user
    )
    with urllib.request.urlopen(url) as answer:
        assert "attachment" in answer.headers["Content-Disposition"]
        assert "an other.png" in answer.headers["Content-Disposition"]

    escaped = client.files.get_signed_url(file.id, label="Sales [2026]", markdown=True)
    assert escaped.startswith(r"[Sales \[2026\]](<http://")

    told = client.files.create_signed_url(
        SignedUrlRequest(file.id, ttl=timedelta(hours=1), disposition=Disposition.INLINE)
    )
    life = told.expire_time - datetime.now(timezone.utc)
    assert timedelta(minutes=59) < life < timedelta(minutes=62)

    good, bad = client.files.get_signed_urls([file.id, SignedUrlRequest("file_" + "0" * 22, label="x")])
    assert good.file_id == file.id
    assert good.signed_url.url.startswith("http://")
    assert good.error is None
    assert bad.signed_url is None
    assert isinstance(bad.error, errors.FileNotFound)


def test_a_file_comes_in_through_a_url(client: Any, user: str) -> None:
    made = client.files.create_upload_url(
        user_id=user, purpose="assistants", filename="note.txt", url_ttl=timedelta(minutes=10), ttl=3600
    )
    with urllib.request.urlopen(urllib.request.Request(made.url, b"hello", method="PUT")) as answer:
        assert answer.status == 201
    status = client.files.get_upload(made.upload_id, user_id=user)
    assert status.persisted_size_bytes == 5
    assert status.file.expire_time is not None
    assert client.files.download_file(status.file.id) == b"hello"


def test_an_upload_that_was_begun_is_given_up(
    client: Any, proxy: Callable[..., Proxy], kind: str, user: str
) -> None:
    upload_id = str(uuid.uuid4())
    broken = open_client(kind, proxy(Cut(up=500_000)).grpc, retry=RetryPolicy(failures_max=1))
    with pytest.raises(errors.ConnectionFailed):
        upload(broken, user, upload_id=upload_id)
    broken.close()
    assert client.files.get_upload(upload_id, user_id=user).file is None
    client.files.cancel_upload(upload_id, user_id=user)
    with pytest.raises(errors.UploadNotFound):
        client.files.get_upload(upload_id, user_id=user)


def test_revoked_urls_are_dead(client: Any, user: str) -> None:
    file = upload(client, user)
    url = client.files.get_signed_url(file.id)
    assert client.files.revoke_signed_urls(file.id).etag != file.etag
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(url)
    assert refusal.value.code == 403
    refusal.value.close()


def test_listing_goes_across_pages(client: Any, user: str) -> None:
    made = [upload(client, user, b"%d" % each, "note.txt").id for each in range(5)]
    listed = [file.id for file in client.files.list_files(user, page_size=2)]
    assert listed == made[::-1]


def test_listing_is_lazy_and_narrowed(client: Any, user: str) -> None:
    note = upload(client, user, b"note", "note.txt", labels={"a": "b"}, references=["tool:x"])
    plot = upload(client, user)

    def found(**options: Any) -> list[str]:
        return [file.id for file in client.files.list_files(user, **options)]

    assert next(iter(client.files.list_files(user))).id == plot.id
    assert found(purposes="assistants") == [plot.id, note.id]
    assert found(mime_types=["image/*"]) == [plot.id]
    assert found(filename_contains="NOT") == [note.id]
    assert found(reference="tool:x") == [note.id]
    assert found(sha256=plot.sha256) == [plot.id]
    assert found(labels={"a": "b"}) == [note.id]
    assert found(create_time_from=datetime.now(timezone.utc) + timedelta(minutes=1)) == []
    assert found(create_time_to=plot.create_time) == [note.id]
    with pytest.raises(ValueError, match="zone"):
        found(create_time_to=datetime.now())
    with pytest.raises(TypeError, match="purpose"):
        found(purpose="assistants")


def test_fields_are_changed_as_given(client: Any, user: str) -> None:
    file = upload(client, user, labels={"a": "b"}, ttl=3600)
    renamed = client.files.update_file(file.id, filename="other.png")
    assert (renamed.filename, renamed.labels) == ("other.png", {"a": "b"})
    later = datetime(2100, 1, 2, tzinfo=timezone.utc)
    changed = client.files.update_file(
        file.id,
        labels={"c": "d"},
        expire_time=later,
        delete_when_unreferenced=True,
        etag=renamed.etag,
        user_id=user,
    )
    assert (changed.labels, changed.expire_time) == ({"c": "d"}, later)
    assert changed.delete_when_unreferenced
    emptied = client.files.update_file(file.id, labels=None, expire_time=None, delete_when_unreferenced=False)
    assert (emptied.labels, emptied.expire_time) == ({}, None)
    assert not emptied.delete_when_unreferenced
    with pytest.raises(errors.EtagMismatch):
        client.files.update_file(file.id, filename="late.png", etag=file.etag)
    with pytest.raises(ValueError, match="nothing"):
        client.files.update_file(file.id)


def test_deleted_files_come_back(client: Any, user: str) -> None:
    file = upload(client, user)
    deleted = client.files.delete_file(file.id)
    assert deleted.delete_time is not None
    assert deleted.purge_time > deleted.delete_time
    with pytest.raises(errors.FileNotFound):
        client.files.retrieve_file(file.id)
    assert client.files.retrieve_file(file.id, show_deleted=True).id == file.id
    assert [each.id for each in client.files.list_files(user, show_deleted=True)] == [file.id]

    assert client.files.undelete_file(file.id).delete_time is None
    with pytest.raises(errors.FileNotDeleted):
        client.files.undelete_file(file.id)

    client.files.delete_file(file.id, purge=True)
    assert client.files.delete_file(file.id, allow_missing=True) is None


def test_references_tie_and_untie(client: Any, user: str) -> None:
    kept = upload(client, user)
    bound = upload(client, user, delete_when_unreferenced=True)
    thread = Reference(ReferenceKind.THREAD, f"thread of {user}"[-255:])
    client.files.attach(thread, [kept.id, bound.id], user_id=user)
    client.files.attach("run:r-1", kept.id)
    assert set(client.files.retrieve_file(kept.id).references) == {thread, Reference.parse("run:r-1")}
    with pytest.raises(errors.FileReferenced):
        client.files.delete_file(kept.id)

    assert client.files.detach("run:r-1", kept.id) == 0
    end = client.files.delete_reference(thread, user_id=user)
    assert (end.detached_count, end.deleted_count) == (2, 1)
    assert client.files.retrieve_file(kept.id).references == ()
    with pytest.raises(errors.FileNotFound):
        client.files.retrieve_file(bound.id)


def test_detaching_counts_what_it_deletes(client: Any, user: str) -> None:
    file = upload(client, user, delete_when_unreferenced=True, references=["message:m-1"])
    assert client.files.detach("message:m-1", [file.id], user_id=user) == 1


def test_usage_counts(client: Any, user: str) -> None:
    upload(client, user)
    usage = client.files.get_usage(user)
    assert (usage.file_count, usage.stored_bytes) == (1, len(CONTENT))
    assert (usage.file_count_max, usage.stored_bytes_max) == (None, None)


def test_capabilities_are_told(client: Any) -> None:
    capabilities = client.files.get_capabilities()
    assert ".png" in {each.extension for each in capabilities.file_types}
    assert "assistants" in {each.purpose for each in capabilities.purposes}
    assert capabilities.signed_url_ttl_max == timedelta(days=7)
    assert capabilities.chunk_bytes_max == 2 * 1024 * 1024
