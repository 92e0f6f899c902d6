"""When to try again, and how long to wait before. Knows no call and no clock but the one it is given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import FilesError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failures that may pass are waited out: exponentially, with full jitter.

    The wait after the n-th failure in a row is `jitter() * min(delay_max_s, delay_s * 2 ** (n - 1))`, and
    never shorter than the server asks for.
    """

    failures_max: int = 8
    """Failures in a row, without progress in between, that end a call; 1: never try again."""
    delay_s: float = 0.1
    delay_max_s: float = 5.0
    jitter: Callable[[], float] = random.random
    """Gives a number from 0 to 1."""


class Attempts:
    """The attempts of one call: how often it failed in a row, and how long it may still take."""

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._ends_at = None if timeout_s is None else clock() + timeout_s
        self._failures = 0

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, 0 once it is over; None: there is none."""
        return None if self._ends_at is None else max(0.0, self._ends_at - self._clock())

    def progressed(self) -> None:
        """Something was gained: what failed before no longer counts."""
        self._failures = 0

    def delay_after(self, error: FilesError) -> float:
        """Counts a failure and gives the seconds to wait; raises `error` where trying again is pointless."""
        self._failures += 1
        if self._failures >= self._policy.failures_max:
            raise error
        longest = self._policy.delay_s * 2.0 ** (self._failures - 1)
        delay: float = self._policy.jitter() * min(self._policy.delay_max_s, longest)
        delay = max(delay, error.retry_after_s or 0.0)
        remaining = self.remaining_s()
        if remaining is not None and delay >= remaining:
            raise error
        return delay
