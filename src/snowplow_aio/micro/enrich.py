"""
Gives the verdict on one event.

It collects all problems of an event, also those of later stages, so that a
developer can correct them at once (docs/explanation/protocol.md, "Verdicts of
the pipeline").
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from snowplow_aio.events.ecommerce import EcommerceTransaction, EcommerceTransactionItem
from snowplow_aio.events.page import PageView
from snowplow_aio.events.ping import PagePing
from snowplow_aio.events.structured import StructuredEvent
from snowplow_aio.iglu.json_text import JSONObject, JSONValue, NotIgluError, plain, self_describing
from snowplow_aio.iglu.registries import Registries
from snowplow_aio.micro.adapter import RawEvent, open_envelope
from snowplow_aio.micro.columns import COLUMNS
from snowplow_aio.micro.fields import EVENT_TYPES, FIELDS, LIMITS, clean, timestamp
from snowplow_aio.micro.problems import (
    Problem,
    RefusedError,
    Stage,
    invalid_input,
    not_iglu,
    schema_failure,
    unreadable_field,
)
from snowplow_aio.micro.querystring import parse_query
from snowplow_aio.model.address import read_address
from snowplow_aio.model.atomic import exceeds, stored_length
from snowplow_aio.model.schema_key import SchemaKey
from snowplow_aio.version import __version__

VERSION = f"snowplow-aio-micro-{__version__}"

# The names that enrich gives to events with protocol fields of their own. It looks none of them up.
_FIXED_SCHEMAS: Mapping[str, SchemaKey] = MappingProxyType(
    {
        EVENT_TYPES[model.event_code]: model.schema_key
        for model in (PageView, PagePing, EcommerceTransaction, EcommerceTransactionItem, StructuredEvent)
    }
)

_ENVELOPE_KEYS: Mapping[str, str] = MappingProxyType(
    {"co": "contexts", "cx": "contexts", "ue_pr": "unstruct_event", "ue_px": "unstruct_event"}
)

# The Gregorian calendar repeats itself after 400 years. Python has no year 0, the pipeline has.
_FOUR_CENTURIES_MS = 146_097 * 86_400_000
_YEAR_ONE_MS = -62_135_596_800_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Verdict:
    """
    The pipeline's verdict on an event.

    Args:
        raw: The event as it was sent.

        columns: The enriched event, as far as it could be made.

        schema: The schema of the event; None for an event without a name.

        contexts: The schemas of its entities.

        problems: The reasons why it is lost; none for a good event.
    """

    raw: RawEvent
    columns: JSONObject
    schema: SchemaKey | None = None
    contexts: list[SchemaKey] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether the event reaches the tables."""
        return not self.problems

    def add(self, stage: Stage, *details: JSONObject) -> None:
        """Add the problems that *details* describe."""
        self.problems += [Problem(stage, detail) for detail in details]


def judge(raw: RawEvent, registries: Registries, *, new_id: Callable[[], str]) -> Verdict:
    """
    Return the verdict on *raw*.

    Args:
        registries: The schemas of its data.

        new_id: Makes an id for an event that has none.
    """
    verdict = Verdict(raw, dict.fromkeys(COLUMNS))
    _add_collected(verdict)
    _read_fields(verdict)
    _read_envelopes(verdict, registries)
    _read_addresses(verdict)
    _name_event(verdict)
    _add_timestamps(verdict)
    _check_lengths(verdict)
    verdict.columns["event_id"] = verdict.columns["event_id"] or new_id()
    return verdict


def _add_collected(verdict: Verdict) -> None:
    payload = verdict.raw.payload
    verdict.columns |= {
        "v_collector": VERSION,
        "v_etl": VERSION,
        "user_ipaddress": payload.ip_address,
        "network_userid": payload.user_id,
        "contexts": {},
        "derived_contexts": {},
    }


def _read_fields(verdict: Verdict) -> None:
    parameters = verdict.raw.parameters
    for key, text in parameters.items():
        if text is None or key not in FIELDS:
            continue
        try:
            values = FIELDS[key].convert(text)
        except ValueError as error:
            column = FIELDS[key].columns[0]
            verdict.add(Stage.SCHEMA, unreadable_field(key, column, text, str(error)))
            continue
        # An empty text does not replace the collector's own value.
        found = zip(FIELDS[key].columns, values, strict=True)
        verdict.columns |= {column: value for column, value in found if value is not None}
    # Whatever the order of the keys, the tracker's id wins over the browser's.
    verdict.columns["network_userid"] = (
        clean(parameters.get("tnuid") or "") or verdict.columns["network_userid"]
    )
    verdict.columns["useragent"] = verdict.columns["useragent"] or verdict.raw.payload.useragent


def _read_envelopes(verdict: Verdict, registries: Registries) -> None:
    # If both forms of an envelope are there, the later one is used.
    found = {
        _ENVELOPE_KEYS[key]: (key, text)
        for key, text in verdict.raw.parameters.items()
        if key in _ENVELOPE_KEYS and text is not None
    }
    for name, (key, text) in found.items():
        try:
            envelope, data = open_envelope(key, text, name)
        except RefusedError as refused:
            verdict.add(Stage.SCHEMA, *refused.details)
            continue
        verdict.columns[name] = {"schema": str(envelope), "data": plain(data)}
        if name == "contexts":
            entities = [_check_data(verdict, registries, key, entity) for entity in data]
            verdict.contexts = [entity for entity in entities if entity is not None]
        else:
            verdict.schema = _check_data(verdict, registries, key, data)


def _check_data(verdict: Verdict, registries: Registries, key: str, value: JSONValue) -> SchemaKey | None:
    try:
        schema, data = self_describing(value)
    except NotIgluError as error:
        verdict.add(Stage.SCHEMA, not_iglu(key, value, str(error)))
        return None
    failure = registries.check(schema, data)
    if failure is None:
        return schema
    verdict.add(Stage.SCHEMA, schema_failure(failure))
    return None


def _read_addresses(verdict: Verdict) -> None:
    columns = verdict.columns
    columns["page_url"] = columns["page_url"] or verdict.raw.payload.referer
    for column, prefix in (("page_url", "page_url"), ("page_referrer", "refr_url")):
        if columns[column]:
            _read_address(verdict, column, prefix)
    if columns["page_url"]:
        _read_cross_navigation(verdict)


def _read_address(verdict: Verdict, column: str, prefix: str) -> None:
    columns = verdict.columns
    address = read_address(columns[column])
    if address is None:
        message = invalid_input(column, columns[column], "must be an address that can be read")
        verdict.add(Stage.ENRICHMENT, {"enrichment": None, "message": message})
        return
    if column == "page_url":
        columns[column] = address.whole
    for part in ("scheme", "host", "path", "query", "fragment"):
        columns[f"{prefix}{part}"] = getattr(address, part) or None
    default = 443 if address.scheme == "https" else 80
    columns[f"{prefix}port"] = default if address.port is None else address.port


def _read_cross_navigation(verdict: Verdict) -> None:
    # enrich reads _sp=<domain user id>.<milliseconds>.… even if no enrichment is configured
    # (docs/explanation/protocol.md, "Cross-domain parameters").
    try:
        query = dict(parse_query(verdict.columns["page_urlquery"] or ""))
    except ValueError:
        return
    fields = (query.get("_sp") or "").split(".")
    if len(fields) > 7:
        return
    verdict.columns["refr_domain_userid"] = clean(fields[0])
    if len(fields) == 1 or not fields[1]:
        return
    try:
        verdict.columns["refr_dvce_tstamp"] = timestamp(fields[1])
    except ValueError as error:
        message = invalid_input("sp_dtm", fields[1], f"the _sp parameter of url {error}")
        verdict.add(Stage.ENRICHMENT, {"enrichment": None, "message": message})


def _name_event(verdict: Verdict) -> None:
    columns = verdict.columns
    event = columns["event"]
    if event is None and verdict.raw.parameters.get("e") is None:
        detail = invalid_input("event", None, "must have e, the event's type")
        verdict.add(Stage.ENRICHMENT, {"enrichment": None, "message": detail})
    elif event == "ad_impression":
        detail = invalid_input("event", event, "must be a type of event that has a schema")
        verdict.add(Stage.ENRICHMENT, {"enrichment": None, "message": detail})
    verdict.schema = _FIXED_SCHEMAS.get(event or "", verdict.schema)
    if verdict.schema is not None:
        columns |= {
            "event_vendor": verdict.schema.vendor,
            "event_name": verdict.schema.name,
            "event_format": verdict.schema.format,
            "event_version": str(verdict.schema.version),
        }


def _add_timestamps(verdict: Verdict) -> None:
    columns = verdict.columns
    collected = (verdict.raw.payload.timestamp - _EPOCH) // dt.timedelta(milliseconds=1)
    columns |= {"collector_tstamp": collected, "etl_tstamp": collected}
    columns["derived_tstamp"] = _derived(
        collected, columns["true_tstamp"], columns["dvce_created_tstamp"], columns["dvce_sent_tstamp"]
    )
    for column in columns:
        if column.endswith("_tstamp") and columns[column] is not None:
            columns[column] = iso(columns[column])


def _derived(collected: int, true: int | None, created: int | None, sent: int | None) -> int:
    if true is not None:
        return true
    if created is not None and sent is not None and created < sent:
        return collected - (sent - created)
    return collected


def iso(milliseconds: int) -> str:
    """Return a time since the epoch as ISO 8601 with milliseconds, in UTC."""
    cycles = max(0, -((milliseconds - _YEAR_ONE_MS) // _FOUR_CENTURIES_MS))
    moment = _EPOCH + dt.timedelta(milliseconds=milliseconds + cycles * _FOUR_CENTURIES_MS)
    return f"{moment.year - 400 * cycles:04d}-{moment:%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _check_lengths(verdict: Verdict) -> None:
    for column, limit in LIMITS.items():
        text = verdict.columns[column]
        if isinstance(text, str) and exceeds(text, limit):
            rule = f"must have at most {limit} characters, it has {stored_length(text)}"
            verdict.add(Stage.ATOMIC, unreadable_field(_key_of(verdict, column), column, text, rule))


def _key_of(verdict: Verdict, column: str) -> str:
    keys = (key for key, target in FIELDS.items() if target.columns == (column,))
    return next((key for key in keys if verdict.raw.parameters.get(key)), column)
