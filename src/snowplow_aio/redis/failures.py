"""The steps at which Redis fails: what it says, and how long each step is left alone."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

from snowplow_aio.exceptions import TransportError
from snowplow_aio.policies import Retry
from snowplow_aio.redis.errors import Refusal
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog

# How long a Redis that fails is left alone.
_RETRY = Retry(initial_delay=0.1, max_delay=5.0)

# A step of the work with a key, like ("take", "snowplow").
Step = tuple[str, str]

# Stands for all steps: a Redis that does not answer does not answer to any.
_EVERY_STEP: Step = ("", "")


@dataclass(slots=True)
class _Failure:
    """
    The failures of one step.

    Args:
        count: Failures in a row.

        error: The latest.

        not_before: When it may be tried again, in seconds of `time.monotonic`.
    """

    count: int
    error: TransportError
    not_before: float


class Failures:
    """
    The steps at which Redis fails.

    A refusal is about one step: an account may be allowed to take events out and not to write dead
    letters. So each step has a pause of its own, and the others go on.

    Args:
        name: The name of the store, for the log.

        log: Where failures are logged, once a minute of each kind.
    """

    def __init__(self, name: str, log: QuietLogger) -> None:
        self._name = name
        self._throttled = ThrottledLog(log)
        self._failures: dict[Step, _Failure] = {}

    @property
    def latest(self) -> TransportError | None:
        """The error of a step that fails at present, if possible one that nothing but a person mends."""
        errors = [failure.error for failure in self._failures.values()]
        return next(filter(_is_misconfigured, errors), errors[-1] if errors else None)

    @property
    def is_misconfigured(self) -> bool:
        """Whether Redis refuses a step until somebody changes a right or a key."""
        latest = self.latest
        return latest is not None and _is_misconfigured(latest)

    @property
    def next_attempt(self) -> float:
        """Seconds until a step that fails is tried again."""
        return min(map(self.pause_left, self._failures), default=0.0)

    def pause_left(self, step: Step) -> float:
        """Return the seconds for which *step* is still left alone, or 0."""
        failures = (self._failures.get(step), self._failures.get(_EVERY_STEP))
        ends = [failure.not_before for failure in failures if failure is not None]
        return max([0.0, *(end - time.monotonic() for end in ends)])

    def end_pauses(self) -> None:
        """Have every step tried again at once."""
        for failure in self._failures.values():
            failure.not_before = 0.0

    def add(self, step: Step, error: TransportError) -> float:
        """Note that *step* failed with *error*; return the seconds until its next attempt."""
        if isinstance(error, Refusal):
            # It has answered.
            self._failures.pop(_EVERY_STEP, None)
        else:
            step = _EVERY_STEP
        earlier = self._failures.pop(step, None)
        count = earlier.count + 1 if earlier is not None else 1
        # At least half of the pause: many workers spread out, and none tries again at once.
        pause = _RETRY.pause_after(count, random=(1 + random.random()) / 2)  # noqa: S311 - jitter, not a secret
        self._failures[step] = _Failure(count, error, time.monotonic() + pause)
        level = logging.ERROR if _is_misconfigured(error) else logging.WARNING
        kind = error.response.reason if isinstance(error, Refusal) else "no answer"
        self._throttled.log(kind, level, "%s: Redis: %s; next attempt in %.1f s", self._name, error, pause)
        return pause

    def remove(self, step: Step) -> None:
        """Note that *step* has succeeded."""
        failed = [self._failures.pop(one, None) for one in (step, _EVERY_STEP)]
        if any(failed) and not self._failures:
            self._throttled.log("answers", logging.INFO, "%s: Redis answers again", self._name)


def _is_misconfigured(error: TransportError) -> bool:
    return isinstance(error, Refusal) and error.response.is_misconfigured
