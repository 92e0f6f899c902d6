"""Tells a caller of new bytes, each byte once."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int], object] | None
"""Called with the number of bytes moved since the call before, always above 0: `tqdm(...).update` fits."""


class Progress:
    """How far a transfer has ever come: bytes that are moved again are not counted again."""

    def __init__(self, callback: ProgressCallback, position: int = 0) -> None:
        self._callback = callback
        self._position = position

    def reached(self, position: int) -> None:
        """The transfer has come to `position`."""
        new = position - self._position
        if new > 0:
            self._position = position
            if self._callback is not None:
                self._callback(new)
