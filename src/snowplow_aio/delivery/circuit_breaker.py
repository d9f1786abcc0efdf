"""Pauses after failures: one circuit breaker for all senders of a delivery loop."""

from __future__ import annotations

import random

from snowplow_aio.policies import Retry

# A destination that refuses everything is probed a little later than the
# longest pause, by each process at another time.
_OPEN_JITTER = 0.1

# Before the delivery ends, a pause is at most this part of the remaining time, but
# not below this many seconds: a destination that comes back in time is not missed.
_LAST_PART = 0.25
_LAST_SECONDS = 0.25


class CircuitBreaker:
    """
    Keeps all senders from a destination that failed; then one probe tests it.

    Args:
        retry: Says how long the pauses are.

    Attributes:
        failures: Failures in a row; requests that were under way together count once.

        not_before: When the next attempt may be made, in seconds of the loop's clock.

        is_open: Whether the destination is taken to refuse everything.

        ends_at: When the delivery ends, in seconds of the loop's clock; None for never.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failed_at = 0.0
        self.failures: int = 0
        self.not_before: float = 0.0
        self.is_open: bool = False
        self.ends_at: float | None = None

    def admits(self, now: float, in_flight: int) -> bool:
        """Return whether a request may be made: after a failure only one, the probe."""
        return self.failures == 0 or (now >= self.not_before and in_flight == 0)

    def fail(self, started: float, now: float, retry_after: float | None) -> float:
        """Note that a request begun at *started* failed, and return the seconds until the next attempt."""
        # A request that was under way at the last failure says nothing new.
        if self.failures == 0 or started >= self._failed_at:
            self._count(now)
            self.is_open = False
            pause = self._retry.pause_after(self.failures, random=_chance(), retry_after=retry_after)
            if self.ends_at is not None and retry_after is None:
                pause = min(pause, max(_LAST_SECONDS, (self.ends_at - now) * _LAST_PART))
            self.not_before = now + pause
        return max(0.0, self.not_before - now)

    def open(self, started: float, now: float) -> float:
        """Note that a request begun at *started* was refused like all; return the seconds until the probe."""
        if not self.is_open or started >= self._failed_at:
            self._count(now)
            self.is_open = True
            self.not_before = now + self._retry.max_delay * (1 + _OPEN_JITTER * _chance())
        return max(0.0, self.not_before - now)

    def _count(self, now: float) -> None:
        self.failures += 1
        self._failed_at = now

    def succeed(self) -> None:
        """Note that the destination works: end the pause."""
        self.failures = 0
        self.not_before = 0.0
        self.is_open = False

    def allow_probe(self, now: float) -> None:
        """End the pause, but let only one probe through."""
        self.not_before = min(self.not_before, now)


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter, not a secret
