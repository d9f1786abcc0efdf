"""
The load: asks a web service over connections that stay open, and notes how long each answer took.

Its argument is a JSON object with ``port``, ``connections``, ``core`` and
``patience``, the seconds for which an answer is waited for after the end. It
tells when it is connected, and answers each order, a line of JSON, with a line:
``{"seconds": S}`` asks again on each connection as soon as it has its answer;
``{"seconds": S, "rate": R}`` asks R times a second, however fast the answers come.

The time of an answer counts from when its request was due. A request that had
to wait for those before it is as late as a visitor would find it.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

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


class Connection:
    """One connection, with one request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.due = 0.0

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, number: int, due: float) -> None:
        self.due = due
        self.socket.sendall((REQUEST % number).encode())

    def is_answered(self) -> bool:
        """Read what is there, and tell whether it completes an answer."""
        data = self.socket.recv(65536)
        if not data:
            message = "the service has closed a connection"
            raise ConnectionError(message)
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            message = f"the service answered {head!r}"
            raise ConnectionError(message)
        self.received = b""
        return True


class Load:
    """
    The requests of one stretch of so many *seconds*.

    An answer is waited for *patience* seconds longer. A later one counts as if it had come then.
    """

    def __init__(self, connections: list[Connection], seconds: float, patience: float) -> None:
        self.connections = connections
        self.busy: set[Connection] = set()
        self.number = 0
        self.took_ms: list[float] = []
        # Answers within the stretch.
        self.in_time = 0
        self.start = clock()
        self.end = self.start + seconds
        self.last = self.end + patience

    def ask(self, connection: Connection, due: float) -> None:
        connection.ask(self.number, due)
        self.number += 1
        self.busy.add(connection)

    def answered(self, until: float) -> Iterator[Connection]:
        """Yield the connections with an answer; wait for one, but not longer than *until*."""
        for connection in select.select(self.busy, [], [], max(0.0, until - clock()))[0]:
            if connection.is_answered():
                now = clock()
                self.busy.discard(connection)
                self.took_ms.append((now - connection.due) * 1e3)
                self.in_time += now <= self.end
                yield connection

    def again_and_again(self) -> None:
        for connection in self.connections:
            self.ask(connection, clock())
        while self.busy and clock() < self.last:
            for connection in self.answered(self.last):
                if clock() < self.end:
                    self.ask(connection, clock())
        self.give_up([])

    def at_rate(self, rate: float) -> None:
        free, waiting = list(self.connections), deque[float]()
        left = deque(self.start + number / rate for number in range(round((self.end - self.start) * rate)))
        while (left or waiting or self.busy) and clock() < self.last:
            while left and left[0] <= clock():
                waiting.append(left.popleft())
            while waiting and free:
                self.ask(free.pop(), waiting.popleft())
            free += self.answered(left[0] if left else self.last)
        self.give_up(waiting)

    def give_up(self, waiting: deque[float] | list[float]) -> None:
        """Count requests without an answer, and those *waiting* for a connection, as answered now."""
        now = clock()
        self.took_ms += [(now - due) * 1e3 for due in (*waiting, *(one.due for one in self.busy))]


def main() -> None:
    given = parameters()
    connections = [Connection(given["port"]) for _ in range(given["connections"])]
    print(json.dumps({"connections": len(connections)}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        load = Load(connections, order["seconds"], given["patience"])
        if "rate" in order:
            load.at_rate(order["rate"])
        else:
            load.again_and_again()
        result = {
            "answered": load.number - len(load.busy),
            "unanswered": len(load.busy),
            "in_time": load.in_time,
            "percentiles": spread_out(load.took_ms),
        }
        print(json.dumps(result), flush=True)
        # A late answer must not be taken for that to the next request.
        for connection in load.busy:
            connection.socket.close()
            connections[connections.index(connection)] = Connection(given["port"])


if __name__ == "__main__":
    main()
