"""
Every argument has a wrong value here, and the message that it gets.

A message names the argument as the caller wrote it, says the rule and shows
the value. The last tests compare this table with the signatures, so that no
argument is forgotten.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ValidationError

import snowplow_aio
from snowplow_aio import (
    ApplicationError,
    CeleryEmitter,
    ConfigurationError,
    ConsoleEmitter,
    DeviceTimestamp,
    EcommerceTransactionItem,
    FileEmitter,
    FormElement,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    MemoryStore,
    PageView,
    Payload,
    RedisEmitter,
    RedisListStore,
    RedisStreamStore,
    Retry,
    SchemaKey,
    SelfDescribing,
    SelfDescribingJson,
    Subject,
    Tracker,
    TrueTimestamp,
    track_once,
    use_context,
    use_subject,
)
from snowplow_aio import registry as registry_module
from snowplow_aio.delivery.options import EmitterOptions
from snowplow_aio.registry import TrackerRegistry
from snowplow_aio.tracking.track_methods import AllMetadata, Metadata

pytestmark = pytest.mark.anyio

URI = "iglu:com.acme/x/jsonschema/1-0-0"
VIEW = PageView(page_url="https://example.com/")
ENTITY = SelfDescribingJson(URI, {})


class Bad(NamedTuple):
    """
    A wrong value and what is said of it.

    Args:
        value: The value.

        rule: A part of the rule in the message.

        shown: How the message shows the value; its `repr` where it is None.

        named: What the message calls it; the name of the argument where it is None.
    """

    value: Any
    rule: str
    shown: str | None = None
    named: str | None = None


class Function(NamedTuple):
    """
    A public function, or a class, with a wrong value for each of its arguments.

    Args:
        of: Returns what is called; what it tracks goes to the tracker.

        right: The arguments that must be there, with values that are right.

        wrong: The wrong values, by argument.

        signature: Whose arguments they are; those of what is called where it is None.

        keywords: The names that its ``**`` takes, where the annotation does not say them.
    """

    of: Callable[[Tracker], Callable[..., Any]]
    right: Mapping[str, Any]
    wrong: Mapping[str, Bad]
    signature: Callable[..., Any] | None = None
    keywords: Iterable[str] = ()


STRING = "Input should be a valid string"
WHOLE = "Input should be a valid integer"
NUMBER = "must be an int, a float or a Decimal"
UUID_RULE = "must be a UUID in its canonical form"
MISSING = "at least 1 character"
SECONDS = "must be seconds, above 0"
SECONDS_OR_ZERO = "must be seconds, at least 0 or None"
COUNT = "must be a whole number from 1"
FUNCTION = "must be a function"


def long_text(limit: int) -> Bad:
    return Bad("x" * (limit + 1), f"at most {limit} characters", "'xxx")


METADATA: Mapping[str, Bad] = {
    "context": Bad(ENTITY, "must be a list of entities, or None", "SelfDescribingJson(schema="),
    "tstamp": Bad("2024-05-06T07:08:09Z", "must be milliseconds since the epoch", "'2024-05-06T07:08:09Z'"),
    "true_timestamp": Bad(datetime(2024, 1, 1), "must be a datetime with a time zone"),  # noqa: DTZ001
    "subject": Bad("u-42", "must be a Subject"),
    "event_id": Bad("42", UUID_RULE),
}

PAGE: Mapping[str, Bad] = {
    "page_url": Bad("", MISSING),
    "page_title": Bad(b"Home", STRING),
    "referrer": Bad(404, STRING),
}

CART: Mapping[str, Bad] = {
    "sku": Bad(1001, STRING),
    "quantity": Bad("2", NUMBER),
    "name": Bad(5, STRING),
    "category": Bad(["toys"], STRING),
    "unit_price": Bad("9.99", NUMBER),
    "currency": Bad(978, STRING),
}

ITEM: Mapping[str, Bad] = {
    "sku": Bad("", MISSING),
    "price": Bad("9.99", NUMBER),
    "quantity": Bad(1.5, WHOLE),
    "name": long_text(255),
    "category": Bad(7, STRING),
    "currency": Bad("EURO", "at most 3 characters"),
}

SUBJECT: Mapping[str, Bad] = {
    "platform": Bad("desktop", "must be one of ['app', 'cnsl'"),
    "user_id": Bad(42, "must be a string"),
    "screen_resolution": Bad("1920x1080", "must be width and height, whole pixels from 1"),
    "viewport": Bad((1024.5, 768), "must be width and height, whole pixels from 1"),
    "color_depth": Bad("24", "must be bits per pixel, a whole number from 1"),
    "timezone": Bad(2, "must be a string"),
    "lang": Bad(["en"], "must be a string"),
    "ip_address": Bad("10.0.0.1, 10.0.0.2", "must be one address, not a list of them"),
    "useragent": long_text(1000),
    "domain_user_id": long_text(128),
    "network_user_id": Bad(b"n", "must be a string"),
    "domain_session_id": Bad("s-1", UUID_RULE),
    "domain_session_index": Bad(-1, "must be a whole number from 0 to 2147483647"),
}
BOUND: Mapping[str, Bad] = {**SUBJECT, "subject": Bad({"user_id": "u"}, "must be a Subject")}

OPTIONS: Mapping[str, Bad] = {
    "retry": Bad(3, "must be a Retry"),
    "store": Bad("events.db", "must be a store of this process, like MemoryStore()"),
    "on_success": Bad("print", FUNCTION),
    "on_failure": Bad([print], FUNCTION),
    "hooks": Bad(print, "must be a sequence of functions", "<built-in function print>"),
    "drain_timeout": Bad(-1, "must be seconds, at least 0"),
    "name": Bad("", "must be a non-empty string"),
    "flush_interval": Bad(0, "must be seconds, above 0 or None"),
}

REDIS: Mapping[str, Bad] = {
    "client": Bad(6379, "must be a client of redis.asyncio, a redis:// URL or None", "got a builtins.int"),
    "key": Bad("", "must be a string that is not empty"),
    "deduplicate": Bad("no", "must be True or False"),
    "max_length": Bad(0, COUNT),
    "command_timeout": Bad(0, SECONDS),
}

REDIS_STORE: Mapping[str, Bad] = {
    **REDIS,
    "takeover_after": Bad(None, SECONDS),
    "prefetch": Bad(1.5, COUNT),
    "max_dead": Bad(0, COUNT),
    "worker_id": Bad("worker 1", "must be up to 100 letters, digits, dots, dashes and underscores"),
    "name": Bad("", "must be a non-empty string"),
}

RULES: Mapping[str, Bad] = {
    "include": Bad("com.acme/x", "must be an Iglu URI, or a list of them, in which '*' may stand"),
    "exclude": Bad(
        ["iglu:com.acme/x/jsonschema/1-*"], "for a whole part", "'iglu:com.acme/x/jsonschema/1-*'"
    ),
}
ENTITIES = "must be an entity, a list of at least one, or a function"

TRACKER: Mapping[str, Bad] = {
    "emitters": Bad("collector.example.com", "must be an emitter: an object with an input method"),
    "namespace": Bad("shop;1", "must not contain ':' or ';'"),
    "app_id": Bad(7, "must be a string"),
    "subject": Bad({"user_id": "u"}, "must be a Subject"),
    "platform": Bad("Web", "must be one of ['app', 'cnsl'"),
    "json_default": Bad("str", FUNCTION),
    "clock": Bad(1_700_000_000_000, FUNCTION),
    "new_id": Bad("6d6ea5c4-7e4e-4c3f-9f3c-4d5f5c9d8b6a", FUNCTION),
}

UNKNOWN = "there is no tracker"


def _item(tracker: Tracker) -> Callable[..., Any]:
    first = {"sku": "a", "price": 1, "quantity": 1}
    return lambda **item: tracker.track_ecommerce_transaction("o", 1, currency="EUR", items=[first, item])


def _element(tracker: Tracker) -> Callable[..., Any]:
    return lambda **element: tracker.track_form_submit("f", elements=[element])


def _use(tracker: Tracker) -> Callable[..., Any]:
    def use(**given: Any) -> None:
        with use_subject(given.pop("subject", None), **given):
            tracker.track_nowait(VIEW)

    return use


def _use_context(tracker: Tracker) -> Callable[..., Any]:
    def use(context: Any = ENTITY, **rules: Any) -> None:
        with use_context(context, **rules):
            tracker.track_nowait(VIEW)

    return use


def _built(make: Callable[..., Any]) -> Callable[[Tracker], Callable[..., Any]]:
    return lambda _tracker: make


def _at(make: Callable[..., Any]) -> Callable[[Tracker], Callable[..., Any]]:
    return lambda tracker: lambda **given: tracker.track_nowait(VIEW, tstamp=make(**given))


def _plain(tracker: Tracker) -> Callable[..., Any]:
    return lambda **given: tracker.track_nowait(SelfDescribingJson(**given))


def _key(tracker: Tracker) -> Callable[..., Any]:
    return lambda **given: tracker.track_nowait(SelfDescribingJson(SchemaKey(**given), {}))


def _kept(method: str) -> Callable[[Tracker], Callable[..., Any]]:
    def of(_tracker: Tracker) -> Callable[..., Any]:
        kept = TrackerRegistry()
        kept.create("shop", MemoryEmitter())
        call: Callable[..., Any] = getattr(kept, method)
        return call

    return of


def _setter(name: str) -> Callable[[Tracker], Callable[..., Any]]:
    def of(_tracker: Tracker) -> Callable[..., Any]:
        setter: Callable[..., Any] = getattr(Subject(), f"set_{name}")
        return setter

    return of


def _declare(schema: Any) -> type[SelfDescribing]:
    class SaveGame(SelfDescribing, schema=schema):
        pass

    return SaveGame


FUNCTIONS: Mapping[str, Function] = {
    "Tracker.track": Function(
        lambda t: t.track, {"event": VIEW}, {"event": Bad({"schema": URI}, "must be an event"), **METADATA}
    ),
    "Tracker.track_nowait": Function(
        lambda t: t.track_nowait, {"event": VIEW}, {"event": Bad("page view", "must be an event"), **METADATA}
    ),
    "Tracker.track_and_confirm": Function(
        lambda t: t.track_and_confirm,
        {"event": VIEW},
        {"event": Bad(None, "must be an event"), "timeout": Bad(-1, SECONDS_OR_ZERO), **METADATA},
    ),
    "track_once": Function(
        _built(track_once),
        {"emitters": MemoryEmitter(), "event": VIEW},
        {
            "emitters": Bad(None, "must be an emitter"),
            "event": Bad("page view", "must be an event"),
            "namespace": TRACKER["namespace"],
            "app_id": TRACKER["app_id"],
            "timeout": Bad(-1, SECONDS_OR_ZERO),
            **METADATA,
        },
    ),
    "Tracker.track_page_view": Function(lambda t: t.track_page_view, {"page_url": "u"}, {**PAGE, **METADATA}),
    "Tracker.track_page_ping": Function(
        lambda t: t.track_page_ping,
        {"page_url": "u"},
        {
            **PAGE,
            "min_x": Bad("0", WHOLE),
            "max_x": Bad(-(2**31) - 1, "greater than or equal to -2147483648"),
            "min_y": Bad(0.5, WHOLE),
            "max_y": Bad(True, WHOLE),
            **METADATA,
        },
    ),
    "Tracker.track_screen_view": Function(
        lambda t: t.track_screen_view,
        {"name": "n"},
        {"name": Bad("", "must not be empty"), "id_": Bad(534, STRING), **METADATA},
    ),
    "Tracker.track_mobile_screen_view": Function(
        lambda t: t.track_mobile_screen_view,
        {"name": "n"},
        {
            "name": Bad(None, STRING),
            "id_": Bad("534", UUID_RULE),
            "type_": Bad(1, STRING),
            "previous_name": Bad(2, STRING),
            "previous_id": Bad(533, STRING),
            "previous_type": Bad(3, STRING),
            "transition_type": Bad(4, STRING),
            **METADATA,
        },
    ),
    "Tracker.track_struct_event": Function(
        lambda t: t.track_struct_event,
        {"category": "c", "action": "a"},
        {
            "category": Bad("", MISSING),
            "action": long_text(1000),
            "label": Bad(5, STRING),
            "property_": Bad(6, STRING),
            "value": Bad("9.99", NUMBER),
            **METADATA,
        },
    ),
    "Tracker.track_self_describing_event": Function(
        lambda t: t.track_self_describing_event,
        {"event_json": ENTITY},
        {"event_json": Bad({"schema": URI}, "must be an event"), **METADATA},
    ),
    "Tracker.track_unstruct_event": Function(
        lambda t: t.track_unstruct_event,
        {"event_json": ENTITY},
        {"event_json": Bad("{}", "must be an event"), **METADATA},
    ),
    "Tracker.track_link_click": Function(
        lambda t: t.track_link_click,
        {"target_url": "u"},
        {
            "target_url": Bad("", MISSING),
            "element_id": Bad(5, STRING),
            "element_classes": Bad("a b", "must be a list of strings"),
            "element_target": Bad(True, STRING),
            "element_content": Bad(b"c", STRING),
            **METADATA,
        },
    ),
    "Tracker.track_add_to_cart": Function(
        lambda t: t.track_add_to_cart, {"sku": "s", "quantity": 1}, {**CART, **METADATA}
    ),
    "Tracker.track_remove_from_cart": Function(
        lambda t: t.track_remove_from_cart, {"sku": "s", "quantity": 1}, {**CART, **METADATA}
    ),
    "Tracker.track_form_change": Function(
        lambda t: t.track_form_change,
        {"form_id": "f", "element_id": "e", "node_name": "INPUT", "value": "v"},
        {
            "form_id": Bad("", "must not be empty"),
            "element_id": Bad(5, STRING),
            "node_name": Bad("Button", "'INPUT', 'TEXTAREA' or 'SELECT'"),
            "value": Bad(24, STRING),
            "type_": Bad("Texts", "Input should be 'button', 'checkbox'"),
            "element_classes": Bad("a b", "must be a list of strings"),
            **METADATA,
        },
    ),
    "Tracker.track_form_submit": Function(
        lambda t: t.track_form_submit,
        {"form_id": "f"},
        {
            "form_id": Bad(5, STRING),
            "form_classes": Bad("a b", "must be a list of strings"),
            "elements": Bad({"name": "n"}, "must be a list of dicts"),
            **METADATA,
        },
    ),
    "an element of a form": Function(
        _element,
        {"name": "n", "value": "v", "node_name": "INPUT"},
        {
            "name": Bad(5, STRING, named="elements.0.name"),
            "value": Bad(24, STRING, named="elements.0.value"),
            "node_name": Bad("age", "'INPUT', 'TEXTAREA' or 'SELECT'", named="elements.0.node_name"),
            "type_": Bad("Texts", "Input should be 'button', 'checkbox'", named="elements.0.type_"),
        },
        signature=FormElement,
    ),
    "Tracker.track_site_search": Function(
        lambda t: t.track_site_search,
        {"terms": ["t"]},
        {
            "terms": Bad("red shoes", "must be a list of strings"),
            "filters": Bad({"page": 2}, "must be a string or a bool", "2", "filters.page"),
            "total_results": Bad(-1, "greater than or equal to 0"),
            "page_results": Bad("10", WHOLE),
            **METADATA,
        },
    ),
    "Tracker.track_ecommerce_transaction": Function(
        lambda t: t.track_ecommerce_transaction,
        {"order_id": "o", "total_value": 1},
        {
            "order_id": Bad(1001, STRING),
            "total_value": Bad("9.99", NUMBER),
            "affiliation": long_text(255),
            "tax_value": Bad(float("nan"), "must be finite"),
            "shipping": Bad(Decimal("1e400"), "must be below 1e309"),
            "city": Bad(1, STRING),
            "state": Bad(2, STRING),
            "country": Bad(3, STRING),
            "currency": Bad("EURO", "at most 3 characters"),
            "items": Bad({"sku": "s"}, "must be a list of dicts"),
            **METADATA,
        },
    ),
    "an item of a transaction": Function(
        _item,
        {"sku": "s", "price": 1, "quantity": 1},
        {
            "id_": Bad("another", "must not have an id of its own", named="items[1]"),
            "order_id": Bad("another", "must not have an order id of its own", named="items[1]"),
            **{name: bad._replace(named=f"items[1].{name}") for name, bad in ITEM.items()},
            "currency": Bad("USD", "must not have a currency of its own", named="items[1]"),
            "context": Bad(ENTITY, "must be a list of entities", "SelfDescribingJson(", "items[1].context"),
        },
        signature=EcommerceTransactionItem,
        keywords=("order_id", "context"),
    ),
    "Tracker.track_ecommerce_transaction_item": Function(
        lambda t: t.track_ecommerce_transaction_item,
        {"id_": "o", "sku": "s", "price": 1, "quantity": 1},
        {"id_": Bad(1001, STRING), **ITEM, **METADATA},
    ),
    "Tracker.track_exception": Function(
        lambda t: t.track_exception,
        {"error": ValueError("wrong")},
        {
            "error": Bad("wrong", "must be an exception"),
            "is_fatal": Bad("yes", "Input should be a valid boolean"),
            **METADATA,
        },
    ),
    "ApplicationError": Function(
        _built(ApplicationError),
        {"message": "m"},
        {
            "message": long_text(2048),
            "programming_language": Bad("COBOL", "Input should be 'JAVA', 'SCALA'"),
            "thread_name": Bad(1, STRING),
            "thread_id": Bad(2**31, "less than or equal to 2147483647"),
            "stack_trace": long_text(8192),
            "cause_stack_trace": Bad(["a", "b"], STRING),
            "line_number": Bad(-1, "greater than or equal to 0"),
            "class_name": long_text(1024),
            "exception_name": Bad(ValueError, STRING, "ValueError"),
            "is_fatal": Bad(1, "Input should be a valid boolean"),
            "line_column": Bad("1", WHOLE),
            "file_name": Bad(b"app.py", STRING),
        },
    ),
    "Tracker": Function(_built(Tracker), {"emitters": MemoryEmitter()}, TRACKER),
    "Tracker.set_subject": Function(
        lambda t: t.set_subject, {}, {"subject": Bad(Subject, "must be a Subject")}
    ),
    "Tracker.set_default_platform": Function(
        lambda t: t.set_default_platform, {}, {"platform": Bad("walrus", "must be one of")}
    ),
    "Tracker.add_emitter": Function(
        lambda t: t.add_emitter,
        {},
        {"emitter": Bad(MemoryEmitter, "must be an emitter: an object with an input method")},
    ),
    "Tracker.add_global_context": Function(
        lambda t: t.add_global_context,
        {"context": ENTITY},
        {"context": Bad([ENTITY, {"schema": URI}], ENTITIES, "[SelfDescribingJson("), **RULES},
    ),
    "Tracker.add_enricher": Function(
        lambda t: t.add_enricher,
        {"enricher": lambda draft: draft},
        {
            "enricher": Bad("redact", FUNCTION),
            "on_fault": Bad("lose", "must be 'keep' or 'drop'"),
            **RULES,
        },
    ),
    "use_context": Function(
        _use_context,
        {},
        {"context": Bad(SelfDescribingJson, ENTITIES, "<class 'snow"), **RULES},
        signature=use_context,
    ),
    "Tracker.flush": Function(lambda t: t.flush, {}, {"timeout": Bad("5", SECONDS_OR_ZERO)}),
    "Tracker.aclose": Function(lambda t: t.aclose, {}, {"timeout": Bad(-1, SECONDS_OR_ZERO)}),
    "Subject": Function(_built(Subject), {}, SUBJECT),
    "use_subject": Function(_use, {}, BOUND, signature=use_subject, keywords=SUBJECT),
    "Subject.from_cookies": Function(
        _built(Subject.from_cookies),
        {"cookies": {}},
        {
            "cookies": Bad(
                SimpleCookie("sp=n"), "must be a mapping of names to values, all strings", "'SimpleCookie'"
            ),
            "prefix": Bad(None, "must be a string"),
            "network": Bad(5, "must be a string"),
        },
    ),
    **{
        f"Subject.set_{name}": Function(_setter(name), {}, {name: bad})
        for name, bad in SUBJECT.items()
        if name not in ("screen_resolution", "viewport", "color_depth")
    },
    "Subject.set_screen_resolution": Function(
        lambda _t: Subject().set_screen_resolution,
        {"width": 1920, "height": 1080},
        {
            "width": Bad("1920", "must be width and height", "('1920', 1080)", "screen_resolution"),
            "height": Bad(0, "must be width and height", "(1920, 0)", "screen_resolution"),
        },
    ),
    "Subject.set_viewport": Function(
        lambda _t: Subject().set_viewport,
        {"width": 1024, "height": 768},
        {
            "width": Bad(-1, "must be width and height", "(-1, 768)", "viewport"),
            "height": Bad(767.5, "must be width and height", "(1024, 767.5)", "viewport"),
        },
    ),
    "Subject.set_color_depth": Function(
        lambda _t: Subject().set_color_depth,
        {},
        {"depth": Bad("24", "must be bits per pixel", named="color_depth")},
    ),
    "HttpEmitter": Function(
        _built(HttpEmitter),
        {"endpoint": "collector.example.com"},
        {
            **OPTIONS,
            "endpoint": Bad("ftp://collector.example.com", "must be a host or an http(s) URL"),
            "method": Bad("PUT", "must be 'post' or 'get'"),
            "protocol": Bad("HTTPS", "must be 'http' or 'https'"),
            "port": Bad("8080", "must be a whole number from 1 to 65535"),
            "post_path": Bad("/collect", "must be two path segments, like 'com.acme/track'"),
            "headers": Bad({"X-Retries": 3}, "must map strings to strings", "'X-Retries'"),
            "session": Bad("session", "must be an aiohttp.ClientSession or None"),
            "ssl": Bad("cert.pem", "must be True, False or an ssl.SSLContext"),
            "proxy": Bad("proxy.example.com:3128", "must be the URL of an HTTP proxy"),
            "trust_env": Bad("yes", "must be True or False"),
            "request_timeout": Bad(0, SECONDS),
            "batch_size": Bad(0, COUNT),
            "max_batch": Bad("500", COUNT),
            "byte_limit": Bad(1_000_000, "must be a whole number from 1 to 993856"),
            "max_connections": Bad(None, COUNT),
        },
    ),
    "HttpEmitter.flush": Function(
        lambda _t: HttpEmitter("h").flush, {}, {"timeout": Bad(float("inf"), SECONDS_OR_ZERO)}
    ),
    "HttpEmitter.aclose": Function(
        lambda _t: HttpEmitter("h").aclose, {}, {"timeout": Bad("5", SECONDS_OR_ZERO)}
    ),
    "HttpEmitter.set_flush_timer": Function(
        lambda _t: HttpEmitter("h").set_flush_timer, {}, {"seconds": Bad(0, SECONDS)}
    ),
    "HttpEmitter.input": Function(
        lambda _t: HttpEmitter("h").input,
        {},
        {"payload": Bad([("e", "pv")], "must be a mapping of protocol key to string")},
    ),
    "HttpEmitter.input_nowait": Function(
        lambda _t: HttpEmitter("h").input_nowait,
        {},
        {"payload": Bad({"e": "pv"}, "must have the protocol field 'p'")},
    ),
    "ConsoleEmitter": Function(
        _built(ConsoleEmitter),
        {},
        {**OPTIONS, "stream": Bad("stdout", "must be a text stream"), "batch_size": Bad(1.0, COUNT)},
    ),
    "FileEmitter": Function(
        _built(FileEmitter),
        {"path": "events.jsonl"},
        {**OPTIONS, "path": Bad(5, "must be the path of a file"), "batch_size": Bad("50", COUNT)},
    ),
    "CeleryEmitter": Function(
        _built(CeleryEmitter),
        {},
        {
            **OPTIONS,
            "app": Bad("redis://", "must be a Celery app or None"),
            "queue": Bad("", "must be a non-empty string"),
            "batch_size": Bad(0, COUNT),
            "max_batch": Bad("500", COUNT),
            "byte_limit": Bad(0, COUNT),
            "publish_timeout": Bad(0, SECONDS),
        },
    ),
    "RedisEmitter": Function(
        _built(RedisEmitter),
        {},
        {
            **OPTIONS,
            **REDIS,
            "mode": Bad("set", "must be 'list' or 'stream'"),
            "batch_size": Bad(0, COUNT),
            "max_batch": Bad("500", COUNT),
            "byte_limit": Bad(0, COUNT),
        },
    ),
    "RedisListStore": Function(_built(RedisListStore), {}, REDIS_STORE),
    "RedisStreamStore": Function(_built(RedisStreamStore), {}, REDIS_STORE),
    "MemoryEmitter": Function(_built(MemoryEmitter), {}, {"name": Bad(None, "must be a non-empty string")}),
    "MemoryStore": Function(
        _built(MemoryStore),
        {},
        {
            "capacity": Bad(0, COUNT),
            "capacity_bytes": Bad(1e6, COUNT),
            "overflow": Bad("drop_old", "must be an Overflow"),
            "wait_timeout": Bad(-1, SECONDS_OR_ZERO),
        },
    ),
    "Retry": Function(
        _built(Retry),
        {},
        {
            "initial_delay": Bad(0, SECONDS),
            "factor": Bad("2", "must be a number from 1"),
            "max_delay": Bad(None, SECONDS),
            "max_age": Bad("1h", "must be seconds, above 0 or None"),
            "retry_codes": Bad([503], "must map HTTP statuses to True or False"),
        },
    ),
    "SelfDescribingJson": Function(
        _plain,
        {"schema": URI, "data": {}},
        {
            "schema": Bad("com.acme/x/1-0-0", "must be an Iglu URI like"),
            "data": Bad({"tags": {"a"}}, "must not be a set", "{'a'}", "event.data.tags"),
        },
        signature=SelfDescribingJson,
    ),
    "class SelfDescribing": Function(
        _built(_declare),
        {},
        {"schema": Bad("iglu:com.acme/x/1-0-0", "must be an Iglu URI like", named="class SaveGame: schema")},
    ),
    "SchemaKey.parse": Function(
        _built(SchemaKey.parse),
        {},
        {"uri": Bad("iglu:com.acme/x/jsonschema/1.0.0", "must be an Iglu URI like", named="schema")},
    ),
    "SchemaKey": Function(
        _key,
        {"vendor": "com.acme", "name": "x", "format": "jsonschema", "version": "1-0-0"},
        {
            "vendor": Bad("com acme", "must be an Iglu URI like", "'iglu:com acme/x/", "schema"),
            "name": Bad("", "must be an Iglu URI like", "'iglu:com.acme//", "schema"),
            "format": Bad("json schema", "must be an Iglu URI like", "'iglu:com.acme/x/", "schema"),
            "version": Bad("1", "must be an Iglu URI like", "onschema/1'", "schema"),
        },
        signature=SchemaKey,
    ),
    "TrueTimestamp": Function(
        _at(TrueTimestamp),
        {},
        {"value": Bad("now", "must be milliseconds since the epoch", named="TrueTimestamp")},
        TrueTimestamp,
    ),
    "DeviceTimestamp": Function(
        _at(DeviceTimestamp),
        {},
        {"value": Bad(None, "must be milliseconds since the epoch", named="DeviceTimestamp")},
        DeviceTimestamp,
    ),
    "Payload": Function(
        _built(Payload),
        {},
        {"fields": Bad("e=pv", "must be a mapping of protocol key to string", named="payload")},
    ),
    "create_tracker": Function(
        _kept("create"),
        {"namespace": "new", "emitters": MemoryEmitter()},
        {**TRACKER, "namespace": Bad("", "must be a non-empty string")},
        registry_module.create_tracker,
        inspect.signature(Tracker).parameters,
    ),
    "get_tracker": Function(
        _kept("get"),
        {},
        {
            "namespace": Bad("Shop", "there is no tracker 'Shop'; there are: shop"),
            "kind": Bad(dict, "must be the class Tracker of snowplow_aio or snowplow_aio.sync"),
        },
    ),
    "add_tracker": Function(
        _kept("add"),
        {},
        {"tracker": Bad("shop", "must be a Tracker of snowplow_aio or of snowplow_aio.sync")},
    ),
    "close_blocking_trackers": Function(_kept("close"), {}, {"timeout": Bad("5", SECONDS_OR_ZERO)}),
    "set_default_tracker": Function(_kept("set_default"), {}, {"namespace": Bad("Shop", UNKNOWN)}),
    "remove_tracker": Function(_kept("remove"), {}, {"namespace": Bad("b", UNKNOWN)}),
    "close_trackers": Function(_kept("aclose"), {}, {"timeout": Bad("5", SECONDS_OR_ZERO)}),
}

KEYWORDS: Mapping[str, Iterable[str]] = {
    "Unpack[Metadata]": Metadata.__annotations__,
    "Unpack[AllMetadata]": AllMetadata.__annotations__,
    "Unpack[EmitterOptions]": EmitterOptions.__annotations__,
}
"""The names that a ``**`` stands for, by its annotation."""

UNCHECKED: Mapping[str, str] = {
    "anonymous": "yes or no: Python knows of anything which it is",
    "encode_base64": "likewise",
    "wait": "likewise",
    "gives_up": "likewise; `Retry.never` sets it",
}
"""Arguments that need no wrong value, and why."""

MODELS = "its tracking method has the same arguments"
RESULT = "made by the library"
UNTRIED: Mapping[str, str] = {
    **dict.fromkeys(
        ("AddToCart", "RemoveFromCart", "FormChange", "FormSubmit", "PagePing", "PageView"), MODELS
    ),
    **dict.fromkeys(("LinkClick", "MobileScreenView", "ScreenView", "SiteSearch", "StructuredEvent"), MODELS),
    "EcommerceTransaction": MODELS,
    **dict.fromkeys(
        ("Delivered", "Dropped", "EmitterStats", "FlushResult", "Health", "Rejected", "Retried"), RESULT
    ),
    "EcommerceTransactionItem": "it is 'an item of a transaction' and has a tracking method",
    "FormElement": "it is 'an element of a form'",
    "SelfDescribing": "it is 'class SelfDescribing'",
    "Emitter": "abstract",
    "Overflow": "an enum",
    "HttpEmitter.accept_blocking": "what a blocking tracker calls",
    "HttpEmitter.new_back_pressure": "what an emitter calls with its own store",
    "HttpEmitter.new_delivery": "what workers call with a store of their own",
    "Draft": "is made by the tracker",
    "changed": "changes a model, which says what is wrong; see tests/tracking/test_enrichers.py",
    "HttpEmitter.accept": "takes what a tracker hands over",
    "HttpEmitter.accept_nowait": "likewise",
    "HttpEmitter.watch": "likewise",
    "HttpEmitter.at_exit": "what the end of the interpreter calls",
}
"""Public names that are not in the table, and why."""

ROWS = {
    f"{name}({argument})": (function, argument, bad)
    for name, function in FUNCTIONS.items()
    for argument, bad in function.wrong.items()
}


async def _call(tracker: Tracker, function: Function, arguments: Mapping[str, Any]) -> None:
    result = function.of(tracker)(**arguments)
    if inspect.iscoroutine(result):
        await result


@pytest.mark.parametrize(("function", "argument", "bad"), ROWS.values(), ids=ROWS)
async def test_a_wrong_value_is_one_clear_error_and_tracks_nothing(
    function: Function, argument: str, bad: Bad
) -> None:
    tracker = Tracker(emitter := MemoryEmitter())

    with pytest.raises(ValueError, match=r".") as caught:
        await _call(tracker, function, {**function.right, argument: bad.value})

    assert isinstance(caught.value, ValidationError | InvalidEventError | ConfigurationError)
    message = str(caught.value)
    # The name stands alone, so that `url` is not taken for `page_url`.
    assert re.search(rf"(?m)^ *{re.escape(bad.named or argument)}(?::|$)", message), message
    assert bad.rule in message
    assert (repr(bad.value) if bad.shown is None else bad.shown) in message
    assert len(message) < 600
    assert emitter.payloads == []


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_what_is_unknown_or_missing_is_named(name: str) -> None:
    function = FUNCTIONS[name]
    tracker = Tracker(emitter := MemoryEmitter())

    with pytest.raises((TypeError, ValidationError), match="walrus"):
        await _call(tracker, function, {**function.right, "walrus": 1})
    for argument in function.right:
        rest = {other: value for other, value in function.right.items() if other != argument}
        with pytest.raises((TypeError, ValidationError), match=argument):
            await _call(tracker, function, rest)

    assert emitter.payloads == []


def _arguments(function: Function) -> set[str]:
    """Return the names of all arguments of *function*."""
    names = set(function.keywords)
    called = function.signature or function.of(Tracker(MemoryEmitter()))
    if isinstance(called, type) and issubclass(called, BaseModel):
        return names | set(called.model_fields)
    for name, parameter in inspect.signature(called).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            names.add(name)
        elif not function.keywords:
            names.update(KEYWORDS[parameter.annotation])
    return names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_has_a_wrong_value_here(name: str) -> None:
    function = FUNCTIONS[name]
    assert set(function.wrong) == _arguments(function) - set(UNCHECKED)


def _public() -> Iterable[str]:
    """Return the names of what applications call: classes, functions, and methods with arguments."""
    for name in snowplow_aio.__all__:
        thing = getattr(snowplow_aio, name)
        is_error = isinstance(thing, type) and issubclass(thing, Exception)
        if callable(thing) and not is_error and inspect.signature(thing).parameters:
            yield name
    for kind in (Tracker, Subject, HttpEmitter):
        for name, method in inspect.getmembers(kind, inspect.isroutine):
            own = set(inspect.signature(method).parameters) - {"self"} if name[0] != "_" else set()
            if own:
                yield f"{kind.__name__}.{name}"
    for name, function in inspect.getmembers(registry_module, inspect.isfunction):
        if name[0] != "_" and function.__module__ == registry_module.__name__:
            yield name


def test_every_public_function_is_here() -> None:
    assert set(_public()) - set(UNTRIED) - set(FUNCTIONS) == set()
    assert set(UNTRIED) <= set(_public()) | set(snowplow_aio.__all__)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HttpEmitter("https://user:hush@collector.example.com"),
        lambda: HttpEmitter("https://user:hush@[collector"),
        lambda: HttpEmitter("h", proxy="socks5://user:hush@proxy.example.com"),
        lambda: HttpEmitter("h", headers={"Authorization": "hush\n"}),
        lambda: RedisEmitter("http://user:hush@redis.example.com"),
        lambda: HttpEmitter("h", headers=[("Authorization", "hush")]),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        lambda: Subject.from_cookies("session=hush"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ],
    ids=["endpoint", "unreadable endpoint", "proxy", "header", "redis", "headers", "cookies"],
)
def test_what_may_be_a_secret_is_not_shown(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        make()
    assert "hush" not in str(caught.value)
    assert isinstance(caught.value, InvalidEventError | ConfigurationError)
