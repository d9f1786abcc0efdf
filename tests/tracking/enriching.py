"""What the tests of global contexts and enrichers share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from snowplow_aio import MemoryEmitter, PageView, SelfDescribing, Tracker

PAGE = PageView(page_url="https://shop.example/shoes?email=ada@example.com")

PAGE_VIEWS = "iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/*-*-*"


class Plan(SelfDescribing, schema="iglu:com.acme/plan/jsonschema/1-0-0"):
    name: str


class Saved(SelfDescribing, schema="iglu:com.acme/saved/jsonschema/1-0-0"):
    level: int = 1
    email: str = ""


PRO, FREE = Plan(name="pro"), Plan(name="free")


def tracker_to(kept: MemoryEmitter, **options: Any) -> Tracker:
    """Return a tracker whose events can be read."""
    return Tracker(kept, app_id="shop", encode_base64=False, **options)


def chain(tracker: Tracker) -> Any:
    """Return *tracker* for calls of `track` that are chained, of which its annotations say nothing."""
    return tracker


def entities_of(event: Mapping[str, str]) -> list[Any]:
    """Return the data of the entities of *event*, in their order."""
    return [entity["data"] for entity in json.loads(event["co"])["data"]] if "co" in event else []


def plans(kept: Iterable[Mapping[str, str]]) -> list[list[str]]:
    """Return the names of the plans of each event."""
    return [[data["name"] for data in entities_of(event)] for event in kept]
