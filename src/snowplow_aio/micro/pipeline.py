"""The way from an accepted request to its records: collector, adapter and enrich in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from snowplow_aio.iglu.registries import Registries
from snowplow_aio.micro.adapter import extract
from snowplow_aio.micro.collector import CollectorPayload, CollectorRequest, collect
from snowplow_aio.micro.enrich import judge
from snowplow_aio.micro.problems import Problem
from snowplow_aio.micro.records import Record, record_of, record_of_oversize, record_of_request


def process(
    request: CollectorRequest, registries: Registries, *, user_id: str, new_id: Callable[[], str]
) -> list[Record]:
    """
    Return the records of an accepted *request*: one for each event, or one for all of them.

    Args:
        user_id: The network user id that the collector chose.

        new_id: Makes an id for an event that has none.
    """
    collected = collect(request, user_id=user_id)
    records = [record_of_oversize(oversize) for oversize in collected.oversizes]
    for payload in collected.payloads:
        records += _records(payload, registries, new_id)
    return records


def _records(
    payload: CollectorPayload, registries: Registries, new_id: Callable[[], str]
) -> Iterator[Record]:
    problems: list[Problem] = []
    for found in extract(payload):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            yield record_of(judge(found, registries, new_id=new_id))
    if problems:
        yield record_of_request(payload, problems)
