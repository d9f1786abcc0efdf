"""Requests that no client library has touched, and the events they carry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from snowplow_aio.micro import Micro

TP2 = "/com.snowplowanalytics.snowplow/tp2"

# The oracle's name of a stage -> the bad row that shows it.
BAD_ROWS = {
    "http": "size_violation",
    "collector_payload": "collector_payload_format_violation",
    "tracker_protocol": "tracker_protocol_violations",
    "adapter": "adapter_failures",
    "schema": "schema_violations",
    "enrichment": "enrichment_failures",
    "atomic": "schema_violations",
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


async def send(
    micro: Micro,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | None = None,
    host: str = "micro.test",
) -> Answer:
    """Send exactly these bytes over a connection of its own, and return the answer."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if content is not None:
        lines.append(f"Content-Length: {len(content)}")
    address = urlsplit(micro.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + (content or b""))
        await writer.drain()
        return _parse(await reader.read())
    finally:
        writer.close()
        await writer.wait_closed()


def _parse(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return Answer(int(status.split()[1]), headers, body)


def envelope(*events: Mapping[str, Any], version: str = "1-0-4") -> str:
    schema = f"iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/{version}"
    return json.dumps({"schema": schema, "data": list(events)})


def page_view(**keys: Any) -> dict[str, Any]:
    return {"e": "pv", "tv": "test-1", "p": "srv", "url": "https://example.com/", **keys}


async def post(
    micro: Micro, *events: Mapping[str, Any], query: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send *events* as a tracker does."""
    target = f"{TP2}?{query}" if query else TP2
    sent = {"Content-Type": "application/json", **(headers or {})}
    return await send(micro, "POST", target, headers=sent, body=envelope(*events))


def bad_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first bad row of a bad event."""
    row: dict[str, Any] = json.loads(record["errors"][1])
    return row


def stage(record: Mapping[str, Any]) -> str:
    """Return the kind of bad row, like ``schema_violations``."""
    kind: str = bad_row(record)["schema"].split("/")[1]
    return kind
