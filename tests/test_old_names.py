"""Whoever writes a name of another Snowplow tracker is told the name here."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError

import snowplow_aio
from snowplow_aio import (
    CeleryEmitter,
    ConfigurationError,
    ConsoleEmitter,
    EcommerceTransactionItem,
    FileEmitter,
    FormElement,
    HttpEmitter,
    InvalidEventError,
    LinkClick,
    MemoryEmitter,
    MemoryStore,
    PageView,
    RedisEmitter,
    RedisListStore,
    RedisStreamStore,
    Retry,
    ScreenView,
    SelfDescribing,
    Subject,
    Tracker,
    track_once,
    use_subject,
)
from snowplow_aio.entities.user import User
from snowplow_aio.instrumentation.health import HealthEndpoint
from snowplow_aio.micro import Micro
from snowplow_aio.model.old_names import ARGUMENTS, METHODS, PACKAGE_NAMES, SETTINGS
from snowplow_aio.worker import RedisWorker

pytestmark = pytest.mark.anyio

VIEW = PageView(page_url="https://example.com/")
# The package for calls that a type checker would refuse.
UNTYPED: Any = snowplow_aio


def old_names(name: str, value: Any = 1) -> dict[str, Any]:
    """Return an argument that no signature has, for a type checker not to see."""
    return {name: value}


def tracker() -> Tracker:
    return Tracker(MemoryEmitter())


# By the old way: a call of it, and what its error says.
ARGUMENT_ROWS: dict[str, tuple[Callable[[], Any], str]] = {
    **{
        f"HttpEmitter({old})": (lambda old=old: HttpEmitter("c.example", **old_names(old)), new)  # type: ignore[misc]
        for old, new in {
            "buffer_size": "use batch_size",
            "bufferSize": "use batch_size",
            "byteLimit": "use byte_limit",
            "onSuccess": "use on_success",
            "thread_count": "use max_connections",
            "event_store": "use store",
            "buffer_capacity": r"use store=MemoryStore\(capacity=...\)",
            "max_retry_delay_seconds": r"use retry=Retry\(max_delay=...\)",
            "custom_retry_codes": r"use retry=Retry\(retry_codes=...\)",
            "requestTimeout": "use request_timeout",
        }.items()
    },
    "RedisEmitter(rdb)": (lambda: RedisEmitter(**old_names("rdb")), r"^RedisEmitter\(\).*'rdb': use client"),
    "RedisEmitter(buffer_size)": (
        lambda: RedisEmitter(**old_names("buffer_size")),
        r"^RedisEmitter\(\) .*use batch_size",
    ),
    "CeleryEmitter": (
        lambda: CeleryEmitter(**old_names("buffer_size")),
        r"^CeleryEmitter\(\) .*use batch_size",
    ),
    "ConsoleEmitter": (lambda: ConsoleEmitter(**old_names("bufferSize")), r"^ConsoleEmitter\(\) "),
    "FileEmitter": (lambda: FileEmitter("f", **old_names("onFailure")), r"^FileEmitter\(\) .*use on_failure"),
    "HttpEmitter by position": (
        lambda: UNTYPED.HttpEmitter("c.example", "http", 80),
        r"^HttpEmitter\(\) takes endpoint by position; everything else is given by name: method=, protocol=",
    ),
    "Tracker without": (
        UNTYPED.Tracker,
        r"^Tracker\(\) missing 1 required positional argument: 'emitters'$",
    ),
    "Tracker twice": (
        lambda: UNTYPED.Tracker("shop", emitters=MemoryEmitter()),
        r"^Tracker\(\) got multiple values for argument 'emitters'$",
    ),
    "Tracker by position": (
        lambda: UNTYPED.Tracker("ns", MemoryEmitter()),
        r"^Tracker\(\) takes emitters by position; everything else is given by name: namespace=, app_id=",
    ),
    "Tracker(emitter)": (
        lambda: Tracker(MemoryEmitter(), **old_names("emitter")),
        "use emitters, the first argument",
    ),
    "Tracker(appId)": (lambda: Tracker(MemoryEmitter(), **old_names("appId")), "use app_id"),
    "Subject(userId)": (lambda: Subject(**old_names("userId")), r"^Subject\(\) .*use user_id"),
    "track": (lambda: tracker().track(VIEW, **old_names("event_subject")), r"^track\(\) .*: use subject"),
    "track_nowait": (
        lambda: tracker().track_nowait(VIEW, **old_names("contexts")),
        r"^track_nowait\(\) .*: use context",
    ),
    "chained track": (
        lambda: tracker().track_page_view("u").track_screen_view("n").track(VIEW, **old_names("ttm")),
        r"^track\(\) .*: use true_timestamp",
    ),
    "track_page_view(event_subject)": (
        lambda: tracker().track_page_view("u", **old_names("event_subject")),
        "'event_subject': use subject",
    ),
    "track_page_view(url)": (
        lambda: tracker().track_page_view(**old_names("url")),
        r"^track_page_view\(\) .*'url': use page_url",
    ),
    "track_page_view(pageTitle)": (
        lambda: tracker().track_page_view("u", **old_names("pageTitle")),
        "'pageTitle': use page_title",
    ),
    "track_ecommerce_transaction_item(order_id)": (
        lambda: tracker().track_ecommerce_transaction_item(
            sku="s", price=1, quantity=1, **old_names("order_id")
        ),
        r"^track_ecommerce_transaction_item\(\) .*'order_id': use id_",
    ),
    "track_struct_event(property)": (
        lambda: tracker().track_struct_event("c", "a", **old_names("property")),
        "'property': use property_",
    ),
    "use_subject": (
        lambda: use_subject(**old_names("usr_id")).__enter__(),
        r"^use_subject\(\) has no argument 'usr_id'",
    ),
}


@pytest.mark.filterwarnings("ignore:coroutine 'Tracker.track' was never awaited")
@pytest.mark.parametrize(("call", "said"), ARGUMENT_ROWS.values(), ids=ARGUMENT_ROWS)
def test_an_argument_of_another_tracker_is_answered_with_the_one_here(
    call: Callable[[], Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        call()


WORKER: Any = partial(RedisWorker, HttpEmitter("c.example"))
SETTING_ROWS: Mapping[Any, Mapping[str, str]] = {
    Retry: {
        "max_retries": "max_age, the seconds for which an event is tried again, or Retry.never()",
        "attempts": "max_age",
        "backoff": "factor",
        "base_delay": "initial_delay",
        "max_backoff": "max_delay",
        "status_codes": "retry_codes",
        "maxDelay": "max_delay",
        "timeout": "request_timeout of HttpEmitter",
        "buffer_size": "batch_size of the emitter",
        "max_size": "store=MemoryStore(capacity=...) of HttpEmitter",
    },
    MemoryStore: {
        "flush_at": "batch_size of the emitter",
        "max_size": "capacity",
        "buffer_size": "capacity",
        "buffer_capacity": "capacity",
        "max_bytes": "capacity_bytes",
        "on_full": "overflow",
        "timeout": "wait_timeout",
    },
    partial(HttpEmitter, "c.example"): {
        "max_retries": "retry=Retry(max_age=...)",
        "retries": "retry=Retry(max_age=...)",
        "backoff": "retry=Retry(factor=...)",
        "timeout": "request_timeout",
        "flush_timeout": "flush_interval",
        "url": "endpoint",
        "max_queue_size": "store=MemoryStore(capacity=...)",
        "on_error": "on_failure",
        "verify_ssl": "ssl",
        "https": 'protocol="https"',
        "max_batch_size": "max_batch",
        "base64": "encode_base64 of Tracker",
        "concurrency": "max_connections",
    },
    RedisEmitter: {
        "collector": "endpoint, the first argument of HttpEmitter",
        "url": "client",
        "timeout": "command_timeout",
        "maxlen": "max_length",
        "queue": "key",
    },
    CeleryEmitter: {
        "timeout": "publish_timeout",
        "broker_url": "app",
        "max_retries": "retry=Retry(max_age=...)",
    },
    partial(FileEmitter, "f"): {"filename": "path", "max_size": "store=MemoryStore(capacity=...)"},
    ConsoleEmitter: {"buffer_size": "batch_size"},
    RedisListStore: {"redis_url": "client", "stream_key": "key"},
    RedisStreamStore: {"timeout": "command_timeout"},
    WORKER: {
        "url": "client",
        "concurrency": "max_connections",
        "batch": "batch_size",
        "queue": "key",
        "collector_url": "endpoint, the first argument of HttpEmitter",
        "max_retries": "retry=Retry(max_age=...)",
        "max_queue_size": "store=MemoryStore(capacity=...) of HttpEmitter",
    },
    partial(Tracker, MemoryEmitter()): {
        "appid": "app_id",
        "timeout": "request_timeout of HttpEmitter",
        "max_retries": "retry=Retry(max_age=...) of HttpEmitter",
        "on_error": "on_failure of HttpEmitter",
        "https": 'protocol="https" of HttpEmitter',
        "emitter": "emitters, the first argument",
    },
    Micro: {"hostname": "host", "max_events": "capacity"},
}


@pytest.mark.parametrize(
    ("make", "old", "new"),
    [
        pytest.param(make, old, new, id=f"{getattr(make, 'func', make).__name__}({old})")
        for make, names in SETTING_ROWS.items()
        for old, new in names.items()
    ],
)
def test_a_usual_name_of_a_setting_is_answered_with_the_one_here(make: Any, old: str, new: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{old: 1})
    name = getattr(make, "func", make).__name__
    assert str(caught.value).startswith(f"{name}() has no argument '{old}': use {new}")


@pytest.mark.parametrize("old", ["dtm", "id", "event_subject"])
def test_a_name_of_an_argument_of_tracking_methods_is_no_setting(old: str) -> None:
    with pytest.raises(TypeError, match=rf"^Retry\(\) has no argument '{old}'$"):
        UNTYPED.Retry(**{old: 1})


@pytest.mark.parametrize("kind", [Retry, MemoryStore, RedisListStore, Micro])
def test_a_setting_that_nobody_knows_is_named_with_its_class(kind: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\(\) has no argument 'walrus'$"):
        kind(walrus=1)


def test_a_setting_by_position_is_answered_with_the_names() -> None:
    with pytest.raises(
        TypeError, match=r"^Retry\(\) takes nothing by position; .* by name: initial_delay=, "
    ):
        UNTYPED.Retry(5)
    with pytest.raises(
        TypeError, match=r"^MemoryStore\(\) takes nothing by position; .* by name: capacity=, "
    ):
        UNTYPED.MemoryStore(1000)


def test_an_advice_leads_to_a_setting_that_exists() -> None:
    kinds: list[Any] = [
        Retry,
        MemoryStore,
        HttpEmitter,
        RedisEmitter,
        CeleryEmitter,
        FileEmitter,
        Tracker,
        Micro,
        RedisWorker,
    ]
    known = {name for kind in kinds for name in inspect.signature(kind).parameters} | {"host"}
    for names in SETTINGS.values():
        for name in names:
            assert re.split(r"\W", name, maxsplit=1)[0] in known


@pytest.mark.parametrize(
    "thing",
    [tracker(), Micro(), HealthEndpoint(RedisWorker(HttpEmitter("c.example")))],
    ids=["Tracker", "Micro", "HealthEndpoint"],
)
def test_a_plain_with_is_answered_with_async_with(thing: Any) -> None:
    name = type(thing).__name__
    with (
        pytest.raises(
            TypeError, match=rf"^{name} is an asynchronous context manager: use 'async with {name}"
        ),
        thing,
    ):
        pytest.fail("it was entered")
    with pytest.raises(TypeError, match="use 'async with"), ExitStack() as stack:
        stack.enter_context(thing)


async def test_track_and_confirm_and_track_once_know_old_arguments_too() -> None:
    with pytest.raises(TypeError, match=r"use subject"):
        await tracker().track_and_confirm(VIEW, **old_names("event_subject"))
    with pytest.raises(TypeError, match=r"use subject"):
        await track_once(MemoryEmitter(), VIEW, **old_names("event_subject"))


def test_an_error_of_a_type_inside_a_constructor_stays_as_it_is() -> None:
    class Own(HttpEmitter):
        def __init__(self, endpoint: str) -> None:
            super().__init__(endpoint)
            raise TypeError("my own")

    with pytest.raises(TypeError, match=r"^my own$"):
        Own("c.example")
    with pytest.raises(TypeError, match=r"buffer_size"):
        Own("c.example", **old_names("buffer_size"))


ATTRIBUTE_ROWS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "addEmitter": (tracker, "addEmitter", "use add_emitter"),
    "setSubject": (tracker, "setSubject", "use set_subject"),
    "trackPageView": (tracker, "trackPageView", "use track_page_view"),
    "set_ip_address": (tracker, "set_ip_address", r"use tracker.subject.set_ip_address\(\)"),
    "close": (tracker, "close", r"use await aclose\(\)"),
    "cancel_flush": (lambda: HttpEmitter("c.example"), "cancel_flush", r"use cancel_flush_timer\(\)"),
    "cancelFlush": (RedisEmitter, "cancelFlush", r"use cancel_flush_timer\(\)"),
    "sync_flush": (CeleryEmitter, "sync_flush", r"use flush\(\) of the tracker$"),
    "setFlushTimer": (lambda: HttpEmitter("c.example"), "setFlushTimer", "use set_flush_timer"),
    "setUserId": (Subject, "setUserId", "use set_user_id"),
}


@pytest.mark.parametrize(("make", "name", "said"), ATTRIBUTE_ROWS.values(), ids=ATTRIBUTE_ROWS)
def test_a_method_of_another_tracker_is_answered_with_the_one_here(
    make: Callable[[], Any], name: str, said: str
) -> None:
    with pytest.raises(AttributeError, match=rf"object has no attribute '{name}': {said}"):
        getattr(make(), name)
    assert not hasattr(make(), name)


@pytest.mark.parametrize("make", [tracker, lambda: HttpEmitter("c.example"), Subject], ids=["t", "e", "s"])
def test_a_name_that_nobody_has_is_the_usual_error(make: Callable[[], Any]) -> None:
    for name in ("walrus", "_walrus"):
        with pytest.raises(AttributeError, match=rf"object has no attribute '{name}'$"):
            getattr(make(), name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("AsyncEmitter", "use HttpEmitter"),
        ("disable_contracts", "use disable_validation"),
        ("logger", 'use the logger "snowplow_aio"'),
        ("EmitterConfiguration", "use the keywords of HttpEmitter"),
        ("Snowplow", "use create_tracker"),
        ("RedisWorker", "use snowplow_aio.worker.RedisWorker"),
        ("trackOnce", "use track_once"),
    ],
)
def test_an_import_of_another_tracker_is_answered_with_the_one_here(name: str, said: str) -> None:
    with pytest.raises(ImportError, match=rf"'{name}': {said}"):
        exec(f"from snowplow_aio import {name}")


def test_every_name_in_the_table_is_none_of_ours() -> None:
    assert PACKAGE_NAMES.keys().isdisjoint(snowplow_aio.__all__)
    assert METHODS.keys().isdisjoint(dir(Tracker) + dir(HttpEmitter))
    assert ARGUMENTS.keys().isdisjoint(inspect.signature(Tracker).parameters)


EVENT_ROWS: dict[str, tuple[Callable[[], Any], str]] = {
    "context": (
        lambda: PageView(page_url="u", **old_names("context")),
        r"the argument context of tracker.track",
    ),
    "event_subject": (
        lambda: ScreenView(name="n", **old_names("event_subject")),
        r"the argument subject of tracker.track",
    ),
    "url": (lambda: PageView(**old_names("url")), r"use page_url"),
    "id": (lambda: EcommerceTransactionItem(sku="s", price=1, quantity=1, **old_names("id")), r"use id_"),
    "unknown": (lambda: PageView(page_url="u", **old_names("heading")), r"Extra inputs are not permitted \["),
}


@pytest.mark.parametrize(("make", "said"), EVENT_ROWS.values(), ids=EVENT_ROWS)
def test_a_field_of_another_tracker_is_answered_with_the_one_here(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make()


class Game(SelfDescribing, schema="iglu:com.acme/game/jsonschema/1-0-0"):
    level: int


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (PageView, "page_url"),
        (LinkClick, "target_url"),
        (Game, "level"),
        (User, "id_"),
        (FormElement, "name"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_field_by_position_is_answered_with_its_name(kind: Any, field: str) -> None:
    said = (
        rf"^{kind.__name__}\(\): takes its fields by name: {kind.__name__}\({field}=\.\.\.\), got 'https://x'"
    )
    with pytest.raises(TypeError, match=said):
        kind("https://x")


async def test_a_flush_that_must_not_wait_is_named() -> None:
    no_bool: Any = False
    emitter = HttpEmitter("c.example")
    for flush in (tracker().flush, emitter.flush):
        with pytest.raises(ConfigurationError, match=r"^timeout: .* call flush\(wait=False\), got False$"):
            await flush(no_bool)
    await emitter.aclose(0)


# --- signatures


@pytest.mark.parametrize(
    "kind",
    [
        getattr(snowplow_aio, name)
        for name in snowplow_aio.__all__
        if isinstance(getattr(snowplow_aio, name), type)
        and hasattr(getattr(snowplow_aio, name), "model_fields")
    ],
    ids=lambda kind: kind.__name__,
)
def test_the_signature_of_a_model_has_its_fields_by_name_with_plain_types(kind: Any) -> None:
    signature = inspect.signature(kind)

    assert signature.parameters.keys() == kind.model_fields.keys()
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in signature.parameters.values())
    assert "Annotated" not in str(signature)
    assert "Annotated" not in pydoc.render_doc(kind).partition("Args:")[0]


def test_the_signature_of_a_screen_view_is_that_of_the_reference() -> None:
    assert (
        str(inspect.signature(ScreenView)) == "(*, name: str | None = None, id_: str | None = None) -> None"
    )


def test_the_signature_of_track_has_what_can_be_given() -> None:
    assert list(inspect.signature(Tracker.track).parameters) == [
        "self", "event", "context", "tstamp", "true_timestamp", "subject", "event_id", "anonymous",
    ]  # fmt: skip
    for argument in (
        "context:",
        "tstamp:",
        "true_timestamp:",
        "subject:",
        "event_id:",
        "anonymous:",
        "Raises:",
    ):
        assert argument in (Tracker.track.__doc__ or "")


# --- what is not installed

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
{code}
"""


@pytest.mark.parametrize(
    ("missing", "code", "requirement"),
    [
        ("jsonschema", "from snowplow_aio.micro import Micro", "snowplow-aio[micro]"),
        ("referencing", "import snowplow_aio.micro; snowplow_aio.micro.Micro", "snowplow-aio[micro]"),
        ("celery", "import snowplow_aio.celery_app", "snowplow-aio[celery]"),
        ("celery", "from snowplow_aio import CeleryEmitter; CeleryEmitter()", "snowplow-aio[celery]"),
        ("fastapi", "import snowplow_aio.integrations.fastapi", "fastapi"),
        ("litestar", "import snowplow_aio.integrations.litestar", "litestar"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_what_brings_it(
    missing: str, code: str, requirement: str
) -> None:
    command = [sys.executable, "-c", WITHOUT.format(missing=missing, code=code)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    assert last.strip("'\"").endswith(requirement)
    assert "pip install" in last


def test_the_package_can_be_run() -> None:
    command = [sys.executable, "-m", "snowplow_aio", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ended.stdout == f"snowplow-aio {snowplow_aio.__version__}\n"


def test_what_is_refused_is_still_a_value_error_where_it_is_about_an_event() -> None:
    with pytest.raises(InvalidEventError):
        tracker().track_nowait(VIEW, tstamp=5)
