"""The package as pip installs it."""

from __future__ import annotations

import site
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[1]


def test_pip_installs_the_folder(tmp_path: Path) -> None:
    made = tmp_path / "venv"
    venv.create(made, with_pip=False)
    python = made / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    # What builds it is taken from here, and so is what it needs: no network.
    install += ["--no-index", "--no-build-isolation", "--disable-pip-version-check", str(FOLDER)]
    subprocess.run(install, check=True, env={"PYTHONPATH": site.getsitepackages()[0], "PATH": "/usr/bin:/bin"})
    purelib = next((made / "lib").glob("python*/site-packages"))
    (purelib / "needs.pth").write_text(f"{site.getsitepackages()[0]}\n")
    script = "import files_client; print(files_client.__file__); files_client.Client().close()"
    ran = subprocess.run([python, "-I", "-c", script], check=True, capture_output=True, text=True)
    package = Path(ran.stdout.strip()).parent
    assert package.is_relative_to(made)
    assert (package / "py.typed").is_file()
    assert (package / "_proto" / "files_pb2.py").is_file()
