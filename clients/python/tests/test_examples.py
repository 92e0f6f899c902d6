"""The examples of the project, as a reader would run them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from support import Server

from files_client import Client

PROJECT = Path(__file__).parents[3]
EXAMPLES = PROJECT / "examples"


def run(server: Server, *command: str | Path) -> str:
    environment = {
        **os.environ,
        "FILES_SERVER": server.grpc,
        "PYTHONPATH": str(PROJECT / "clients/python/src"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_plot_is_shown_in_the_chat(server: Server) -> None:
    said = run(server, sys.executable, EXAMPLES / "code_interpreter.py")
    image = re.search(r"^!\[sine wave\.png\]\(<(http[^>]+)>\)$", said, re.MULTILINE)
    assert image, said
    with urllib.request.urlopen(image[1]) as answer:
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith("inline")
        assert answer.read().startswith(b"\x89PNG")


def test_a_history_is_signed_anew(server: Server) -> None:
    lines = run(server, sys.executable, EXAMPLES / "chat_history.py").splitlines()
    assert lines[0] == "Hello."
    assert lines[2] == "Note 2: (no longer available)"
    for line, number in ((lines[1], 1), (lines[3], 3)):
        link = re.fullmatch(rf"Note {number}: \[note-{number}\.txt\]\(<(http[^>]+)>\)", line)
        assert link, line
        with urllib.request.urlopen(link[1]) as answer:
            assert answer.read() == f"note {number}\n".encode()


def test_a_deleted_thread_releases_its_files(server: Server) -> None:
    said = run(server, sys.executable, EXAMPLES / "thread_deleted.py").splitlines()
    assert said == ["2 files untied, 1 deleted", "scratch.txt is gone", "knowledge.txt is there"]


def test_a_file_is_uploaded_from_a_shell(server: Server, tmp_path: Path) -> None:
    assert shutil.which("grpcurl", path=Path(sys.executable).parent), "grpcurl is missing: run scripts/test"
    content = bytes(n % 251 for n in range(700_001))
    path = tmp_path / "numbers.txt"
    path.write_bytes(content)
    said = run(server, EXAMPLES / "upload.sh", path)
    file_id = re.search(r"file_[0-9A-Za-z]{22}", said)
    assert file_id, said
    with Client(server.grpc) as client:
        file = client.files.retrieve_file(file_id[0])
        assert file.size_bytes == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()
