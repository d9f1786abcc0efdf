"""
The faults, each as numbers: what the collector does wrong, and how the client's program ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

# How a client's program ends.
#
# * close: with the tracker's documented shutdown call,
# * return: its main function returns, nothing is called,
# * killed: SIGTERM half-way, for which the program has no handler,
# * stopped: SIGTERM half-way, which the program answers with the documented shutdown call.
Ending = Literal["close", "return", "killed", "stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """
    One fault; the defaults are a collector that works and a program that closes.
    """

    name: str
    title: str
    # Shares of the requests: answered 503; processed, then reset; reset before they are read.
    unavailable: float = 0.0
    reset_after: float = 0.0
    reset_before: float = 0.0
    # Seconds from the first event on during which connections are refused, or requests redirected.
    refused_for: float = 0.0
    redirected_for: float = 0.0
    hangs: bool = False
    # Seconds between two bytes of an answer.
    byte_seconds: float = 0.0
    # Seconds after which an idle connection is closed without a word.
    idle_seconds: float | None = None
    # Largest body that is taken.
    max_bytes: float = inf
    # Every so many events there is one that the collector will never take; 0: none.
    poison_every: int = 0
    poison: Literal["marked", "large"] = "marked"
    ending: Ending = "close"
    # Where chance decides, several runs are added up.
    runs: int = 1

    @property
    def is_stopped(self) -> bool:
        """
        Whether a signal ends the client before it has tracked everything.
        """
        return self.ending in {"killed", "stopped"}

    def poisoned(self, tracked: int) -> int:
        """
        Return how many of the first *tracked* events the collector will never take.
        """
        return sum(is_poison(number, self.poison_every) for number in range(tracked))


def is_poison(number: int, every: int) -> bool:
    return every > 0 and number % every == every // 2


FAULTS = (
    Fault(name="healthy", title="none"),
    Fault(name="unavailable", title="30 % answered 503", unavailable=0.3, runs=3),
    Fault(
        name="mixed",
        title="30 % answered 503, 5 % processed and then reset, 5 % reset before they are read",
        unavailable=0.3,
        reset_after=0.05,
        reset_before=0.05,
        runs=5,
    ),
    Fault(name="outage", title="refuses connections for 3 s, then works", refused_for=3.0, runs=3),
    Fault(name="dead", title="refuses connections to the end", refused_for=inf),
    Fault(name="hangs", title="takes requests and never answers", hangs=True),
    Fault(
        name="redirect", title="301 to another address for 1 s, then works in its place", redirected_for=1.0
    ),
    Fault(name="poison", title="400 for a batch with a certain event, one in 200", poison_every=200),
    Fault(
        name="too_large",
        title="413 for more than 64 KiB; one event in 400 is larger alone",
        max_bytes=2**16,
        poison_every=400,
        poison="large",
    ),
    Fault(name="slow", title="works, and answers a byte every 0.1 s", byte_seconds=0.1),
    Fault(name="keep_alive", title="closes connections that are idle for 50 ms", idle_seconds=0.05),
    Fault(name="no_close", title="works; the program ends without the shutdown call", ending="return"),
    Fault(name="sigterm", title="works; SIGTERM half-way, no handler", ending="killed", runs=3),
    Fault(
        name="sigterm_close",
        title="works; SIGTERM half-way, whose handler makes the shutdown call",
        ending="stopped",
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
