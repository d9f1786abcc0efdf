"""A value of a wrong type, for any argument of the public functions, is an error that names the argument."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from celery import Celery
from pydantic import ValidationError

from snowplow_aio import (
    CeleryEmitter,
    ConfigurationError,
    ConsoleEmitter,
    FileEmitter,
    HttpEmitter,
    MemoryEmitter,
    MemoryStore,
    PageView,
    RedisEmitter,
    RedisListStore,
    RedisStreamStore,
    Retry,
    SelfDescribingJson,
    SnowplowError,
    Subject,
    Tracker,
)
from snowplow_aio.delivery.options import BatchingOptions, EmitterOptions
from snowplow_aio.instrumentation.health import HealthEndpoint
from snowplow_aio.micro import Micro
from snowplow_aio.policies import Batching
from snowplow_aio.registry import TrackerRegistry
from snowplow_aio.tracking.track_methods import AllMetadata
from snowplow_aio.worker import RedisWorker


async def coroutine_function() -> None:
    raise AssertionError("it is never called")


WRONG: list[Any] = [
    None, 5, -1, 1.5, True, float("nan"), b"x", "", "x", [], [1], {}, {"a": 1},
    object(), object, HttpEmitter, coroutine_function,
]  # fmt: skip
VIEW = PageView(page_url="https://example.com/")
PLAIN = SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", {})


# What is called, with arguments that are right, and the names that its `**` takes.
def registry_of_one() -> TrackerRegistry:
    registry = TrackerRegistry()
    registry.create("one", MemoryEmitter())
    return registry


CALLS: Mapping[str, tuple[Callable[..., Any], dict[str, Any], Any]] = {
    "Retry": (Retry, {}, {}),
    "Batching": (Batching, {}, {}),
    "MemoryStore": (MemoryStore, {}, {}),
    "RedisListStore": (RedisListStore, {}, {}),
    "RedisStreamStore": (RedisStreamStore, {}, {}),
    "HttpEmitter": (HttpEmitter, {"endpoint": "c.example"}, {}),
    "RedisEmitter": (RedisEmitter, {}, EmitterOptions.__annotations__),
    # With an app and a queue, or each call would read Celery's configuration.
    "CeleryEmitter": (CeleryEmitter, {"app": Celery(), "queue": "q"}, EmitterOptions.__annotations__),
    "FileEmitter": (FileEmitter, {"path": "events.jsonl"}, EmitterOptions.__annotations__),
    "ConsoleEmitter": (ConsoleEmitter, {}, EmitterOptions.__annotations__),
    "Subject": (Subject, {}, {}),
    "Tracker": (Tracker, {"emitters": MemoryEmitter()}, {}),
    "RedisWorker": (RedisWorker, {"transport": HttpEmitter("c.example")}, BatchingOptions.__annotations__),
    "HealthEndpoint": (HealthEndpoint, {"worker": RedisWorker(HttpEmitter("c.example"))}, {}),
    "Micro": (Micro, {}, {}),
    "TrackerRegistry.get": (registry_of_one().get, {}, {}),
    "TrackerRegistry.remove": (TrackerRegistry().remove, {}, {}),
    "TrackerRegistry.set_default": (TrackerRegistry().set_default, {}, {}),
}
RIGHT: Mapping[str, dict[str, Any]] = {
    "track": {"event": VIEW},
    "track_nowait": {"event": VIEW},
    "track_page_view": {"page_url": "u"},
    "track_page_ping": {"page_url": "u"},
    "track_screen_view": {"name": "n"},
    "track_mobile_screen_view": {"name": "n"},
    "track_struct_event": {"category": "c", "action": "a"},
    "track_self_describing_event": {"event_json": PLAIN},
    "track_unstruct_event": {"event_json": PLAIN},
    "track_link_click": {"target_url": "u"},
    "track_add_to_cart": {"sku": "s", "quantity": 1},
    "track_remove_from_cart": {"sku": "s", "quantity": 1},
    "track_form_change": {"form_id": "f", "element_id": "e", "node_name": "INPUT", "value": "v"},
    "track_form_submit": {"form_id": "f"},
    "track_site_search": {"terms": ["t"]},
    "track_ecommerce_transaction": {"order_id": "o", "total_value": 1},
    "track_ecommerce_transaction_item": {"id_": "o", "sku": "s", "price": 1, "quantity": 1},
    "track_exception": {"error": ValueError("x")},
}


def fault_of(call: Callable[..., Any], arguments: dict[str, Any]) -> BaseException | None:
    try:
        made = call(**arguments)
    except Exception as error:  # noqa: BLE001 - any other than ours is what is looked for
        return error
    if asyncio.iscoroutine(made) or hasattr(made, "send"):
        made.close()
    return None


def check_all(call: Callable[..., Any], right: dict[str, Any], others: Any) -> None:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    own = [name for name, one in inspect.signature(call).parameters.items() if one.kind not in kinds]
    for argument in dict.fromkeys([*own, *others]):
        for value in WRONG:
            error = fault_of(call, {**right, argument: value})
            assert error is None or isinstance(error, SnowplowError | ValidationError), (argument, value)
            assert error is None or argument in str(error), (argument, value, str(error))


@pytest.mark.parametrize(("call", "right", "others"), CALLS.values(), ids=CALLS)
def test_what_is_made_of_a_wrong_type_names_the_argument(
    call: Callable[..., Any], right: dict[str, Any], others: Any
) -> None:
    check_all(call, right, others)


@pytest.mark.parametrize("method", RIGHT)
def test_what_is_tracked_of_a_wrong_type_names_the_argument(method: str) -> None:
    check_all(getattr(Tracker(MemoryEmitter()), method), RIGHT[method], AllMetadata.__annotations__)


def test_every_tracking_method_is_called() -> None:
    methods = {name for name in dir(Tracker) if name.startswith("track")}
    assert methods - {"track_and_confirm"} == RIGHT.keys()


@pytest.mark.parametrize("argument", ["clock", "new_id", "json_default"])
def test_a_coroutine_function_is_no_function_that_is_called(argument: str) -> None:
    options: dict[str, Any] = {argument: coroutine_function}
    with pytest.raises(
        ConfigurationError, match=rf"^{argument}: must be a function, not a coroutine function"
    ):
        Tracker(MemoryEmitter(), **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": 5}, r"^host: must be a host or an address, got 5$"),
        ({"port": "9090"}, r"^port: must be a port from 0 to 65535, got '9090'$"),
        ({"port": 65_536}, r"^port: must be a port from 0 to 65535, got 65536$"),
        ({"schemas": "schemas"}, r"^schemas: must be a list, got 'schemas'$"),
        ({"answers": 503}, r"^answers: must be a list, got 503$"),
        ({"origins": None}, r"^origins: must be a list, got None$"),
        ({"on_event": "print"}, r"^on_event: must be a function, not a coroutine function, or None, got"),
    ],
)
def test_a_wrong_argument_of_the_collector_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Micro(**options)
