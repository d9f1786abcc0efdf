"""
Names that other Snowplow trackers for Python have, and what does the same here.

They come from ``snowplow-tracker`` 0.x and 1.x and from its ports to asyncio.
Whoever writes one of them gets an error that says the name here: an argument
(`explains_arguments`), an attribute (`OldAttributes`) or an import.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")

_SUBJECT_SETTERS = (
    "ip_address", "useragent", "domain_user_id", "network_user_id", "user_id", "screen_resolution",
    "viewport", "color_depth", "timezone", "lang", "platform", "domain_session_id", "domain_session_index",
)  # fmt: skip

PACKAGE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AsyncEmitter": "HttpEmitter, which never blocks",
        "AsyncTracker": "Tracker",
        "BaseEmitter": "Emitter",
        "EmitterConfiguration": "the keywords of HttpEmitter",
        "TrackerConfiguration": "the keywords of Tracker",
        "Snowplow": "create_tracker, add_tracker, get_tracker and remove_tracker of snowplow_aio.registry",
        "Event": "PageView, StructuredEvent or another event model",
        "InMemoryEventStore": "MemoryStore",
        "EventStore": "snowplow_aio.abc.EventStore, or MemoryStore",
        "RedisWorker": "snowplow_aio.worker.RedisWorker",
        "SelfDescribingEvent": "SelfDescribing or SelfDescribingJson",
        "StructEvent": "StructuredEvent",
        "disable_contracts": "disable_validation",
        "enable_contracts": "enable_validation",
        "logger": 'the logger "snowplow_aio" of logging',
    }
)
"""Classes and functions of the packages."""

ARGUMENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # of trackers and tracking methods
        "base64": "encode_base64",
        "contexts": "context",
        "event_subject": "subject",
        "order_id": "id_",
        "id": "id_",
        "property": "property_",
        "type": "type_",
        "timestamp": "tstamp",
        "dtm": "tstamp",
        "ttm": "true_timestamp",
        "url": "page_url",
        "title": "page_title",
        "referer": "referrer",
        "refr": "referrer",
        "href": "target_url",
        "self_describing_json": "event_json",
        # of a flush, and of what made a tracker
        "is_async": "wait=False",
        "endpoint": "emitters=HttpEmitter(endpoint, ...)",
    }
)
"""Arguments of trackers, events and tracking methods."""

FIELDS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("SelfDescribing", "event_json"): "the SelfDescribingJson itself as the event",
        **dict.fromkeys(
            (
                ("ScreenView", name)
                for name in (
                    "type",
                    "type_",
                    "previous_name",
                    "previous_id",
                    "previous_type",
                    "transition_type",
                )
            ),
            "MobileScreenView, the event that a ScreenView of the other tracker is",
        ),
    }
)
"""Fields of an event, by its class, where another class is meant."""

_ENDPOINT = ("endpoint", "client", "host", "endpoint, the first argument of HttpEmitter")
_COLLECTOR = ("endpoint", "endpoint, the first argument of HttpEmitter")
_CLIENT = ("client", "client of RedisEmitter")
_APP = ("app", "app of CeleryEmitter")
_KEY = ("key", "queue", "key of RedisEmitter")
_BATCH_SIZE = ("batch_size", "batch_size of the emitter")
_CAPACITY = ("capacity", "max_length", "store=MemoryStore(capacity=...)")
_OVERFLOW = ("overflow", "store=MemoryStore(overflow=...)")
_INTERVAL = ("flush_interval", "flush_interval of the emitter")
_CONNECTIONS = ("max_connections", "max_connections of the emitter")
_AGE = (
    "max_age, the seconds for which an event is tried again, or Retry.never()",
    "retry=Retry(max_age=...)",
)
_FACTOR = ("factor", "retry=Retry(factor=...)")
_FIRST_DELAY = ("initial_delay", "retry=Retry(initial_delay=...)")
_LAST_DELAY = ("max_delay", "retry=Retry(max_delay=...)")
_CODES = ("retry_codes", "retry=Retry(retry_codes=...)")
_SSL = ("ssl", "ssl of HttpEmitter")
_SESSION = ("session", "session of HttpEmitter")
_OF_HTTP = (
    "method", "protocol", "port", "session", "request_timeout",
    "batch_size", "byte_limit", "on_success", "on_failure",
)  # fmt: skip

SETTINGS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        **dict.fromkeys(("url", "uri"), ("endpoint", "client", "app", "endpoint of HttpEmitter")),
        **dict.fromkeys(("host", "hostname", "server"), _ENDPOINT),
        **dict.fromkeys(("collector", "collector_url", "collector_uri", "endpoint_url"), _COLLECTOR),
        "collector_endpoint": _COLLECTOR,
        "emitter": ("emitters, the first argument", "emitters of Tracker"),
        **dict.fromkeys(("rdb", "dbr", "redis", "redis_client", "redis_url", "connection"), _CLIENT),
        **dict.fromkeys(("broker", "broker_url", "celery", "celery_app"), _APP),
        **dict.fromkeys(("queue", "queue_name", "key_name", "list_key", "stream_key", "stream"), _KEY),
        **dict.fromkeys(("batch", "flush_at"), _BATCH_SIZE),
        "buffer_size": ("batch_size", "capacity", "batch_size of the emitter"),
        "max_batch_size": ("max_batch", "max_batch of the emitter"),
        **dict.fromkeys(("buffer_capacity", "max_size", "maxsize", "size", "max_events", "limit"), _CAPACITY),
        **dict.fromkeys(("max_queue_size", "queue_size", "maxlen", "max_len"), _CAPACITY),
        **dict.fromkeys(("max_bytes", "byte_capacity"), ("capacity_bytes", "byte_limit")),
        **dict.fromkeys(("on_full", "policy", "overflow_policy", "strategy", "drop_old", "block"), _OVERFLOW),
        **dict.fromkeys(("flush_timer", "flush_timeout", "flush_interval_seconds", "interval"), _INTERVAL),
        **dict.fromkeys(("linger", "flush_every", "flush_seconds"), _INTERVAL),
        **dict.fromkeys(("thread_count", "concurrency", "max_concurrency", "max_workers"), _CONNECTIONS),
        **dict.fromkeys(("workers", "connections", "pool_size"), _CONNECTIONS),
        **dict.fromkeys(("max_retries", "retries", "max_attempts", "attempts", "max_tries", "tries"), _AGE),
        **dict.fromkeys(("retry_count", "max_elapsed_time", "deadline"), _AGE),
        **dict.fromkeys(("backoff", "backoff_factor", "multiplier", "exponential_base"), _FACTOR),
        **dict.fromkeys(("delay", "base_delay", "retry_delay", "min_delay", "initial_backoff"), _FIRST_DELAY),
        **dict.fromkeys(("max_backoff", "max_wait", "max_interval", "max_delay_seconds"), _LAST_DELAY),
        "max_retry_delay_seconds": _LAST_DELAY,
        **dict.fromkeys(("custom_retry_codes", "status_codes", "retry_statuses", "status_forcelist"), _CODES),
        "timeout": (
            "request_timeout", "command_timeout", "publish_timeout", "wait_timeout", "drain_timeout",
            "request_timeout of HttpEmitter",
        ),
        "event_store": ("store",),
        "json_encoder": ("json_default", "json_default of Tracker"),
        "tracker_config": ("encode_base64 and json_default", "encode_base64 and json_default of Tracker"),
        "emitter_config": ("batch_size, retry and so on", "batch_size, retry and so on of HttpEmitter"),
        "endpoint": _COLLECTOR,
        **{name: (name, f"{name} of HttpEmitter") for name in _OF_HTTP},
        "https": ('protocol="https"',),
        **dict.fromkeys(("verify", "verify_ssl", "ssl_verify", "ssl_context", "cert"), _SSL),
        **dict.fromkeys(("client_session", "http_client", "http_session"), _SESSION),
        **dict.fromkeys(("on_error", "on_fail", "callback", "error_callback"), ("on_failure",)),
        **dict.fromkeys(("file", "filename", "file_path", "filepath"), ("path", "path of FileEmitter")),
        **dict.fromkeys(("tracker_name", "tracker_namespace"), ("namespace", "namespace of Tracker")),
        **dict.fromkeys(("app", "appid", "application_id"), ("app_id", "app_id of Tracker")),
    }
)  # fmt: skip
"""
Arguments of constructors. The first that the constructor has is meant, or else the last.

Besides those of other trackers these are the names that libraries for retries, queues and HTTP have.
"""

METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cancel_flush": "cancel_flush_timer()",
        "sync_flush": "flush() of the tracker",
        "async_flush": "flush(wait=False) of the tracker",
        "close": "await aclose()",
        "get_subject": "the attribute subject",
        "get_namespace": "the attribute namespace",
        "get_uuid": "the argument event_id of track(), or str(uuid.uuid4())",
        "get_timestamp": "the argument tstamp of track(), or time.time() * 1000",
        "complete_payload": "a MemoryEmitter, which keeps the payloads",
        "combine_subject": "use_subject(), or the argument subject of track()",
        "set_retry_code": "retry=Retry(retry_codes=...)",
        "as_collector_uri": "endpoint, protocol, port and method of HttpEmitter",
        **dict.fromkeys(("http_post", "http_get", "send_events"), "hooks, which are told of each request"),
        "track_unstructured_event": "track_self_describing_event()",
        "track_structured_event": "track_struct_event()",
        **{f"set_{name}": f"tracker.subject.set_{name}()" for name in _SUBJECT_SETTERS},
    }
)
"""Methods of emitters, trackers and subjects."""


def new_name(old: str, table: Mapping[str, str], known: Container[str] = ()) -> str | None:
    """
    Return what to use instead of the name *old*, or None if it is in no other tracker.

    Args:
        old: The name, as it was written. One in camel case is found by its words.

        table: The names that can be meant.

        known: The names that can be used where it was written.
    """
    words = _words(old)
    for name in (words, f"{words}_"):
        if name != old and name in known:
            return name
    return table.get(old) or table.get(words)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def new_setting(old: str, known: Container[str]) -> str | None:
    """Return what to use instead of *old* in a constructor that has the *known* arguments, or None."""
    words = _words(old)
    names = SETTINGS.get(words, ())
    for name in (*names, new_name(old, ARGUMENTS, known)):
        if name is not None and re.split(r"\W", name, maxsplit=1)[0] in known:
            return name
    if words == "base64":
        return "encode_base64 of Tracker"
    # It is an argument of something else, and a name alone would be taken for one of this.
    return next((name if " of " in name else f"{name} of HttpEmitter" for name in reversed(names)), None)


def refuse_unknown(
    function: str,
    given: Iterable[str],
    known: Container[str],
    advise: Callable[[str], str | None] | None = None,
) -> None:
    """
    Refuse arguments that *function* does not have.

    Args:
        function: The name of the function.

        given: The names of the arguments.

        known: The names that it has.

        advise: Returns what to use instead of a name, or None; by default for a tracking method.

    Raises:
        TypeError: If an argument in *given* is not *known*. The error says the name here if it is an old one.
    """
    for name in given:
        if name not in known:
            advice = advise(name) if advise is not None else new_name(name, ARGUMENTS, known)
            raise TypeError(f"{function}() has no argument {name!r}{f': use {advice}' if advice else ''}")


def explains_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a call of *function* with arguments that it does not take say which it does take."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            # An error that was raised within the function has that as its next frame.
            was_called = trace is not None and trace.tb_next is not None
            name = _explain(function, args, kwargs, was_called=was_called)
            if was_called:
                raise
            # Python names the class that defines it.
            raise TypeError(str(error).replace(f"{function.__qualname__}()", f"{name}()")) from None

    return call


def _explain(
    function: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object], *, was_called: bool
) -> str:
    """Raise where an argument is not one of *function*'s; else return the name that its caller knows."""
    parameters = inspect.signature(function).parameters
    # A constructor is known by the class that is made.
    is_constructor = function.__name__ == "__init__"
    name = type(args[0]).__name__ if is_constructor else function.__name__
    takes_others = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    def advise(word: str) -> str | None:
        return new_setting(word, parameters) if is_constructor else new_name(word, ARGUMENTS, parameters)

    def is_wrong(word: str) -> bool:
        # A keyword that a method passes on is wrong if it has another name there.
        return not takes_others or re.split(r"\W", advise(word) or "", maxsplit=1)[0] in parameters

    refuse_unknown(name, filter(is_wrong, kwargs), parameters, advise)
    first = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not was_called and len(args) > len(first):
        named = ", ".join(f"{p.name}=" for p in parameters.values() if p.kind is p.KEYWORD_ONLY)
        taken = " and ".join(first[1:]) or "nothing"
        raise TypeError(f"{name}() takes {taken} by position; everything else is given by name: {named}")
    return name


class OldArguments:
    """Has the constructor of each subclass say which arguments it takes, and the name here of an old one."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            explain_constructor(cls)


def explain_constructor(kind: type[_T]) -> type[_T]:
    """Have the constructor of *kind*, a class, do what `explains_arguments` says; return the class."""
    # An assignment would be a declaration for type checkers.
    setattr(kind, "__init__", explains_arguments(kind.__dict__["__init__"]))  # noqa: B010
    return kind


class OnlyAsync:
    """Has a ``with`` statement say that ``async with`` is meant."""

    __slots__ = ()

    if not TYPE_CHECKING:
        # A type checker would take the statement.

        def __enter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(f"{name} is an asynchronous context manager: use 'async with {name}(...)'")

        def __exit__(self, *_error: object) -> None:
            """Never called: Python asks for both methods before it calls one."""


class OldAttributes:
    """Has the error about a missing attribute say the name here, if it is an old one."""

    __slots__ = ()

    if not TYPE_CHECKING:
        # A type checker would take every name.

        def __getattr__(self, name: str) -> Any:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            advice = None if name.startswith("_") else new_name(name, METHODS, dir(type(self)))
            if hasattr(type(self), "close"):
                # It blocks, and has nothing to await.
                advice = "close()" if name == "aclose" else advice and advice.removeprefix("await ")
            raise AttributeError(f"{message}: use {advice}" if advice else message, name=name, obj=self)
