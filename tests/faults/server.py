"""
A collector in a process of its own that does wrong at random and counts what it got.

    python -m tests.faults.server SEED

It says on which port it listens. Then it reads orders from its standard input,
answers each with its counts, and ends with its input: no test leaves one behind.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.collector import Answer, Collector, Request

ROOT = Path(__file__).parents[2]

# An event whose URL ends so is answered with this status.
_ANSWER = re.compile(rb'/answer/(\d{3})"')

_DRIP_SECONDS = 0.3


@dataclass(frozen=True)
class Faults:
    """
    What goes wrong from now on.

    Attributes:
        refused: Part of the requests that is answered with 503 and not processed.

        quota: Events after which all requests are refused, or None.

        unanswered: Part that is processed and then ended by a reset.

        reset: Part that is ended by a reset before the body is read.

        slow: Part that is answered 200 ms late.

        delay: Longest random time that every answer takes, in seconds.

        idle: Seconds after which an idle connection is closed, or None.

        once: Whether a connection is reset when a second request comes on it.

        manner: How an answer is given: whole, not at all, byte by byte every
            0.3 seconds, or at once with a body that comes byte by byte or never ends.
    """

    refused: float = 0
    quota: int | None = None
    unanswered: float = 0
    reset: float = 0
    slow: float = 0
    delay: float = 0
    idle: float | None = None
    once: bool = False
    manner: Literal["whole", "never", "dripping", "dripping body", "endless body"] = "whole"

    def draw(self, chance: float) -> str:
        """Return the fault of a request that was read, by a number in [0, 1 - reset)."""
        for name in ("refused", "unanswered", "slow"):
            chance -= getattr(self, name)
            if chance < 0:
                return name
        return ""


@dataclass
class Counts:
    """
    What has come.

    Attributes:
        requests: Requests, of which `acknowledged` were answered with 2xx.

        processed: Events in processed requests, of which `distinct` have different
            ids and `unanswered` were in requests that got no answer.

        connections: Open connections; `connected` is how many there were.

        early: Requests that came between the last order and the first answer after it.

        under_way: Requests that are being answered; `at_once` is how many there were at most.

        body_bytes: Bytes of bodies that never end.
    """

    requests: int = 0
    acknowledged: int = 0
    processed: int = 0
    distinct: int = 0
    unanswered: int = 0
    connections: int = 0
    connected: int = 0
    early: int = 0
    under_way: int = 0
    at_once: int = 0
    body_bytes: int = 0

    @property
    def duplicates(self) -> int:
        return self.processed - self.distinct


# --- in the collector's process


class _FaultyCollector(Collector):
    """A collector that does `Faults`, and takes orders."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.fate = self._draw
        self.rule = self._answer_to
        self.begun = 0
        self.early = 0
        self._random = random.Random(seed)
        self._faults = Faults()
        self._is_answering = False
        self._server: asyncio.Server | None = None
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]

    async def obey(self, order: dict[str, Any]) -> Counts:
        if "faults" in order:
            self._faults = Faults(**order["faults"])
            self.idle = self._faults.idle
            self._is_answering, self.early = False, 0
        if order.get("open") is True:
            self._server = await asyncio.start_server(self._connected, sock=self._socket)
        if order.get("open") is False:
            self._close()
        return Counts(
            requests=self.begun,
            acknowledged=self.acknowledged,
            processed=self.accepted.total(),
            distinct=len(self.accepted),
            unanswered=self.unanswered,
            connections=self.open_connections,
            connected=self.connections,
            early=self.early,
            under_way=self.under_way,
            at_once=self.at_once,
            body_bytes=self.endless_bytes,
        )

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            # A bound socket that does not listen refuses connections and keeps the port.
            self._socket = _bound(self.port)
        self.disconnect()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled only at the end of the process; `asyncio.streams` would complain of it.
        with suppress(asyncio.CancelledError):
            await self.serve(reader, writer)

    def begin(self) -> None:
        super().begin()
        self.begun += 1
        self.early += not self._is_answering

    def take(self, request: Request, answer: Answer) -> None:
        super().take(request, answer)
        # A run of a million events would not fit into memory.
        self.requests.clear()

    async def write(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        self._is_answering = self._is_answering or answer.endless != "headers"
        await super().write(answer, writer)

    def _draw(self, number: int) -> Answer | None:
        """Reset a request before its body is read, or leave it to the rule."""
        is_one_too_many = self._faults.once and number > 1
        is_reset = is_one_too_many or self._random.random() < self._faults.reset
        return Answer(reset=True, is_processed=False) if is_reset else None

    def _answer_to(self, request: Request) -> Answer:
        faults = self._faults
        # What is drawn here was not reset.
        fault = faults.draw(self._random.random() * (1 - faults.reset))
        delay = 0.2 if fault == "slow" else self._random.random() * faults.delay if faults.delay else 0.0
        if faults.manner in ("never", "dripping"):
            is_dripping = faults.manner == "dripping"
            return Answer(
                delay=delay,
                is_processed=False,
                hangs=not is_dripping,
                drip=_DRIP_SECONDS,
                endless="headers" if is_dripping else None,
            )
        is_used_up = faults.quota is not None and self.accepted.total() >= faults.quota
        if fault == "refused" or is_used_up:
            return Answer(503, delay=delay)
        wanted = _ANSWER.search(request.body)
        status = int(wanted[1]) if wanted else 200
        if fault == "unanswered":
            return Answer(status, delay=delay, reset=True)
        if faults.manner != "whole":
            drip = _DRIP_SECONDS if faults.manner == "dripping body" else 0.0
            return Answer(delay=delay, drip=drip, endless="body")
        return Answer(status, delay=delay)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def _main(seed: int) -> None:
    collector = _FaultyCollector(seed)
    orders = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(orders)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    print(collector.port, flush=True)  # noqa: T201 - the answer to whoever started us
    while line := await orders.readline():
        counts = await collector.obey(json.loads(line))
        print(json.dumps(asdict(counts)), flush=True)  # noqa: T201


# --- in the test's process


class CollectorProcess:
    """
    A collector that runs while the context is open, at first without faults.

    Attributes:
        url: Where it is.
    """

    def __init__(self, *, seed: int) -> None:
        command = [sys.executable, "-m", "tests.faults.server", str(seed)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._answers.readline())}"
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._orders.close()
        self._answers.close()
        try:
            assert self._process.wait(30) == 0
        finally:
            self._process.kill()

    def _order(self, **order: Any) -> Counts:
        print(json.dumps(order), file=self._orders, flush=True)
        return Counts(**json.loads(self._answers.readline()))

    def counts(self) -> Counts:
        """Return what has come."""
        return self._order()

    def do(self, faults: Faults) -> None:
        """Do *faults* from now on, and nothing else wrong."""
        self._order(faults=asdict(faults))

    def open(self) -> None:
        """Listen."""
        self._order(open=True)

    def close(self) -> None:
        """Refuse connections and reset those that are open."""
        self._order(open=False)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
