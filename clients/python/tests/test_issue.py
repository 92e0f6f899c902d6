"""The two lines that the client is for, as they are written by its users."""

from __future__ import annotations

import os
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from support import PNG, Server

from files_client import Client


@dataclass
class User:
    id: str


def test_a_file_is_uploaded_and_linked(server: Server, tmp_path: Path) -> None:
    client = Client(server.grpc)
    user = User("anna")
    filename = "plot.png"
    file_path = tmp_path / filename
    file_path.write_bytes(PNG + os.urandom(1000))

    upload = client.files.upload_file(file_path=file_path, user_id=user.id, purpose="assistants")
    file_url = client.files.get_signed_url(upload.id, label=filename, markdown=False)

    assert file_url.startswith(f"http://localhost:{server.http.rpartition(':')[2]}/v1/files/download?file_id=")
    with urllib.request.urlopen(file_url) as answer:
        assert answer.read() == file_path.read_bytes()

    link = client.files.get_signed_url(upload.id, label=filename, markdown=True)
    pattern = rf"\[plot\.png\]\(<http://localhost:\d+/v1/files/download\?file_id={upload.id}&[^>]+>\)"
    assert re.fullmatch(pattern, link)
    client.close()
