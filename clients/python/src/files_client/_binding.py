"""Makes methods of descriptions, with the names, signatures and docs of those."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def bound(describe: Callable[..., Any], call: F, listing: str = "") -> F:
    """Gives `call` what `help` shows of `describe`, with a `self` before, and what it returns at the end."""
    functools.update_wrapper(call, describe)
    described = inspect.signature(describe)
    myself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    returned = str(described.return_annotation)
    inner = listing or returned.removeprefix("Operation[").removesuffix("]")
    call.__signature__ = described.replace(  # type: ignore[attr-defined]
        parameters=[myself, *described.parameters.values()], return_annotation=inner
    )
    return call
