"""A code interpreter writes a plot, and the plot's Markdown link goes into the chat.

python examples/code_interpreter.py
"""

from __future__ import annotations

import math
import struct
import tempfile
import zlib
from pathlib import Path

from files_client import Client

USER, THREAD, RUN = "anna", "thread:t-42", "run:r-7"
WIDTH, HEIGHT = 320, 120


def write_plot(path: Path) -> None:
    """Stands for what the interpreter runs: draws a sine as a grey PNG."""
    rows = [bytearray(b"\xff" * WIDTH) for _ in range(HEIGHT)]
    for x in range(WIDTH):
        y = round((1 - math.sin(x / WIDTH * 4 * math.pi)) / 2 * (HEIGHT - 1))
        rows[y][x] = 0
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file, with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main() -> None:
    """Runs the interpreter once and prints what the assistant says."""
    with Client() as client, tempfile.TemporaryDirectory() as sandbox:
        plot = Path(sandbox) / "sine wave.png"
        write_plot(plot)
        upload = client.files.upload_file(
            file_path=plot,
            user_id=USER,
            purpose="assistants",
            references=[THREAD, RUN],
        )
        link = client.files.get_signed_url(upload.id, label=plot.name, markdown=True)
        print(f"Here is the curve you asked for:\n\n!{link}")


if __name__ == "__main__":
    main()
