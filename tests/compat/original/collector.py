"""A collector that takes everything, and hands out what has arrived; nothing in it is ours."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

ENCODED = {"ue_px", "cx"}
PLAIN = {"ue_pr", "co"}

Event = Mapping[str, Any]
"""An event as it arrived: strings by protocol key, self-describing data read, and ``(request)``."""


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    content_type: str | None
    body: bytes

    def events(self) -> Iterator[Event]:
        """Read the events in it. Raises AssertionError or ValueError for what no collector could read."""
        address = urlsplit(self.target)
        if self.method == "GET":
            pairs = parse_qsl(address.query, keep_blank_values=True, strict_parsing=True, errors="strict")
            yield _read(_without_repetition(pairs), f"GET {address.path}", len(self.target))
            return
        assert address.query == ""
        whole = exact(self.body.decode())
        assert whole.keys() == {"schema", "data"}
        for fields in whole["data"]:
            yield _read(fields, f"POST {address.path} {self.content_type} {whole['schema']}", 0)


def _read(fields: dict[str, Any], way: str, length: int) -> Event:
    assert all(isinstance(value, str) and value for value in fields.values()), fields
    read = {key: _self_describing(key, value) for key, value in fields.items()}
    return {**read, "(request)": way, "(length)": length}


def _self_describing(key: str, text: str) -> Any:
    if key in ENCODED:
        return exact(base64.b64decode(text, altchars=b"-_", validate=True).decode())
    return exact(text) if key in PLAIN else text


def exact(text: str) -> Any:
    """Read *text* exactly: 1 is not 1.0 and not True, and 0.1 is a tenth."""
    return json.loads(text, parse_float=_fraction, object_pairs_hook=_without_repetition)


def _fraction(text: str) -> Decimal:
    return Decimal(text).normalize()


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    assert len(fields) == len(pairs), f"a key comes twice: {pairs}"
    # In one order, so that the texts of equal data are equal.
    return {key: fields[key] for key in sorted(fields)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _take(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        request = Request(self.command, self.path, self.headers["Content-Type"], self.rfile.read(length))
        cast(Collector, self.server).requests.append(request)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = _take  # noqa: N815 - the name that http.server looks for
    do_POST = _take  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Collector(ThreadingHTTPServer):
    """Listens on a free port of this machine."""

    daemon_threads: bool = False
    request_queue_size: int = 64

    def __init__(self) -> None:
        self.requests: list[Request] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def take(self) -> list[Request]:
        """Return what has arrived since the last time, in its order."""
        requests, self.requests = self.requests, []
        return requests


@contextmanager
def running_collector() -> Generator[Collector]:
    """Run a collector in a thread, until its clients have gone."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()
