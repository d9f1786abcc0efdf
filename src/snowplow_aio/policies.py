"""Settings for batches, retries and full stores: frozen values with plain decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Self

from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.old_names import explain_constructor
from snowplow_aio.runtime.copies import CopiedByFields

# A collector that asks for a longer pause, in seconds, is tried after this one
# (docs/explanation/protocol.md, "The collector: requests, sizes and answers").
MAX_RETRY_AFTER = 300.0


class Overflow(Enum):
    """
    The ways in which a full store treats one more event.

    Example:
        ``MemoryStore(overflow=Overflow.DROP_OLD)`` keeps the newest events.
    """

    DROP_NEW = "drop_new"
    """The new event is dropped."""

    DROP_OLD = "drop_old"
    """The oldest waiting events are dropped until there is room."""

    WAIT = "wait"
    """`track` waits for room, as long as the store's `wait_timeout`; then the new event is dropped."""

    RAISE = "raise"
    """`track` raises `QueueFullError`."""


@explain_constructor
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(CopiedByFields):
    """
    The pauses after failed requests.

    Only failures that may pass are retried. An event that the destination refuses
    is rejected, because sending the same bytes again cannot help.

    Args:
        initial_delay: Longest first pause, in seconds, above 0.

        factor: Growth of the longest pause with each failure in a row, at least 1.

        max_delay: Longest pause of all, in seconds, above 0. With a store on disk a
            high value costs nothing; with memory it decides how much piles up.

        max_age: Age, in seconds, above 0, from which an event is not sent any more; None for no limit.

        retry_codes: Exceptions to the rules for HTTP statuses: a status from 100 to
            599 is retried (True) or not (False).

        gives_up: Whether nothing is retried; use `Retry.never()`.

    Raises:
        ConfigurationError: If a value is out of range or has the wrong type.

    Example:
        Retry after a minute at most, and treat 403 as an outage::

            HttpEmitter("https://collector.example.com", retry=Retry(max_delay=60, retry_codes={403: True}))
    """

    initial_delay: float = 0.5
    factor: float = 2.0
    max_delay: float = 60.0
    max_age: float | None = None
    retry_codes: Mapping[int, bool] = field(default_factory=lambda: MappingProxyType({}))
    gives_up: bool = False

    def __post_init__(self) -> None:
        check_seconds("initial_delay", self.initial_delay)
        check_seconds("max_delay", self.max_delay)
        check_seconds("max_age", self.max_age, optional=True)
        number = isinstance(self.factor, int | float) and not isinstance(self.factor, bool)
        check_argument(number, "factor", self.factor, "must be a number from 1")
        check_argument(self.factor >= 1, "factor", self.factor, "must be at least 1")
        check_argument(isinstance(self.gives_up, bool), "gives_up", self.gives_up, "must be True or False")
        rule = "must map HTTP statuses to True or False"
        check_argument(isinstance(self.retry_codes, Mapping), "retry_codes", self.retry_codes, rule)
        for code, is_retried in self.retry_codes.items():
            valid = isinstance(code, int) and 100 <= code <= 599
            check_argument(valid, "retry_codes", code, "must map HTTP statuses")
            check_argument(
                isinstance(is_retried, bool), f"retry_codes[{code}]", is_retried, "must be True or False"
            )
        # The caller's own mapping may change later.
        object.__setattr__(self, "retry_codes", MappingProxyType(dict(self.retry_codes)))

    @classmethod
    def never(cls) -> Self:
        """Return the policy that retries nothing: events that fail are dropped and handed to `on_failure`."""
        return cls(gives_up=True)

    def pause_after(self, failures: int, *, random: float, retry_after: float | None = None) -> float:
        """
        Return the seconds to wait after *failures* failed requests in a row.

        Args:
            failures: The number of failures, from 1.

            random: A number in [0, 1) from the caller: the policy has no source of chance of its own.

            retry_after: The pause that the destination asked for, in seconds: a lower
                bound, up to five minutes. None if it did not ask.
        """
        # 2.0 ** 1024 overflows a float; endless retries get there.
        growth = self.factor ** min(failures - 1, 64)
        # Full jitter: the whole interval, so that many clients spread out.
        pause = min(self.max_delay, self.initial_delay * growth) * random
        return pause if retry_after is None else max(pause, min(retry_after, MAX_RETRY_AFTER))


@explain_constructor
@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """
    The rules for when a request is made and how much goes into it.

    Args:
        batch_size: Number of waiting events that makes a request due, from 1.

        max_batch: Most events in one request, from 1.

        byte_limit: Most bytes of one request, from 1.

        flush_interval: Time after which a waiting event is sent in any case, in
            seconds, above 0; None for never.

        max_connections: Most requests at the same time, from 1.

    Raises:
        ConfigurationError: If a value is out of range or has the wrong type.

    Example:
        >>> Batching(batch_size=10).is_due(
        ...     waiting=10, waiting_bytes=5_000, waited=0.1, in_flight=0, flushing=False
        ... )
        True
    """

    batch_size: int = 50
    max_batch: int = 500
    byte_limit: int = 500_000
    flush_interval: float | None = 1.0
    max_connections: int = 16

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size)
        check_count("max_batch", self.max_batch)
        check_count("byte_limit", self.byte_limit)
        check_count("max_connections", self.max_connections)
        check_seconds("flush_interval", self.flush_interval, optional=True)

    @classmethod
    def one_at_a_time(
        cls, *, batch_size: int, max_batch: int, byte_limit: int, flush_interval: float | None
    ) -> Self:
        """Return the values for a destination that gets one request after the other, in the events' order."""
        return cls(
            batch_size=batch_size,
            max_batch=max_batch,
            byte_limit=byte_limit,
            flush_interval=flush_interval,
            max_connections=1,
        )

    def is_due(
        self, *, waiting: int, waiting_bytes: int, waited: float, in_flight: int, flushing: bool
    ) -> bool:
        """
        Return whether one more request should be made now.

        Args:
            waiting: Number of events that wait.

            waiting_bytes: Bytes of their JSON.

            waited: Seconds that the oldest of them has waited.

            in_flight: Requests under way.

            flushing: Whether a flush waits for the oldest of them.
        """
        if waiting == 0 or in_flight >= self.max_connections:
            return False
        if flushing or waiting >= self.max_batch or waiting_bytes >= self.byte_limit:
            return True
        if self.flush_interval is not None and waited >= self.flush_interval:
            return True
        # While a request is under way the next one fills up: connections are
        # opened as the waiting events ask, not for every fifty of them.
        return in_flight == 0 and waiting >= self.batch_size
