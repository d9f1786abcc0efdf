"""
The load: asks a web service over connections that stay open, and notes how long each answer took.

Its argument is a JSON object with ``port``, ``connections`` and ``patience``, the seconds for
which an answer is waited for after the end. It tells when it is ready, and answers each order, a
line of JSON, with a line: ``{"seconds": S, "rate": R}`` asks R times a second, however fast the
answers come; without a rate, each connection asks again as soon as it has its answer.

The time of an answer counts from when its request was due. A request that had
to wait for those before it is as late as a visitor would find it.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

from common import USERAGENT, parameters, spread_out

REQUEST = "\r\n".join(
    [
        "GET /items/%d?utm_source=mail HTTP/1.1",
        "Host: shop.example.com",
        f"User-Agent: {USERAGENT}",
        "Accept: application/json",
        "Accept-Language: en-GB,en;q=0.8",
        "Referer: https://www.example.org/search?q=trail+running+shoes",
        "",
        "",
    ]
)

clock = time.perf_counter


class Connection(socket.socket):
    """One connection, with one request at a time, which was *due* at some moment."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.connect(("127.0.0.1", port))
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.due = 0.0

    def ask(self, number: int, due: float) -> None:
        self.due = due
        self.sendall((REQUEST % number).encode())

    def is_answered(self) -> bool:
        """Read what is there, and tell whether it completes an answer."""
        self.received += self.recv(65536)
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not self.received.startswith(b"HTTP/1.1 200 "):
            message = f"the service answered {head!r}"
            raise ConnectionError(message)
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return False
        self.received = b""
        return True


class Load:
    """The requests of one stretch of so many *seconds*. With *patience*, later answers are waited for."""

    def __init__(self, seconds: float, rate: float | None, patience: float) -> None:
        self.rate = rate
        self.asked = 0
        self.took_ms: list[float] = []
        # Answers within the stretch.
        self.in_time = 0
        self.start = clock()
        self.end = self.start + seconds
        self.last = self.end + patience

    def next_due(self) -> float:
        """Return when the next request is due: now, where there is no rate."""
        return clock() if self.rate is None else self.start + self.asked / self.rate

    def run(self, free: list[Connection]) -> dict[str, Any]:
        """Ask over the connections that are *free*, and tell how the answers came."""
        busy: set[Connection] = set()
        while (busy or self.next_due() < self.end) and clock() < self.last:
            while free and (due := self.next_due()) < self.end and due <= clock():
                connection = free.pop()
                connection.ask(self.asked, due)
                busy.add(connection)
                self.asked += 1
            # Where one is free, it waits for the next request to be due.
            until = self.next_due() if free and self.next_due() < self.end else self.last
            for connection in select.select(busy, [], [], max(0.0, until - clock()))[0]:
                if connection.is_answered():
                    self.note(connection.due)
                    busy.remove(connection)
                    free.append(connection)
        answered = len(self.took_ms)
        self.give_up(busy)
        return {"answered": answered, "in_time": self.in_time, "percentiles": spread_out(self.took_ms)}

    def note(self, due: float) -> None:
        """Note that a request has its answer now."""
        now = clock()
        self.took_ms.append((now - due) * 1e3)
        self.in_time += now <= self.end

    def give_up(self, busy: set[Connection]) -> None:
        """Count requests without an answer, and those that nobody could ask, as if they were answered now."""
        for connection in busy:
            self.note(connection.due)
        while self.rate is not None and (due := self.next_due()) < self.end:
            self.note(due)
            self.asked += 1


def main() -> None:
    given = parameters()
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        # A late answer is not taken for that to a request of the next stretch: that has new connections.
        connections = [Connection(given["port"]) for _ in range(given["connections"])]
        load = Load(patience=given["patience"], **{"rate": None} | json.loads(line))
        print(json.dumps(load.run([*connections])), flush=True)
        for connection in connections:
            connection.close()


if __name__ == "__main__":
    main()
